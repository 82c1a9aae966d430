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
//! Not here: the order in which jobs are taken (`worker`), at which tier a first version is compiled (`tier0`).

use crate::engine::Inner;
use crate::threads::workers::{Job, Work};
use crate::units::table::{Body, FunctionUnit};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many calls away from code that has run functions are compiled.
const FARTHEST: u32 = 3;

/// More functions than this that wait are not looked at.
const MOST_CALLEES: usize = 64;

impl Inner {
    /// The function that has this definition runs for the first time: has its callees compiled.
    pub(crate) fn expect_callees(self: &Arc<Self>, body: &Body) {
        if self.compiles_ahead() {
            self.queue_callees(body, 1);
        }
    }

    fn compiles_ahead(&self) -> bool {
        self.config.ahead && self.paces_by_cost()
    }

    fn queue_callees(self: &Arc<Self>, body: &Body, distance: u32) {
        for callee in body.references.callees.iter().take(MOST_CALLEES) {
            let compiled = callee.body().is_some_and(|body| body.is_begun());
            let known = callee.lazy.is_pending() || callee.body().is_some();
            if compiled || !known || callee.expected.swap(true, Ordering::Relaxed) {
                continue;
            }
            self.workers.send_ahead(Job {
                engine: Arc::downgrade(self),
                function: Arc::clone(callee),
                work: Work::Ahead { distance },
            });
        }
    }

    /// Compiles the first version of a function that has not been called.
    pub(crate) fn compile_ahead(self: &Arc<Self>, function: &FunctionUnit, distance: u32) {
        if function.lazy.is_running() {
            return;
        }
        if function.body().is_none() {
            self.define_pending(function);
        }
        let Some(body) = function.body() else {
            return;
        };
        if body.is_begun() {
            return;
        }
        match self.compile_baseline(function, &body) {
            Ok(baseline) => {
                let micros = baseline.version.compile_time.as_micros();
                tracing::debug!(function = %function.name, distance, micros, "compiled ahead");
                if distance < FARTHEST {
                    self.queue_callees(&body, distance + 1);
                }
            }
            // The first call finds the error, and says so.
            Err(error) => tracing::debug!(function = %function.name, %error, "not compiled ahead"),
        }
    }
}
