//! The job of compiling a part at tier 1: queued for a compile thread, or run at once in synchronous mode.

use crate::code::error::CompileError;
use crate::code::generate::panic_message;
use crate::config::detection::FoundBy;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::pacing::rule::{Load, RULE, Seen};
use crate::pipeline::compile::fault;
use crate::report::EventKind;
use crate::threads::job::{Afterwards, Ended, Job};
use crate::tiering::decide::tier_up;
use crate::tiering::finding::Cause;
use crate::units::function::{Body, FunctionUnit};
use crate::units::part::HotPart;
use crate::units::subject::Subject;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

/// Has a part compiled whose state says that it is in the compiler's hands.
pub(crate) fn compile_later(
    engine: &Arc<Inner>,
    function: Arc<FunctionUnit>,
    body: Arc<Body>,
    part: HotPart,
    cause: Cause,
) {
    if let Some(tiering) = body.tiering()
        && !engine.synchronous()
    {
        engine.happened_to(EventKind::Queued, &function, tiering, part);
    }
    let queued = body.tiering().map(|tiering| tiering.seen(part));
    let job = Box::new(TierUp {
        queued: queued.unwrap_or_default(),
        paced: engine.paces_by_cost(),
        engine: Arc::downgrade(engine),
        function,
        body,
        part,
        cause,
    });
    match engine.synchronous() {
        true => engine.workers.run(job),
        false => engine.workers.send(job),
    }
}

/// A part that is to be compiled at tier 1. It does not keep its engine in existence.
#[derive(Debug)]
struct TierUp {
    engine: Weak<Inner>,
    function: Arc<FunctionUnit>,
    body: Arc<Body>,
    part: HotPart,
    cause: Cause,
    /// What was counted of it when it was queued.
    queued: Seen,
    /// Whether the cost model decides when it is compiled.
    paced: bool,
}

impl Job for TierUp {
    /// What the part has lost so far by what compiling it costs.
    fn urgency(&self) -> f64 {
        self.body.tiering().map_or(0.0, |tiering| {
            RULE.urgency(tiering.weight(self.part), tiering.executions(self.part))
        })
    }

    fn to_afford(&self) -> Option<usize> {
        let tiering = self.body.tiering().filter(|_| self.paced)?;
        Some(tiering.weight(self.part).instructions)
    }

    /// Only what tier 0 counts can be seen to go cold, and only what has nothing at tier 1 yet.
    fn has_gone_cold(&self) -> bool {
        let current = matches!(&self.cause, Cause::Found(found) if found.by == FoundBy::Counters);
        let tiering = self.body.tiering().filter(|_| self.paced && current);
        tiering.is_some_and(|tiering| RULE.has_gone_cold(self.queued, tiering.seen(self.part)))
    }

    /// Nothing of a definition that was replaced is published.
    fn is_obsolete(&self) -> bool {
        self.body.copies.are_replaced()
    }

    /// As if nothing had been lost yet: it is found again when as much is.
    fn forget(self: Box<Self>) {
        let (Some(engine), Some(tiering)) = (self.engine.upgrade(), self.body.tiering()) else {
            return;
        };
        let busy = Load {
            queued: 0,
            contended: true,
        };
        let patience = engine.config.thresholds.patience;
        let left = RULE.executions_left(tiering.weight(self.part), 0, busy, patience);
        tiering.forget(self.part, left);
    }

    fn run(self: Box<Self>, stopped: bool) -> Ended {
        let Self {
            engine,
            function,
            body,
            part,
            cause,
            ..
        } = *self;
        let (Some(engine), Some(subject)) = (engine.upgrade(), Subject::of(&function, &body))
        else {
            return Ended::Done;
        };
        let tiering = subject.tiering;
        if stopped {
            tiering.stop(part);
            return Ended::Done;
        }
        let work = AssertUnwindSafe(|| match fault(&engine, Stage::Job, &function.name) {
            Ok(()) => tier_up(&engine, subject, part, cause),
            Err(error) => tiering.record_failure(part, error, &engine.config),
        });
        if let Err(payload) = catch_unwind(work) {
            let error = CompileError::Panic(panic_message(&*payload));
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            tiering.record_failure(part, error, &engine.config);
            return Ended::Panicked;
        }
        Ended::Done
    }

    /// Opens the hooks again whose opening a decrement in flight has undone.
    fn afterwards(&self) -> Option<Afterwards> {
        let body = Arc::downgrade(&self.body);
        Some(Box::new(move || {
            if let Some(body) = body.upgrade()
                && let Some(tiering) = body.tiering()
            {
                tiering.reopen();
            }
        }))
    }
}
