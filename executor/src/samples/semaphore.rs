//! A semaphore that a signal handler can post.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Once;

/// A process-private semaphore in static memory.
pub struct Semaphore {
    made: Once,
    semaphore: UnsafeCell<MaybeUninit<libc::sem_t>>,
}

// SAFETY: the semaphore is made once, under `made`, and then only used through functions that are safe to call
// from several threads at once.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    pub const fn new() -> Self {
        Self {
            made: Once::new(),
            semaphore: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Makes the semaphore, the first time.
    pub fn prepare(&self) {
        self.made.call_once(|| {
            // SAFETY: nobody else uses the memory before this has run. It cannot fail: the value is small.
            unsafe { libc::sem_init(self.semaphore.get().cast(), 0, 0) };
        });
    }

    /// Lets one waiter go on. Async-signal-safe; may change `errno`.
    pub fn post(&self) {
        if self.made.is_completed() {
            // SAFETY: the semaphore is made, and static. When its value is at its maximum, nothing happens, and
            // nobody is waiting.
            unsafe { libc::sem_post(self.semaphore.get().cast()) };
        }
    }

    /// Waits for a post, or less long.
    pub fn wait(&self) {
        self.prepare();
        // SAFETY: the semaphore is made, and static. A signal may end the call early.
        unsafe { libc::sem_wait(self.semaphore.get().cast()) };
    }
}
