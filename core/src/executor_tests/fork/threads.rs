//! Forks while other threads are at work.

use super::*;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// For how long a test forks, at most: less than it may take.
const TIME: Duration = Duration::from_secs(20);

/// Whether a loop of the function is at tier 1.
fn is_hot(engine: &Engine, function: &str) -> bool {
    let report = engine.report();
    let mut regions = report.functions[function].regions.iter();
    regions.any(|region| !region.versions.is_empty())
}

/// Threads that define, call and free, and compile threads, at each of many forks.
#[test]
fn threads_at_work_leave_no_lock_behind() {
    alone("threads::threads_at_work_leave_no_lock_behind", || {
        // Compiles ahead, too.
        let engine = engine(
            config()
                .compile(CompileMode::Background)
                .compilation(Compilation::AtFirstCall)
                .pacing(Pacing::Cost)
                .workers(2),
        );
        let stop = AtomicBool::new(false);
        let f = define(&engine, "f", 2).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (engine, stop) = (&engine, &stop);
                scope.spawn(move || {
                    for round in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let id = define(engine, &format!("f{thread}_{round}"), round).unwrap();
                        check(engine, id, 500, round);
                        engine.remove(id).unwrap();
                    }
                });
            }
            // An emulator, or a machine that is busy, does fewer in time.
            let start = Instant::now();
            for round in (0..60).take_while(|&round| round < 3 || start.elapsed() < TIME) {
                let child = Forked::new(|| {
                    check(&engine, f, 500, 2);
                    let id = define(&engine, "child", round).unwrap();
                    for _ in 0..20 {
                        check(&engine, id, 500, round);
                    }
                    engine.wait_idle();
                    engine.remove(id).unwrap();
                    engine.report();
                });
                child.succeeds();
            }
            stop.store(true, Ordering::Relaxed);
        });
        check(&engine, f, 500, 2);
    });
}

/// A job that a compile thread has in hand is not finished in the child: its part is found again there.
#[test]
fn background_compilation_begins_anew() {
    alone("threads::background_compilation_begins_anew", || {
        let barrier = Arc::new(Barrier::new(2));
        let (reached, parent) = (Arc::clone(&barrier), std::process::id());
        let engine = engine(
            config()
                .compile(CompileMode::Background)
                .entry_threshold(u32::MAX)
                .faults(Some(Faults::new(move |stage, _| {
                    if stage == crate::config::Stage::Job && std::process::id() == parent {
                        // Taken on, and not finished before the child is done.
                        reached.wait();
                        reached.wait();
                    }
                    false
                }))),
        );
        let f = define(&engine, "f", 2).unwrap();
        check(&engine, f, 100, 2);
        barrier.wait();
        let child = Forked::new(|| {
            assert!(!is_hot(&engine, "f"));
            engine.wait_idle();
            while !is_hot(&engine, "f") {
                check(&engine, f, 10_000, 2);
                engine.wait_idle();
            }
            check(&engine, f, 1000, 2);
            engine.shutdown();
        });
        child.succeeds();
        barrier.wait();
        engine.wait_idle();
        assert!(is_hot(&engine, "f"));
        check(&engine, f, 1000, 2);
    });
}

/// Threads that are inside generated code in the parent hold nothing up in the child.
#[test]
fn what_is_retired_in_the_child_is_freed() {
    alone("threads::what_is_retired_in_the_child_is_freed", || {
        let engine = engine(config());
        let f = define(&engine, "f", 2).unwrap();
        let (inside, outside) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                engine.pinned(|| {
                    inside.wait();
                    outside.wait();
                });
            });
            inside.wait();
            redefine(&engine, f, 3);
            engine.collect();
            assert!(engine.memory().waiting > 0);
            let child = Forked::new(|| {
                engine.collect();
                assert_eq!(engine.memory().waiting, 0);
                // One's own pin counts.
                engine.pinned(|| {
                    redefine(&engine, f, 4);
                    assert!(engine.memory().waiting > 0);
                });
                check(&engine, f, 1000, 4);
            });
            child.succeeds();
            outside.wait();
        });
        check(&engine, f, 1000, 3);
    });
}

/// The child has neither timers nor the thread that looks at samples, until it calls.
#[test]
fn the_child_is_sampled_when_it_calls() {
    alone("threads::the_child_is_sampled_when_it_calls", || {
        let sampling = || config().detection(Detection::Sampling(Sampling::default()));
        let engine = engine(sampling());
        let f = define(&engine, "f", 2).unwrap();
        // The thread that forks has a timer.
        check(&engine, f, 10, 2);
        let child = Forked::new(|| {
            // One of the client's own, which may get the number that the parent's has.
            let mut timer: libc::timer_t = std::ptr::null_mut();
            let clock = libc::CLOCK_MONOTONIC;
            // SAFETY: it writes to `timer`, which is never set, so that it raises nothing.
            let made = unsafe { libc::timer_create(clock, std::ptr::null_mut(), &raw mut timer) };
            assert_eq!(made, 0);
            while !is_hot(&engine, "f") {
                check(&engine, f, 10_000_000, 2);
            }
            drop(super::engine(sampling()));
            // SAFETY: nobody else has deleted or set it.
            unsafe {
                let mut left: libc::itimerspec = std::mem::zeroed();
                assert_eq!(libc::timer_gettime(timer, &raw mut left), 0);
                assert_eq!((left.it_interval.tv_nsec, left.it_value.tv_nsec), (0, 0));
                assert_eq!(libc::timer_delete(timer), 0);
            }
        });
        child.succeeds();
        check(&engine, f, 10, 2);
    });
}
