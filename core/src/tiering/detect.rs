//! What finds hot parts: one question, and three ways to an answer.
//!
//! ```text
//!   counters   a countdown of tier 0 goes below zero ──┐
//!   sampling   a timer sees a thread in a part ────────┼─▶ detected ─▶ queue or this thread ─▶ form …
//!   profile    a function is defined that was hot ─────┘
//! ```
//!
//! A [`Detector`] says which parts of a function are hot, and what formation is to go by. Policy is
//! not its business: that is the same for all (`regraft_regions::formation`).
//!
//! Invariants:
//!
//! * *harmless*: whatever a detector says, code is right. It can waste the compiler's time on what is
//!   cold, as often as a part's backoff allows.
//! * A part is compiled once, whoever finds it, and the report says who did.
//!
//! Not here: what becomes of what was found (`decide`).

mod counters;
mod sampling;
mod saved;

pub(crate) use counters::Countdown;
pub use sampling::SampledThread;
pub(crate) use sampling::want_samples;
pub(crate) use saved::detect_saved;

use crate::config::detection::FoundBy;
use crate::context::Inner;
use crate::report::EventKind;
use crate::tiering::finding::{Cause, Evidence, Finding};
use crate::tiering::job::compile_later;
use crate::units::function::{Body, FunctionUnit};
use crate::units::part::HotPart;
use crate::units::tiering::{Status, Tiering};
use std::sync::Arc;

/// A way to find the hot parts of a function.
pub(crate) trait Detector {
    /// What the report calls it.
    fn found_by(&self) -> FoundBy;

    /// The parts that are hot, in the order in which they are to be compiled.
    fn hot_parts(&self, tiering: &Tiering) -> Vec<HotPart>;

    /// What formation is to go by for one of them.
    fn evidence(&self, part: HotPart) -> Evidence;
}

/// Has everything compiled that a detector finds in a function and that is not compiled yet.
pub(crate) fn detected(
    engine: &Arc<Inner>,
    function: &Arc<FunctionUnit>,
    body: &Arc<Body>,
    detector: &dyn Detector,
) {
    let Some(tiering) = body.tiering() else {
        return;
    };
    for part in detector.hot_parts(tiering) {
        let current = function.is_current(body);
        if !engine.tiers_up() || !request(engine, tiering, part, current, detector.found_by()) {
            continue;
        }
        let finding = Finding {
            by: detector.found_by(),
            evidence: detector.evidence(part),
        };
        tracing::debug!(function = %function.name, ?part, by = %finding.by, "found hot");
        engine.happened_to(EventKind::Hot, function, tiering, part);
        let (function, body) = (Arc::clone(function), Arc::clone(body));
        compile_later(engine, function, body, part, Cause::Found(finding));
    }
}

/// Puts a part into the compiler's hands, unless it is there or decided already.
fn request(
    engine: &Inner,
    tiering: &Tiering,
    part: HotPart,
    current: bool,
    found_by: FoundBy,
) -> bool {
    let mut state = tiering.state();
    if matches!(part, HotPart::Loop(hook) if hook >= state.hooks.len()) {
        return false;
    }
    let hot = state.part_mut(part);
    hot.asked += 1;
    let free = match &hot.status {
        Status::Cold | Status::Skipped(_) => true,
        Status::Failed(_) => hot.failures < engine.config.thresholds.attempts,
        // The activation that asks runs on in the first version: only its loop can help it.
        Status::WholeFunction => engine.paces_by_cost() && current,
        Status::Compiling | Status::Published | Status::Stopped => false,
    };
    if free {
        hot.status = Status::Compiling;
        hot.found_by = Some(found_by);
    }
    free
}
