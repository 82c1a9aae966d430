//! Entering generated code: who does counts as inside, and is sampled where somebody samples.
//!
//! Not here: what that is good for (`reclaim`, `tiering::detect`), the call itself (`call`, `typed`).

use crate::context::Inner;
use crate::reclaim::collect;
use crate::units::retired::PATIENCE;
use regraft_executor::{errno, samples};
use std::sync::atomic::Ordering;

/// Runs `body`, which calls generated code: pinned and sampled, if there is a use.
pub(crate) fn pinned<R>(engine: &Inner, body: impl FnOnce() -> R) -> R {
    sample_thread(engine);
    // A raw pointer that is out stays out: nothing will ask for the pin.
    if !engine.reclaimer.automatic() {
        return body();
    }
    let result = engine.reclaimer.epochs.pinned(body);
    if engine.reclaimer.is_due() {
        errno::preserved(|| collect(engine));
        if engine.reclaimer.waiting() > 0 {
            engine.reclaimer.due.store(PATIENCE, Ordering::Relaxed);
        }
    }
    result
}

/// Samples the calling thread, if this engine samples.
pub(crate) fn sample_thread(engine: &Inner) {
    if engine.wanted.get().is_some()
        && engine.session.is_here()
        && let Some(sampling) = engine.sampling()
    {
        samples::start(sampling.interval);
    }
}
