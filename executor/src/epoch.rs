//! Epochs: who may still be inside generated code.
//!
//! A thread that calls generated code is *pinned* meanwhile; what is retired is freed when no thread is pinned
//! that was pinned before. Each engine has epochs of its own: a thread that stays inside the code of one does
//! not hold up another.
//!
//! Invariants:
//!
//! * Pins of a thread nest: the one that began last ends first. A trap that ends a safe call
//!   ends the pins that began inside it ([`restore`]).
//! * A participant is entered and left by its own thread only.
//!
//! Limitations: a thread that never leaves generated code keeps everything that was retired since it entered.
//!
//! Not here: what is retired (the engine knows), and why the protocol is right (`protocol`).

mod atomic;
mod protocol;

use crate::errno;
use crate::locks::lock;
use protocol::{Clock, Participant};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The epochs of an engine.
#[derive(Debug)]
pub struct Epochs {
    id: u64,
    clock: Clock,
    participants: Mutex<Vec<Arc<Participant>>>,
}

/// A thread's part in the epochs of one engine.
#[derive(Debug)]
struct Membership {
    /// Of the epochs.
    id: u64,
    participant: Arc<Participant>,
    /// How many pins there are.
    depth: usize,
}

/// What a thread takes part in.
#[derive(Debug, Default)]
struct Local {
    memberships: Vec<Membership>,
    /// The position of the membership of each pin, innermost last.
    pins: Vec<usize>,
}

thread_local! {
    static LOCAL: RefCell<Local> = const {
        RefCell::new(Local { memberships: vec![], pins: vec![] })
    };
}

/// A thread is inside generated code as long as this exists.
#[must_use]
enum Pin {
    /// The innermost of the thread's list, which it stays with: pins end in the order of that list.
    Listed(PhantomData<*const ()>),
    /// The thread is ending and has no list any more.
    Alone(Arc<Participant>),
}

impl Epochs {
    /// Epochs that nobody takes part in yet.
    pub fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            clock: Clock::new(),
            participants: Mutex::default(),
        })
    }

    /// Runs `body`, which may enter generated code, while the thread is pinned.
    ///
    /// Nobody holds a pin: it ends with `body`, on the thread and in the order in which it began. That holds inside, too:
    ///
    /// ```compile_fail,E0624
    /// let epochs = regraft_executor::epoch::Epochs::new();
    /// let pin = epochs.pin();
    /// ```
    pub fn pinned<R>(&self, body: impl FnOnce() -> R) -> R {
        let _pin = self.pin();
        body()
    }

    /// Ends the epoch: what was unlinked before is free when [`Epochs::oldest`] is greater than the result.
    pub fn retire(&self) -> u64 {
        self.clock.retire()
    }

    /// The epoch since which some thread has been inside without a break; the present one if none is.
    pub fn oldest(&self) -> u64 {
        let mut participants = lock(&self.participants);
        // Threads that ended were outside.
        participants.retain(|participant| Arc::strong_count(participant) > 1);
        self.clock
            .oldest(participants.iter().map(|participant| &**participant))
    }

    /// In the child of a fork: threads that do not exist are outside.
    pub fn after_fork(&self) {
        let own = LOCAL.try_with(|local| {
            let local = local.borrow();
            let mut members = local.memberships.iter();
            let member = members.find(|member| member.id == self.id);
            member.map(|member| Arc::clone(&member.participant))
        });
        let own = own.ok().flatten();
        let mut participants = lock(&self.participants);
        participants.retain(|one| own.as_ref().is_some_and(|own| Arc::ptr_eq(one, own)));
    }

    fn pin(&self) -> Pin {
        let listed = LOCAL.try_with(|local| {
            let local = &mut *local.borrow_mut();
            let known = local
                .memberships
                .iter()
                .position(|member| member.id == self.id);
            let at = known.unwrap_or_else(|| errno::preserved(|| self.join(local)));
            let member = &mut local.memberships[at];
            if member.depth == 0 {
                self.clock.enter(&member.participant);
            }
            member.depth += 1;
            local.pins.push(at);
        });
        match listed {
            Ok(()) => Pin::Listed(PhantomData),
            Err(_) => {
                let participant = self.register();
                self.clock.enter(&participant);
                Pin::Alone(participant)
            }
        }
    }

    fn register(&self) -> Arc<Participant> {
        let participant = Arc::new(Participant::new());
        let mut participants = lock(&self.participants);
        participants.push(Arc::clone(&participant));
        participant
    }

    #[cold]
    fn join(&self, local: &mut Local) -> usize {
        if local.pins.is_empty() {
            // Those whose epochs are gone.
            let members = &mut local.memberships;
            members.retain(|member| Arc::strong_count(&member.participant) > 1);
        }
        local.memberships.push(Membership {
            id: self.id,
            participant: self.register(),
            depth: 0,
        });
        local.memberships.len() - 1
    }
}

impl Local {
    fn unpin(&mut self) {
        let Some(at) = self.pins.pop() else {
            return;
        };
        let member = &mut self.memberships[at];
        member.depth -= 1;
        if member.depth == 0 {
            member.participant.leave();
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        match self {
            // It was listed by this thread, which is not ending yet: its list is dropped last.
            Self::Listed(_) => {
                let _ = LOCAL.try_with(|local| local.borrow_mut().unpin());
            }
            Self::Alone(participant) => participant.leave(),
        }
    }
}

/// How many pins the thread has, for [`restore`].
pub fn depth() -> usize {
    LOCAL
        .try_with(|local| local.borrow().pins.len())
        .unwrap_or(0)
}

/// Ends the pins that began after [`depth`] was read: their frames have been skipped.
pub fn restore(depth: usize) {
    let _ = LOCAL.try_with(|local| {
        let local = &mut *local.borrow_mut();
        while local.pins.len() > depth {
            local.unpin();
        }
    });
}

#[cfg(test)]
mod tests;
