//! The protocol of a slot's word.
//!
//! ```text
//!   code and what describes it are written ──▶ publish or replace: release ──▶ readers: acquire
//! ```
//!
//! Invariants:
//!
//! * Who reads an entry sees everything that was written before that entry was published: the reader loads with
//!   acquire order, or is generated code, whose jump depends on what it loaded and whose instruction caches were
//!   synchronised before the store.
//! * [`replace`] never takes a newer entry back: it stores only over the entry that its caller knows.
//!
//! This file is also compiled against a model checker: nothing but `super::atomic` may be used.
//!
//! Not here: which words there are, and what they may hold (`slots`).

use super::atomic::{AtomicUsize, Ordering};

/// Makes `entry` what the word leads to.
pub fn publish(word: &AtomicUsize, entry: usize) {
    word.store(entry, Ordering::Release);
}

/// Makes `new` what the word leads to if it still leads to `old`; says whether it did.
pub fn replace(word: &AtomicUsize, old: usize, new: usize) -> bool {
    word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

/// What the word leads to.
pub fn current(word: &AtomicUsize) -> usize {
    word.load(Ordering::Acquire)
}
