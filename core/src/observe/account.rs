//! The account of time: what each thread spends on an engine, by phase.
//!
//! ```text
//!   enter(Link) ── until now: the phase before ──┐
//!   …                                            ├─▶ the thread's row ──▶ report
//!   dropped     ── until now: Link ──────────────┘
//! ```
//!
//! A phase within a phase stops the outer one's time. What a thread does outside of all phases is the rest: generated code and
//! the client's own, or for a compile thread decisions and the queue. So the phases and the rest are the whole time since
//! the thread first did something for the engine.
//!
//! Invariants:
//!
//! * *harmless*: a thread whose local data are gone, or a fiber that goes on elsewhere, makes times wrong, and nothing else.
//! * Two readings of the clock for each phase; no lock but the first time that a thread is seen. A phase counts while it lasts.
//!
//! Limitations: at which tier generated code spends its time is told by samples only. Time is the wall clock's: a thread that is kept
//! from a processor goes on in its phase. What a compile thread's partner computes counts for the compile thread that waits for it.
//!
//! Not here: compile times of versions (`units::version`).

use crate::report::{AccountReport, Phase, ThreadReport};
use indexmap::IndexMap;
use regraft_executor::locks::lock;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Rows of threads that have ended are added up when there are so many rows.
const MANY: usize = 64;

/// What threads have spent on an engine.
#[derive(Debug)]
pub(crate) struct Account {
    since: Instant,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    threads: Vec<Arc<Row>>,
    /// Of threads that have ended, by name.
    ended: IndexMap<String, Sum>,
}

/// The times of one thread, which alone writes them.
#[derive(Debug)]
struct Row {
    account: usize,
    name: String,
    since: Instant,
    /// Set when it has ended: how many nanoseconds it was there.
    lived: OnceLock<u64>,
    phases: [AtomicU64; Phase::ALL.len()],
    /// The phase that it is in, and since when ([`Open`]); 0 if it is in none.
    open: AtomicU64,
}

/// A phase that has begun, as one word: nanoseconds since the row was made, and the number of the phase, from 1.
#[derive(Clone, Copy)]
struct Open(u64);

impl Open {
    const NONE: Self = Self(0);

    fn new(since: u64, phase: Phase) -> Self {
        Self(since << 8 | (phase as u64 + 1))
    }

    /// Since when, and the index of the phase.
    fn parts(self) -> Option<(u64, usize)> {
        let phase = usize::try_from(self.0 & 0xff).ok()?;
        Some((self.0 >> 8, phase.checked_sub(1)?))
    }
}

/// How often a row is read again that changes meanwhile.
const TRIES: usize = 100;

/// The times of threads of one name, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    threads: usize,
    nanos: u64,
    phases: [u64; Phase::ALL.len()],
}

impl Row {
    fn sum(&self) -> Sum {
        let mut sum = Sum {
            threads: 1,
            ..Sum::default()
        };
        for _ in 0..TRIES {
            let open = self.open.load(Ordering::Acquire);
            let phases = self.phases.each_ref();
            sum.phases = phases.map(|phase| phase.load(Ordering::Acquire));
            let lived = self.lived.get().copied();
            sum.nanos = lived.unwrap_or_else(|| self.age(Instant::now()));
            if self.open.load(Ordering::Acquire) != open {
                continue;
            }
            if let Some((since, phase)) = Open(open).parts() {
                sum.phases[phase] += sum.nanos.saturating_sub(since);
            }
            break;
        }
        sum
    }

    /// Nanoseconds since it was made.
    fn age(&self, now: Instant) -> u64 {
        nanos(now.duration_since(self.since))
    }

    fn begin(&self, phase: Phase, now: Instant) {
        let open = Open::new(self.age(now), phase);
        self.open.store(open.0, Ordering::Release);
    }

    /// Adds the time of the phase that it is in.
    fn end(&self, now: Instant) {
        // Taken out first, so that nobody adds it twice.
        let open = Open(self.open.swap(Open::NONE.0, Ordering::AcqRel));
        if let Some((since, phase)) = open.parts() {
            let spent = self.age(now).saturating_sub(since);
            self.phases[phase].fetch_add(spent, Ordering::Release);
        }
    }
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.threads += other.threads;
        self.nanos += other.nanos;
        for (sum, other) in self.phases.iter_mut().zip(other.phases) {
            *sum += other;
        }
    }

    fn report(self, name: &str) -> ThreadReport {
        let spent = Phase::ALL.into_iter().zip(self.phases);
        let spent = spent.filter(|&(_, nanos)| nanos > 0);
        let accounted: u64 = self.phases.iter().sum();
        ThreadReport {
            name: name.to_string(),
            threads: self.threads,
            micros: self.nanos / 1_000,
            phases: spent.map(|(phase, nanos)| (phase, nanos / 1_000)).collect(),
            rest_micros: self.nanos.saturating_sub(accounted) / 1_000,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Account {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            rows: Mutex::default(),
        }
    }
}

impl Account {
    /// The calling thread is in `phase` until what is returned is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>, phase: Phase) -> InPhase {
        let entered = CLOCK.try_with(|clock| {
            let Ok(mut clock) = clock.try_borrow_mut() else {
                return false;
            };
            let now = clock.interrupt();
            let row = clock.row(self);
            row.begin(phase, now);
            clock.open.push((row, phase));
            true
        });
        InPhase {
            entered: entered.unwrap_or(false),
            _thread: PhantomData,
        }
    }

    /// In the child of a fork, whose only thread this is: the times of the others are their process's.
    pub fn after_fork(&self) {
        *lock(&self.rows) = Rows::default();
        let _gone = CLOCK.try_with(|clock| clock.take());
    }

    /// What has been spent so far.
    pub fn report(&self) -> AccountReport {
        let mut sums = IndexMap::new();
        {
            let rows = lock(&self.rows);
            sums.clone_from(&rows.ended);
            for row in &rows.threads {
                let sum: &mut Sum = sums.entry(row.name.clone()).or_default();
                sum.add(row.sum());
            }
        }
        AccountReport {
            micros: nanos(self.since.elapsed()) / 1_000,
            threads: sums.iter().map(|(name, sum)| sum.report(name)).collect(),
        }
    }

    /// A row for the calling thread.
    fn open(self: &Arc<Self>) -> Arc<Row> {
        let row = Arc::new(Row {
            account: self.key(),
            name: std::thread::current()
                .name()
                .unwrap_or_default()
                .to_string(),
            since: Instant::now(),
            lived: OnceLock::new(),
            phases: Default::default(),
            open: AtomicU64::new(Open::NONE.0),
        });
        let mut rows = lock(&self.rows);
        if rows.threads.len() >= MANY {
            let Rows { threads, ended } = &mut *rows;
            threads.retain(|row| {
                let gone = row.lived.get().is_some();
                if gone {
                    ended.entry(row.name.clone()).or_default().add(row.sum());
                }
                !gone
            });
        }
        rows.threads.push(Arc::clone(&row));
        row
    }

    /// Tells accounts apart that live at the same time.
    fn key(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }
}

/// A phase that the calling thread is in; dropped, it is over.
#[derive(Debug)]
pub(crate) struct InPhase {
    entered: bool,
    /// It is the thread's.
    _thread: PhantomData<*const ()>,
}

impl Drop for InPhase {
    fn drop(&mut self) {
        if self.entered {
            let _left = CLOCK.try_with(|clock| {
                if let Ok(mut clock) = clock.try_borrow_mut() {
                    let now = clock.interrupt();
                    clock.open.pop();
                    if let Some((row, phase)) = clock.open.last() {
                        row.begin(*phase, now);
                    }
                }
            });
        }
    }
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::default();
}

/// The phases that a thread is in.
#[derive(Default)]
struct Clock {
    rows: Vec<Arc<Row>>,
    /// The innermost last.
    open: Vec<(Arc<Row>, Phase)>,
}

impl Clock {
    /// Stops the time of the innermost phase; returns what time it is.
    fn interrupt(&self) -> Instant {
        let now = Instant::now();
        if let Some((row, _)) = self.open.last() {
            row.end(now);
        }
        now
    }

    /// The thread's row of an account.
    fn row(&mut self, account: &Arc<Account>) -> Arc<Row> {
        let key = account.key();
        // A row that nobody else has is of an engine that is gone, whose address another may have by now.
        self.rows.retain(|row| Arc::strong_count(row) > 1);
        let known = self.rows.iter().find(|row| row.account == key);
        match known {
            Some(row) => Arc::clone(row),
            None => {
                let row = account.open();
                self.rows.push(Arc::clone(&row));
                row
            }
        }
    }
}

impl Drop for Clock {
    /// The thread ends.
    fn drop(&mut self) {
        let now = Instant::now();
        for row in &self.rows {
            // Only this thread sets it, once.
            let _unset = row.lived.set(row.age(now));
        }
    }
}

#[cfg(test)]
mod tests;
