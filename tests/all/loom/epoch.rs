//! The protocol of reclamation epochs, model-checked: nothing is freed that a reader may use.

/// What the included file knows as `super::atomic`. Both fences are full ones: that the pair of unequal cost
/// orders as much is the system's promise.
mod atomic {
    use super::{Fence, MISSING};
    use ::loom::sync::atomic::fence;
    pub use ::loom::sync::atomic::{AtomicU64, Ordering};

    pub fn light_fence() {
        if MISSING.get() != Some(Fence::Light) {
            fence(Ordering::SeqCst);
        }
    }

    pub fn heavy_fence() {
        if MISSING.get() != Some(Fence::Heavy) {
            fence(Ordering::SeqCst);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    Light,
    Heavy,
}

std::thread_local! {
    /// The fence that a sabotaged protocol lacks. A model's threads all run on the thread of its test.
    static MISSING: Cell<Option<Fence>> = const { Cell::new(None) };
}

#[path = "../../../executor/src/epoch/protocol.rs"]
#[allow(missing_debug_implementations, reason = "the engine's source")]
mod protocol;

use self::protocol::{Clock, Participant};
use super::fails;
use ::loom::cell::UnsafeCell;
use ::loom::sync::atomic::{AtomicUsize, Ordering};
use ::loom::sync::{Arc, Mutex};
use ::loom::thread;
use std::cell::Cell;

/// A slot that leads to the first of two versions, a reader, and what was retired.
struct Shared {
    clock: Clock,
    reader: Participant,
    slot: AtomicUsize,
    /// Whether the version's code is still there.
    code: [UnsafeCell<bool>; 2],
    waiting: Mutex<Option<u64>>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::new(),
            reader: Participant::new(),
            slot: AtomicUsize::new(0),
            code: [UnsafeCell::new(true), UnsafeCell::new(true)],
            waiting: Mutex::new(None),
        })
    }

    fn call(&self, pinned: bool) {
        if pinned {
            self.clock.enter(&self.reader);
        }
        let version = self.slot.load(Ordering::Acquire);
        // SAFETY: loom checks that nobody frees it at the same time, and fails the model otherwise.
        let there = self.code[version].with(|code| unsafe { *code });
        assert!(there, "the code was freed");
        if pinned {
            self.reader.leave();
        }
    }

    fn redefine(&self) {
        self.slot.store(1, Ordering::Release);
        let mut waiting = self.waiting.lock().unwrap();
        *waiting = Some(self.clock.retire());
    }

    /// Frees what was retired before `oldest`.
    fn free(&self, oldest: u64) {
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.is_some_and(|epoch| epoch < oldest) {
            *waiting = None;
            // SAFETY: as in `call`.
            self.code[0].with_mut(|code| unsafe { *code = false });
        }
    }

    fn oldest(&self) -> u64 {
        self.clock.oldest([&self.reader])
    }
}

/// One thread calls twice; another redefines and collects.
fn one_collects(pinned: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new();
        let caller = Arc::clone(&shared);
        let caller = thread::spawn(move || {
            caller.call(pinned);
            caller.call(pinned);
        });
        shared.redefine();
        shared.free(shared.oldest());
        caller.join().unwrap();
        shared.free(shared.oldest());
        assert!(shared.waiting.lock().unwrap().is_none(), "nobody is inside");
    }
}

#[test]
fn what_a_caller_runs_is_not_freed() {
    ::loom::model(one_collects(true));
    assert!(fails(one_collects(false)));
    for fence in [Fence::Light, Fence::Heavy] {
        MISSING.set(Some(fence));
        assert!(fails(one_collects(true)), "{fence:?}");
    }
    MISSING.set(None);
}

/// One thread calls, one collects, and one redefines between the collector's look at the caller and its freeing.
fn another_collects(limited: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new();
        let caller = Arc::clone(&shared);
        let caller = thread::spawn(move || caller.call(true));
        let collector = Arc::clone(&shared);
        let collector = thread::spawn(move || {
            let oldest = collector.oldest();
            // Without the limit nobody inside would mean that everything can go.
            let unlimited = if oldest == 1 { u64::MAX } else { oldest };
            collector.free(if limited { oldest } else { unlimited });
        });
        shared.redefine();
        caller.join().unwrap();
        collector.join().unwrap();
    }
}

#[test]
fn what_is_retired_during_a_look_waits_for_the_next() {
    let mut bounded = ::loom::model::Builder::new();
    bounded.preemption_bound = Some(3);
    bounded.check(another_collects(true));
    assert!(fails(another_collects(false)));
}
