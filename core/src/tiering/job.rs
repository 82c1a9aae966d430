//! The job of compiling a part at tier 1.

use crate::code::error::CompileError;
use crate::code::generate::panic_message;
use crate::context::Inner;
use crate::pacing::urgency;
use crate::threads::job::{Afterwards, Ended, Job};
use crate::tiering::finding::Cause;
use crate::units::function::{Body, FunctionUnit};
use crate::units::part::HotPart;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

/// A part that is to be compiled at tier 1. It does not keep its engine in existence.
#[derive(Debug)]
pub(crate) struct TierUp {
    pub engine: Weak<Inner>,
    pub function: Arc<FunctionUnit>,
    pub body: Arc<Body>,
    pub part: HotPart,
    pub cause: Cause,
}

impl Job for TierUp {
    /// What the part has lost so far by what compiling it costs.
    fn urgency(&self) -> f64 {
        self.body.tiering().map_or(0.0, |tiering| {
            urgency(tiering.weight(self.part), tiering.executions(self.part))
        })
    }

    fn run(self: Box<Self>, stopped: bool) -> Ended {
        let Self {
            engine,
            function,
            body,
            part,
            cause,
        } = *self;
        let Some(engine) = engine.upgrade() else {
            return Ended::Done;
        };
        if stopped {
            if let Some(tiering) = body.tiering() {
                tiering.stop(part);
            }
            return Ended::Done;
        }
        let work = AssertUnwindSafe(|| engine.run_job(&function, &body, part, cause));
        if let Err(payload) = catch_unwind(work) {
            let error = CompileError::Panic(panic_message(&*payload));
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            engine.record_failure(&body, part, error);
            return Ended::Panicked;
        }
        Ended::Done
    }

    /// Pins the hooks again whose pinning a decrement in flight has undone.
    fn afterwards(&self) -> Option<Afterwards> {
        let body = Arc::downgrade(&self.body);
        Some(Box::new(move || {
            if let Some(body) = body.upgrade()
                && let Some(tiering) = body.tiering()
            {
                tiering.pin_again();
            }
        }))
    }
}
