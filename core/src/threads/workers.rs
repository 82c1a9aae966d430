//! The background compile threads.
//!
//! ```text
//!   hot code ──▶ send ──▶ queue ──▶ a thread: run ──▶ published, skipped or failed
//!                  │                     │ (a panic ends the job, not the thread)
//!                  └── no thread to be had: the caller runs it
//! ```
//!
//! The most urgent job comes first: what has lost the most at tier 0, by what compiling it costs, as it is when a thread
//! is free. Where threads have to share processors it waits until it is afforded (`budget`), and what has gone cold meanwhile is
//! forgotten. First versions that are made ahead of their first call have a thread of their own, whose partner runs when a
//! processor has nothing else to do at all: it may be kept from it for as long as others run, so that nobody waits for it.
//!
//! Invariants:
//!
//! * A job that was sent is run, forgotten, abandoned or, with its engine, dropped, and is counted as finished
//!   once, whatever panics: [`Workers::wait_idle`] returns when none is left.
//! * A job that was not run leaves its part in a state that says so.
//! * After [`Workers::stop`] nothing is taken on.
//!
//! Jobs hold the engine weakly: an engine that nobody holds any more is not kept alive by its queue.
//! A job contains its own panics; what escapes it is contained here.
//!
//! Not here: what a job does (`job`), what of it is done at a low priority (`background`).

use crate::observe::account::Account;
use crate::pacing::rule::Load;
use crate::threads::job::Job;
use crate::threads::queue::{Queue, Queued, Tally, Ticket, WorkerFigures, lock};
use crate::threads::serve::{join, work};
use regraft_executor::locks;
use regraft_executor::priority::WorkerPriority;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The compile threads of an engine and their queue. The threads start with the first job.
#[derive(Debug)]
pub(crate) struct Workers {
    wanted: usize,
    priority: WorkerPriority,
    account: Arc<Account>,
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

impl Workers {
    /// No thread yet, and at most `wanted`; their time goes to `account`.
    pub fn new(wanted: usize, priority: WorkerPriority, account: Arc<Account>) -> Self {
        Self {
            wanted,
            priority,
            account,
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
            forgotten: AtomicU64::new(shared.tally.forgotten.load(Ordering::Relaxed)),
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
    pub fn send(&self, job: Box<dyn Job>) {
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
    pub fn send_ahead(&self, job: Box<dyn Job>) {
        let Shared { ahead, tally, .. } = self.shared();
        if tally.stopped.load(Ordering::Acquire) {
            return;
        }
        let mut thread = locks::lock(&self.ahead_thread);
        if thread.is_none() {
            let (queue, tally) = (Arc::clone(&ahead), Arc::clone(&tally));
            let account = Arc::clone(&self.account);
            let spawned = std::thread::Builder::new()
                .name("regraft-ahead".to_string())
                .spawn(move || work(&queue, &tally, &account, WorkerPriority::Idle));
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
    pub fn run(&self, job: Box<dyn Job>) {
        let ticket = Ticket::new(&self.tally());
        Queued { job, ticket }.run();
    }

    /// Waits until every job sent so far is finished.
    pub fn wait_idle(&self) {
        let Shared { queue, tally, .. } = self.shared();
        tally.budget.hurry(|| {
            queue.look_again();
            let open = lock(&tally.open);
            let waited = tally.none.wait_while(open, |open| *open > 0);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        });
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
            let account = Arc::clone(&self.account);
            let thread = std::thread::Builder::new()
                .name("regraft-compile".to_string())
                .spawn(move || work(&queue, &tally, &account, priority));
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

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}
