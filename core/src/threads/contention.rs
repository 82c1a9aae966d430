//! Whether compile threads have processors to themselves.
//!
//! A compile thread on a free processor costs the program nothing; one that has to share takes time from it. What tells
//! is how many threads the system has that can run.
//!
//! Invariants: *harmless*: a wrong answer makes compiling early or late.
//!
//! Limitations: only Linux tells; elsewhere only a single processor counts as contended. What a container may use is
//! compared with what the whole system runs.
//!
//! Not here: what follows from it (`pacing`).

use regraft_executor::priority::WorkerPriority;
use regraft_executor::section::section;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What is known of the processors.
#[derive(Debug)]
pub(crate) struct Contention {
    /// Compile threads that have a job in hand, and among them those that run only where nothing else does.
    working: AtomicUsize,
    yielding: AtomicUsize,
    contended: AtomicBool,
    look: Mutex<Look>,
}

#[derive(Debug)]
struct Look {
    next: Instant,
    /// Looks that have shown contention, less those that have not; between 0 and [`MOST`].
    score: u32,
}

/// The highest score.
const MOST: u32 = 8;

/// From which score on processors count as contended, and up to which they count as free again. Threads that run for a
/// moment are no load.
const HIGH: u32 = 6;
const LOW: u32 = 2;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(1);

impl Default for Contention {
    fn default() -> Self {
        // Else a program that has just been started would take its own start for load.
        let contended = processors() == 1;
        Self {
            working: AtomicUsize::new(0),
            yielding: AtomicUsize::new(0),
            contended: AtomicBool::new(contended),
            look: Mutex::new(Look {
                next: Instant::now() + INTERVAL,
                score: if contended { HIGH } else { 0 },
            }),
        }
    }
}

impl Contention {
    /// A compile thread of this priority has a job in hand while `job` runs.
    pub fn working<R>(&self, priority: WorkerPriority, job: impl FnOnce() -> R) -> R {
        let count = match priority {
            WorkerPriority::Idle => &self.yielding,
            _ => &self.working,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let result = job();
        count.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Says so from now on, whatever the machine does.
    #[cfg(test)]
    pub fn pretend(&self, contended: bool) {
        self.contended.store(contended, Ordering::Relaxed);
        if let Ok(mut look) = self.look.lock() {
            look.next = Instant::now() + Duration::from_secs(3_600);
        }
    }

    /// Whether a compile thread has or would have to share its processor.
    pub fn is_contended(&self) -> bool {
        let now = Instant::now();
        if let Ok(mut look) = self.look.try_lock()
            && now >= look.next
        {
            // After a long time, one look is as good as several.
            let late = now.duration_since(look.next).as_millis();
            let step = u32::try_from(late / 2).unwrap_or(MOST).min(MOST) + 1;
            look.next = now + INTERVAL;
            let [working, yielding] =
                [&self.working, &self.yielding].map(|count| count.load(Ordering::Relaxed));
            let threads = runnable_threads().unwrap_or(1);
            look.score = match is_contended(threads, working, yielding, processors()) {
                true => (look.score + step).min(MOST),
                false => look.score.saturating_sub(step),
            };
            if look.score >= HIGH {
                self.contended.store(true, Ordering::Relaxed);
            } else if look.score <= LOW {
                self.contended.store(false, Ordering::Relaxed);
            }
        }
        self.contended.load(Ordering::Relaxed)
    }
}

/// Whether there are more threads that can run than processors, with at least one compile thread among them; `working`
/// of them run already. Who yields to all others takes a processor from nobody.
fn is_contended(threads: usize, working: usize, yielding: usize, processors: usize) -> bool {
    let missing = usize::from(working == 0);
    threads.saturating_sub(yielding).max(1) + missing > processors
}

/// How many processors this process may use.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    // The system is asked through several files.
    PROCESSORS.get().copied().unwrap_or_else(|| {
        // No fork comes in between, whose child would wait for ever.
        let _section = section();
        let ask = || std::thread::available_parallelism().map_or(1, usize::from);
        *PROCESSORS.get_or_init(ask)
    })
}

/// How many threads of the system run or could run now, where it tells.
///
/// The fourth field of `/proc/loadavg`: proc(5).
fn runnable_threads() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let running = text.split_whitespace().nth(3)?;
    running.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_executor::locks::lock;

    #[test]
    fn a_system_that_tells_has_a_thread_that_runs() {
        if let Some(threads) = runnable_threads() {
            assert!(threads >= 1);
        }
    }

    #[test]
    fn who_yields_is_no_load() {
        // On two processors: a program, and a compile thread that runs or would.
        assert!(!is_contended(1, 0, 0, 2) && !is_contended(2, 1, 0, 2));
        // What is compiled ahead besides takes nothing from them, another program does.
        assert!(!is_contended(3, 1, 1, 2) && !is_contended(2, 0, 1, 2));
        assert!(is_contended(3, 1, 0, 2) && is_contended(2, 0, 0, 2));
        assert!(is_contended(4, 1, 1, 2));
        // One processor is never free; more may yield than were seen.
        assert!(is_contended(0, 0, 7, 1));
    }

    #[test]
    fn jobs_count_while_they_run_by_priority() {
        let contention = Contention::default();
        let counts = || {
            [&contention.working, &contention.yielding].map(|count| count.load(Ordering::Relaxed))
        };
        for (priority, expected) in [
            (WorkerPriority::Inherited, [1, 0]),
            (WorkerPriority::Nice(5), [1, 0]),
            (WorkerPriority::Idle, [0, 1]),
        ] {
            assert_eq!(contention.working(priority, counts), expected);
            assert_eq!(counts(), [0, 0]);
        }
    }

    #[test]
    fn one_look_alone_changes_nothing() {
        let contention = Contention::default();
        let mut look = lock(&contention.look);
        look.next = Instant::now();
        look.score = (HIGH + LOW) / 2;
        drop(look);
        for contended in [false, true] {
            contention.contended.store(contended, Ordering::Relaxed);
            lock(&contention.look).next = Instant::now();
            assert_eq!(contention.is_contended(), contended);
            lock(&contention.look).score = (HIGH + LOW) / 2;
        }
    }
}
