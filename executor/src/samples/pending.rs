//! Samples on their way from signal handlers to the thread that looks at them: static memory.

use super::ring::Ring;
use super::semaphore::Semaphore;
use std::sync::atomic::AtomicUsize;

/// Samples that nobody has looked at.
pub static SAMPLES: Ring = Ring::new();
/// Posted for each sample.
pub static SAMPLED: Semaphore = Semaphore::new();
/// How many engines want samples.
pub static WANTED: AtomicUsize = AtomicUsize::new(0);
