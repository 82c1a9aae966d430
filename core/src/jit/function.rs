//! A module's functions on their way into the engine.

use crate::arena::CodeBlock;
use crate::compile::GenerateError;
use crate::engine::Engine;
use crate::error::{CompileError, Error};
use crate::externals::Externals;
use crate::link::{LinkError, ObjectCode, Place, link, place};
use crate::local::Prepared;
use crate::names::is_own;
use crate::unit::FunctionUnit;
use cranelift_codegen::CodegenError;
use cranelift_module::{ModuleError, ModuleRelocTarget, ModuleResult};
use std::io;
use std::sync::Arc;

/// A function that has a definition.
#[derive(Debug)]
pub(super) struct Definition {
    /// What the engine knows it as.
    pub unit: Arc<FunctionUnit>,
    /// Where its first version is.
    pub entry: usize,
    pub state: State,
}

/// How far a definition is.
#[derive(Debug)]
pub(super) enum State {
    /// CLIF, compiled.
    Prepared(Box<Prepared>),
    /// Machine code of the client, placed.
    Placed(Box<(ObjectCode, Place)>),
    /// Published; machine code of the client stays the module's.
    Finalized(Option<CodeBlock>),
}

impl Definition {
    /// The client's names that it refers to, while it is not linked.
    pub fn names(&self) -> Vec<ModuleRelocTarget> {
        match &self.state {
            State::Prepared(prepared) => {
                let names = prepared.code().names();
                names.filter(|name| !is_own(name)).cloned().collect()
            }
            State::Placed(placed) => placed.0.names().cloned().collect(),
            State::Finalized(_) => vec![],
        }
    }

    /// Links and publishes it, if that has not happened. The addresses are those of its names.
    ///
    /// # Errors
    ///
    /// `Backend`; what it was is gone then.
    pub fn finish(
        &mut self,
        engine: &Engine,
        addresses: &[(ModuleRelocTarget, usize)],
    ) -> ModuleResult<()> {
        let addresses = addresses.iter().map(|(name, address)| (name, *address));
        match std::mem::replace(&mut self.state, State::Finalized(None)) {
            State::Prepared(prepared) => {
                let finished = engine.inner.finish(&self.unit, *prepared, addresses);
                finished.map_err(compile_error)?;
            }
            State::Placed(placed) => {
                let (code, place) = *placed;
                let externals = Externals::default();
                externals.settle(addresses);
                let resolve = |name: &ModuleRelocTarget| externals.address_of(name);
                let linked = link(place, engine.inner.isa(1), &self.unit.name, &code, &resolve);
                let linked = linked.map_err(|error| ModuleError::Backend(error.into()))?;
                self.unit.slot.publish(linked.entry);
                self.state = State::Finalized(Some(linked.code));
            }
            finalized @ State::Finalized(_) => self.state = finalized,
        }
        Ok(())
    }
}

impl Definition {
    /// Takes back what was never published.
    pub fn abandon(self, engine: &Engine) {
        let prepared = match &self.state {
            State::Prepared(prepared) => Some(&**prepared),
            State::Placed(_) | State::Finalized(_) => None,
        };
        engine.inner.withdraw_local(&self.unit, prepared);
    }

    /// Frees what was published. Nobody may use it any more: the caller's contract.
    pub fn free(self, engine: &Engine) {
        if let State::Finalized(Some(code)) = self.state {
            engine.inner.withdraw_local(&self.unit, None);
            engine.inner.arena.free_code(code);
        }
    }
}

/// Finds a place for machine code of the client.
pub(super) fn place_bytes(engine: &Engine, code: &ObjectCode) -> ModuleResult<Place> {
    engine.inner.check_reserve().map_err(compile_error)?;
    place(&engine.inner.arena, code).map_err(|error| match error {
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
