//! Tests of [`super`]: what a thread of low priority does, and what it does not.

use super::*;
use crate::config::Pacing;
use crate::config::{Faults, Stage};
use crate::context::Engine;
use crate::{Compilation, Config};
use cranelift_codegen::ir::Function;
use cranelift_reader::parse_functions;
use regraft_executor::priority::SECTIONS_WHEN_LOWERED;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `f(n)` with a hot loop, a cold block and a call of `g`, which has a loop too.
const CLIF: &str = "function %g(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1)
block1(v2: i64):
    v3 = iconst.i64 1
    v4 = iadd v2, v3
    v5 = icmp ult v4, v0
    brif v5, block1(v4), block2
block2:
    return v4
}
function %f(i64) -> i64 system_v {
    fn0 = %g(i64) -> i64 system_v
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1)
block1(v2: i64):
    v3 = iconst.i64 1
    v4 = iadd v2, v3
    v5 = icmp eq v4, v0
    brif v5, block2, block3
block2:
    v6 = call fn0(v0)
    jump block3
block3:
    v7 = icmp ult v4, v0
    brif v7, block1(v4), block4
block4:
    return v4
}";

/// How often code of tier 1 is generated, at a low priority and at another.
#[derive(Debug, Default)]
struct Generated {
    low: AtomicUsize,
    other: AtomicUsize,
}

fn run(config: Config, define: impl Fn(&Engine, Vec<Function>)) -> Arc<Generated> {
    let generated = Arc::new(Generated::default());
    let seen = Arc::clone(&generated);
    let engine = Engine::new(
        config
            .loop_threshold(10)
            .worker_priority(WorkerPriority::Idle)
            .faults(Some(Faults::new(move |stage, _| {
                let low = regraft_executor::priority::is_lowered();
                match stage {
                    Stage::Codegen(1) if low => seen.low.fetch_add(1, Ordering::Relaxed),
                    Stage::Codegen(1) => seen.other.fetch_add(1, Ordering::Relaxed),
                    // What is made ahead, or with tier 1.
                    Stage::Codegen(_) => 0,
                    _ => {
                        assert!(!low, "{stage:?} at a low priority");
                        0
                    }
                };
                false
            })))
            .arena(crate::config::ArenaConfig {
                code_bytes: 4 << 20,
                data_bytes: 4 << 20,
            }),
    );
    let engine = engine.unwrap();
    define(&engine, parse_functions(CLIF).unwrap());
    let f = engine.lookup("f").unwrap();
    let f = engine.get::<(i64,), i64>(f).unwrap();
    for _ in 0..50 {
        // SAFETY: the code touches no memory.
        assert_eq!(unsafe { f.try_call((1000,)) }.unwrap(), 1000);
        engine.wait_idle();
    }
    assert_eq!(engine.report().workers.panics, 0);
    drop(f);
    drop(engine);
    assert_eq!(SECTIONS_WHEN_LOWERED.load(Ordering::Relaxed), 0);
    generated
}

fn at_once(engine: &Engine, functions: Vec<Function>) {
    for function in functions {
        engine.define_function(function).unwrap();
    }
}

fn on_demand(engine: &Engine, functions: Vec<Function>) {
    for function in functions {
        let name = function.name.to_string();
        let name = name.trim_start_matches('%');
        let id = engine.declare(name, &function.signature).unwrap();
        engine.define_lazily(id, |_| Ok(function)).unwrap();
    }
}

#[test]
fn tier_1_is_generated_at_a_low_priority_and_nothing_else_is_done_there() {
    let generated = run(Config::default().pacing(Pacing::Counts), at_once);
    assert!(generated.low.load(Ordering::Relaxed) > 0);
    assert_eq!(generated.other.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_made_ahead_takes_no_lock_at_a_low_priority() {
    for define in [at_once, on_demand] {
        for compilation in [Compilation::AtDefinition, Compilation::AtFirstCall] {
            run(
                Config::default().compilation(compilation).ahead(true),
                define,
            );
        }
    }
}

#[test]
fn a_panic_and_a_held_lock_stay_with_the_compile_thread() {
    with_partner(
        WorkerPriority::Nice(1),
        || false,
        || {
            let own = std::thread::current().id();
            let elsewhere = || compute(|| std::thread::current().id()).unwrap();
            assert_ne!(elsewhere(), own);
            let panic = catch_unwind(|| compute(|| panic!("as asked for"))).unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"as asked for"));
            assert_ne!(elsewhere(), own);
            let section = section::section();
            assert_eq!(elsewhere(), own);
            drop(section);
            assert_ne!(elsewhere(), own);
            assert_eq!(without_partner(elsewhere), own);
            assert_ne!(elsewhere(), own);
        },
    );
    assert_eq!(
        compute(|| std::thread::current().id()).unwrap(),
        std::thread::current().id()
    );
}

/// A thread that gets no processor holds up nobody who ends the engine.
#[test]
fn shutdown_does_not_wait_for_a_low_priority() {
    for drops in [false, true] {
        let (reached, at) = std::sync::mpsc::channel();
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let engine = Engine::new(
            Config::default()
                .loop_threshold(10)
                .pacing(Pacing::Counts)
                .worker_priority(WorkerPriority::Idle)
                .faults(Some(Faults::new(move |stage, _| {
                    if stage == Stage::Codegen(1) && regraft_executor::priority::is_lowered() {
                        let _ = reached.send(());
                        // Until the test is over.
                        let _ = held.lock().unwrap().recv();
                    }
                    false
                }))),
        );
        let engine = engine.unwrap();
        at_once(&engine, parse_functions(CLIF).unwrap());
        let f = engine.lookup("f").unwrap();
        let f = engine.get::<(i64,), i64>(f).unwrap();
        // SAFETY: the code touches no memory.
        let call = || assert_eq!(unsafe { f.try_call((1000,)) }.unwrap(), 1000);
        call();
        at.recv().unwrap();
        if !drops {
            engine.shutdown();
            call();
            let report = engine.report();
            assert_eq!(report.workers.panics, 0);
            let mut regions = report
                .functions
                .values()
                .flat_map(|function| &function.regions);
            assert!(regions.any(|region| region.part.state == crate::report::PartState::Stopped));
        }
        drop((f, engine));
        drop(go_on);
    }
}
