//! The locks of the library: how they are taken.
//!
//! Invariants:
//!
//! * Who holds one is in a section ([`crate::fork`]), so that no lock is held by another thread when the process
//!   forks.
//! * No critical section leaves data half changed when it panics, so that a lock is never poisoned to its users.
//!
//! Not here: `Condvar`s, which need the standard library's guards (`worker`).

use crate::section::{Section, section};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A lock that is held. Fields are dropped in this order: the section last.
#[derive(Debug)]
#[must_use]
pub struct Held<G> {
    guard: G,
    _section: Section,
}

/// A mutex that is held.
pub type Locked<'a, T> = Held<MutexGuard<'a, T>>;

impl<G> Held<G> {
    fn new(take: impl FnOnce() -> G) -> Self {
        // First the section: whoever waits for the lock has it too, and leaves it in the end.
        let section = section();
        Self {
            guard: take(),
            _section: section,
        }
    }
}

impl<G: Deref> Deref for Held<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Held<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// Locks for reading; a panic elsewhere leaves the data usable.
pub fn read<T>(lock: &RwLock<T>) -> Held<RwLockReadGuard<'_, T>> {
    Held::new(|| lock.read().unwrap_or_else(PoisonError::into_inner))
}

/// Locks for writing; a panic elsewhere leaves the data usable.
pub fn write<T>(lock: &RwLock<T>) -> Held<RwLockWriteGuard<'_, T>> {
    Held::new(|| lock.write().unwrap_or_else(PoisonError::into_inner))
}

/// Locks; a panic elsewhere leaves the data usable.
pub fn lock<T>(mutex: &Mutex<T>) -> Locked<'_, T> {
    Held::new(|| mutex.lock().unwrap_or_else(PoisonError::into_inner))
}
