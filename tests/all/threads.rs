//! Eight threads in one engine, while it tiers up in the background.

use crate::conformance::CRANELIFT_PANICS;
use crate::corpus::{self, corpora};
use crate::tiering::eager_to_tier;
use regraft::report::PartState;
use regraft::{Compilation, CompileMode, Config, Engine, FunctionId, Mode};
use regraft_command::clif::{Command, Program, Target, TestFile, Verdict};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const THREADS: usize = 8;

/// How often each thread runs the corpus.
const ROUNDS: usize = 2;

/// How often each body of the corpus runs.
const WRAP: u32 = 16;

/// The handles of an engine can be shared and sent.
const _: fn() = || {
    fn shared<T: Clone + Send + Sync>() {}
    shared::<Engine>();
};

fn background() -> Config {
    eager_to_tier(1).compile(CompileMode::Background)
}

/// Runs on eight threads, which start together.
fn together(run: impl Fn(usize) + Sync) {
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, run) = (&barrier, &run);
            scope.spawn(move || {
                barrier.wait();
                run(thread);
            });
        }
    });
}

#[derive(Default)]
struct Figures {
    commands: usize,
    calls: AtomicUsize,
    loops: usize,
    entered: usize,
    published: usize,
}

/// All threads run all commands of a file in one engine, each from another start.
fn run_file(file: &TestFile, target: &Target, figures: &mut Figures) {
    let program = Program::build(file, target, background(), Some(WRAP)).expect("an engine");
    let mut commands: Vec<(FunctionId, &Command)> = vec![];
    for (function, id) in file.functions().iter().zip(program.ids()) {
        let id = id.unwrap_or_else(|error| panic!("{}: {error:?}", file.name()));
        commands.extend(function.commands.iter().map(|command| (id, command)));
    }
    let engine = program.engine().clone();
    let run = |thread: usize| {
        let start = thread * commands.len() / THREADS;
        let (before, after) = commands.split_at(start);
        for (id, command) in after.iter().chain(before) {
            // SAFETY: the corpus was written to be run.
            let results = unsafe { engine.call(*id, command.args()) };
            let results = results.unwrap_or_else(|error| panic!("{}: {error}", file.name()));
            if let Verdict::Failed { actual } = command.judge(&results) {
                panic!("{}:{}: {command}, got {actual}", file.name(), command.line);
            }
            figures.calls.fetch_add(1, Relaxed);
        }
    };
    // First while everything tiers up, then on what has come of it.
    for _ in 0..ROUNDS {
        together(run);
        engine.wait_idle();
    }
    figures.commands += commands.len();
    for function in engine.report().functions.values() {
        assert_ne!(
            function.whole_function.state,
            PartState::Failed,
            "{}",
            file.name()
        );
        for region in &function.regions {
            let known = (file.name(), &*region.function) == CRANELIFT_PANICS;
            assert!(
                known || region.part.state != PartState::Failed,
                "{}: {}",
                file.name(),
                region.part.reason
            );
            figures.loops += 1;
            figures.published += usize::from(region.part.state == PartState::Published);
            figures.entered += usize::from(region.entries > 0);
        }
    }
}

#[test]
fn the_corpus_in_eight_threads() {
    let mut figures = Figures::default();
    let paths = corpora().into_iter().flat_map(|corpus| corpus.files);
    let files = paths.map(|path| corpus::read(&path, &[]));
    for file in &files
        .filter(|file| file.inapplicable().is_none())
        .collect::<Vec<_>>()
    {
        let targets = file.targets().iter();
        for target in targets.filter(|target| target.missing().is_empty()) {
            run_file(file, target, &mut figures);
        }
    }
    let calls = figures.calls.into_inner();
    println!(
        "{THREADS} threads x {} commands x {ROUNDS} = {calls} calls, all as expected; {} loops, {} published, {} entered",
        figures.commands, figures.loops, figures.published, figures.entered
    );
    assert_eq!(calls, THREADS * ROUNDS * figures.commands);
    assert!(figures.entered > figures.loops * 3 / 4);
}

/// How long one loop is hammered.
const HAMMER: Duration = Duration::from_millis(50);

const COLD: &str = crate::tiering::COLD;

/// One function, one loop, side exits that get hot, the region formed again: under eight threads.
#[test]
fn one_hot_loop_in_eight_threads() {
    for round in 0..10 {
        let config = background()
            .pacing(regraft::Pacing::Counts)
            .loop_threshold(100)
            .side_exit_threshold(50);
        let engine = crate::tiering::engine(config, COLD);
        let id = engine.lookup("cold").expect("it is defined");
        together(|thread| {
            let cold = engine.get::<(i64, i64), i64>(id).expect("the types agree");
            let start = Instant::now();
            let enough = |call| call >= 200 && start.elapsed() > HAMMER;
            for call in (0..).take_while(|&call| !enough(call)) {
                let n = 500 + 37 * thread as i64 + call % 100;
                // The cold block first never runs, then often.
                let from = if call < 100 { 1 << 40 } else { n - 200 };
                // SAFETY: the function touches no memory.
                let result = unsafe { cold.call((n, from)) };
                assert_eq!(result, crate::tiering::cold_model(n, from), "round {round}");
            }
        });
        engine.wait_idle();
        // A pinning can be lost to a decrement; the hook asks again before long.
        let cold = engine.get::<(i64, i64), i64>(id).expect("the types agree");
        // SAFETY: as above.
        let result = unsafe { cold.call((10_000, 1 << 40)) };
        assert_eq!(result, crate::tiering::cold_model(10_000, 1 << 40));
        let region = &engine.report().functions["cold"].regions[0];
        // All threads at once may make the function hot before its loop is seen to run long. When it is whole at
        // tier 1 and its tier 0 has been freed, the region is not formed again.
        let state = region.part.state.as_str();
        assert!(
            matches!(state, "published" | "superseded"),
            "{:?}",
            region.part
        );
        assert!(
            region.entries > 0 && (1..=3).contains(&region.part.formations),
            "{region:#?}"
        );
    }
}

/// Functions whose first call comes from eight threads at once: compiled once each, through one lazy stub.
#[test]
fn a_first_call_from_eight_threads() {
    for _ in 0..50 {
        let config = background().compilation(Compilation::AtFirstCall);
        let engine = crate::tiering::engine(config, COLD);
        let id = engine.lookup("cold").expect("it is defined");
        let cold = engine.get::<(i64, i64), i64>(id).expect("the types agree");
        assert_eq!(engine.report().functions["cold"].tier, None);
        together(|thread| {
            let (n, from) = (20 + thread as i64, 10);
            // SAFETY: the function touches no memory.
            let result = unsafe { cold.call((n, from)) };
            assert_eq!(result, crate::tiering::cold_model(n, from));
        });
        engine.wait_idle();
        let report = engine.report();
        for name in ["cold", "step"] {
            let versions = report.functions[name].versions.iter();
            assert_eq!(
                versions.filter(|version| version.tier == 0).count(),
                1,
                "{name}"
            );
        }
    }
}

/// Definitions, calls and reports of one engine at once: each thread has functions of its own.
#[test]
fn definitions_in_eight_threads() {
    let engine = Engine::new(background()).expect("an engine");
    together(|thread| {
        for index in 0..20 {
            let name = format!("f{thread}_{index}");
            let clif = include_str!("../../outliner/testdata/sum.clif")
                .replace("%sum", &format!("%{name}"));
            let func = cranelift_reader::parse_functions(&clif)
                .expect("valid CLIF")
                .remove(0);
            let id = engine.define_function(func).expect("a good definition");
            let sum = engine.get::<(i64,), i64>(id).expect("the types agree");
            // SAFETY: the function touches no memory.
            assert_eq!(unsafe { sum.call((1000,)) }, 499_500);
            if index % 5 == 0 {
                assert!(engine.report().functions.contains_key(&name));
            }
        }
    });
    engine.wait_idle();
    assert_eq!(engine.report().functions.len(), THREADS * 20);
}

/// Copies of counters change no count: on one thread they are exact, and each of several threads has its own, unless
/// two of them meet in one.
#[test]
fn counters_in_several_copies_count_as_one() {
    let report = |counter_copies, threads: usize| {
        let config = Config::default()
            .mode(Mode::Tier0)
            .check(true)
            .counter_copies(counter_copies);
        let engine = crate::tiering::engine(config, COLD);
        let id = engine.lookup("cold").expect("it is defined");
        let cold = engine.get::<(i64, i64), i64>(id).expect("the types agree");
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for call in 0..1000 {
                        // SAFETY: the function touches no memory.
                        let result = unsafe { cold.call((100 + call % 7, 50)) };
                        assert_eq!(result, crate::tiering::cold_model(100 + call % 7, 50));
                    }
                });
            }
        });
        let mut report = engine.report();
        for function in report.functions.values_mut() {
            function.compile_micros.clear();
            function.versions.clear();
        }
        report.functions
    };
    let plain = report(1, 1);
    assert_eq!(plain["cold"].entries, 1000);
    for copies in [2, 3, 8, 1 << 20] {
        assert_eq!(report(copies, 1), plain, "{copies} copies");
    }
    // They may meet in one copy all the same, and lose some there.
    assert!((500..=2000).contains(&report(8, 2)["cold"].entries));
}

/// Hooks fire, regions are entered and formed again, whichever copy a thread counts in.
#[test]
fn every_copy_of_a_countdown_is_armed_and_pinned() {
    let config = background()
        .counter_copies(8)
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(100)
        // A function that is compiled whole has no region that is entered.
        .entry_threshold(u32::MAX)
        .side_exit_threshold(50);
    let engine = crate::tiering::engine(config, COLD);
    let id = engine.lookup("cold").expect("it is defined");
    together(|thread| {
        let cold = engine.get::<(i64, i64), i64>(id).expect("the types agree");
        for call in 0..200 {
            let n = 500 + 37 * thread as i64 + call;
            let from = if call < 100 { 1 << 40 } else { n - 200 };
            // SAFETY: the function touches no memory.
            let result = unsafe { cold.call((n, from)) };
            assert_eq!(result, crate::tiering::cold_model(n, from));
        }
    });
    engine.wait_idle();
    let entries = |engine: &Engine| engine.report().functions["cold"].regions[0].entries;
    let before = entries(&engine);
    together(|_| {
        let cold = engine.get::<(i64, i64), i64>(id).expect("the types agree");
        // SAFETY: as above.
        let result = unsafe { cold.call((100_000, 1 << 40)) };
        assert_eq!(result, crate::tiering::cold_model(100_000, 1 << 40));
    });
    let region = &engine.report().functions["cold"].regions[0];
    assert_eq!(region.part.state, PartState::Published, "{:?}", region.part);
    // Once by each thread, but for what two of them lose in one copy.
    assert!(entries(&engine) > before, "{region:#?}");
}
