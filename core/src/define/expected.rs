//! Functions that were hot in an earlier run: made and compiled in the background before they are called.
//!
//! Invariants:
//!
//! * Nothing of tier 0 is published: the first call still asks, and so tells that the function runs. What the profile says was hot
//!   is published at tier 1 as soon as it is there.
//! * In synchronous mode nothing is done here: what the profile says is done when a function is defined.
//!
//! Not here: what was hot ([`crate::tiering::detect`]).

use crate::config::warm::Digest;
use crate::context::{Engine, Inner};
use crate::define::lazy::define_pending;
use crate::error::Error;
use crate::pipeline::first::first_version;
use crate::pipeline::keep::code_kept;
use crate::threads::job::{Ended, Job};
use crate::tiering::detect::detect_saved;
use crate::units::function::{FunctionId, FunctionUnit};
use crate::units::lazy::Defined;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

impl Engine {
    /// Says how a declared function is defined when it is first called, and what the definition is known by from run to run:
    /// where an earlier run has left machine code under `key` ([`Config::warm_start`](field@crate::Config::warm_start)), that is
    /// loaded, and `definition` does not run at all; where a profile says that the function was hot, it is made and compiled in
    /// the background, before it is called.
    ///
    /// `key` is a promise: definitions with the same key have the same CLIF, apart from the numbers of functions, and refer to
    /// functions of the same names, which are declared before the function is called; else its code is not loaded. So everything
    /// that decides what `definition` makes belongs in the key.
    ///
    /// # Errors
    ///
    /// As [`define_lazily`](Engine::define_lazily).
    pub fn define_lazily_as(
        &self,
        id: FunctionId,
        key: Digest,
        definition: impl FnOnce(&Engine) -> Defined + Send + 'static,
    ) -> Result<(), Error> {
        self.define_when_called(id, Some(key), definition)?;
        if self.inner.kept.is_some() {
            expect(&self.inner, self.inner.function(id)?, key);
        }
        Ok(())
    }
}

/// The job of compiling what was hot of a function.
#[derive(Debug)]
struct Expected {
    engine: Weak<Inner>,
    function: Arc<FunctionUnit>,
    /// How many functions compiling gained more for.
    rank: usize,
}

/// More than what gets hot in this run can have lost by then, by what compiling it costs.
const FIRST: f64 = 1e9;

impl Job for Expected {
    fn urgency(&self) -> f64 {
        FIRST - self.rank as f64
    }

    fn run(self: Box<Self>, stopped: bool) -> Ended {
        let engine = self.engine.upgrade().filter(|_| !stopped);
        let Some(engine) = engine else {
            return Ended::Done;
        };
        let work = AssertUnwindSafe(|| compile_expected(&engine, &self.function));
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

/// Has a function compiled that will be defined lazily, if it was hot in an earlier run that has left no code of it.
fn expect(engine: &Arc<Inner>, function: Arc<FunctionUnit>, key: Digest) {
    let profiles = engine.saved_profiles.as_ref();
    let profiles = profiles.filter(|profiles| profiles.by_key);
    let rank = profiles.and_then(|profiles| profiles.rank(key.short()));
    let Some(rank) = rank.filter(|_| engine.tiers_up() && !engine.synchronous()) else {
        return;
    };
    if code_kept(engine).is_some_and(|kept| kept.has(&key)) {
        return;
    }
    engine.workers.send(Box::new(Expected {
        engine: Arc::downgrade(engine),
        function,
        rank,
    }));
}

fn compile_expected(engine: &Arc<Inner>, function: &Arc<FunctionUnit>) {
    if function.body().is_none() {
        define_pending(engine, function);
    }
    let Some(body) = function.body() else {
        return;
    };
    match first_version(engine, function, &body) {
        Ok(_) => detect_saved(engine, function, &body),
        // The first call finds the error, and says so.
        Err(error) => tracing::debug!(function = %function.name, %error, "not compiled"),
    }
}
