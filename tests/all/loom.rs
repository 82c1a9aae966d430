//! The protocols of publication and counting, model-checked: every interleaving and every value that the memory
//! model lets a thread read, of the same source that the engine is made of.
//!
//! Each model is also sabotaged, by the one thing that the protocol is careful about, and must then fail.
//!
//! What stands for generated code here, as loom cannot run it: a call through a slot is a load with acquire order (on
//! x86-64 every load is one; elsewhere the jump depends on the load, and the caches were synchronised before the
//! store); code is a cell that may not be written while it is read; a counter's decrement is a load and a store.

/// What the included files know as `super::atomic`.
///
/// Loom does not know that nothing comes between what an exchange reads and what it stores, in the order in which
/// a cell changes, and so lets a plain store of another thread come there. A store is therefore an exchange whose
/// result is dropped: as a store, but with a place in that order.
mod atomic {
    pub use ::loom::sync::atomic::Ordering;

    macro_rules! atomic {
        ($name:ident, $ty:ty) => {
            pub struct $name(::loom::sync::atomic::$name);

            #[allow(dead_code, reason = "not every protocol uses everything")]
            impl $name {
                pub fn new(value: $ty) -> Self {
                    Self(::loom::sync::atomic::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $ty {
                    self.0.load(order)
                }

                pub fn store(&self, value: $ty, order: Ordering) {
                    self.0.swap(value, order);
                }

                pub fn swap(&self, value: $ty, order: Ordering) -> $ty {
                    self.0.swap(value, order)
                }

                pub fn compare_exchange(
                    &self,
                    old: $ty,
                    new: $ty,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$ty, $ty> {
                    self.0.compare_exchange(old, new, success, failure)
                }
            }
        };
    }

    atomic!(AtomicUsize, usize);
    atomic!(AtomicI64, i64);
}

#[path = "../../executor/src/countdown.rs"]
mod countdown;
mod definition;
#[path = "../../executor/src/entry.rs"]
mod entry;
mod epoch;
#[path = "../../core/src/units/exchange.rs"]
mod exchange;

use self::atomic::{AtomicI64, AtomicUsize, Ordering};
use ::loom::cell::UnsafeCell;
use ::loom::sync::{Arc, Mutex};
use ::loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether some execution of the model panics.
fn fails(model: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| ::loom::model(model))).is_err()
}

/// The lazy stub, the first version and the second: entries of a slot.
const LAZY: usize = 1;
const FIRST: usize = 2;
const SECOND: usize = 3;

/// Code memory: what each version computes once it is written.
struct Code([UnsafeCell<usize>; 4]);

impl Code {
    fn new() -> Self {
        Self(std::array::from_fn(|_| UnsafeCell::new(0)))
    }

    fn write(&self, entry: usize) {
        // SAFETY: loom checks that nobody accesses the cell at the same time, and fails the model otherwise.
        self.0[entry].with_mut(|code| unsafe { *code = entry });
    }

    fn run(&self, entry: usize) -> usize {
        // SAFETY: as in `write`.
        self.0[entry].with(|code| unsafe { *code })
    }
}

type Publish = fn(&AtomicUsize, usize);

/// A version is written and published while another thread calls through the slot.
fn publication(publish: Publish, first_written: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Arc::new((AtomicUsize::new(LAZY), Code::new()));
        let caller = Arc::clone(&shared);
        let caller = thread::spawn(move || {
            let (slot, code) = &*caller;
            let entry = entry::current(slot);
            if entry != LAZY {
                assert_eq!(code.run(entry), entry, "the code is there, whole");
            }
        });
        let (slot, code) = &*shared;
        if first_written {
            code.write(FIRST);
            publish(slot, FIRST);
        } else {
            publish(slot, FIRST);
            code.write(FIRST);
        }
        caller.join().unwrap();
    }
}

#[test]
fn who_reads_an_entry_sees_the_code() {
    ::loom::model(publication(entry::publish, true));
    let relaxed: Publish = |slot, entry| slot.store(entry, Ordering::Relaxed);
    assert!(fails(publication(relaxed, true)));
    assert!(fails(publication(entry::publish, false)));
}

/// What a header does at tier 0: returns the countdown that it has stored.
fn execute(cell: &AtomicI64) -> i64 {
    let count = cell.load(Ordering::Relaxed) - 1;
    cell.store(count, Ordering::Relaxed);
    count
}

type Pin = fn(&AtomicI64);

/// Two threads of the runtime pin one countdown: the one that has published, and one that asks.
fn two_pin(pin: Pin) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = Arc::new(AtomicI64::new(-1));
        let other = Arc::clone(&cell);
        let other = thread::spawn(move || pin(&other));
        pin(&cell);
        other.join().unwrap();
        assert!(execute(&cell) < 0, "it is below zero");
        assert_eq!(
            countdown::counted(countdown::left(&cell), 0),
            2,
            "and counts on"
        );
    }
}

#[test]
fn a_countdown_is_pinned_once() {
    ::loom::model(two_pin(countdown::open));
    assert!(fails(two_pin(|cell| {
        // Looked at, then changed: what is between is not seen.
        if cell.load(Ordering::Relaxed) > -(1 << 61) {
            let mut count = cell.load(Ordering::Relaxed);
            while let Err(newer) = cell.compare_exchange(
                count,
                count - (1 << 62),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                count = newer;
            }
        }
    })));
}

/// A hook is opened while a header executes, and once more when no decrement is in flight any more.
fn pinned_while_running(again: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = Arc::new(AtomicI64::new(7));
        let running = Arc::clone(&cell);
        let running = thread::spawn(move || execute(&running));
        countdown::open(&cell);
        running.join().unwrap();
        let undone = cell.load(Ordering::Relaxed) == 6;
        if undone {
            assert_eq!(
                countdown::counted(countdown::left(&cell), 7),
                1,
                "counts survive a lost opening"
            );
        }
        if again {
            countdown::open(&cell);
        }
        assert!(execute(&cell) < 0, "the hook gets in");
        assert_eq!(
            countdown::counted(countdown::left(&cell), 7),
            2,
            "nothing is counted twice or lost"
        );
    }
}

#[test]
fn a_lost_pinning_is_made_again() {
    ::loom::model(pinned_while_running(true));
    assert!(fails(pinned_while_running(false)));
}

/// What a countdown is armed with in the models below, at first and again.
const ARMED: i64 = 5;
const AGAIN: i64 = 40;

/// A countdown is armed while a header executes. `lossless` asserts what the protocol does not promise.
fn armed_while_running(lossless: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let cell = Arc::new(AtomicI64::new(ARMED));
        let running = Arc::clone(&cell);
        let running = thread::spawn(move || execute(&running));
        let mut armed = ARMED;
        countdown::arm(&cell, &mut armed, AGAIN as u64);
        running.join().unwrap();
        let left = cell.load(Ordering::Relaxed);
        let counted = countdown::counted(countdown::left(&cell), armed);
        match left {
            // Before the decrement, or after it.
            39 | 40 if lossless => assert_eq!(counted, 1),
            // The decrement before it, or lost in it; or after it.
            40 => assert!(counted <= 1),
            39 => assert_eq!(counted, 1),
            // Undone: it asks as soon as before, and counts are off by what was armed.
            4 => {
                assert!(!lossless, "an arming is lost");
                assert_eq!(counted, 1 + (AGAIN - ARMED) as u64);
            }
            other => panic!("{other} is in nobody's books"),
        }
    }
}

#[test]
fn what_an_arming_can_lose_is_what_is_said() {
    ::loom::model(armed_while_running(false));
    assert!(fails(armed_while_running(true)));
}

/// A countdown is armed while another thread reads how often it was executed.
fn armed_while_read(locked: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Arc::new((AtomicI64::new(ARMED - 3), Mutex::new(ARMED)));
        let arming = Arc::clone(&shared);
        let arming = thread::spawn(move || {
            let (cell, armed) = &*arming;
            countdown::arm(cell, &mut armed.lock().unwrap(), AGAIN as u64);
        });
        let (cell, armed) = &*shared;
        let counted = if locked {
            let armed = armed.lock().unwrap();
            countdown::counted(countdown::left(cell), *armed)
        } else {
            let armed = *armed.lock().unwrap();
            countdown::counted(countdown::left(cell), armed)
        };
        assert_eq!(counted, 3, "an arming changes no count");
        arming.join().unwrap();
    }
}

#[test]
fn nobody_sees_an_arming_by_half() {
    ::loom::model(armed_while_read(true));
    assert!(fails(armed_while_read(false)));
}
