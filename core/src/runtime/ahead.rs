//! Compiling ahead: first versions of what is likely to be called next.
//!
//! ```text
//!   f is called for the first time ──▶ its callees, in the order of its calls ──▶ queue ──▶ compiled, not published
//!                                                                                             │
//!   first call of a callee ──▶ lazy stub ──▶ runtime: the version is there ◀──────────────────┘
//! ```
//!
//! Invariants:
//!
//! * Nothing that is made ahead is published: the first call still comes through the lazy stub, and so tells that the
//!   function runs, and that its callees are next.
//! * It is done by a thread that runs only while a processor has nothing else to do. Nobody waits for it but while it makes
//!   a function's CLIF: who calls a function that is in its hands compiles that again.
//!
//! Limitations: callees are those that a function refers to by name. What is behind `call_indirect` is not seen.
//!
//! Not here: the order in which jobs are taken (`threads`), at which tier a first version is compiled (`pipeline::first`).

use crate::context::Inner;
use crate::define::lazy::define_pending;
use crate::pipeline::first::first_version;
use crate::threads::job::{Ended, Job};
use crate::units::function::{Body, FunctionUnit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// How many calls away from code that has run functions are compiled.
const FARTHEST: u32 = 3;

/// More functions than this that wait are not looked at.
const MOST_CALLEES: usize = 64;

/// The job of compiling a first version before the function is called.
#[derive(Debug)]
struct Ahead {
    engine: Weak<Inner>,
    function: Arc<FunctionUnit>,
    /// How many calls away from code that has run.
    distance: u32,
}

impl Job for Ahead {
    /// The sooner it may be called, the more urgent.
    fn urgency(&self) -> f64 {
        -f64::from(self.distance)
    }

    fn run(self: Box<Self>, stopped: bool) -> Ended {
        let engine = self.engine.upgrade().filter(|_| !stopped);
        let Some(engine) = engine else {
            return Ended::Done;
        };
        let work = AssertUnwindSafe(|| compile_ahead(&engine, &self.function, self.distance));
        match catch_unwind(work) {
            Ok(()) => Ended::Done,
            Err(payload) => {
                // Dropping what was thrown may throw again.
                std::mem::forget(payload);
                Ended::Panicked
            }
        }
    }
}

/// The function that has this definition runs for the first time: has its callees compiled.
pub(crate) fn expect_callees(engine: &Arc<Inner>, body: &Body) {
    if compiles_ahead(engine) {
        queue_callees(engine, body, 1);
    }
}

fn compiles_ahead(engine: &Inner) -> bool {
    engine.config.workers.ahead && engine.paces_by_cost()
}

fn queue_callees(engine: &Arc<Inner>, body: &Body, distance: u32) {
    for callee in body.references.callees.iter().take(MOST_CALLEES) {
        let compiled = callee.body().is_some_and(|body| body.is_begun());
        let known = callee.lazy.is_pending() || callee.body().is_some();
        if compiled || !known || callee.expected.swap(true, Ordering::Relaxed) {
            continue;
        }
        engine.workers.send_ahead(Box::new(Ahead {
            engine: Arc::downgrade(engine),
            function: Arc::clone(callee),
            distance,
        }));
    }
}

/// Compiles the first version of a function that has not been called.
fn compile_ahead(engine: &Arc<Inner>, function: &FunctionUnit, distance: u32) {
    if function.lazy.is_running() {
        return;
    }
    if function.body().is_none() {
        define_pending(engine, function);
    }
    let Some(body) = function.body() else {
        return;
    };
    if body.is_begun() {
        return;
    }
    match first_version(engine, function, &body) {
        Ok(baseline) => {
            let micros = baseline.version.compile_time.as_micros();
            tracing::debug!(function = %function.name, distance, micros, "compiled ahead");
            if distance < FARTHEST {
                queue_callees(engine, &body, distance + 1);
            }
        }
        // The first call finds the error, and says so.
        Err(error) => tracing::debug!(function = %function.name, %error, "not compiled ahead"),
    }
}
