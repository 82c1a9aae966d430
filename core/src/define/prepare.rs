//! The first step of a definition: checked, simplified, its names turned into numbers.
//!
//! Not here: functions of modules, whose names stay (`local`).

use crate::code::codemap::locate_by_block;
use crate::code::lines::Lines;
use crate::config::Mode;
use crate::config::warm::Digest;
use crate::context::Inner;
use crate::define::numbering::number_references;
use crate::error::Error;
use crate::passes::names;
use crate::passes::simplify::remove_constant_parameters;
use crate::pipeline::optimize::improve;
use crate::report::Phase;
use crate::units::copies::Copies;
use crate::units::function::{Body, FunctionUnit, Key, References};
use crate::units::made::Made;
use cranelift_codegen::ir::Function;
use regraft_executor::locks::read;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// What a definition is known by that the client has no key for: all of its CLIF, with the names of what it refers to in the
/// place of numbers, which differ from run to run.
fn definition_key(engine: &Inner, func: &Function, references: &References) -> Digest {
    let units = read(&engine.units);
    let named = func.params.user_named_funcs().values();
    let named = named.map(|user| {
        let mut callees = references.callees.iter();
        let name = match user.namespace {
            names::FUNCTIONS => callees
                .find(|callee| callee.unit == user.index)
                .map(|callee| callee.name.as_str()),
            names::DATA => units
                .data_names
                .get(user.index as usize)
                .map(String::as_str),
            _ => None,
        };
        let number = name.is_none().then_some(user.index);
        (user.namespace, name, number)
    });
    let named: Vec<_> = named.collect();
    Digest::of_value(&(&func.stencil, func.params.base_srcloc(), named))
}

/// Checks a definition and turns its names into numbers. `key` is what the client knows it by, if that is more than its CLIF.
pub(crate) fn prepare(
    engine: &Inner,
    function: &FunctionUnit,
    mut func: Function,
    key: Option<Digest>,
) -> Result<Arc<Body>, Error> {
    let _analyzing = engine.enter(Phase::Analyze);
    if function.signature != func.signature {
        return Err(Error::IncompatibleSignature {
            function: function.name.clone(),
            declared: Box::new(function.signature.clone()),
            found: Box::new(func.signature.clone()),
        });
    }
    if engine.isas.verify {
        let verified = cranelift_codegen::verify_function(&func, &*engine.isas.tier1);
        verified.map_err(|errors| Error::Verifier {
            function: function.name.clone(),
            errors: Box::new(errors),
        })?;
    }
    let profiled = engine.saved_profiles.as_ref();
    let profiled = profiled.is_some_and(|profiles| !profiles.by_key);
    let written_hash = profiled.then(|| regraft_regions::function_hash(&func));
    if engine.config.mode != Mode::Eager {
        improve(engine, &function.name, &mut func);
        remove_constant_parameters(&mut func, &*engine.isas.tier0);
    }
    let lines = engine.observer.lines(&function.name, &func);
    let references = number_references(engine, &function.name, &mut func)?;
    if references.takes_address {
        engine.reclaimer.raw_pointer_escaped();
    }
    let block_locations = match lines {
        Some(_) => {
            Lines::number(&mut func);
            false
        }
        None => engine.config.block_locations && locate_by_block(&mut func),
    };
    let key = match key {
        Some(digest) => Some(Key {
            digest,
            clients: true,
        }),
        None => engine.kept.as_ref().map(|_| Key {
            digest: definition_key(engine, &func, &references),
            clients: false,
        }),
    };
    Ok(Arc::new(Body {
        source: func,
        written_hash,
        key,
        unmade: None,
        block_locations,
        lines,
        references,
        copies: Copies::default(),
        copied_size: OnceLock::new(),
        externals: None,
        baseline: Made::new(),
        begun: AtomicBool::new(false),
    }))
}
