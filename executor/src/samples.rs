//! Samples of the program counter of threads that run generated code.
//!
//! ```text
//!   threads ── timers ──▶ handler ──▶ ring ──▶ one thread per process ──▶ who made the code
//! ```
//!
//! Not here: what a sample means.

mod consumer;
mod pending;
mod ring;
mod semaphore;
mod timer;

use std::sync::Arc;

pub use consumer::Wanted;
pub use timer::{handler_flags, start, stop};

/// Who is told of samples.
pub trait Sampled: Send + Sync {
    /// A thread was seen at this address.
    fn sampled(self: Arc<Self>, pc: usize);
}

/// In the child of a fork: no thread looks at samples, and no timer runs.
pub fn after_fork() {
    consumer::after_fork();
    timer::after_fork();
}
