//! Redefining and removing functions while they run.
//!
//! ```text
//!   redefine:  check ─▶ compile ─▶ old body takes no more publications ─▶ body, slot ─▶ old body is retired
//!   remove:                        old body takes no more publications ─▶ slot traps ─▶ body, function retired
//! ```
//!
//! Invariants:
//!
//! * A call that begins after [`Engine::redefine`] has returned runs the new body; activations of the old
//!   one finish in it, and its regions and continuations serve nobody else.
//! * A redefinition that fails changes nothing.
//! * The number of a function that was removed is never given again.
//!
//! Not here: when what was retired is freed ([`crate::reclaim`]).

use crate::engine::{Engine, Inner};
use crate::error::Error;
use crate::reclaim::Retired;
use crate::unit::{Body, FuncId, FunctionUnit};
use cranelift_codegen::ir::Function;
use regraft_executor::locks::{lock, write};
use std::sync::Arc;

impl Engine {
    /// Replaces the definition of a function, also while it runs.
    ///
    /// The new body is compiled at once, and starts at tier 0. Calls that begin after this returns reach it,
    /// through whatever pointer or caller; activations that run finish in the old body, which is then
    /// reclaimed ([`Reclamation`](crate::Reclamation)). A function without a definition gets its first.
    ///
    /// # Errors
    ///
    /// As [`Engine::define`], but for `DuplicateDefinition`, and `Compile` whatever the configuration says. The
    /// old definition stays in place then.
    pub fn redefine(&self, id: FuncId, func: Function) -> Result<(), Error> {
        let function = self.inner.function(id)?;
        let _changing = lock(&function.changing);
        let body = self.inner.make_body(&function, func)?;
        self.inner.replace_definition(&function, body)
    }

    /// Removes a function and everything that was compiled of it.
    ///
    /// A call of it from generated code or through a [`TypedFn`](crate::TypedFn) is a trap from now on
    /// ([`TrapKind::Unresolvable`](crate::TrapKind)), and so is one through a raw pointer, until the last function
    /// that refers to it and the last handle of it are gone: then its stub may be given to another function.
    /// Activations that run finish. The name can be declared again.
    ///
    /// # Errors
    ///
    /// `UnknownFunction`: also for a function that was removed before.
    pub fn remove(&self, id: FuncId) -> Result<(), Error> {
        let function = self.inner.function(id)?;
        self.inner.remove_function(&function);
        Ok(())
    }
}

impl Inner {
    /// Compiles `body` and lets calls reach it; retires what it replaces. The caller holds
    /// [`FunctionUnit::changing`].
    pub(crate) fn replace_definition(
        self: &Arc<Self>,
        function: &Arc<FunctionUnit>,
        body: Arc<Body>,
    ) -> Result<(), Error> {
        self.compile_body(function, &body)?;
        let entry = body.compiled().map(|baseline| baseline.version.entry);
        function.lazy.forget();
        let old = function.body();
        close(old.as_deref());
        function.replace_body(Some(Arc::clone(&body)));
        self.definition_changed(function);
        if let Some(entry) = entry {
            function.slot.publish(entry);
        }
        if let Some(old) = old {
            self.retire(Retired::Body(old));
        }
        self.detect_saved(function, &body);
        Ok(())
    }

    /// Lets calls of the function trap, takes it out of the tables and retires it.
    pub(crate) fn remove_function(&self, function: &Arc<FunctionUnit>) {
        let _changing = lock(&function.changing);
        function.lazy.forget();
        {
            let mut units = write(&self.units);
            units.remove(function.unit);
            let named = units.functions.get(&function.name);
            if named.is_some_and(|named| Arc::ptr_eq(named, function)) {
                units.functions.remove(&function.name);
            }
        }
        let old = function.replace_body(None);
        self.definition_changed(function);
        close(old.as_deref());
        function.slot.close();
        if let Some(old) = old {
            self.retire(Retired::Body(old));
        }
        self.retire(Retired::Function(Arc::clone(function)));
    }
}

/// Lets nothing of a body be published any more.
pub(crate) fn close(body: Option<&Body>) {
    if let Some(tiering) = body.and_then(Body::tiering) {
        tiering.state().retired = true;
    }
}
