//! Reclamation: what no call can reach any more is retired, and freed when no thread can be inside it.
//!
//! ```text
//!   redefine, remove ──▶ body ─────────┐
//!   function at tier 1 ─▶ its tier 0 ──┼─▶ retired, with an epoch ──▶ freed: code, counters, tables, slots
//!   formed again ──▶ old formation ────┘         no thread was pinned before, or the client said so
//! ```
//!
//! Invariants:
//!
//! * What is retired was unlinked before: no slot that is still called leads to it.
//! * Nothing of a body that is retired is published any more: it is not the definition (`exchange`).
//! * Units are taken out of the table before their slots go back.
//! * Figures, reports and profiles outlive the code that they are about.
//!
//! Not here: epochs ([`crate::epoch`]); the memory ([`crate::arena`]).

use crate::context::{Engine, Inner};
use crate::units::formed::Formed;
use crate::units::function::Body;
use crate::units::ledger::MemoryStats;
use crate::units::part::HotPart;
use crate::units::retired::{PATIENCE, Reclaimer, Retired};
use crate::units::table::Unit;
use crate::units::tiering::Tiering;
use crate::units::version::Version;
use regraft_executor::arena::ArenaStats;
use regraft_executor::errno;
use regraft_executor::fork::Forked;
use regraft_executor::locks::write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// Retires what was unlinked, and frees what can be.
    pub(crate) fn retire(&self, retired: Retired) {
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
        self.reclaimer.push(retired);
        // Whoever freed the body looked at what waits after having said so.
        if let Some(body) = body
            && body.tiering().is_some_and(|tiering| tiering.state().freed)
        {
            let waiting = self.reclaimer.take(|other| Arc::ptr_eq(other, &body));
            waiting.into_iter().for_each(|retired| self.free(retired));
        }
        self.collect();
    }

    /// Frees what no thread can be inside of, if the engine can know.
    pub(crate) fn collect(&self) {
        if self.reclaimer.waiting() > 0 && self.reclaimer.automatic() {
            let oldest = self.reclaimer.epochs.oldest();
            // Once more behind the fence of the look: who called unpinned because a raw pointer was out has
            // read so before it, or else reads the slots after it.
            if self.reclaimer.automatic() {
                self.free_older_than(oldest);
            }
        }
    }

    /// Runs `body`, which calls generated code: pinned and sampled, if there is a use.
    pub(crate) fn pinned<R>(&self, body: impl FnOnce() -> R) -> R {
        self.sample_thread();
        // A raw pointer that is out stays out: nothing will ask for the pin.
        if !self.reclaimer.automatic() {
            return body();
        }
        let result = self.reclaimer.epochs.pinned(body);
        if self.reclaimer.is_due() {
            errno::preserved(|| self.collect());
            if self.reclaimer.waiting() > 0 {
                self.reclaimer.due.store(PATIENCE, Ordering::Relaxed);
            }
        }
        result
    }

    fn free_older_than(&self, epoch: u64) {
        // Nothing is locked while it is freed.
        for retired in self.reclaimer.ripe(epoch) {
            self.free(retired);
        }
    }

    /// Frees what was retired. A compilation under way may hold the body itself a little longer.
    pub(crate) fn free(&self, retired: Retired) {
        match retired {
            Retired::Body(body) => {
                // Who compiles it still, ahead of a call that does not come, gives that back.
                body.baseline.close();
                if let Some(tiering) = body.tiering() {
                    let state = tiering.state();
                    let parts = state.hooks.iter().chain([&state.whole]);
                    let formed: Vec<_> = parts.flat_map(|part| part.formed.clone()).collect();
                    drop(state);
                    formed.iter().for_each(|formed| self.discard(formed));
                    self.forget_hooks(tiering);
                }
            }
            Retired::Baseline(body) => {
                if let Some(tiering) = body.tiering() {
                    // Without a slot, nothing is published any more.
                    self.forget_hooks(tiering);
                    for hook in 0..tiering.hooks.len() {
                        let versions = tiering.state().hooks[hook].versions.len();
                        for version in 0..versions {
                            self.free_formation(tiering, HotPart::Loop(hook), version);
                        }
                    }
                    tiering.counters.freeze();
                }
                if let Some(baseline) = body.compiled() {
                    drop(baseline.version.code.take());
                }
            }
            Retired::Formation {
                body,
                part,
                version,
            } => {
                if let Some(tiering) = body.tiering() {
                    self.free_formation(tiering, part, version);
                }
            }
            Retired::Function(function) => drop(function),
        }
    }

    fn free_formation(&self, tiering: &Tiering, part: HotPart, version: usize) {
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
            self.discard(&formed);
        }
    }

    /// Gives back what a formed region's side exits have: units, slots, counters, continuations, tables.
    pub(crate) fn discard(&self, formed: &Formed) {
        {
            let mut units = write(&self.units);
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
    pub(crate) fn forget_regions(&self, body: &Arc<Body>) {
        let unfinished = Arc::downgrade(body);
        write(&self.units).retain(|unit| match unit {
            Unit::Region { body, .. } => !body.ptr_eq(&unfinished),
            _ => true,
        });
    }

    /// Gives back the units and slots of all hooks.
    pub(crate) fn forget_hooks(&self, tiering: &Tiering) {
        let mut units = write(&self.units);
        for hook in &tiering.hooks {
            units.remove(hook.unit);
        }
        drop(units);
        // Publication looks for the slot under the same lock.
        let _state = tiering.state();
        for hook in &tiering.hooks {
            drop(hook.slot.take());
        }
    }
}

impl Forked for Inner {
    /// In the child of a fork: only the calling thread is left. Nothing is under way, nobody else is inside
    /// generated code.
    fn after_fork(&self) {
        self.workers.after_fork();
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

impl Engine {
    /// How code and data memory are used.
    pub fn memory(&self) -> MemoryStats {
        let ArenaStats { code, data } = self.inner.arena.stats();
        let Reclaimer { ledger, .. } = &self.inner.reclaimer;
        MemoryStats {
            code,
            data,
            tiers: [ledger.tier(0), ledger.tier(1)],
            waiting: self.inner.reclaimer.waiting(),
        }
    }

    /// Runs `body` while the calling thread counts as inside generated code.
    ///
    /// Calls through [`TypedFn`](crate::TypedFn), [`Engine::call`] and [`Engine::catch`] do so by themselves; raw
    /// pointers called in here are as safe from reclamation as those.
    pub fn pinned<R>(&self, body: impl FnOnce() -> R) -> R {
        self.inner.sample_thread();
        self.inner.reclaimer.epochs.pinned(body)
    }

    /// Frees what was retired and what no thread can be inside of, as far as the engine can know
    /// ([`Reclamation`](crate::Reclamation)). It does so by itself when something is retired, and when calls return later.
    pub fn collect(&self) {
        self.inner.collect();
    }

    /// Frees everything that was retired: the announcement of clients that call raw pointers.
    ///
    /// # Safety
    ///
    /// No thread is inside generated code of this engine that was retired before: by
    /// [`Engine::redefine`], by [`Engine::remove`], or because something newer was published. That no thread is in any
    /// generated code of the engine is enough. Threads may enter it again at any time.
    pub unsafe fn quiescent(&self) {
        // What others retire from here on is not meant.
        let before = self.inner.reclaimer.epochs.retire();
        self.inner.free_older_than(before);
    }
}
