//! The background compile thread.
//!
//! Jobs hold the engine weakly: an engine that nobody holds any more is not
//! kept alive by its queue. [`Inner::tier_up`] contains its panics.

use crate::engine::Inner;
use crate::tierup::{Cause, HotPart};
use crate::unit::{Body, FunctionUnit};
use crossbeam_channel::{Sender, unbounded};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

/// A part of a function that is to be compiled at tier 1.
#[derive(Debug)]
pub(crate) struct Job {
    pub engine: Weak<Inner>,
    pub function: Arc<FunctionUnit>,
    pub body: Arc<Body>,
    pub part: HotPart,
    pub cause: Cause,
}

impl Job {
    /// Carries the job out, if its engine still exists.
    pub fn run(self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.tier_up(&self.function, &self.body, self.part, self.cause);
        }
    }
}

/// The number of jobs sent and not finished, and who waits for none.
#[derive(Debug, Default)]
struct Pending {
    jobs: Mutex<usize>,
    none: Condvar,
}

/// A compile thread and its queue.
#[derive(Debug)]
pub(crate) struct Worker {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pending: Arc<Pending>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system's, where no thread can be had.
    pub fn start() -> std::io::Result<Self> {
        let (queue, jobs) = unbounded::<Job>();
        let pending = Arc::new(Pending::default());
        let finished = Arc::clone(&pending);
        let thread = std::thread::Builder::new()
            .name("regraft-compile".to_string())
            .spawn(move || {
                for job in jobs {
                    job.run();
                    finished.add(|jobs| jobs.saturating_sub(1));
                }
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            pending,
        })
    }

    /// Queues a job.
    pub fn send(&self, job: Job) {
        self.pending.add(|jobs| jobs + 1);
        let sent = self.queue.as_ref().map(|queue| queue.send(job));
        if !matches!(sent, Some(Ok(()))) {
            self.pending.add(|jobs| jobs.saturating_sub(1));
        }
    }

    /// Waits until every job sent so far is finished.
    pub fn wait_idle(&self) {
        let jobs = self.pending.jobs.lock();
        let jobs = jobs.unwrap_or_else(PoisonError::into_inner);
        let waited = self.pending.none.wait_while(jobs, |jobs| *jobs > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Pending {
    fn add(&self, change: impl FnOnce(usize) -> usize) {
        let jobs = self.jobs.lock();
        let mut jobs = jobs.unwrap_or_else(PoisonError::into_inner);
        *jobs = change(*jobs);
        if *jobs == 0 {
            self.none.notify_all();
        }
    }
}

impl Drop for Worker {
    /// Closes the queue and waits for the job in hand. The engine may have
    /// been dropped by that very job: a thread does not wait for itself.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // Panics of jobs are contained.
            let _ = thread.join();
        }
    }
}
