//! The protocol of a countdown: a cell that generated code decrements and the runtime arms.
//!
//! Generated code loads the cell, subtracts one and stores it, which is not atomic: another access can fall
//! between load and store, and is then undone by the store. The runtime's own accesses are atomic.
//!
//! A countdown *counts* as well: how often it was decremented is what it was armed with, in total, less what it
//! holds. An opened countdown is far below zero, where it keeps counting.
//!
//! Invariants:
//!
//! * Where no decrement is in flight, arming and opening take effect, and counts are exact.
//! * A countdown is opened once at most, however many threads do it at the same time.
//! * A decrement in flight leaves either what the runtime stored, less one or not, or what it had loaded itself
//!   less one. In the last case an arming or an opening is undone: counts are off by what was armed, and the
//!   countdown goes below zero after as many executions as the decrement had loaded, when the runtime is asked again.
//!
//! The total of what was armed is behind a lock of the caller's, so that nobody sees an arming by half.
//!
//! This file is also compiled against a model checker: nothing but `super::atomic` may be used.
//!
//! Not here: where the cells are (`cells`), when they are armed (`tierup`), the decrement (`instrument`).

use super::atomic::{AtomicI64, Ordering};

/// How far below zero an opened countdown is taken.
const PIN: i64 = 1 << 62;

/// Arms a countdown. `armed` is what it was armed with in total.
pub fn arm(cell: &AtomicI64, armed: &mut i64, amount: u64) {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX).min(PIN / 4);
    let old = unpinned(cell.swap(amount, Ordering::Relaxed));
    *armed = armed.wrapping_add(amount - old);
}

/// Takes a countdown below zero for good, unless it is there.
pub fn open(cell: &AtomicI64) {
    let mut count = cell.load(Ordering::Relaxed);
    while count > -(PIN / 2) {
        match cell.compare_exchange(count, count - PIN, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(newer) => count = newer,
        }
    }
}

/// What is left of what a countdown was armed with, whether it is opened or not.
pub fn left(cell: &AtomicI64) -> i64 {
    unpinned(cell.load(Ordering::Relaxed))
}

/// How often countdowns were decremented, by what is left of them and what they were armed with in total.
pub fn counted(left: i64, armed: i64) -> u64 {
    u64::try_from(armed.wrapping_sub(left)).unwrap_or(0)
}

fn unpinned(count: i64) -> i64 {
    if count < -(PIN / 2) {
        count + PIN
    } else {
        count
    }
}
