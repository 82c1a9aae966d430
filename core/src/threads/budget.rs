//! How much of the processors compile threads may take where they have to share them.
//!
//! ```text
//!   the program has run ──▶ a share of that ──▶ less what was spent ──▶ enough for the next job, or how long to wait
//! ```
//!
//! What is compiled in the background on a busy machine is taken from the program. A program that ends soon never gets it
//! back; so compiling is paid for by running: the most urgent job waits until it is afforded, and others with it, as they
//! are worth less.
//!
//! Invariants:
//!
//! * Nothing waits while processors are free, when threads stop, or for somebody who waits for all jobs.
//! * *No starvation*: a job waits at most for the time in which its cost would be the budget's share of the time that
//!   passes since the job before it. So what a program that sleeps has in the queue is compiled.
//!
//! Limitations: what the process does besides counts as the program's time, compiling of other engines too. Of code
//! in another process only the time that passes is known.
//!
//! Not here: the share, and what things cost (`pacing::rule`); when processors are free (`contention`).

use crate::pacing::rule::{RULE, Rule};
use regraft_executor::clock::{process_time, thread_time};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What compile threads have spent.
#[derive(Debug)]
pub(crate) struct Budget {
    /// When it began, by the time that passes and by the process's clock.
    begun: Instant,
    ran_before: Duration,
    /// Processor time of compile threads, in nanoseconds.
    spent: AtomicU64,
    /// When the last job was over, in nanoseconds since it began.
    last: AtomicU64,
    /// How many wait for all jobs.
    awaited: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            ran_before: process_time(),
            spent: AtomicU64::new(0),
            last: AtomicU64::new(0),
            awaited: AtomicUsize::new(0),
        }
    }
}

/// A job is looked at again after so long at the latest, and at the soonest.
const LATEST: Duration = Duration::from_millis(20);
const SOONEST: Duration = Duration::from_micros(500);

impl Budget {
    /// How long a job of so many instructions has to wait before it is worth another look; nothing if it may begin.
    pub fn wait(
        &self,
        instructions: usize,
        is_contended: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        if self.is_awaited() {
            return None;
        }
        let ran = nanos(process_time().saturating_sub(self.ran_before));
        let spent = self.spent.load(Ordering::Relaxed);
        let ran = ran.saturating_sub(spent);
        let since = nanos(self.begun.elapsed());
        let since = since.saturating_sub(self.last.load(Ordering::Relaxed));
        let wait = wait(&RULE, instructions, [spent, ran, since]);
        wait.filter(|_| is_contended())
    }

    /// Runs a job on this thread, and counts what it takes.
    pub fn charge<R>(&self, job: impl FnOnce() -> R) -> R {
        let before = thread_time();
        let result = job();
        let spent = thread_time().saturating_sub(before);
        self.spent.fetch_add(nanos(spent), Ordering::Relaxed);
        self.last
            .store(nanos(self.begun.elapsed()), Ordering::Relaxed);
        result
    }

    /// Somebody waits for all jobs, until `until` returns.
    pub fn hurry<R>(&self, until: impl FnOnce() -> R) -> R {
        self.awaited.fetch_add(1, Ordering::Relaxed);
        let result = until();
        self.awaited.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Whether somebody waits for all jobs.
    pub fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) > 0
    }
}

/// How long a job waits, of what was spent, how long the program ran, and how long ago the last job was, in nanoseconds.
fn wait(rule: &Rule, instructions: usize, [spent, ran, since]: [u64; 3]) -> Option<Duration> {
    let [spent, ran, since] = [spent, ran, since].map(|time| time as f64);
    if rule.affords(spent, ran, instructions) || rule.affords(0.0, since, instructions) {
        return None;
    }
    let cost = rule.tier1.at(instructions);
    let missing = ((spent + cost) / rule.budget - ran).min(cost / rule.budget - since);
    // `as` saturates.
    let wait = Duration::from_nanos(missing as u64);
    Some(wait.clamp(SOONEST, LATEST))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1_000;

    fn cost() -> u64 {
        RULE.tier1.at(SIZE) as u64 + 1
    }

    /// How long a program has to run to afford a job.
    fn enough() -> u64 {
        (cost() as f64 / RULE.budget) as u64 + 1
    }

    #[test]
    fn running_affords_compiling() {
        let waits = |times| wait(&RULE, SIZE, times).is_some();
        assert!(waits([0, 0, 0]));
        assert!(!waits([0, enough(), 0]));
        assert!(waits([cost(), enough(), 0]));
        assert!(!waits([cost(), 2 * enough(), 0]));
    }

    #[test]
    fn a_program_that_sleeps_has_its_jobs_done() {
        let spent = 1_000_000_000;
        assert!(wait(&RULE, SIZE, [spent, 0, enough() / 2]).is_some());
        assert_eq!(wait(&RULE, SIZE, [spent, 0, enough()]), None);
    }

    #[test]
    fn it_is_looked_again_soon_and_not_too_soon() {
        for instructions in [0, SIZE, usize::MAX] {
            for times in [[0, 0, 0], [u64::MAX, 0, 0], [0, enough() - 100, 0]] {
                if let Some(wait) = wait(&RULE, instructions, times) {
                    assert!((SOONEST..=LATEST).contains(&wait), "{wait:?}");
                }
            }
        }
    }

    #[test]
    fn only_who_has_to_share_waits_and_for_nobody_who_is_waited_for() {
        let budget = Budget::default();
        // More than any program has run.
        let huge = usize::MAX / 2;
        assert!(budget.wait(huge, || true).is_some());
        assert_eq!(budget.wait(huge, || false), None);
        assert_eq!(budget.hurry(|| budget.wait(huge, || true)), None);
        assert!(budget.wait(huge, || true).is_some());
    }

    #[test]
    fn what_a_job_takes_is_charged() {
        let budget = Budget::default();
        budget.charge(|| {
            let before = thread_time();
            while thread_time() == before {}
        });
        assert!(budget.spent.load(Ordering::Relaxed) > 0);
        assert!(budget.last.load(Ordering::Relaxed) > 0);
    }
}
