//! The thread that looks at samples, for all engines of the process.
//!
//! Invariants:
//!
//! * It exists as long as an engine wants samples, and holds engines weakly.
//! * *one at a time*: no thread is started before the last one was stopped and woken, since it would take the post that
//!   is to wake the other.
//! * No lock is held while an engine works on a sample: it may compile, or be dropped.
//!
//! Not here: what a sample means ([`super`]).

use super::Sampled;
use super::pending::{SAMPLED, SAMPLES, WANTED};
use crate::locks::lock;
use crate::ranges::find as find_range;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Engines by the start of their code, and the thread that serves them.
#[derive(Debug)]
struct Consumers {
    engines: BTreeMap<usize, Weak<dyn Sampled>>,
    thread: Option<Consumer>,
}

static CONSUMERS: Mutex<Consumers> = Mutex::new(Consumers {
    engines: BTreeMap::new(),
    thread: None,
});

/// Engines come or go. The thread takes it only to drop an engine that is still registered; so whoever removes the last
/// one, and waits for the thread, does not wait for itself.
///
/// No mutex: it is not held in a section ([`crate::fork`]), since the thread that is waited for begins some, and so the
/// child of a fork opens it.
static CHANGING: AtomicBool = AtomicBool::new(false);

/// Engines come or go as long as this exists.
struct Changing;

impl Changing {
    fn begin() -> Self {
        while CHANGING.swap(true, Ordering::Acquire) {
            std::thread::sleep(Duration::from_micros(50));
        }
        Self
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        CHANGING.store(false, Ordering::Release);
    }
}

/// An engine gets the samples of its code as long as this exists.
#[derive(Debug)]
pub struct Wanted {
    start: usize,
}

#[derive(Debug)]
struct Consumer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Wanted {
    /// Sends the samples of code in the range that starts at `start` to `engine`.
    ///
    /// # Errors
    ///
    /// The system's, where no thread can be had.
    pub fn register(start: usize, engine: Weak<dyn Sampled>) -> std::io::Result<Self> {
        let _changing = Changing::begin();
        let mut consumers = lock(&CONSUMERS);
        if consumers.thread.is_none() {
            consumers.thread = Some(Consumer::start()?);
        }
        consumers.engines.insert(start, engine);
        WANTED.store(consumers.engines.len(), Ordering::Relaxed);
        Ok(Self { start })
    }
}

impl Drop for Wanted {
    /// The last engine may be dropped by the thread itself, which does not wait for itself.
    fn drop(&mut self) {
        let _changing = Changing::begin();
        let last = {
            let mut consumers = lock(&CONSUMERS);
            consumers.engines.remove(&self.start);
            WANTED.store(consumers.engines.len(), Ordering::Relaxed);
            let unused = consumers.engines.is_empty();
            unused.then(|| consumers.thread.take()).flatten()
        };
        if let Some(Consumer { stop, thread }) = last {
            stop.store(true, Ordering::Release);
            SAMPLED.post();
            if thread.thread().id() != std::thread::current().id() {
                // Panics are contained.
                let _ = thread.join();
            }
        }
    }
}

/// Starts the thread that looks at samples if engines want them and it does not exist: in the child of a fork.
pub fn ensure() {
    let _changing = Changing::begin();
    let mut consumers = lock(&CONSUMERS);
    if consumers.thread.is_none() && !consumers.engines.is_empty() {
        match Consumer::start() {
            Ok(thread) => consumers.thread = Some(thread),
            Err(error) => tracing::error!(%error, "no thread for samples; nothing gets hot"),
        }
    }
}

/// In the child of a fork, which has no such thread.
pub fn after_fork() {
    CHANGING.store(false, Ordering::Release);
    // Its handle is not in order without the thread.
    std::mem::forget(lock(&CONSUMERS).thread.take());
}

impl Consumer {
    fn start() -> std::io::Result<Self> {
        SAMPLED.prepare();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("regraft-samples".to_string())
            .spawn(move || consume(&stopped))?;
        Ok(Self { stop, thread })
    }
}

fn consume(stop: &AtomicBool) {
    let mut position = SAMPLES.end();
    while !stop.load(Ordering::Acquire) {
        SAMPLED.wait();
        for pc in SAMPLES.drain(&mut position) {
            let Some(engine) = engine_at(pc) else {
                continue;
            };
            let work = AssertUnwindSafe(|| engine.sampled(pc));
            if catch_unwind(work).is_err() {
                tracing::error!(pc, "a panic over a sample; it is ignored");
            }
        }
    }
}

/// The engine whose code an address is in, if it wants samples.
fn engine_at(pc: usize) -> Option<Arc<dyn Sampled>> {
    let range = find_range(pc)?;
    lock(&CONSUMERS).engines.get(&range.start)?.upgrade()
}
