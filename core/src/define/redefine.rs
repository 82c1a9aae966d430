//! Redefining and removing functions while they run.
//!
//! ```text
//!   redefine:  check ─▶ compile ─▶ body and slot exchanged ─▶ old body is retired
//!   remove:                        no body, slot traps     ─▶ body, function are retired
//! ```
//!
//! Invariants:
//!
//! * A call that begins after [`Engine::redefine`] has returned runs the new body; activations of the old
//!   one finish in it, and its regions and continuations serve nobody else.
//! * A redefinition that fails changes nothing.
//! * The number of a function that was removed is never given again.
//!
//! Not here: how it is exchanged while others publish ([`crate::units::exchange`]); when what was retired is freed
//! ([`crate::reclaim`]).

use crate::context::{Engine, Inner};
use crate::define::definitions::replace_definition;
use crate::define::prepare::prepare;
use crate::define::resolvable::definition_changed;
use crate::error::Error;
use crate::reclaim::retire;
use crate::report::EventKind;
use crate::units::function::{FunctionId, FunctionUnit};
use crate::units::retired::Retired;
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
    pub fn redefine(&self, id: FunctionId, func: Function) -> Result<(), Error> {
        let function = self.inner.function(id)?;
        let _changing = lock(&function.changing);
        let body = prepare(&self.inner, &function, func, None)?;
        replace_definition(&self.inner, &function, body)
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
    pub fn remove(&self, id: FunctionId) -> Result<(), Error> {
        let function = self.inner.function(id)?;
        remove_function(&self.inner, &function);
        Ok(())
    }
}

/// Lets calls of the function trap, takes it out of the tables and retires it.
pub(crate) fn remove_function(engine: &Inner, function: &Arc<FunctionUnit>) {
    let _changing = lock(&function.changing);
    function.lazy.forget();
    {
        let mut units = write(&engine.units);
        units.remove(function.unit);
        let named = units.functions.get(&function.name);
        if named.is_some_and(|named| Arc::ptr_eq(named, function)) {
            units.functions.remove(&function.name);
        }
    }
    let old = function.remove();
    definition_changed(engine, function);
    engine.happened(EventKind::Removed, function);
    if let Some(old) = old {
        retire(engine, Retired::Body(old));
    }
    retire(engine, Retired::Function(Arc::clone(function)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::error::CompileError;
    use crate::config::{Compilation, CompileMode, Config};
    use crate::pipeline;
    use crate::pipeline::first::first_version;
    use crate::tiering::decide::whole_region;
    use crate::units::function::Body;
    use crate::units::part::HotPart;
    use crate::units::subject::Subject;
    use regraft_regions::FunctionProfile;

    /// A loop, which has a hook; `number` is the result.
    fn definition(number: i32) -> Function {
        let clif = format!(
            "function %f() -> i32 system_v {{
block0:
    v0 = iconst.i32 {number}
    v3 = iconst.i32 1
    jump block1(v0)
block1(v1: i32):
    v2 = isub v1, v3
    brif v2, block1(v2), block2
block2:
    return v0
}}"
        );
        cranelift_reader::parse_functions(&clif).unwrap().remove(0)
    }

    /// A function that is defined, but not compiled.
    fn defined() -> (Engine, FunctionId, Arc<FunctionUnit>, Arc<Body>) {
        let engine = Engine::new(
            Config::default()
                .compilation(Compilation::AtFirstCall)
                .compile(CompileMode::Synchronous),
        )
        .unwrap();
        let id = engine.define_function(definition(1)).unwrap();
        let function = engine.inner.function(id).unwrap();
        let body = function.body().unwrap();
        (engine, id, function, body)
    }

    /// Compiles and publishes all of a body, as a thread does that has it in its hands.
    fn publish_all(engine: &Inner, function: &FunctionUnit, body: &Arc<Body>) {
        let first = match first_version(engine, function, body) {
            Ok(first) => first,
            Err(error) => return assert!(matches!(error, CompileError::Replaced), "{error}"),
        };
        function.publish_first(body, first.version.entry);
        let subject = Subject::of(function, body).unwrap();
        let region = whole_region(engine, subject, &FunctionProfile::default()).unwrap();
        pipeline::whole_function(engine, subject, region);
        let hook = subject.tiering.hooks[0].region.clone();
        pipeline::region(engine, subject, 0, hook);
    }

    #[test]
    fn what_was_replaced_while_it_was_first_compiled_is_not_published() {
        for (removed, compiled) in [(false, false), (false, true), (true, false), (true, true)] {
            let (engine, id, function, old) = defined();
            if compiled {
                first_version(&engine.inner, &function, &old).unwrap();
            }
            let f = engine.get::<(), i32>(id).unwrap();
            let pinned = engine.inner.reclaimer.epochs.clone();
            pinned.pinned(|| {
                match removed {
                    false => engine.redefine(id, definition(2)).unwrap(),
                    true => engine.remove(id).unwrap(),
                }
                publish_all(&engine.inner, &function, &old);
                // SAFETY: the code touches no memory.
                let result = unsafe { f.try_call(()) };
                assert_eq!(result.ok(), (!removed).then_some(2));
                // A function that was removed has no units any more for what it is compiled to.
                assert_eq!(old.tiering().is_some(), compiled || !removed);
                if let Some(tiering) = old.tiering() {
                    let mut state = tiering.state();
                    for part in [HotPart::Function, HotPart::Loop(0)] {
                        assert!(state.part_mut(part).versions.is_empty());
                    }
                }
            });
        }
    }

    /// A thread that compiles ahead is not inside: what it holds is freed before it is done.
    #[test]
    fn what_was_freed_while_it_was_first_compiled_is_given_back() {
        let (engine, id, function, old) = defined();
        engine.redefine(id, definition(2)).unwrap();
        engine.collect();
        assert_eq!(engine.memory().waiting, 0);
        let (slots, live) = (engine.inner.slots.live(), engine.memory().tiers[0].live);
        let late = first_version(&engine.inner, &function, &old);
        assert!(matches!(late, Err(CompileError::Replaced)));
        assert_eq!(engine.inner.slots.live(), slots);
        assert_eq!(engine.memory().tiers[0].live, live);
    }

    #[test]
    fn a_removed_function_gets_no_definition_any_more() {
        let (engine, id, function, _) = defined();
        engine.remove(id).unwrap();
        let slots = engine.inner.slots.live();
        let body = prepare(&engine.inner, &function, definition(2), None).unwrap();
        let late = replace_definition(&engine.inner, &function, body);
        assert!(late.is_err());
        assert!(function.body().is_none());
        assert_eq!(engine.inner.slots.live(), slots);
        assert!(!function.bind(None));
    }
}
