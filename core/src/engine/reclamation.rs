//! What a client knows and says about code that was replaced.
//!
//! Not here: what is retired, and how it is freed (`reclaim`).

use crate::context::Engine;
use crate::enter::sample_thread;
use crate::reclaim;
use crate::units::ledger::MemoryStats;
use crate::units::retired::Reclaimer;
use regraft_executor::arena::ArenaStats;

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
        sample_thread(&self.inner);
        self.inner.reclaimer.epochs.pinned(body)
    }

    /// Frees what was retired and what no thread can be inside of, as far as the engine can know
    /// ([`Reclamation`](crate::Reclamation)). It does so by itself when something is retired, and when calls return later.
    pub fn collect(&self) {
        reclaim::collect(&self.inner);
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
        reclaim::free_older_than(&self.inner, before);
    }
}
