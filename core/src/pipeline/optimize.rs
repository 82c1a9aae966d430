//! Where passes of `regraft_optimizer` run: on definitions, and on what is compiled at tier 1.
//!
//! Definitions: private stack slots become values before anything else is done to a function, so that tier 0 keeps fewer values in
//! memory, and regions get them as live-ins; and checks that cannot fail go, as a region does not know where its induction variables began. Tier 1: all passes, on each region and function as it goes to the code generator; calls
//! are inlined before.
//!
//! Invariants:
//!
//! * A pass that fails, or panics, changes nothing: the function is compiled as it was.
//! * With `Config::check` the result is verified; what does not verify is an error of the compilation.
//! * `Mode::Eager` is what a client has without regraft: nothing runs.
//!
//! Not here: the passes.

use crate::code::error::{CheckFailure, CompileError};
use crate::code::generate::panic_message;
use crate::config::Mode;
use crate::config::optimizer::Optimizer;
use crate::context::Inner;
use cranelift_codegen::ir::Function;
use regraft_executor::locks::lock;
use regraft_optimizer::{Callees, Fuel, Pass, Passes, Summary, Unknown, has_checks};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Makes values of a definition's private stack slots, and removes checks that cannot fail.
pub(crate) fn improve(engine: &Inner, name: &str, func: &mut Function) {
    let chosen = engine.config.optimizer.passes;
    let mut passes = Passes::NONE;
    if chosen.contains(Pass::Promote) && !func.sized_stack_slots.is_empty() {
        passes = passes.with(Pass::Promote);
    }
    if chosen.contains(Pass::Checks) && has_checks(func, &engine.config.optimizer.policy) {
        passes = passes.with(Pass::Checks);
    }
    if passes == Passes::NONE {
        return;
    }
    if let Err(error) = run_passes(engine, name, func, passes, &mut Unknown) {
        tracing::error!(function = %name, %error, "a definition is not optimized");
    }
}

/// Whether a pass runs on what is compiled at tier 1.
pub(crate) fn wants(engine: &Inner, pass: Pass) -> bool {
    engine.tiers_up() && engine.config.optimizer.passes.contains(pass)
}

/// Lets copies of functions take the place of calls, of indirect ones as well where they mostly reach the same.
///
/// # Errors
/// [`CompileError::Check`], where everything is checked.
pub(crate) fn copy_callees(
    engine: &Inner,
    name: &str,
    func: &mut Function,
    callees: &mut dyn Callees,
) -> Result<Summary, CompileError> {
    let chosen = [Pass::Devirtualize, Pass::Inline].into_iter();
    let chosen = chosen.filter(|&pass| wants(engine, pass));
    let passes = chosen.fold(Passes::NONE, Passes::with);
    run_passes(engine, name, func, passes, callees)
}

/// Optimizes what is compiled at tier 1.
///
/// # Errors
/// [`CompileError::Check`], where everything is checked.
pub(crate) fn optimize(
    engine: &Inner,
    name: &str,
    func: &mut Function,
) -> Result<Summary, CompileError> {
    if engine.config.mode == Mode::Eager || engine.config.optimizer.passes == Passes::NONE {
        return Ok(Summary::default());
    }
    let passes = engine.config.optimizer.passes;
    run_passes(engine, name, func, passes, &mut Unknown)
}

fn run_passes(
    engine: &Inner,
    name: &str,
    func: &mut Function,
    passes: Passes,
    callees: &mut dyn Callees,
) -> Result<Summary, CompileError> {
    let before = func.clone();
    let Optimizer { policy, fuel, .. } = &engine.config.optimizer;
    let run = AssertUnwindSafe(|| {
        let mut optimize = |fuel: &mut Fuel| {
            regraft_optimizer::optimize(func, passes, &mut *callees, policy, fuel)
        };
        match &fuel.0 {
            Some(shared) => optimize(&mut lock(shared)),
            None => optimize(&mut Fuel::UNLIMITED.clone()),
        }
    });
    let failed = match catch_unwind(run) {
        Ok(Ok(summary)) => match verify_optimized(engine, func) {
            Ok(()) => return Ok(summary),
            Err(error) => {
                *func = before;
                return Err(error);
            }
        },
        Ok(Err(error)) => error.to_string(),
        Err(payload) => panic_message(&*payload),
    };
    *func = before;
    if engine.config.testing.check {
        return Err(CheckFailure::Pass(failed).into());
    }
    tracing::error!(function = %name, error = %failed, "not optimized");
    Ok(Summary::default())
}

fn verify_optimized(engine: &Inner, func: &Function) -> Result<(), CompileError> {
    if !engine.config.testing.check {
        return Ok(());
    }
    let verified = cranelift_codegen::verify_function(func, &*engine.isas.tier1);
    verified.map_err(|errors| CheckFailure::Optimized(Arc::new(errors)).into())
}
