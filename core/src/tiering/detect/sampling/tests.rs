//! Tests of [`super`]: how many samples make a part hot, and the timer.

use super::*;
use crate::config::Config;

const NEST: &str = include_str!("../../../../../outliner/testdata/nest.clif");

fn sampling_engine() -> Engine {
    Engine::new(Config::default().detection(Detection::Sampling(Sampling {
            interval: Duration::from_millis(1),
            samples: 3,
        })))
    .unwrap()
}

#[test]
fn a_part_is_hot_after_so_many_samples_and_then_after_eight_times_as_many() {
    let engine = sampling_engine();
    let func = cranelift_reader::parse_functions(NEST).unwrap().remove(0);
    let id = engine.define_function(func).unwrap();
    let body = engine.inner.function(id).unwrap().body().unwrap();
    let tiering = body.tiering().unwrap();
    let samples = tiering.samples.as_ref().unwrap();
    let add = |block: u32, count: usize| -> Vec<usize> {
        let hot = |_: &usize| samples.add(part_of(tiering, Block::from_u32(block)), Block::from_u32(block)).is_some();
        (1..=count).filter(hot).collect()
    };
    // Of the loop in a loop, and of the one around it without it.
    assert_eq!(add(2, 60), [3, 27]);
    assert!(add(1, 2).is_empty());
    assert_eq!(add(3, 1), [1]);
    // What is in no loop counts for the function.
    assert!(add(0, 2).is_empty());
    assert_eq!(
        samples.add(part_of(tiering, Block::from_u32(4)), Block::from_u32(4)),
        Some(HotPart::Function)
    );
    assert_eq!(samples.add(part_of(tiering, Block::from_u32(1000)), Block::from_u32(1000)), None);
    let profile = samples.profile(&body.source, &tiering.analysis.flow, &tiering.analysis.loops);
    assert!(profile.block(Block::from_u32(2)) > profile.block(Block::from_u32(1)));
}

#[test]
fn a_timer_runs_until_it_is_stopped_and_the_shortest_interval_wins() {
    // As long as somebody wants samples, timers are not stopped by their own signals.
    let engine = sampling_engine();
    std::thread::spawn(|| {
        assert!(samples::start(Duration::from_secs(10)));
        assert!(!samples::start(Duration::from_secs(20)));
        assert!(!samples::start(Duration::from_secs(5)));
        samples::stop();
        assert!(samples::start(Duration::from_secs(10)));
    })
    .join()
    .unwrap();
    drop(engine);
}

#[test]
fn guards_nest() {
    let engine = sampling_engine();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let outer = engine.sample_this_thread();
            let inner = engine.sample_this_thread();
            assert!(outer.started && !inner.started);
            drop(inner);
            assert!(!samples::start(Duration::from_secs(1)));
            drop(outer);
            assert!(samples::start(Duration::from_secs(1)));
        });
    });
    let counting = Engine::new(Config::default()).unwrap();
    assert!(!counting.sample_this_thread().started);
}

#[test]
fn system_calls_are_restarted() {
    let flags = samples::handler_flags();
    assert_ne!(flags & libc::SA_RESTART, 0);
    assert_ne!(flags & libc::SA_ONSTACK, 0);
}

/// Each time the last engine goes, the thread does; meanwhile others come.
#[test]
fn engines_come_and_go_on_several_threads() {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..2000).for_each(|_| drop(sampling_engine())));
        }
    });
}
