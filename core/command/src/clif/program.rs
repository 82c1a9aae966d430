//! A test file as functions of an engine, for one of its targets.
//!
//! Invariants:
//!
//! * Functions are declared before any is defined: references go forward and backward alike.
//! * A function that the engine does not accept leaves the others usable. Its commands, and those of
//!   functions that call it, fail when they are called.
//!
//! Not here: running (see [`super::Command`]).

use super::effects::{Effect, effects};
use super::file::TestFile;
use super::header::Target;
use super::throw;
use super::wrap::{WrapRefusal, Wrapped, wrap};
use cranelift_codegen::ir::{
    ExternalName, FuncRef, Function, GlobalValue, GlobalValueData, UserExternalNameRef,
};
use regraft::{Config, Engine, Error, FunctionId};
use regraft_regions::{Profile, function_hash};
use std::collections::HashMap;
use std::sync::Arc;

/// An engine with the functions of a test file.
#[derive(Debug)]
pub struct Program {
    engine: Engine,
    functions: Vec<Result<FunctionId, Error>>,
    sources: Vec<Function>,
    wrappings: Vec<Wrapping>,
}

/// How a function was wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Not asked for.
    Unwrapped,
    /// Its body runs as often as asked for.
    Looped,
    /// Its body runs once, in a loop all the same.
    Once(Effect),
    /// It could not be wrapped.
    Refused(WrapRefusal),
}

impl Program {
    /// Makes an engine for `target` and defines the functions of `file` in it, each with its body in a
    /// loop of `wrap` iterations if that is given.
    ///
    /// `config` is used without its settings, which are the file's; its profile is of the file's functions.
    ///
    /// # Errors
    ///
    /// The engine's, if it cannot be made. That a function cannot be compiled is its own result: see
    /// [`Program::ids`].
    pub fn build(
        file: &TestFile,
        target: &Target,
        config: Config,
        wrap: Option<u32>,
    ) -> Result<Self, Error> {
        let (sources, wrappings): (Vec<Function>, _) = wrap_all(file, wrap).into_iter().unzip();
        let mut defined = sources.clone();
        defined.iter_mut().for_each(refer_by_name);
        let profile = config.profile.as_deref();
        let profile = profile.map(|profile| Arc::new(hash_as_defined(profile, &sources, &defined)));
        let config = config.profile(profile);
        let throws = config.executor.is_here() && throws(file, &defined);
        let engine = Engine::with_isa(&**target.isa(), config)?;
        if throws {
            throw::define(&engine)?;
        }
        let mut program = Self {
            engine,
            functions: vec![],
            sources,
            wrappings,
        };
        for (test, source) in file.functions().iter().zip(&program.sources) {
            let id = program.engine.declare(&test.name, &source.signature);
            program.functions.push(id);
        }
        for (id, func) in program.functions.iter_mut().zip(defined) {
            if let Ok(declared) = id
                && let Err(error) = program.engine.define(*declared, func)
            {
                *id = Err(error);
            }
        }
        Ok(program)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The functions in the order of the file: how the engine knows each, or why it does not.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = Result<FunctionId, &Error>> + '_ {
        self.functions.iter().map(|id| id.as_ref().copied())
    }

    /// The functions as they were defined, in the order of the file.
    pub fn sources(&self) -> &[Function] {
        &self.sources
    }

    /// How each function was wrapped, in the order of the file.
    pub fn wrappings(&self) -> &[Wrapping] {
        &self.wrappings
    }
}

/// Whether functions of a file refer to the function that throws, and it is not the file's own.
fn throws(file: &TestFile, defined: &[Function]) -> bool {
    let is_it = |name: &ExternalName| matches!(name, ExternalName::TestCase(name) if name.raw() == throw::NAME.as_bytes());
    let refers = |func: &Function| {
        let mut callees = func.dfg.ext_funcs.values();
        callees.any(|callee| is_it(&callee.name))
    };
    defined.iter().any(refers) && file.functions().iter().all(|test| test.name != throw::NAME)
}

/// The functions of a file, each with its body in a loop of `iterations` if that is given: one that
/// may not run twice gets a loop of one.
pub fn wrap_all(file: &TestFile, iterations: Option<u32>) -> Vec<(Function, Wrapping)> {
    let functions: Vec<&Function> = file.functions().iter().map(|test| &test.function).collect();
    let Some(iterations) = iterations else {
        let unchanged = functions.into_iter().cloned();
        return unchanged.map(|func| (func, Wrapping::Unwrapped)).collect();
    };
    let effects = effects(&functions);
    let wrapped = file.functions().iter().map(|test| {
        let effect = effects.get(&test.name).cloned().flatten();
        let count = if effect.is_some() { 1 } else { iterations };
        match wrap(&test.function, count) {
            Wrapped::Done(func) => (*func, effect.map_or(Wrapping::Looped, Wrapping::Once)),
            Wrapped::Skipped(refusal) => (test.function.clone(), Wrapping::Refused(refusal)),
        }
    });
    wrapped.collect()
}

/// A profile of functions as files have them, as one of the same functions as they are defined.
fn hash_as_defined(profile: &Profile, sources: &[Function], defined: &[Function]) -> Profile {
    let hashes = |functions: &[Function]| functions.iter().map(function_hash).collect::<Vec<_>>();
    let hashes: HashMap<u64, u64> = hashes(sources).into_iter().zip(hashes(defined)).collect();
    let mut profile = profile.clone();
    for saved in profile.functions.values_mut() {
        saved.hash = hashes.get(&saved.hash).copied().unwrap_or(saved.hash);
    }
    profile
}

/// Replaces numbers (`u0:3`) by the names under which the functions are declared: the engine has
/// numbers of its own.
fn refer_by_name(func: &mut Function) {
    let named = |func: &Function, reference: UserExternalNameRef| {
        let name = func.params.user_named_funcs().get(reference)?;
        Some(ExternalName::testcase(name.to_string()))
    };
    let callees: Vec<FuncRef> = func.dfg.ext_funcs.keys().collect();
    for callee in callees {
        if let ExternalName::User(reference) = func.dfg.ext_funcs[callee].name
            && let Some(name) = named(func, reference)
        {
            func.dfg.ext_funcs[callee].name = name;
        }
    }
    let globals: Vec<GlobalValue> = func.global_values.keys().collect();
    for global in globals {
        if let GlobalValueData::Symbol { name, .. } = &func.global_values[global]
            && let ExternalName::User(reference) = *name
            && let Some(renamed) = named(func, reference)
            && let GlobalValueData::Symbol { name, .. } = &mut func.global_values[global]
        {
            *name = renamed;
        }
    }
}
