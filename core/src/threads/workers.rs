//! The background compile threads.
//!
//! ```text
//!   hot code ──▶ send ──▶ queue ──▶ a thread: run ──▶ published, skipped or failed
//!                  │                     │ (a panic ends the job, not the thread)
//!                  └── no thread to be had: the caller runs it
//! ```
//!
//! The most urgent job comes first: what has lost the most at tier 0, by what compiling it costs, as it is when a thread
//! is free. First versions that are made ahead of their first call have a thread of their own, whose partner runs when a
//! processor has nothing else to do at all: it may be kept from it for as long as others run, so that nobody waits for it.
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
//! Not here: what a job does (`tierup`), what of it is done at a low priority (`background`).

use crate::code::generate::panic_message;
use crate::engine::Inner;
use crate::error::CompileError;
use crate::pacing::{Load, urgency};
use crate::threads::background::{wait_for_processor, with_partner};
use crate::threads::contention::Contention;
use crate::tiering::tierup::{Cause, HotPart};
use crate::units::table::{Body, FunctionUnit};
use regraft_executor::fork::section;
use regraft_executor::locks;
use regraft_executor::priority::WorkerPriority;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is to be compiled, for whom.
#[derive(Debug)]
pub(crate) struct Job {
    pub engine: Weak<Inner>,
    pub function: Arc<FunctionUnit>,
    pub work: Work,
}

/// What is to be compiled.
#[derive(Debug)]
pub(crate) enum Work {
    /// A part at tier 1.
    TierUp {
        body: Arc<Body>,
        part: HotPart,
        cause: Cause,
    },
    /// The first version, before the function is called.
    Ahead {
        /// How many calls away from code that has run.
        distance: u32,
    },
}

impl Job {
    /// What the part has lost so far by what compiling it costs; what is made ahead by how soon it may be called.
    fn urgency(&self) -> f64 {
        match &self.work {
            Work::TierUp { body, part, .. } => body.tiering().map_or(0.0, |tiering| {
                urgency(tiering.weight(*part), tiering.executions(*part))
            }),
            Work::Ahead { distance } => -f64::from(*distance),
        }
    }
}

/// The compile threads of an engine and their queue. The threads start with the first job.
#[derive(Debug)]
pub(crate) struct Workers {
    wanted: usize,
    priority: WorkerPriority,
    team: Mutex<Team>,
    ahead_thread: Mutex<Option<JoinHandle<()>>>,
    shared: Mutex<Shared>,
}

/// What threads and engine share.
#[derive(Clone, Debug, Default)]
struct Shared {
    queue: Arc<Queue>,
    ahead: Arc<Queue>,
    tally: Arc<Tally>,
}

/// The threads.
#[derive(Debug)]
enum Team {
    NotStarted,
    Running { threads: Vec<JoinHandle<()>> },
    Stopped,
}

/// The jobs that wait.
#[derive(Debug, Default)]
struct Queue {
    jobs: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Queued>,
    closed: bool,
}

impl Waiting {
    /// Takes the most urgent job out; of equally urgent ones the first.
    fn take(&mut self) -> Option<Queued> {
        let mut most = None;
        for (at, queued) in self.jobs.iter().enumerate() {
            let urgency = queued.job.urgency();
            if most.is_none_or(|(_, most)| urgency > most) {
                most = Some((at, urgency));
            }
        }
        self.jobs.remove(most?.0)
    }
}

/// Why [`Queue::next`] returns without a job.
enum Idle {
    /// It is late.
    Due,
    /// The queue was closed and is empty.
    Closed,
}

impl Queue {
    fn push(&self, queued: Queued) {
        lock(&self.jobs).jobs.push_back(queued);
        self.changed.notify_one();
    }

    fn close(&self) {
        lock(&self.jobs).closed = true;
        self.changed.notify_all();
    }

    /// Waits for a job, until `due` at the latest.
    fn next(&self, due: Option<Instant>) -> Result<Queued, Idle> {
        loop {
            {
                // Urgency takes locks: whoever waits for the queue is in a section then, and so must this be.
                let _section = section();
                let mut waiting = lock(&self.jobs);
                if let Some(queued) = waiting.take() {
                    return Ok(queued);
                }
                if waiting.closed {
                    return Err(Idle::Closed);
                }
            }
            // A section does not wait.
            let waiting = lock(&self.jobs);
            if !waiting.jobs.is_empty() || waiting.closed {
                continue;
            }
            match due {
                None => {
                    let woken = self.changed.wait(waiting);
                    drop(woken.unwrap_or_else(PoisonError::into_inner));
                }
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Idle::Due);
                    }
                    let woken = self.changed.wait_timeout(waiting, left);
                    drop(woken.unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }
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
    contention: Contention,
}

/// A job in the queue. Fields are dropped in this order: the ticket last.
struct Queued {
    job: Job,
    ticket: Ticket,
}

/// Stands for a job.
struct Ticket {
    tally: Arc<Tally>,
    /// Whether somebody may wait for it.
    awaited: bool,
}

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
            ahead_thread: Mutex::new(None),
            shared: Mutex::default(),
        }
    }

    fn shared(&self) -> Shared {
        locks::lock(&self.shared).clone()
    }

    fn tally(&self) -> Arc<Tally> {
        Arc::clone(&locks::lock(&self.shared).tally)
    }

    /// In the child of a fork: the threads do not exist, and what was open is not finished. New ones start with the
    /// next job.
    pub fn after_fork(&self) {
        let mut team = locks::lock(&self.team);
        if matches!(*team, Team::Running { .. }) {
            // The handles are not in order without the threads.
            std::mem::forget(std::mem::replace(&mut *team, Team::NotStarted));
        }
        std::mem::forget(locks::lock(&self.ahead_thread).take());
        let mut shared = locks::lock(&self.shared);
        // Threads that waited may have held the locks in it.
        let anew = Tally {
            finished: AtomicU64::new(shared.tally.finished.load(Ordering::Relaxed)),
            panics: AtomicU64::new(shared.tally.panics.load(Ordering::Relaxed)),
            stopped: AtomicBool::new(shared.tally.stopped.load(Ordering::Relaxed)),
            ..Tally::default()
        };
        let anew = Shared {
            tally: Arc::new(anew),
            ..Shared::default()
        };
        std::mem::forget(std::mem::replace(&mut *shared, anew));
    }

    /// Has a thread run the job; the caller does where no thread can be had.
    pub fn send(&self, job: Job) {
        let Shared { queue, tally, .. } = self.shared();
        let ticket = Ticket::new(&tally);
        let queued = Queued { job, ticket };
        let mut team = locks::lock(&self.team);
        if matches!(*team, Team::NotStarted) {
            *team = self.start();
        }
        if matches!(*team, Team::Running { .. }) {
            return queue.push(queued);
        }
        drop(team);
        queued.run();
    }

    /// Has the job done when a processor has nothing else to do, or never.
    pub fn send_ahead(&self, job: Job) {
        let Shared { ahead, tally, .. } = self.shared();
        if tally.stopped.load(Ordering::Acquire) {
            return;
        }
        let mut thread = locks::lock(&self.ahead_thread);
        if thread.is_none() {
            let (queue, tally) = (Arc::clone(&ahead), Arc::clone(&tally));
            let spawned = std::thread::Builder::new()
                .name("regraft-ahead".to_string())
                .spawn(move || work(&queue, &tally, WorkerPriority::Idle));
            match spawned {
                Ok(spawned) => *thread = Some(spawned),
                Err(error) => return tracing::debug!(%error, "nothing is compiled ahead"),
            }
        }
        let ticket = Ticket::ahead(&tally);
        ahead.push(Queued { job, ticket });
    }

    /// How busy the threads are.
    pub fn load(&self) -> Load {
        let tally = self.tally();
        Load {
            queued: *lock(&tally.open),
            contended: tally.contention.is_contended(),
        }
    }

    /// Runs the job on this thread.
    pub fn run(&self, job: Job) {
        let ticket = Ticket::new(&self.tally());
        Queued { job, ticket }.run();
    }

    /// Waits until every job sent so far is finished.
    pub fn wait_idle(&self) {
        let tally = self.tally();
        let open = lock(&tally.open);
        let waited = tally.none.wait_while(open, |open| *open > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes no more jobs on, has those in the queue abandoned, and waits for the threads.
    pub fn stop(&self) {
        let Shared { queue, tally, .. } = self.shared();
        tally.stopped.store(true, Ordering::Release);
        let team = std::mem::replace(&mut *locks::lock(&self.team), Team::Stopped);
        let Team::Running { threads } = team else {
            return self.stop_ahead();
        };
        // The threads empty a closed queue, and end.
        queue.close();
        self.stop_ahead();
        for thread in threads {
            join(thread);
        }
    }

    fn stop_ahead(&self) {
        self.shared().ahead.close();
        let thread = locks::lock(&self.ahead_thread).take();
        if let Some(thread) = thread {
            join(thread);
        }
    }

    /// Records a panic that ended a job.
    pub fn count_panic(&self) {
        self.tally().panics.fetch_add(1, Ordering::Relaxed);
    }

    /// What they have done so far.
    pub fn figures(&self) -> WorkerFigures {
        let tally = self.tally();
        WorkerFigures {
            threads: match &*locks::lock(&self.team) {
                Team::Running { threads } => threads.len(),
                Team::NotStarted | Team::Stopped => 0,
            },
            finished: tally.finished.load(Ordering::Relaxed),
            panics: tally.panics.load(Ordering::Relaxed),
            open: *lock(&tally.open),
        }
    }

    /// Starts as many of the threads as the system grants; none leaves the team as it was.
    fn start(&self) -> Team {
        let mut threads = vec![];
        for _ in 0..self.wanted {
            let Shared { queue, tally, .. } = self.shared();
            let priority = self.priority;
            let thread = std::thread::Builder::new()
                .name("regraft-compile".to_string())
                .spawn(move || work(&queue, &tally, priority));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::error!(
                    %error, threads = threads.len(), wanted = self.wanted, "no more compile threads"
                ),
            }
        }
        match threads.is_empty() {
            true => Team::NotStarted,
            false => Team::Running { threads },
        }
    }
}

/// Waits for a compile thread to end.
fn join(thread: JoinHandle<()>) {
    // The engine may be dropped by a job: a thread does not wait for itself.
    if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
        tracing::error!("a compile thread ended with a panic");
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of a compile thread. A panic that leaves [`serve`] does not end it.
fn work(queue: &Queue, tally: &Arc<Tally>, priority: WorkerPriority) {
    let watched = Arc::clone(tally);
    let stopped = move || watched.stopped.load(Ordering::Acquire);
    with_partner(priority, stopped, || {
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| serve(queue, tally))) {
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            tally.panics.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Runs jobs until the queue is closed and empty, and pins again what a job has published.
fn serve(queue: &Queue, tally: &Tally) {
    let mut pins: VecDeque<Pinned> = VecDeque::new();
    loop {
        match queue.next(pins.front().map(|pinned| pinned.due)) {
            Ok(queued) => {
                pins.extend(Pinned::by(&queued.job));
                tally.contention.begin();
                wait_for_processor();
                queued.run();
                tally.contention.end();
            }
            Err(Idle::Due) => {
                if let Some(pinned) = pins.pop_front() {
                    pinned.again();
                }
            }
            Err(Idle::Closed) => return,
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
    fn by(job: &Job) -> Option<Self> {
        match &job.work {
            Work::TierUp { body, .. } => Some(Self {
                body: Arc::downgrade(body),
                due: Instant::now() + PIN_AGAIN_AFTER,
            }),
            Work::Ahead { .. } => None,
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
        let stopped = ticket.tally.stopped.load(Ordering::Acquire);
        let Job { function, work, .. } = job;
        let (body, part, cause) = match work {
            Work::TierUp { body, part, cause } => (body, part, cause),
            Work::Ahead { .. } if stopped => return,
            Work::Ahead { distance } => {
                let work = AssertUnwindSafe(|| engine.compile_ahead(&function, distance));
                if let Err(payload) = catch_unwind(work) {
                    ticket.tally.panics.fetch_add(1, Ordering::Relaxed);
                    std::mem::forget(payload);
                }
                return;
            }
        };
        if stopped {
            return body
                .tiering()
                .into_iter()
                .for_each(|tiering| tiering.stop(part));
        }
        let work = AssertUnwindSafe(|| engine.take_on(&function, &body, part, cause));
        if let Err(payload) = catch_unwind(work) {
            ticket.tally.panics.fetch_add(1, Ordering::Relaxed);
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
        let tally = Arc::clone(tally);
        Self {
            tally,
            awaited: true,
        }
    }

    /// For a job that may never be done.
    fn ahead(tally: &Arc<Tally>) -> Self {
        let tally = Arc::clone(tally);
        Self {
            tally,
            awaited: false,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.awaited {
            return;
        }
        self.tally.finished.fetch_add(1, Ordering::Relaxed);
        let mut open = lock(&self.tally.open);
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.tally.none.notify_all();
        }
    }
}

/// Locks what is in [`Shared`], which threads wait for a change of: not in a section ([`crate::fork`]).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
