//! Detectors: sampling finds what runs long, a saved profile what ran before, and neither changes results.

mod module;
mod saved;

use crate::tiering::{COLD, cold_model, eager_to_tier, engine};
use regraft::config::FoundBy;
use regraft::report::PartState;
use regraft::report::RegionReport;
use regraft::{CompileMode, Config, Detection, Engine, Error, Mode, Report, Sampling, TrapKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SUM: &str = include_str!("../../outliner/testdata/sum.clif");

/// How long a test waits for samples: they need processor time, of which there may be little.
const PATIENCE: Duration = Duration::from_secs(60);

fn sampling(compile: CompileMode) -> Config {
    Config::default()
        .compile(compile)
        .detection(Detection::Sampling(Sampling::default()))
        .check(true)
}

fn region<'r>(report: &'r Report, function: &str, header: &str) -> &'r RegionReport {
    let mut regions = report.functions[function].regions.iter();
    let region = regions.find(|region| region.header == header);
    region.expect("the loop is in the report")
}

fn call1(engine: &Engine, name: &str, arg: i64) -> i64 {
    let id = engine.lookup(name).expect("the function is declared");
    let function = engine.get::<(i64,), i64>(id).expect("the types agree");
    // SAFETY: the CLIF of these tests touches no memory.
    unsafe { function.call((arg,)) }
}

/// Calls again and again until `done`.
fn until(mut call: impl FnMut(), done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}");
        call();
    }
}

#[test]
fn one_long_call_is_found_and_entered_while_it_runs() {
    for compile in [CompileMode::Synchronous, CompileMode::Background] {
        let engine = engine(sampling(compile), SUM);
        let n = 1_500_000_000;
        assert_eq!(call1(&engine, "sum", n), n * (n - 1) / 2);
        let report = engine.report();
        assert_eq!(report.detection, FoundBy::Sampling);
        let function = &report.functions["sum"];
        assert_eq!((function.versions.len(), function.versions[0].tier), (1, 0));
        assert_eq!((function.entries, function.versions[0].found_by), (0, None));
        let region = region(&report, "sum", "block1");
        assert_eq!(region.part.state, PartState::Published, "{region:?}");
        assert_eq!(region.part.found_by, Some(FoundBy::Sampling));
        assert_eq!(region.versions[0].found_by, Some(FoundBy::Sampling));
        // There was one call, and it had begun before.
        assert_eq!((region.entries, region.exits[0].count), (1, 1));
        assert!(!engine.profile().functions["sum"].exact);
    }
}

/// Blocks are known at tier 0 even where source locations are the client's, or nobody's.
#[test]
fn the_clients_source_locations_do_not_hide_blocks() {
    let located = SUM.replace("v4 = iadd", "@0012 v4 = iadd");
    for (clif, block_locations) in [(&*located, true), (&*located, false), (SUM, false)] {
        let config = sampling(CompileMode::Background).block_locations(block_locations);
        let engine = engine(config, clif);
        let n = 100_000_000;
        let found = || region(&engine.report(), "sum", "block1").part.state == PartState::Published;
        until(
            || assert_eq!(call1(&engine, "sum", n), n * (n - 1) / 2),
            found,
        );
    }
}

/// Two hundred steps without a loop.
fn straight() -> String {
    let mut clif = "function %straight(i64) -> i64 system_v {\nblock0(v0: i64):\n".to_string();
    clif += "    v900 = iconst.i64 3\n";
    for step in 1..=200 {
        let before = step - 1;
        let operation = ["rotl", "iadd", "imul"][step % 3];
        clif += &format!("    v{step} = {operation} v{before}, v900\n");
    }
    clif + "    return v200\n}"
}

#[test]
fn a_function_without_loops_is_found_by_its_time() {
    let engine = engine(sampling(CompileMode::Background), &straight());
    let expected = call1(&engine, "straight", 0x1234_5678);
    let tier = || engine.report().functions["straight"].tier == Some(1);
    let many = || (0..100_000).for_each(|_| check(&engine, expected));
    fn check(engine: &Engine, expected: i64) {
        assert_eq!(call1(engine, "straight", 0x1234_5678), expected);
    }
    until(many, tier);
    let report = engine.report();
    let function = &report.functions["straight"];
    assert_eq!(function.whole_function.found_by, Some(FoundBy::Sampling));
    assert_eq!(function.versions[1].found_by, Some(FoundBy::Sampling));
}

#[test]
fn raw_pointers_are_sampled_on_request() {
    let engine = engine(sampling(CompileMode::Background), SUM);
    let id = engine.lookup("sum").expect("the function is declared");
    let pointer = engine.pointer(id).expect("it is defined");
    // SAFETY: it is the function's signature.
    let sum = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(pointer) };
    let n = 100_000_000;
    let run = || assert_eq!(sum(n), n * (n - 1) / 2);
    // A thread that nobody announced is left alone.
    std::thread::scope(|scope| {
        scope.spawn(run);
    });
    assert_eq!(
        region(&engine.report(), "sum", "block1").part.state,
        PartState::Cold
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _sampled = engine.sample_this_thread();
            until(run, || {
                region(&engine.report(), "sum", "block1").part.state == PartState::Published
            });
        });
    });
}

#[test]
fn threads_and_engines_come_and_go_while_they_are_sampled() {
    for round in 0..10 {
        let engine = engine(sampling(CompileMode::Background), SUM);
        let n = 10_000_000 + round;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(call1(&engine, "sum", n), n * (n - 1) / 2));
            }
        });
    }
}

/// A loop that ends in a division by its last argument.
const DIVIDE: &str = "
function %divide(i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    jump block1(v2, v2)
block1(v3: i64, v4: i64):
    v5 = iadd v4, v3
    v6 = iconst.i64 1
    v7 = iadd v3, v6
    v8 = icmp ult v7, v0
    brif v8, block1(v7, v5), block2
block2:
    v9 = udiv v5, v1
    return v9
}";

#[test]
fn traps_are_errors_while_sampling_too() {
    let engine = engine(sampling(CompileMode::Background), DIVIDE);
    let id = engine.lookup("divide").expect("the function is declared");
    let divide = engine.get::<(i64, i64), i64>(id).expect("the types agree");
    let n = 200_000;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        // SAFETY: the function touches no memory.
        let good = unsafe { divide.try_call((n, 2)) };
        assert_eq!(good.expect("no trap"), n * (n - 1) / 4);
        // SAFETY: as above.
        let trap = unsafe { divide.try_call((n, 0)) }.expect_err("a division by zero");
        assert_eq!(trap.kind, TrapKind::Code);
        let location = trap.location.expect("it is in generated code");
        assert_eq!(location.block.map(|block| block.as_u32()), Some(2));
        // SAFETY: as above.
        let called = unsafe { engine.call(id, &[1_i64.into(), 0_i64.into()]) };
        assert!(matches!(called, Err(Error::Trap(_))));
    }
}

/// Reads a byte that comes late.
extern "C" fn read_slowly(pipe: i64) -> i64 {
    let pipe = std::ptr::with_exposed_provenance::<std::io::PipeReader>(pipe as usize);
    let mut byte = [0];
    // SAFETY: the test keeps the pipe as long as it calls this.
    let read = std::io::Read::read(&mut unsafe { &*pipe }, &mut byte);
    // An interrupted call would be an error here.
    read.map_or(-1, |_| i64::from(byte[0]))
}

#[test]
fn system_calls_of_the_host_are_not_cut_short() {
    let clif = "
function %spin(i64, i64) -> i64 system_v {
    fn0 = %read_slowly(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = iconst.i64 1
    jump block1(v0)
block1(v3: i64):
    v4 = isub v3, v2
    brif v4, block1(v4), block2
block2:
    v5 = call fn0(v1)
    return v5
}";
    let config = sampling(CompileMode::Background).mode(Mode::Tier0);
    let engine = engine(config, clif);
    engine
        .symbol("read_slowly", read_slowly as *const u8)
        .unwrap();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let id = engine.lookup("spin").expect("the function is declared");
    let spin = engine.get::<(i64, i64), i64>(id).expect("the types agree");
    let pipe = (&raw const reader).expose_provenance() as i64;
    for byte in 1..20 {
        std::thread::scope(|scope| {
            // SAFETY: the pipe lives as long as the scope.
            let called = scope.spawn(|| unsafe { spin.call((5_000_000, pipe)) });
            std::thread::sleep(Duration::from_millis(15));
            std::io::Write::write_all(&mut writer, &[byte]).expect("somebody reads");
            assert_eq!(called.join().expect("no panic"), i64::from(byte));
        });
    }
}

#[test]
fn without_tiering_samples_change_nothing() {
    for mode in [Mode::Tier0, Mode::Eager] {
        let config = sampling(CompileMode::Background).mode(mode);
        let engine = engine(config, SUM);
        let n = 200_000_000;
        assert_eq!(call1(&engine, "sum", n), n * (n - 1) / 2);
        let report = engine.report();
        let regions = &report.functions["sum"].regions;
        assert!(
            regions
                .iter()
                .all(|region| region.part.state == PartState::Cold)
        );
    }
}

/// Redefinition while samples of the old body are on their way.
#[test]
fn samples_of_an_older_body_do_no_harm() {
    let engine = engine(sampling(CompileMode::Background), SUM);
    let id = engine.lookup("sum").expect("the function is declared");
    let other = SUM.replace("v4 = iadd v3, v2", "v4 = bxor v3, v2");
    let stop = AtomicBool::new(false);
    let [n, sum] = [3_000_000, 3_000_000 * (3_000_000 - 1) / 2];
    let xor = (0..n).fold(0, |sum, i| sum ^ i);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let result = call1(&engine, "sum", n);
                    assert!(result == sum || result == xor, "{result}");
                }
            });
        }
        for round in 0..30 {
            let clif = if round % 2 == 0 { &other } else { SUM };
            let functions = cranelift_reader::parse_functions(clif).expect("valid CLIF");
            for function in functions {
                engine.redefine(id, function).expect("a good definition");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
