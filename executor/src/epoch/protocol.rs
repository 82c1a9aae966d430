//! The protocol of reclamation epochs: when nothing that was retired can be reached any more.
//!
//! ```text
//!   reader                          reclaimer
//!   inside = now      (enter)       cell = new             (unlink)
//!   light fence                     epoch = now++          (retire)
//!   read the cell, run the code
//!                                   limit = now            (oldest)
//!                                   heavy fence
//!   inside = 0        (leave)       free if epoch < limit and epoch < every inside ≠ 0
//! ```
//!
//! Claim: what was unlinked before it was retired at epoch *e* is not used by a reader whose `inside`, as the
//! reclaimer reads it, is 0 or greater than *e*.
//!
//! * The reclaimer reads an older value than what the reader stored on entering: then its fence comes before
//!   the reader's in the order of the fences, and the reader sees the unlinked cell.
//! * It reads a value greater than *e*: the reader's `now` was read from the increment of *e* or from a later
//!   one, an acquire load of a release sequence, so that the unlinking happened before.
//! * What is retired while a reclaimer looks at the readers may be in the hands of one that entered after it was
//!   looked at: *limit*, read before, leaves that for the next time.
//! * It reads the 0 of a leaving, or what the next entering stored: release stores, so that all that the reader
//!   did in earlier calls happened before the freeing.
//!
//! The source is compiled a second time in the tests, with the atomics of a model checker.

use super::atomic::{AtomicU64, Ordering, heavy_fence, light_fence};

/// The epochs of a domain, counted from 1.
#[derive(Debug)]
pub struct Clock(AtomicU64);

/// A thread's part in the protocol: the epoch in which it entered, 0 outside.
#[derive(Debug)]
pub struct Participant(AtomicU64);

impl Clock {
    /// A clock at its first epoch.
    pub fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    /// Enters; what is read from now on stays until the participant leaves.
    pub fn enter(&self, participant: &Participant) {
        let now = self.0.load(Ordering::Acquire);
        // Who reads it knows that the last stay is over.
        participant.0.store(now, Ordering::Release);
        light_fence();
    }

    /// Ends an epoch and returns it. What was unlinked before can be freed when [`Clock::oldest`] is greater.
    pub fn retire(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel)
    }

    /// The epoch in which the participant entered that has been inside longest; the present one if none is.
    pub fn oldest<'p>(&self, participants: impl IntoIterator<Item = &'p Participant>) -> u64 {
        let limit = self.0.load(Ordering::Acquire);
        heavy_fence();
        let inside = participants.into_iter().filter_map(|participant| {
            let entered = participant.0.load(Ordering::Acquire);
            (entered != 0).then_some(entered)
        });
        inside.min().map_or(limit, |entered| entered.min(limit))
    }
}

impl Participant {
    /// A participant that is outside.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Leaves.
    pub fn leave(&self) {
        self.0.store(0, Ordering::Release);
    }
}
