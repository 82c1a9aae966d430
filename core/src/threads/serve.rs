//! The life of a compile thread.

use crate::observe::account::Account;
use crate::report::Phase;
use crate::threads::background::{wait_for_processor, with_partner};
use crate::threads::job::{Afterwards, Job};
use crate::threads::queue::{Idle, Queue, Tally};
use regraft_executor::priority::WorkerPriority;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Waits for a compile thread to end.
pub(crate) fn join(thread: JoinHandle<()>) {
    // The engine may be dropped by a job: a thread does not wait for itself.
    if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
        tracing::error!("a compile thread ended with a panic");
    }
}

/// The life of a compile thread. A panic that leaves [`serve`] does not end it.
pub(crate) fn work(
    queue: &Queue,
    tally: &Arc<Tally>,
    account: &Arc<Account>,
    priority: WorkerPriority,
) {
    let watched = Arc::clone(tally);
    let affords = Affords {
        tally: Arc::clone(tally),
        priority,
    };
    let stopped = move || watched.stopped.load(Ordering::Acquire);
    with_partner(priority, stopped, || {
        while let Err(payload) =
            catch_unwind(AssertUnwindSafe(|| serve(queue, tally, account, &affords)))
        {
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            tally.panics.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Who says whether a job is afforded.
struct Affords {
    tally: Arc<Tally>,
    priority: WorkerPriority,
}

impl Affords {
    /// How long a job has to wait, if it has to.
    fn wait(&self, job: &dyn Job) -> Option<Duration> {
        // Who has a lower priority takes nothing from the program.
        let shares = self.priority == WorkerPriority::Inherited;
        let instructions = job.to_afford().filter(|_| shares)?;
        let Tally {
            budget, contention, ..
        } = &*self.tally;
        // What has gone cold is not waited for, but forgotten.
        let wait = budget.wait(instructions, || contention.is_contended());
        wait.filter(|_| !job.has_gone_cold())
    }
}

/// Runs jobs until the queue is closed and empty, and what comes after them.
fn serve(queue: &Queue, tally: &Tally, account: &Arc<Account>, affords: &Affords) {
    let mut later: VecDeque<(Instant, Afterwards)> = VecDeque::new();
    loop {
        let waiting = account.enter(Phase::Wait);
        let next = queue.next(later.front().map(|&(due, _)| due), &|job| affords.wait(job));
        drop(waiting);
        match next {
            Ok(queued) => {
                let afterwards = queued.job.afterwards();
                later.extend(afterwards.map(|afterwards| (Instant::now() + AFTER, afterwards)));
                tally.contention.working(affords.priority, || {
                    let waiting = account.enter(Phase::Wait);
                    wait_for_processor();
                    drop(waiting);
                    queued.run_if_hot();
                });
            }
            Err(Idle::Due) => {
                if let Some((_, afterwards)) = later.pop_front() {
                    afterwards();
                }
            }
            Err(Idle::Closed) => return,
        }
    }
}

/// How long after a job what comes afterwards is done: longer than a thread is usually kept between a load and a store.
const AFTER: Duration = Duration::from_millis(20);
