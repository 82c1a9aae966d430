//! What happens when a countdown goes below zero.
//!
//! ```text
//!   tier-0 code ──▶ hot(unit) ──▶ detected: queue or this thread ──▶ decide ──▶ pipeline
//!        ▲              │                                                          │
//!        └── re-arm ◀───┘            cell of the region ◀── publish, open ◀────────┘
//! ```
//!
//! Not here: what else finds parts hot (`detect`), what becomes of them (`decide`).

use crate::config::detection::FoundBy;
use crate::context::Inner;
use crate::pacing::rule::RULE;
use crate::report::EventKind;
use crate::tiering::detect::{Countdown, detected};
use crate::tiering::finding::Cause;
use crate::tiering::job::compile_later;
use crate::units::formed::Formed;
use crate::units::function::{Body, FunctionUnit};
use crate::units::part::{HotPart, NEVER, PENDING_COUNTDOWN};
use crate::units::table::Unit;
use crate::units::tiering::{GivenUp, Status, Tiering};
use regraft_executor::locks::read;
use std::sync::Arc;

/// A countdown has gone below zero. Returns the entry address of the
/// region if the caller can enter it now, else 0.
pub(crate) fn hot(engine: &Arc<Inner>, unit: u32) -> usize {
    let found = read(&engine.units).get(unit).cloned();
    let Some(unit) = found else {
        return 0;
    };
    let (function, body, part) = match unit {
        Unit::Function(function) => {
            let body = function.body();
            (function, body, HotPart::Function)
        }
        Unit::Region {
            function,
            body,
            hook,
            ..
        } => (function, body.upgrade(), HotPart::Loop(hook)),
        Unit::Continuation {
            function,
            body,
            formed,
            side,
            ..
        } => {
            if let Some((body, formed)) = body.upgrade().zip(formed.upgrade()) {
                hot_side_exit(engine, function, body, formed, side);
            }
            return 0;
        }
        Unit::Runtime(_) => return 0,
    };
    let Some(body) = body else {
        return 0;
    };
    let Some(tiering) = body.tiering() else {
        return 0;
    };
    let entry = || match part {
        HotPart::Loop(hook) => tiering.hooks[hook].slot.with(|slot| slot.current()),
        HotPart::Function => None,
    };
    if let Some(left) = too_soon(engine, tiering, part) {
        tiering.arm(part, left);
        return entry().unwrap_or(0);
    }
    detected(engine, &function, &body, &Countdown { part });
    let mut state = tiering.state();
    let hot = state.part_mut(part);
    match hot.status {
        Status::Published => tiering.open(part),
        Status::Compiling => tiering.arm(part, PENDING_COUNTDOWN),
        Status::WholeFunction if engine.paces_by_cost() => {}
        Status::WholeFunction | Status::Stopped => tiering.arm(part, NEVER),
        Status::Failed(_) if hot.failures >= engine.config.thresholds.attempts => {
            tiering.arm(part, NEVER);
        }
        // Armed anew by what was decided, or not found hot.
        Status::Cold | Status::Skipped(_) | Status::Failed(_) => {}
    }
    drop(state);
    entry().unwrap_or(0)
}

/// How many executions a part that nothing was decided about has to run before it pays to compile it.
fn too_soon(engine: &Inner, tiering: &Tiering, part: HotPart) -> Option<u64> {
    let undecided = matches!(
        tiering.state().part_mut(part).status,
        Status::Cold | Status::Skipped(_)
    );
    if !undecided || !engine.paces_by_cost() {
        return None;
    }
    let (weight, executions) = (tiering.weight(part), tiering.executions(part));
    let (load, patience) = (engine.workers.load(), engine.config.thresholds.patience);
    let left = RULE.executions_left(weight, executions, load, patience);
    (left > 0).then_some(left)
}

/// A continuation was called often: its region is re-formed, unless
/// that has happened often enough.
fn hot_side_exit(
    engine: &Arc<Inner>,
    function: Arc<FunctionUnit>,
    body: Arc<Body>,
    formed: Arc<Formed>,
    side: usize,
) {
    let counters = &formed.sides[side].counters;
    let Some(tiering) = body.tiering() else {
        return;
    };
    counters.arm_entry(NEVER);
    {
        let mut state = tiering.state();
        let hot = state.part_mut(formed.part);
        let newest = hot.formed.last();
        if !newest.is_some_and(|newest| Arc::ptr_eq(newest, &formed)) || hot.given_up.is_some() {
            return;
        }
        let formations = u32::try_from(hot.formed.len()).unwrap_or(u32::MAX);
        if formations >= engine.config.thresholds.formations {
            hot.given_up = Some(GivenUp::Formations {
                to: formed.sides[side].start,
                formations,
            });
            return;
        }
        if !matches!(hot.status, Status::Published) {
            return;
        }
        hot.status = Status::Compiling;
        hot.found_by = Some(FoundBy::Counters);
    }
    engine.happened_to(EventKind::SideExitHot, &function, tiering, formed.part);
    let part = formed.part;
    compile_later(
        engine,
        function,
        Arc::clone(&body),
        part,
        Cause::SideExit(formed),
    );
}
