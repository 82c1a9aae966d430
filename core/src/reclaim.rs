//! Reclamation: what no call can reach any more is retired, and freed when no thread can be inside it.
//!
//! ```text
//!   redefine, remove ──▶ body ─────────┐
//!   function at tier 1 ─▶ its tier 0 ──┼─▶ retired, with an epoch ──▶ freed: code, counters, tables, slots
//!   re-formed ──▶ old formation ───────┘         no thread was pinned before, or the client said so
//! ```
//!
//! Invariants:
//!
//! * What is retired was unlinked before: no slot that is still called leads to it.
//! * Nothing of a body that is retired is published any more: it is not the definition (`exchange`).
//! * Units are taken out of the table before their slots go back.
//! * Figures, reports and profiles outlive the code that they are about.
//!
//! Not here: epochs and memory (the executor), who counts as inside (`enter`), what a client asks for (`engine`).

use crate::context::Inner;
use crate::units::formed::Formed;
use crate::units::function::Body;
use crate::units::part::HotPart;
use crate::units::retired::Retired;
use crate::units::table::Unit;
use crate::units::tiering::{LoopHook, Tiering};
use crate::units::version::Version;
use regraft_executor::fork::Forked;
use regraft_executor::locks::write;
use std::sync::Arc;

/// Retires what was unlinked, and frees what can be.
pub(crate) fn retire(engine: &Inner, retired: Retired) {
    match &retired {
        Retired::Body(body) => {
            each_version(body, Version::retire);
        }
        Retired::Baseline(body) => {
            if let Some(baseline) = body.compiled() {
                baseline.version.retire();
            }
            if let Some(tiering) = body.tiering() {
                each_hook_version(tiering, Version::retire);
            }
        }
        Retired::Formation {
            body,
            part,
            version,
        } => {
            if let Some(tiering) = body.tiering() {
                each_formed_version(tiering, *part, *version, Version::retire);
            }
        }
        Retired::Function(_) => {}
    }
    let body = retired.body().map(Arc::clone);
    engine.reclaimer.push(retired);
    // Whoever freed the body looked at what waits after having said so.
    if let Some(body) = body
        && body.tiering().is_some_and(|tiering| tiering.state().freed)
    {
        let waiting = engine.reclaimer.take(|other| Arc::ptr_eq(other, &body));
        waiting
            .into_iter()
            .for_each(|retired| free(engine, retired));
    }
    collect(engine);
}

/// Frees what no thread can be inside of, if the engine can know.
pub(crate) fn collect(engine: &Inner) {
    if engine.reclaimer.waiting() > 0 && engine.reclaimer.automatic() {
        let oldest = engine.reclaimer.epochs.oldest();
        // Once more behind the fence of the look: who called unpinned because a raw pointer was out has
        // read so before it, or else reads the slots after it.
        if engine.reclaimer.automatic() {
            free_older_than(engine, oldest);
        }
    }
}

/// Frees what was retired before the epoch ended.
pub(crate) fn free_older_than(engine: &Inner, epoch: u64) {
    // Nothing is locked while it is freed.
    for retired in engine.reclaimer.take_reclaimable(epoch) {
        free(engine, retired);
    }
}

/// Frees what was retired. A compilation under way may hold the body itself a little longer.
pub(crate) fn free(engine: &Inner, retired: Retired) {
    match retired {
        Retired::Body(body) => {
            // Who compiles it still, ahead of a call that does not come, gives that back.
            body.baseline.close();
            if let Some(tiering) = body.tiering() {
                let state = tiering.state();
                let parts = state.hooks.iter().chain([&state.whole]);
                let formed: Vec<_> = parts.flat_map(|part| part.formed.clone()).collect();
                drop(state);
                formed.iter().for_each(|formed| discard(engine, formed));
                forget_hooks(engine, tiering);
            }
        }
        Retired::Baseline(body) => {
            if let Some(tiering) = body.tiering() {
                // Without a slot, nothing is published any more.
                forget_hooks(engine, tiering);
                for hook in 0..tiering.hooks.len() {
                    let versions = tiering.state().hooks[hook].versions.len();
                    for version in 0..versions {
                        free_formation(engine, tiering, HotPart::Loop(hook), version);
                    }
                }
                tiering.counters.freeze();
            }
            if let Some(baseline) = body.compiled() {
                drop(baseline.version.code.take());
            }
            let hooks = body
                .tiering()
                .into_iter()
                .flat_map(|tiering| &tiering.hooks);
            hooks.for_each(|hook| drop(hook.takeover.take()));
        }
        Retired::Formation {
            body,
            part,
            version,
        } => {
            if let Some(tiering) = body.tiering() {
                free_formation(engine, tiering, part, version);
            }
        }
        Retired::Function(function) => drop(function),
    }
}

fn free_formation(engine: &Inner, tiering: &Tiering, part: HotPart, version: usize) {
    let mut state = tiering.state();
    let hot = state.part_mut(part);
    let code = hot
        .versions
        .get(version)
        .and_then(|version| version.code.take());
    let formed = hot.formed.get(version).cloned();
    drop(state);
    drop(code);
    if let Some(formed) = formed {
        discard(engine, &formed);
    }
}

/// Gives back what a formed region's side exits have: units, slots, counters, continuations, tables.
pub(crate) fn discard(engine: &Inner, formed: &Formed) {
    {
        let mut units = write(&engine.units);
        for side in &formed.sides {
            units.remove(side.unit);
        }
    }
    for side in &formed.sides {
        drop(side.slot.take());
        side.counters.freeze();
        if let Some(version) = side.version.get() {
            drop(version.code.take());
        }
    }
    drop(formed.tables.take());
}

/// Takes the regions out of the table that belong to a body which could not be compiled.
pub(crate) fn forget_regions(engine: &Inner, body: &Arc<Body>) {
    let unfinished = Arc::downgrade(body);
    write(&engine.units).retain(|unit| match unit {
        Unit::Region { body, .. } => !body.ptr_eq(&unfinished),
        _ => true,
    });
}

/// Takes the units of hooks out of the table.
pub(crate) fn forget_units(engine: &Inner, hooks: &[LoopHook]) {
    let mut units = write(&engine.units);
    for hook in hooks {
        units.remove(hook.unit);
    }
}

/// Gives back the units and slots of all hooks.
pub(crate) fn forget_hooks(engine: &Inner, tiering: &Tiering) {
    forget_units(engine, &tiering.hooks);
    // Publication looks for the slot under the same lock.
    let _state = tiering.state();
    for hook in &tiering.hooks {
        drop(hook.slot.take());
    }
}

impl Forked for Inner {
    /// In the child of a fork: only the calling thread is left. Nothing is under way, nobody else is inside
    /// generated code.
    fn after_fork(&self) {
        self.workers.after_fork();
        self.account.after_fork();
        self.reclaimer.epochs.after_fork();
        for function in self.functions() {
            if let Some(body) = function.body()
                && let Some(tiering) = body.tiering()
            {
                tiering.after_fork();
            }
        }
    }
}

/// Visits every version that belongs to a body.
fn each_version(body: &Body, visit: fn(&Version)) {
    if let Some(baseline) = body.compiled() {
        visit(&baseline.version);
    }
    if let Some(tiering) = body.tiering() {
        each_hook_version(tiering, visit);
        let versions = tiering.state().whole.versions.len();
        for version in 0..versions {
            each_formed_version(tiering, HotPart::Function, version, visit);
        }
    }
}

fn each_hook_version(tiering: &Tiering, visit: fn(&Version)) {
    for hook in 0..tiering.hooks.len() {
        let versions = tiering.state().hooks[hook].versions.len();
        for version in 0..versions {
            each_formed_version(tiering, HotPart::Loop(hook), version, visit);
        }
    }
}

/// Visits a version of a part, and its continuations.
fn each_formed_version(tiering: &Tiering, part: HotPart, version: usize, visit: fn(&Version)) {
    let mut state = tiering.state();
    let hot = state.part_mut(part);
    hot.versions.get(version).into_iter().for_each(visit);
    let sides = hot
        .formed
        .get(version)
        .into_iter()
        .flat_map(|formed| &formed.sides);
    for side in sides {
        if let Some(continuation) = side.version.get() {
            visit(continuation);
        }
    }
}
