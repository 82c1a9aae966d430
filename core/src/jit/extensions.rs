//! What [`JITModule`] can do that cranelift-jit's cannot.

use super::function::{FixedCodeError, State, engine_error, generate_error};
use super::module::JITModule;
use crate::context::Engine;
use crate::define::local::{abandon, prepare};
use crate::units::function::FunctionId;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_module::{FuncId, Module, ModuleError, ModuleResult};
use std::sync::Arc;

/// Not in cranelift-jit.
impl JITModule {
    /// The engine that compiles and runs the functions.
    ///
    /// # Errors
    ///
    /// `Backend`: why there is none.
    pub fn engine(&self) -> ModuleResult<&Engine> {
        self.engine.as_ref().map_err(engine_error)
    }

    /// What the engine knows a defined function as, for [`Engine::get`] and [`Engine::call`].
    pub fn engine_function(&self, func_id: FuncId) -> Option<FunctionId> {
        let definition = self.functions.get(&func_id)?;
        Some(FunctionId::from_u32(definition.unit.unit))
    }

    /// Replaces the definition of a function, also while it runs.
    ///
    /// The new one is in use at once: calls that begin after this returns reach it, through whatever
    /// pointer or caller; activations that run finish in the old one. All that it refers to must be
    /// defined. A function that was not finalized yet is defined anew, and still needs to be finalized.
    ///
    /// What was replaced is freed by [`free_memory`](Self::free_memory), or when the client says that no
    /// thread is inside: [`Engine::quiescent`].
    ///
    /// # Errors
    ///
    /// As `define_function`, but for `DuplicateDefinition`; `Backend` for a name that cannot be resolved;
    /// `IncompatibleSignature`; `Backend` with a [`FixedCodeError`] where the old or the new function has
    /// stack maps or exception handlers, or the old one is machine code of the client. The old definition
    /// stays in place then.
    pub fn redefine_function(&mut self, func_id: FuncId, ctx: &mut Context) -> ModuleResult<()> {
        let Some(definition) = self.functions.get(&func_id) else {
            return self.define_function(func_id, ctx);
        };
        definition.check_exchangeable()?;
        let unit = Arc::clone(&definition.unit);
        if unit.signature != ctx.func.signature {
            return Err(ModuleError::IncompatibleSignature(
                unit.name.clone(),
                unit.signature.clone(),
                ctx.func.signature.clone(),
            ));
        }
        self.verify(ctx)?;
        let engine = self.engine()?.clone();
        let prepared = prepare(&engine.inner, &unit, ctx, &mut ControlPlane::default());
        let prepared = prepared.map_err(generate_error)?;
        if prepared.fixed {
            abandon(&engine.inner, prepared);
            let function = unit.name.clone();
            return Err(ModuleError::Backend(FixedCodeError { function }.into()));
        }
        let entry = prepared.entry();
        let state = State::Prepared(Box::new(prepared));
        if self.functions_to_finalize.contains(&func_id) {
            if let Some(definition) = self.functions.get_mut(&func_id) {
                definition.entry = entry;
                let old = std::mem::replace(&mut definition.state, state);
                old.abandon(&engine);
            }
            return Ok(());
        }
        let names = match self.resolve(state.names()) {
            Ok(names) => names,
            Err(error) => {
                state.abandon(&engine);
                return Err(error.into());
            }
        };
        let old = unit.body();
        state.finish(&engine, &unit, names)?;
        if let Some(definition) = self.functions.get_mut(&func_id) {
            definition.entry = entry;
            definition.older.retain(|older| older.strong_count() > 0);
            definition.older.extend(old.as_ref().map(Arc::downgrade));
        }
        Ok(())
    }

    /// Removes a function and everything that was compiled of it. It can be defined again, and has another
    /// address then.
    ///
    /// A call of it from code of the module is a trap from now on. Pointers to it that the host holds are
    /// not to be called any more. What was removed is freed when the client says that no thread is
    /// inside: [`Engine::quiescent`].
    ///
    /// # Errors
    ///
    /// `Undeclared` where it is not defined; `Backend` with a [`FixedCodeError`] as for
    /// [`redefine_function`](Self::redefine_function).
    pub fn remove_function(&mut self, func_id: FuncId) -> ModuleResult<()> {
        let engine = self.engine()?.clone();
        let undeclared = || ModuleError::Undeclared(func_id.to_string());
        let definition = self.functions.get(&func_id).ok_or_else(undeclared)?;
        definition.check_exchangeable()?;
        let definition = self.functions.remove(&func_id).ok_or_else(undeclared)?;
        self.functions_to_finalize.retain(|id| *id != func_id);
        definition.remove(&engine);
        Ok(())
    }
}
