//! Where passes of `regraft_optimizer` run: on definitions, and on what is compiled at tier 1.
//!
//! Definitions: private stack slots become values before anything else is done to a function, so that tier 0 keeps fewer values in
//! memory, and regions get them as live-ins. Tier 1: all passes, on each region and function as it goes to the code generator.
//!
//! Invariants:
//!
//! * A pass that fails, or panics, changes nothing: the function is compiled as it was.
//! * With `Config::check` the result is verified; what does not verify is an error of the compilation.
//! * `Mode::Eager` is what a client has without regraft: nothing runs.
//!
//! Not here: the passes.

use crate::code::error::CompileError;
use crate::code::generate::panic_message;
use crate::config::Mode;
use crate::config::optimizer::Optimizer;
use crate::context::Inner;
use cranelift_codegen::ir::Function;
use regraft_executor::locks::lock;
use regraft_optimizer::{Fuel, Pass, Passes, Summary};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Inner {
    /// Makes values of a definition's private stack slots.
    pub(crate) fn promote(&self, name: &str, func: &mut Function) {
        let passes = Passes::NONE.with(Pass::Promote);
        if !self.config.optimizer.passes.contains(Pass::Promote)
            || func.sized_stack_slots.is_empty()
        {
            return;
        }
        if let Err(error) = self.run_passes(name, func, passes) {
            tracing::error!(function = %name, %error, "a definition is not optimized");
        }
    }

    /// Optimizes what is compiled at tier 1.
    ///
    /// # Errors
    /// [`CompileError::Check`], where everything is checked.
    pub(crate) fn optimize(
        &self,
        name: &str,
        func: &mut Function,
    ) -> Result<Summary, CompileError> {
        if self.config.mode == Mode::Eager || self.config.optimizer.passes == Passes::NONE {
            return Ok(Summary::default());
        }
        self.run_passes(name, func, self.config.optimizer.passes)
    }

    fn run_passes(
        &self,
        name: &str,
        func: &mut Function,
        passes: Passes,
    ) -> Result<Summary, CompileError> {
        let before = func.clone();
        let Optimizer { policy, fuel, .. } = &self.config.optimizer;
        let run = AssertUnwindSafe(|| {
            let mut optimize =
                |fuel: &mut Fuel| regraft_optimizer::optimize(func, passes, policy, fuel);
            match &fuel.0 {
                Some(shared) => optimize(&mut lock(shared)),
                None => optimize(&mut Fuel::UNLIMITED.clone()),
            }
        });
        let failed = match catch_unwind(run) {
            Ok(Ok(summary)) => match self.verify_optimized(func) {
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
        if self.config.check {
            return Err(CompileError::Check(failed));
        }
        tracing::error!(function = %name, error = %failed, "not optimized");
        Ok(Summary::default())
    }

    fn verify_optimized(&self, func: &Function) -> Result<(), CompileError> {
        if !self.config.check {
            return Ok(());
        }
        let verified = cranelift_codegen::verify_function(func, &*self.isas.tier1);
        verified.map_err(|errors| CompileError::Check(format!("optimized: {errors}")))
    }
}
