//! The background compile threads.
//!
//! ```text
//!   hot code ──▶ send ──▶ queue ──▶ a thread: run ──▶ published, skipped or failed
//!                  │                     │ (a panic ends the job, not the thread)
//!                  └── no thread to be had: the caller runs it
//! ```
//!
//! Invariants:
//!
//! * A job that was sent is run, abandoned or, with its engine, dropped, and is counted as finished
//!   once, whatever panics: [`Workers::wait_idle`] returns when none is left.
//! * A job that was not run leaves its part in a state that says so.
//! * After [`Workers::stop`] nothing is taken on.
//!
//! Jobs hold the engine weakly: an engine that nobody holds any more is not kept alive by its queue.
//! [`Inner::tier_up`] contains the panics of compilation; those around it are contained here.
//!
//! Limitations: first come, first served.
//!
//! Not here: what a job does (`tierup`), the priority of a thread (`priority`).

use crate::compile::panic_message;
use crate::config::WorkerPriority;
use crate::engine::Inner;
use crate::error::CompileError;
use crate::priority::lower_own_priority;
use crate::tierup::{Cause, HotPart};
use crate::unit::{Body, FunctionUnit};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A part of a function that is to be compiled at tier 1.
#[derive(Debug)]
pub(crate) struct Job {
    pub engine: Weak<Inner>,
    pub function: Arc<FunctionUnit>,
    pub body: Arc<Body>,
    pub part: HotPart,
    pub cause: Cause,
}

/// The compile threads of an engine and their queue. The threads start with the first job.
#[derive(Debug)]
pub(crate) struct Workers {
    wanted: usize,
    priority: WorkerPriority,
    team: Mutex<Team>,
    tally: Arc<Tally>,
}

/// The threads.
#[derive(Debug)]
enum Team {
    NotStarted,
    Running {
        queue: Sender<Queued>,
        threads: Vec<JoinHandle<()>>,
    },
    Stopped,
}

/// What the threads have done and have yet to do.
#[derive(Debug, Default)]
struct Tally {
    /// Jobs taken on and not finished.
    open: Mutex<usize>,
    none: Condvar,
    finished: AtomicU64,
    panics: AtomicU64,
    stopped: AtomicBool,
}

/// A job in the queue. Fields are dropped in this order: the ticket last.
struct Queued {
    job: Job,
    ticket: Ticket,
}

/// Stands for an open job.
struct Ticket(Arc<Tally>);

/// What the workers of an engine have done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerFigures {
    pub threads: usize,
    pub finished: u64,
    pub panics: u64,
    pub open: usize,
}

impl Workers {
    /// No thread yet, and at most `wanted`.
    pub fn new(wanted: usize, priority: WorkerPriority) -> Self {
        Self {
            wanted,
            priority,
            team: Mutex::new(Team::NotStarted),
            tally: Arc::default(),
        }
    }

    /// Has a thread run the job; the caller does where no thread can be had.
    pub fn send(&self, job: Job) {
        let ticket = Ticket::new(&self.tally);
        let mut queued = Queued { job, ticket };
        let mut team = lock(&self.team);
        if matches!(*team, Team::NotStarted) {
            *team = self.start();
        }
        if let Team::Running { queue, .. } = &*team {
            match queue.send(queued) {
                Ok(()) => return,
                // Threads do not end before the queue is closed; still, nothing is lost.
                Err(refused) => queued = refused.into_inner(),
            }
        }
        drop(team);
        queued.run();
    }

    /// Runs the job on this thread.
    pub fn run(&self, job: Job) {
        let ticket = Ticket::new(&self.tally);
        Queued { job, ticket }.run();
    }

    /// Waits until every job sent so far is finished.
    pub fn wait_idle(&self) {
        let open = lock(&self.tally.open);
        let waited = self.tally.none.wait_while(open, |open| *open > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes no more jobs on, has those in the queue abandoned, and waits for the threads.
    pub fn stop(&self) {
        self.tally.stopped.store(true, Ordering::Release);
        let team = std::mem::replace(&mut *lock(&self.team), Team::Stopped);
        let Team::Running { queue, threads } = team else {
            return;
        };
        // The threads empty a closed queue, and end.
        drop(queue);
        for thread in threads {
            // The engine may be dropped by a job: a thread does not wait for itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a compile thread ended with a panic");
            }
        }
    }

    /// Records a panic that ended a job.
    pub fn count_panic(&self) {
        self.tally.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// What they have done so far.
    pub fn figures(&self) -> WorkerFigures {
        WorkerFigures {
            threads: match &*lock(&self.team) {
                Team::Running { threads, .. } => threads.len(),
                Team::NotStarted | Team::Stopped => 0,
            },
            finished: self.tally.finished.load(Ordering::Relaxed),
            panics: self.tally.panics.load(Ordering::Relaxed),
            open: *lock(&self.tally.open),
        }
    }

    /// Starts as many of the threads as the system grants; none leaves the team as it was.
    fn start(&self) -> Team {
        let (queue, jobs) = unbounded::<Queued>();
        let mut threads = vec![];
        for _ in 0..self.wanted {
            let (jobs, tally, priority) = (jobs.clone(), Arc::clone(&self.tally), self.priority);
            let thread = std::thread::Builder::new()
                .name("regraft-compile".to_string())
                .spawn(move || work(&jobs, &tally, priority));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::error!(
                    %error, threads = threads.len(), wanted = self.wanted, "no more compile threads"
                ),
            }
        }
        match threads.is_empty() {
            true => Team::NotStarted,
            false => Team::Running { queue, threads },
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of a compile thread. A panic that leaves [`serve`] does not end it.
fn work(jobs: &Receiver<Queued>, tally: &Tally, priority: WorkerPriority) {
    if let Err(error) = lower_own_priority(priority) {
        tracing::warn!(%error, ?priority, "the compile thread keeps its priority");
    }
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| serve(jobs))) {
        // Dropping what was thrown may throw again.
        std::mem::forget(payload);
        tally.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs jobs until the queue is closed and empty, and pins again what a job has published.
fn serve(jobs: &Receiver<Queued>) {
    let mut pins: VecDeque<Pinned> = VecDeque::new();
    loop {
        let next = match pins.front() {
            Some(pinned) => jobs.recv_deadline(pinned.due),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(queued) => {
                pins.push_back(Pinned::by(&queued.job));
                queued.run();
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(pinned) = pins.pop_front() {
                    pinned.again();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A definition whose hooks a job may have pinned, and when that is looked after.
struct Pinned {
    body: Weak<Body>,
    due: Instant,
}

/// After how long hooks are pinned again: longer than a thread is usually kept between a load and a store.
const PIN_AGAIN_AFTER: Duration = Duration::from_millis(20);

impl Pinned {
    fn by(job: &Job) -> Self {
        Self {
            body: Arc::downgrade(&job.body),
            due: Instant::now() + PIN_AGAIN_AFTER,
        }
    }

    /// Pins what a decrement in flight has undone.
    fn again(self) {
        if let Some(body) = self.body.upgrade()
            && let Some(tiering) = body.tiering()
        {
            tiering.pin_again();
        }
    }
}

impl Queued {
    /// Carries the job out, if its engine still exists and works.
    fn run(self) {
        let Self { job, ticket } = self;
        let Some(engine) = job.engine.upgrade() else {
            return;
        };
        let Job {
            function,
            body,
            part,
            cause,
            ..
        } = job;
        if ticket.0.stopped.load(Ordering::Acquire) {
            return body
                .tiering()
                .into_iter()
                .for_each(|tiering| tiering.stop(part));
        }
        let work = AssertUnwindSafe(|| engine.take_on(&function, &body, part, cause));
        if let Err(payload) = catch_unwind(work) {
            ticket.0.panics.fetch_add(1, Ordering::Relaxed);
            let error = CompileError::Panic(panic_message(&*payload));
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            engine.record_failure(&body, part, error);
        }
    }
}

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.job.fmt(f)
    }
}

impl Ticket {
    fn new(tally: &Arc<Tally>) -> Self {
        *lock(&tally.open) += 1;
        Self(Arc::clone(tally))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::Relaxed);
        let mut open = lock(&self.0.open);
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.0.none.notify_all();
        }
    }
}

/// Locks, whatever happened to an earlier holder: nothing in the critical sections panics half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
