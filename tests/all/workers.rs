//! The compile threads: several at work, panics in them, shutting down.

use crate::tiering::{COLD, cold_model, eager_to_tier, engine};
use regraft::config::{Faults, Stage, WorkerPriority};
use regraft::report::{PartState, SideExitState};
use regraft::{CompileMode, Config, Engine, Error, Report};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

const SUM: &str = include_str!("../../outliner/testdata/sum.clif");

/// Functions of these tests.
const FUNCTIONS: usize = 24;

fn background(workers: usize) -> Config {
    eager_to_tier(10)
        .compile(CompileMode::Background)
        .workers(workers)
}

fn sums() -> String {
    let sum = |number| SUM.replace("%sum", &format!("%sum{number}"));
    (0..FUNCTIONS).map(sum).collect()
}

/// Calls each function with as many iterations as make it hot.
fn call_all(engine: &Engine) {
    for number in 0..FUNCTIONS {
        call(engine, &format!("sum{number}"));
    }
}

fn call(engine: &Engine, name: &str) {
    let id = engine.lookup(name).expect("it is declared");
    let sum = engine.get::<(i64,), i64>(id).expect("the types agree");
    // SAFETY: the function touches no memory.
    assert_eq!(unsafe { sum.call((1000,)) }, 499_500);
}

/// How many loops are in this state.
fn count(report: &Report, state: PartState) -> usize {
    let regions = report
        .functions
        .values()
        .flat_map(|function| &function.regions);
    regions.filter(|region| region.part.state == state).count()
}

#[test]
fn several_workers_compile_everything_and_idle_means_idle() {
    for workers in [1, 2, 5] {
        let engine = engine(background(workers), &sums());
        call_all(&engine);
        engine.wait_idle();
        let report = engine.report();
        assert_eq!(count(&report, PartState::Published), FUNCTIONS);
        assert_eq!(report.workers.threads, workers);
        assert_eq!(report.workers.jobs, FUNCTIONS as u64);
        assert_eq!((report.workers.panics, report.workers.queued), (0, 0));
    }
}

/// A gate for compilations: counts those that wait, lets them through once opened.
#[derive(Default)]
struct Gate {
    waiting: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Relaxed);
        let open = self.open.lock().expect("nobody panics with it");
        drop(self.opened.wait_while(open, |open| !*open));
    }

    fn open(&self) {
        *self.open.lock().expect("nobody panics with it") = true;
        self.opened.notify_all();
    }

    /// Waits until so many compilations are at the gate.
    fn wait_for(&self, waiting: usize) {
        while self.waiting.load(Relaxed) < waiting {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// An engine whose tier-1 compilations wait at a gate.
fn gated(workers: usize) -> (Engine, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let at = Arc::clone(&gate);
    let faults = Faults::new(move |stage, _| {
        if stage == Stage::Codegen(1) {
            at.pass();
        }
        false
    });
    let config = background(workers).faults(Some(faults));
    (engine(config, &sums()), gate)
}

#[test]
fn workers_compile_at_the_same_time_and_no_part_twice() {
    let (engine, gate) = gated(3);
    for _ in 0..3 {
        call_all(&engine);
    }
    gate.wait_for(3);
    assert_eq!(engine.report().workers.queued, FUNCTIONS);
    gate.open();
    engine.wait_idle();
    let report = engine.report();
    assert_eq!(count(&report, PartState::Published), FUNCTIONS);
    assert_eq!(report.workers.jobs, FUNCTIONS as u64);
    assert_eq!(gate.waiting.load(Relaxed), FUNCTIONS);
}

#[test]
fn a_shutdown_finishes_what_is_in_hand_and_leaves_the_rest() {
    let (engine, gate) = gated(2);
    call_all(&engine);
    gate.wait_for(2);
    std::thread::scope(|scope| {
        let down = scope.spawn(|| engine.shutdown());
        // Those in hand end, and only then the shutdown does.
        std::thread::sleep(Duration::from_millis(20));
        assert!(!down.is_finished());
        gate.open();
    });
    let report = engine.report();
    assert_eq!(count(&report, PartState::Published), 2);
    assert_eq!(count(&report, PartState::Stopped), FUNCTIONS - 2);
    assert_eq!((report.workers.threads, report.workers.queued), (0, 0));
    // Code goes on; what gets hot now stays where it is; a second shutdown is none.
    for _ in 0..100 {
        call_all(&engine);
    }
    engine.wait_idle();
    engine.shutdown();
    let report = engine.report();
    assert_eq!(count(&report, PartState::Published), 2);
    let stopped = report
        .functions
        .values()
        .flat_map(|function| &function.regions);
    for region in stopped.filter(|region| region.part.state == PartState::Stopped) {
        assert!(region.part.requests <= 2, "{}", region.part.requests);
    }
}

/// After a shutdown side exits are still compiled, as code that has left tier 0 has nowhere else to go; but a region
/// is not re-formed.
#[test]
fn side_exits_survive_a_shutdown() {
    for compile in [CompileMode::Synchronous, CompileMode::Background] {
        let config = eager_to_tier(100).compile(compile);
        let engine = engine(config, COLD);
        let id = engine.lookup("cold").expect("it is declared");
        let cold = engine.get::<(i64, i64), i64>(id).expect("the types agree");
        // SAFETY: the function touches no memory.
        let run = |n, from| unsafe { cold.call((n, from)) };
        assert_eq!(run(5000, 1 << 40), cold_model(5000, 1 << 40));
        engine.wait_idle();
        engine.shutdown();
        assert_eq!(run(50_000, 1000), cold_model(50_000, 1000));
        let part = &engine.report().functions["cold"].regions[0].part;
        assert_eq!((part.state.as_str(), part.formations), ("published", 1));
        assert_eq!(part.side_exits[0].state, SideExitState::Compiled);
        assert!(part.given_up.contains("shut down"), "{}", part.given_up);
    }
}

/// Panics outside of the compiler: the job fails, the thread lives, and the report says so.
#[test]
fn a_panic_in_a_worker_is_contained_and_reported() {
    for compile in [CompileMode::Synchronous, CompileMode::Background] {
        let faults = Faults::new(|stage, name| match stage {
            Stage::Job if !name.ends_with('7') => panic!("injected panic"),
            _ => false,
        });
        let config = background(2)
            .compile(compile)
            .faults(Some(faults))
            .max_attempts(1);
        let engine = engine(config, &sums());
        for _ in 0..3 {
            call_all(&engine);
            engine.wait_idle();
        }
        let report = engine.report();
        // Of 24 functions, 7 and 17 are spared.
        assert_eq!(count(&report, PartState::Published), 2);
        assert_eq!(count(&report, PartState::Failed), FUNCTIONS - 2);
        assert_eq!(report.workers.panics, FUNCTIONS as u64 - 2);
        assert_eq!(report.workers.jobs, FUNCTIONS as u64);
        let threads = [0, 2][usize::from(compile == CompileMode::Background)];
        assert_eq!(
            (report.workers.threads, report.workers.queued),
            (threads, 0)
        );
        let reason = &report.functions["sum1"].regions[0].part.reason;
        assert!(reason.contains("injected panic"), "{reason}");
    }
}

#[test]
fn a_panic_in_the_compiler_is_counted() {
    let faults = Faults::new(|stage, _| match stage {
        Stage::Memory => panic!("injected panic"),
        _ => false,
    });
    let config = background(1).faults(Some(faults)).max_attempts(1);
    let engine = engine(config, SUM);
    call(&engine, "sum");
    engine.wait_idle();
    assert_eq!(engine.report().workers.panics, 1);
}

#[test]
fn an_engine_can_go_while_its_queue_is_full() {
    for workers in [1, 4] {
        let (engine, gate) = gated(workers);
        call_all(&engine);
        gate.wait_for(workers);
        // What runs holds the engine; the last job drops it.
        drop(engine);
        gate.open();
    }
}

/// Threads shut one engine down and go on using it: nobody waits for ever.
#[test]
fn shutdowns_and_calls_at_once() {
    for _ in 0..10 {
        let engine = engine(background(2), &sums());
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (engine, barrier) = (&engine, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    if thread == 3 {
                        call(engine, "sum0");
                        engine.shutdown();
                    }
                    call_all(engine);
                    engine.wait_idle();
                });
            }
        });
        engine.shutdown();
        let report = engine.report();
        assert_eq!(
            count(&report, PartState::Published) + count(&report, PartState::Stopped),
            FUNCTIONS
        );
        assert_eq!((report.workers.threads, report.workers.queued), (0, 0));
    }
}

#[test]
fn no_workers_are_refused_where_some_are_needed() {
    let error = Engine::new(background(0)).expect_err("nobody would compile");
    assert!(matches!(error, Error::NoWorkers), "{error}");
    let config = background(0).compile(CompileMode::Synchronous);
    let engine = engine(config, SUM);
    call(&engine, "sum");
    assert_eq!(count(&engine.report(), PartState::Published), 1);
}

/// Whatever the system makes of the priority, code is compiled; on Linux the threads have it.
#[test]
fn workers_have_the_priority_that_was_asked_for() {
    let priorities = [
        (WorkerPriority::Inherited, None),
        (WorkerPriority::Nice(7), Some((7, 0))),
        (WorkerPriority::Idle, Some((0, 5))),
        (WorkerPriority::Nice(-20), None),
    ];
    for (worker_priority, expected) in priorities {
        let seen = Arc::new(Mutex::new(None));
        let at = Arc::clone(&seen);
        let faults = Faults::new(move |stage, _| {
            if stage == Stage::Codegen(1) {
                *at.lock().expect("nobody panics with it") = own_nice_and_policy();
            }
            false
        });
        let config = background(1)
            .worker_priority(worker_priority)
            .faults(Some(faults));
        let engine = engine(config, SUM);
        call(&engine, "sum");
        engine.wait_idle();
        assert_eq!(count(&engine.report(), PartState::Published), 1);
        let seen = *seen.lock().expect("nobody panics with it");
        if let (Some(expected), Some((nice, policy))) = (expected, seen) {
            assert_eq!(policy, expected.1, "{worker_priority:?}");
            assert!(nice == expected.0 || policy == 5, "{worker_priority:?}");
        }
    }
}

/// The nice value and the scheduling policy of this thread, where the system tells.
fn own_nice_and_policy() -> Option<(i64, i64)> {
    let status = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    // The name is in parentheses and may hold blanks; the state behind it is the third field.
    let fields: Vec<&str> = status.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some((field(19)?, field(41)?))
}
