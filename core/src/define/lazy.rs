//! Functions whose definition is asked for when they are first called.
//!
//! [`Compilation::AtFirstCall`](crate::Compilation) puts off compilation; this puts off making the CLIF
//! too, for clients with many functions of which few run.
//!
//! ```text
//!   call ─▶ stub ─▶ lazy stub ─▶ runtime ─▶ the client's closure ─▶ define, compile, publish ─▶ code
//! ```
//!
//! Where an earlier run has left machine code under the client's key, that takes the place of the closure and of compiling.
//!
//! Invariants: a closure runs once at most, on the thread of the first call, while no lock of the engine is
//! held but the function's own. Its panics are contained. A function whose closure failed has no code, and
//! a call of it is a trap ([`TrapKind::Unresolvable`](crate::TrapKind)); the report says why.
//!
//! Limitations: [`Engine::pointer`] and [`Engine::get`] cannot see what such a function would call, so a
//! missing symbol shows when it is called.

use crate::config::warm::Digest;
use crate::context::{Engine, Inner};
use crate::define::definitions::{define_now, exchange_body};
use crate::error::Error;
use crate::pipeline::load::{find, load};
use crate::report::Phase;
use crate::units::copies::Copies;
use crate::units::function::{Body, FunctionId, FunctionUnit, Key};
use crate::units::lazy::{Defined, Pending};
use crate::units::made::Made;
use crate::units::tiering::Baseline;
use cranelift_codegen::ir::{Function, UserFuncName};
use regraft_executor::locks::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

impl Engine {
    /// Says how a declared function is defined when it is first called.
    ///
    /// `definition` gets the engine, to [`import`](Engine::import) what the function calls. It must not
    /// call functions of the engine.
    ///
    /// ```
    /// use cranelift_codegen::ir::{AbiParam, Signature, types};
    /// use regraft::{Config, Engine};
    ///
    /// let engine = Engine::new(Config::default())?;
    /// let mut signature = Signature::new(engine.isa().default_call_conv());
    /// signature.returns.push(AbiParam::new(types::I32));
    /// let id = engine.declare("seven", &signature)?;
    /// engine.define_lazily(id, |_| {
    ///     let clif = "function %seven() -> i32 system_v { block0: v0 = iconst.i32 7 return v0 }";
    ///     Ok(cranelift_reader::parse_functions(clif)?.remove(0))
    /// })?;
    /// let seven = engine.get::<(), i32>(id)?;
    /// // SAFETY: the code above touches no memory.
    /// assert_eq!(unsafe { seven.call(()) }, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `UnknownFunction`; `DuplicateDefinition`. What goes wrong later is in the report, and the call traps.
    pub fn define_lazily(
        &self,
        id: FunctionId,
        definition: impl FnOnce(&Engine) -> Defined + Send + 'static,
    ) -> Result<(), Error> {
        self.define_when_called(id, None, definition)
    }

    /// Says how a function is defined, and what the definition is known by, where something is kept.
    pub(super) fn define_when_called(
        &self,
        id: FunctionId,
        key: Option<Digest>,
        definition: impl FnOnce(&Engine) -> Defined + Send + 'static,
    ) -> Result<(), Error> {
        let function = self.inner.function(id)?;
        let mut pending = lock(&function.lazy.pending);
        if function.body().is_some() || pending.is_some() {
            return Err(Error::DuplicateDefinition {
                function: function.name.clone(),
            });
        }
        let inner = Arc::downgrade(&self.inner);
        let closure = Box::new(move || {
            let inner = inner.upgrade().ok_or("the engine is gone")?;
            definition(&Engine { inner })
        });
        let key = key.filter(|_| self.inner.kept.is_some());
        *pending = Some(Pending { key, closure });
        function.unbind();
        Ok(())
    }
}

/// Defines a function by its closure, if it has one.
pub(crate) fn define_pending(engine: &Arc<Inner>, function: &FunctionUnit) {
    // Held on purpose: who comes second waits, and finds the body.
    let mut pending = lock(&function.lazy.pending);
    let Some(Pending { key, closure }) = pending.take() else {
        return;
    };
    if key.is_some_and(|key| load_pending(engine, function, key)) {
        return;
    }
    let defining = engine.enter(Phase::Define);
    let made = catch_unwind(AssertUnwindSafe(closure));
    drop(defining);
    let failure = match made {
        Ok(Ok(func)) => {
            let id = FunctionId::from_u32(function.unit);
            define_now(engine, id, func, key)
                .err()
                .map(|error| error.to_string())
        }
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("its definition panicked".to_string()),
    };
    if let Some(error) = &failure {
        tracing::error!(function = %function.name, %error, "cannot be defined");
    }
    *function.lazy.last_failure() = failure;
}

/// Defines a function by what an earlier run has left of it; says whether there is anything.
fn load_pending(engine: &Arc<Inner>, function: &FunctionUnit, key: Digest) -> bool {
    let Some(mut found) = find(engine, function, &key) else {
        return false;
    };
    let _linking = engine.enter(Phase::Link);
    let _changing = lock(&function.changing);
    if function.body().is_some() {
        return false;
    }
    let references = std::mem::take(&mut found.references);
    if references.takes_address {
        engine.reclaimer.raw_pointer_escaped();
    }
    let body = Arc::new(Body {
        source: Function::with_name_signature(UserFuncName::default(), function.signature.clone()),
        written_hash: None,
        key: Some(Key {
            digest: key,
            clients: true,
        }),
        unmade: Some(found.size()),
        block_locations: found.block_locations(),
        lines: None,
        references,
        copies: Copies::default(),
        copied_size: OnceLock::new(),
        externals: None,
        baseline: Made::new(),
        begun: AtomicBool::new(false),
    });
    let make = || {
        let version = load(engine, function, &body, found)?;
        Ok(Baseline {
            version,
            tiering: None,
        })
    };
    if let Err(error) = body.baseline.get_or_make(make, drop) {
        tracing::warn!(function = %function.name, %error, "kept code cannot be used");
        return false;
    }
    exchange_body(engine, function, &body, None).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Mode, TrapKind};
    use cranelift_codegen::ir::Function;
    use cranelift_codegen::ir::{AbiParam, Signature, types};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn engine() -> (Engine, FunctionId) {
        let engine = Engine::new(Config::default().mode(Mode::Tier0)).unwrap();
        let mut signature = Signature::new(engine.isa().default_call_conv());
        signature.returns.push(AbiParam::new(types::I32));
        let id = engine.declare("f", &signature).unwrap();
        (engine, id)
    }

    fn seven() -> Function {
        let clif = "function %f() -> i32 system_v { block0: v0 = iconst.i32 7 return v0 }";
        cranelift_reader::parse_functions(clif).unwrap().remove(0)
    }

    #[test]
    fn the_closure_runs_at_the_first_call_and_once() {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let (engine, id) = engine();
        engine
            .define_lazily(id, |_| {
                RUNS.fetch_add(1, Ordering::Relaxed);
                Ok(seven())
            })
            .unwrap();
        let f = engine.get::<(), i32>(id).unwrap();
        assert_eq!(RUNS.load(Ordering::Relaxed), 0);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let f = f.clone();
                // SAFETY: the code touches no memory.
                std::thread::spawn(move || unsafe { f.try_call(()) })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), 7);
        }
        assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_second_definition_is_refused() {
        let (engine, id) = engine();
        engine.define_lazily(id, |_| Ok(seven())).unwrap();
        let again = [
            engine.define_lazily(id, |_| Ok(seven())),
            engine.define(id, seven()),
        ];
        for again in again {
            assert!(matches!(again, Err(Error::DuplicateDefinition { .. })));
        }
    }

    #[test]
    fn a_closure_that_fails_or_panics_leaves_a_trap() {
        let closures: [fn(&Engine) -> Defined; 3] = [
            |_| Err("no".into()),
            |_| panic!("as asked for"),
            |_| Ok(Function::new()),
        ];
        for closure in closures {
            let (engine, id) = engine();
            engine.define_lazily(id, closure).unwrap();
            let f = engine.get::<(), i32>(id).unwrap();
            for _ in 0..2 {
                // SAFETY: there is no code to run.
                let trap = unsafe { f.try_call(()) }.unwrap_err();
                assert_eq!(trap.kind, TrapKind::Unresolvable);
            }
            let report = engine.report();
            let error = report.functions["f"].definition_error.as_deref();
            assert!(error.is_some_and(|error| !error.is_empty()), "{error:?}");
            assert_eq!(report.functions["f"].tier, None);
        }
    }
}
