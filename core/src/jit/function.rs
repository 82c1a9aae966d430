//! A module's functions on their way into the engine.

use crate::code::error::CompileError;
use crate::code::externals::{Externals, Kept};
use crate::code::generate::GenerateError;
use crate::code::link::{Allocation, LinkError, ObjectCode, allocate, link};
use crate::context::Engine;
use crate::define::declare::forget_local;
use crate::define::local::{self, Prepared};
use crate::define::redefine::remove_function;
use crate::error::Error;
use crate::passes::names::is_own;
use crate::pipeline::compile::check_reserve;
use crate::units::exchange::Removed;
use crate::units::function::{Body, FunctionUnit, MachineCode};
use cranelift_codegen::CodegenError;
use cranelift_module::{ModuleError, ModuleRelocTarget, ModuleResult};
use std::io;
use std::sync::{Arc, Weak};

/// A function that has a definition.
#[derive(Debug)]
pub(super) struct Definition {
    /// What the engine knows it as.
    pub unit: Arc<FunctionUnit>,
    /// Where its first version is.
    pub entry: usize,
    /// Whether that is its only version: the client may know places in it.
    pub fixed: bool,
    pub state: State,
    /// Definitions that it had before, which may wait to be freed.
    pub older: Vec<Weak<Body>>,
}

/// How far a definition is.
#[derive(Debug)]
pub(super) enum State {
    /// CLIF, compiled.
    Prepared(Box<Prepared>),
    /// Machine code of the client, placed.
    Placed(Box<(ObjectCode, Allocation)>),
    /// Published.
    Finalized(Option<MachineCode>),
}

/// What the names in a definition lead to.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub addresses: Vec<(ModuleRelocTarget, usize)>,
    /// The functions of the module among them.
    pub functions: Vec<Arc<FunctionUnit>>,
}

impl Resolved {
    fn settle(self, externals: &Externals) {
        let Self {
            addresses,
            functions,
        } = self;
        let addresses = addresses.iter().map(|(name, address)| (name, *address));
        let functions = functions.into_iter().map(|function| function as Kept);
        externals.settle(addresses, functions.collect());
    }
}

impl State {
    /// The client's names that it refers to, while it is not linked.
    pub fn names(&self) -> Vec<ModuleRelocTarget> {
        match self {
            Self::Prepared(prepared) => {
                let names = prepared.code().names();
                names.filter(|name| !is_own(name)).cloned().collect()
            }
            Self::Placed(placed) => placed.0.names().cloned().collect(),
            Self::Finalized(_) => vec![],
        }
    }

    /// Takes back what was never published.
    pub fn abandon(self, engine: &Engine) {
        if let Self::Prepared(prepared) = self {
            local::abandon(&engine.inner, *prepared);
        }
    }

    /// Links and publishes it as the definition of a function, if that has not happened.
    ///
    /// # Errors
    ///
    /// `Backend`, `Allocation`.
    pub fn finish(
        self,
        engine: &Engine,
        unit: &Arc<FunctionUnit>,
        names: Resolved,
    ) -> ModuleResult<Option<MachineCode>> {
        match self {
            Self::Prepared(prepared) => {
                let settle = |externals: &Externals| names.settle(externals);
                let finished = local::finish(&engine.inner, unit, *prepared, settle);
                finished.map_err(|error| match error {
                    Error::Compile { source, .. } => compile_error(source),
                    error => ModuleError::Backend(error.into()),
                })?;
                Ok(None)
            }
            Self::Placed(placed) => {
                let (code, allocation) = *placed;
                let externals = Externals::default();
                names.settle(&externals);
                let resolve = |name: &ModuleRelocTarget| externals.address_of(name);
                let linked = link(allocation, engine.inner.isa(1), &unit.name, &code, &resolve);
                let linked = linked.map_err(|error| ModuleError::Backend(error.into()))?;
                let observer = &engine.inner.observer;
                let shown = observer.show_linked(&unit.name, &linked, None);
                let removed = |Removed| ModuleError::Undeclared(unit.name.clone());
                unit.exchange(None, Some(linked.entry)).map_err(removed)?;
                Ok(Some(MachineCode {
                    _shown: shown,
                    _code: linked.code,
                    _externals: externals,
                }))
            }
            Self::Finalized(code) => Ok(code),
        }
    }
}

/// The code of a function was to be exchanged in which the client may know places. Found behind
/// [`ModuleError::Backend`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the code of {function} has a fixed address: it cannot be exchanged")]
pub struct FixedCodeError {
    /// The function's name.
    pub function: String,
}

impl Definition {
    /// The function's address: that of its stub, or of its code if that is fixed.
    pub fn address(&self) -> usize {
        match self.fixed {
            true => self.entry,
            false => self.unit.slot.stub_address(),
        }
    }

    /// Fails for fixed code.
    pub fn check_exchangeable(&self) -> ModuleResult<()> {
        match self.fixed {
            true => {
                let function = self.unit.name.clone();
                Err(ModuleError::Backend(FixedCodeError { function }.into()))
            }
            false => Ok(()),
        }
    }

    /// Links and publishes it, if that has not happened. After an error it is no definition any more.
    pub fn finish(&mut self, engine: &Engine, names: Resolved) -> ModuleResult<()> {
        let state = std::mem::replace(&mut self.state, State::Finalized(None));
        self.state = State::Finalized(state.finish(engine, &self.unit, names)?);
        Ok(())
    }

    /// Takes back what was never published.
    pub fn abandon(self, engine: &Engine) {
        self.state.abandon(engine);
        forget_local(&engine.inner, &self.unit);
    }

    /// Leaves what is published to the engine.
    pub fn leave(self) {
        if let State::Finalized(code) = self.state {
            self.unit.keep(code);
        }
    }

    /// Lets calls trap; what is published is freed when no thread can be inside.
    pub fn remove(self, engine: &Engine) {
        match self.state {
            State::Finalized(code) => {
                self.unit.keep(code);
                remove_function(&engine.inner, &self.unit);
            }
            State::Prepared(_) | State::Placed(_) => self.abandon(engine),
        }
    }
}

/// Finds a place for machine code of the client.
pub(super) fn allocate_bytes(engine: &Engine, code: &ObjectCode) -> ModuleResult<Allocation> {
    check_reserve(&engine.inner).map_err(compile_error)?;
    allocate(&engine.inner.arena, code).map_err(|error| match error {
        LinkError::Arena(error) => out_of_memory(error),
        error => ModuleError::Backend(error.into()),
    })
}

/// An error of the compiler as cranelift-jit would report it.
pub(super) fn generate_error(error: GenerateError) -> ModuleError {
    match error {
        GenerateError::Codegen(error, _) => ModuleError::Compilation(error),
        GenerateError::Other(error) => compile_error(error),
    }
}

fn compile_error(error: CompileError) -> ModuleError {
    match error {
        CompileError::Memory(_) => out_of_memory(error),
        CompileError::Panic(_) => {
            ModuleError::Compilation(CodegenError::Unsupported(error.to_string()))
        }
        error => ModuleError::Backend(error.into()),
    }
}

pub(super) fn out_of_memory(error: impl std::error::Error + Send + Sync + 'static) -> ModuleError {
    ModuleError::Allocation {
        err: io::Error::new(io::ErrorKind::OutOfMemory, error),
    }
}

/// An error of the engine, which several modules may run into.
pub(super) fn engine_error(error: &Arc<Error>) -> ModuleError {
    ModuleError::Backend(Arc::clone(error).into())
}
