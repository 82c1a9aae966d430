//! The queue of the compile threads, and the count of what is open.
//!
//! Invariants:
//!
//! * A job that was queued is counted as finished once, whatever becomes of it: when its ticket is dropped.
//! * The most urgent job that has not gone cold is the next, and none before it: what is not afforded keeps others back.
//! * Obsolete jobs leave the queue whenever it is looked through, so that it does not grow with what was replaced.

use crate::threads::budget::Budget;
use crate::threads::contention::Contention;
use crate::threads::job::{Ended, Job};
use regraft_executor::section::section;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The jobs that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub jobs: Mutex<Waiting>,
    pub changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub jobs: VecDeque<Queued>,
    pub closed: bool,
}

impl Waiting {
    /// Takes out the jobs that are obsolete: to be dropped when nothing is locked.
    fn take_obsolete(&mut self) -> Vec<Queued> {
        if !self.jobs.iter().any(|queued| queued.job.is_obsolete()) {
            return vec![];
        }
        let jobs = std::mem::take(&mut self.jobs);
        let (obsolete, rest): (VecDeque<_>, _) = jobs
            .into_iter()
            .partition(|queued| queued.job.is_obsolete());
        self.jobs = rest;
        obsolete.into()
    }

    /// Takes the most urgent job out, of equally urgent ones the first; or says how long it has to wait.
    fn take(&mut self, wait: &dyn Fn(&dyn Job) -> Option<Duration>) -> Option<Taken> {
        let mut most = None;
        for (at, queued) in self.jobs.iter().enumerate() {
            let urgency = queued.job.urgency();
            if most.is_none_or(|(_, most)| urgency > most) {
                most = Some((at, urgency));
            }
        }
        let (at, _) = most?;
        let wait = match self.closed {
            true => None,
            false => wait(&*self.jobs.get(at)?.job),
        };
        match wait {
            Some(wait) => Some(Taken::Waits(wait)),
            None => self.jobs.remove(at).map(Taken::Job),
        }
    }
}

/// What [`Waiting::take`] finds.
enum Taken {
    Job(Queued),
    Waits(Duration),
}

/// Why [`Queue::next`] returns without a job.
pub(crate) enum Idle {
    /// It is late.
    Due,
    /// The queue was closed and is empty.
    Closed,
}

impl Queue {
    pub fn push(&self, queued: Queued) {
        lock(&self.jobs).jobs.push_back(queued);
        self.changed.notify_one();
    }

    pub fn close(&self) {
        lock(&self.jobs).closed = true;
        self.changed.notify_all();
    }

    /// Has whoever waits for a job look again.
    pub fn look_again(&self) {
        drop(lock(&self.jobs));
        self.changed.notify_all();
    }

    /// Waits for a job, until `due` at the latest; and longer for one that is to `wait`.
    pub fn next(
        &self,
        due: Option<Instant>,
        wait: &dyn Fn(&dyn Job) -> Option<Duration>,
    ) -> Result<Queued, Idle> {
        loop {
            let mut until = due;
            let mut length = 0;
            // Dropped after the section.
            let obsolete;
            {
                // Urgency takes locks: whoever waits for the queue is in a section then, and so must this be.
                let _section = section();
                let mut waiting = lock(&self.jobs);
                obsolete = waiting.take_obsolete();
                match waiting.take(wait) {
                    Some(Taken::Job(queued)) => return Ok(queued),
                    Some(Taken::Waits(wait)) => {
                        let look = Instant::now() + wait;
                        until = Some(due.map_or(look, |due| due.min(look)));
                        length = waiting.jobs.len();
                    }
                    None if waiting.closed => return Err(Idle::Closed),
                    None => {}
                }
            }
            drop(obsolete);
            // A section does not wait.
            let waiting = lock(&self.jobs);
            if waiting.jobs.len() != length || waiting.closed {
                continue;
            }
            match until {
                None => {
                    let woken = self.changed.wait(waiting);
                    drop(woken.unwrap_or_else(PoisonError::into_inner));
                }
                Some(until) => {
                    let now = Instant::now();
                    if due.is_some_and(|due| due <= now) {
                        return Err(Idle::Due);
                    }
                    let left = until.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(waiting, left);
                    drop(woken.unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }
}

/// What the threads have done and have yet to do.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Jobs taken on and not finished.
    pub open: Mutex<usize>,
    pub none: Condvar,
    pub finished: AtomicU64,
    pub panics: AtomicU64,
    pub stopped: AtomicBool,
    /// Jobs that were forgotten since they had gone cold; they are finished as well.
    pub forgotten: AtomicU64,
    pub contention: Contention,
    pub budget: Budget,
}

/// A job in the queue. Fields are dropped in this order: the ticket last.
pub(crate) struct Queued {
    pub job: Box<dyn Job>,
    pub ticket: Ticket,
}

/// Stands for a job.
pub(crate) struct Ticket {
    pub tally: Arc<Tally>,
    /// Whether somebody may wait for it.
    pub awaited: bool,
}

/// What the workers of an engine have done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerFigures {
    pub threads: usize,
    pub finished: u64,
    pub panics: u64,
    pub open: usize,
}

impl Queued {
    /// Whether it is to be forgotten: it has gone cold, processors are wanted by others, and nobody waits for it.
    fn is_to_be_forgotten(&self) -> bool {
        let tally = &self.ticket.tally;
        let stopped = tally.stopped.load(Ordering::Acquire);
        !stopped
            && self.job.has_gone_cold()
            && !tally.budget.is_awaited()
            && tally.contention.is_contended()
    }

    /// Runs the job, or forgets it, and counts it as finished.
    pub fn run_if_hot(self) {
        if !self.is_to_be_forgotten() {
            let tally = Arc::clone(&self.ticket.tally);
            return tally.budget.charge(|| self.run());
        }
        tracing::debug!(job = ?self.job, "gone cold");
        self.ticket.tally.forgotten.fetch_add(1, Ordering::Relaxed);
        self.job.forget();
    }

    /// Runs the job, and counts it as finished.
    pub fn run(self) {
        let Self { job, ticket } = self;
        let stopped = ticket.tally.stopped.load(Ordering::Acquire);
        if job.run(stopped) == Ended::Panicked {
            ticket.tally.panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.job.fmt(f)
    }
}

impl Ticket {
    pub fn new(tally: &Arc<Tally>) -> Self {
        *lock(&tally.open) += 1;
        let tally = Arc::clone(tally);
        Self {
            tally,
            awaited: true,
        }
    }

    /// For a job that may never be done.
    pub fn ahead(tally: &Arc<Tally>) -> Self {
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
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
