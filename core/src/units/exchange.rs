//! The protocol of a function's definition: what its slot leads to, and of which definition that may be.
//!
//! ```text
//!   define, redefine:  definition, entry ─┐
//!   remove:            none, trap ────────┼─ under one lock: the definition is what the slot leads to a version of
//!   first version:     is it current? ────┤
//!   newer version:     is it current? record, entry
//! ```
//!
//! Invariants, of whoever holds the lock of [`Current`]:
//!
//! * Nothing of a definition is published before it is current, nor after: not by a thread either that was
//!   compiling it meanwhile.
//! * A definition becomes current together with its entry, which therefore replaces nothing newer of its own.
//! * A first version is stored only over the entry that asks for one.
//! * What is published is on record before. The record stays locked until the entry is stored.
//! * A function that was removed has no definition any more, and traps.
//!
//! This file is also compiled against a model checker: nothing but `std::sync::Arc` may be used.
//!
//! Not here: the order of the entry itself (`entry`), the lock, when what was replaced is freed (`reclaim`).

use std::sync::Arc;

/// Where an entry is stored, by the protocol of `entry`.
pub trait Publish {
    /// Makes `entry` what calls reach.
    fn publish(&self, entry: usize);
}

/// The slot of a function.
pub trait Slot: Publish {
    /// Makes `entry` what calls reach if they ask for one until now.
    fn resolve(&self, entry: usize);

    /// Lets the next call ask for an entry.
    fn ask(&self);

    /// Lets calls end in a trap.
    fn close(&self);
}

/// The definition of a function that is current. One lock is around it.
#[derive(Debug)]
pub struct Current<T> {
    definition: Option<Arc<T>>,
    removed: bool,
}

/// The function was removed: it gets no definition any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed;

impl<T> Current<T> {
    /// No definition yet.
    pub fn new() -> Self {
        Self {
            definition: None,
            removed: false,
        }
    }

    /// The definition, if there is one.
    pub fn definition(&self) -> Option<Arc<T>> {
        self.definition.clone()
    }

    /// Whether `of` is the definition; `None` is, where there is none yet.
    pub fn is(&self, of: Option<&Arc<T>>) -> bool {
        match (&self.definition, of) {
            (Some(definition), Some(of)) => Arc::ptr_eq(definition, of),
            (None, None) => !self.removed,
            _ => false,
        }
    }
}

/// Makes `definition` the current one, and `entry` what calls reach; returns the one before. Without an entry, the next
/// call asks for it.
///
/// # Errors
///
/// Changes nothing where the function was removed.
pub fn exchange<T>(
    current: &mut Current<T>,
    slot: &impl Slot,
    definition: Option<Arc<T>>,
    entry: Option<usize>,
) -> Result<Option<Arc<T>>, Removed> {
    if current.removed {
        return Err(Removed);
    }
    let old = std::mem::replace(&mut current.definition, definition);
    match entry {
        Some(entry) => slot.publish(entry),
        None => slot.ask(),
    }
    Ok(old)
}

/// Lets calls end in a trap, for good; returns the definition.
pub fn remove<T>(current: &mut Current<T>, slot: &impl Slot) -> Option<Arc<T>> {
    current.removed = true;
    slot.close();
    current.definition.take()
}

/// Lets calls that ask for an entry reach `entry`, if `of` is current, which it says. `None` is for a function without
/// a definition.
pub fn publish_first<T>(
    current: &mut Current<T>,
    slot: &impl Slot,
    of: Option<&Arc<T>>,
    entry: usize,
) -> bool {
    let is_current = current.is(of);
    if is_current {
        // What is newer than a first version stays.
        slot.resolve(entry);
    }
    is_current
}

/// Makes `entry` what calls reach, if `of` is current and `record` finds a use for it; says whether it did.
///
/// `record` puts it on record, and returns where to store it, with the lock of the record.
pub fn publish_newer<T, P: Publish>(
    current: &mut Current<T>,
    of: &Arc<T>,
    entry: usize,
    record: impl FnOnce() -> Option<P>,
) -> bool {
    if !current.is(Some(of)) {
        return false;
    }
    let recorded = record();
    if let Some(recorded) = &recorded {
        recorded.publish(entry);
    }
    recorded.is_some()
}
