//! The oracles, on random programs.
//!
//! A normal run takes fixed seeds, as many as there is time for in a few seconds. With
//! `REGRAFT_FUZZ_SECONDS=60`, each oracle runs for a minute on seeds of its own; `REGRAFT_FUZZ_SEED=7` starts
//! elsewhere. A failure is minimised, kept in `tests/regressions` and shown.

use regraft_tests::generate::random_bytes;
use regraft_tests::oracles::{self, Oracle, Sabotage, Stats, minimise};
use std::io::Write;
use std::time::{Duration, Instant};

/// Bytes of a case, at most.
const CASE_BYTES: usize = 6000;
const NORMAL_CASES: u64 = 300;
const NORMAL_TIME: Duration = Duration::from_secs(8);
const MINIMISE_TIME: Duration = Duration::from_secs(60);
/// How many cases it may take to notice a sabotage.
const SABOTAGED_CASES: u64 = 2000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The case with this number: short ones and long ones.
fn case(seed: u64) -> Vec<u8> {
    let length = [300, 1500, 3000, CASE_BYTES][(seed % 4) as usize];
    // The last bit of the length is a decision, too.
    random_bytes(seed, length + (seed / 4 % 2) as usize)
}

/// Runs cases while there is time, and until they have done `enough`, which a slow machine takes longer for.
fn drive(name: &str, enough: impl Fn(&Stats) -> bool) {
    let oracle = oracles::oracle(name).expect("a known oracle");
    let seconds = variable("REGRAFT_FUZZ_SECONDS");
    let first = variable("REGRAFT_FUZZ_SEED").unwrap_or(0);
    let time = seconds.map_or(NORMAL_TIME, Duration::from_secs);
    let cases = if seconds.is_some() {
        u64::MAX
    } else {
        NORMAL_CASES
    };
    let start = Instant::now();
    let mut stats = Stats::default();
    for seed in (first..).take(usize::try_from(cases).unwrap_or(usize::MAX)) {
        let many = seed - first >= NORMAL_CASES;
        if start.elapsed() > time && (many || enough(&stats)) {
            break;
        }
        if let Ok(path) = std::env::var("REGRAFT_FUZZ_TRACE") {
            // A crash leaves no other trace of what ran.
            let _ = std::fs::write(format!("{path}-{name}"), seed.to_string());
        }
        let bytes = case(seed);
        match (oracle.check)(&bytes, None) {
            Ok(one) => stats.add(&one),
            Err(failure) => fail(oracle, seed, &bytes, &failure),
        }
    }
    let rate = stats.cases as f64 / start.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    let _ = writeln!(out, "random {name}: {stats:?}, {rate:.0} cases a second");
    assert!(enough(&stats), "{stats:?}");
}

fn fail(oracle: Oracle, seed: u64, bytes: &[u8], failure: &str) -> ! {
    let small = minimise::minimise(oracle.check, None, bytes, MINIMISE_TIME);
    let failure = (oracle.check)(&small, None)
        .err()
        .unwrap_or_else(|| failure.to_string());
    let kept = minimise::keep(oracle, &small, &failure);
    panic!("{}, seed {seed}, kept as {kept:?}:\n{failure}", oracle.name);
}

/// The oracle notices the sabotage, and something was sabotaged before.
fn notices(name: &str, sabotage: Sabotage) {
    let oracle = oracles::oracle(name).expect("a known oracle");
    let mut sabotaged = 0;
    for seed in 0..SABOTAGED_CASES {
        match (oracle.check)(&case(seed), Some(sabotage)) {
            Ok(one) => sabotaged += one.sabotaged,
            Err(failure) => {
                let first = failure.lines().next().unwrap_or_default();
                println!(
                    "{name} notices {sabotage:?} at case {seed}, after {sabotaged} others: {first}"
                );
                return;
            }
        }
    }
    panic!("{name} does not notice {sabotage:?} in {sabotaged} sabotaged cases");
}

#[test]
fn symbolic() {
    drive("symbolic", |stats| {
        stats.regions > 50 && stats.side_exits > 20
    });
}

#[test]
fn outlined() {
    drive("outlined", |stats| {
        stats.calls > 50 && stats.side_exits > 20
    });
}

#[test]
fn roundtrip() {
    drive("roundtrip", |stats| stats.calls > 50);
}

#[test]
fn optimized() {
    drive("optimized", |stats| {
        stats.calls > 50 && stats.optimized > 500
    });
}

/// Programs have what passes over loops look for.
#[test]
fn loops() {
    drive("loops", |stats| {
        stats.calls > 50 && stats.interpreted > 50 && stats.optimized > 500
    });
}

/// The engine's optimised code is what runs: regions are entered.
#[test]
fn engines() {
    drive("engines", |stats| {
        stats.entered > 50 && stats.side_exits > 0 && stats.interpreted > 0
    });
}

/// What a case chooses is what runs: regions are found, entered, and gone in the end.
#[test]
fn changes() {
    drive("changes", |stats| {
        stats.entered > 20 && stats.side_exits > 0
    });
}

#[test]
fn modules() {
    drive("modules", |stats| {
        stats.entered > 20 && stats.side_exits > 0
    });
}

#[test]
fn counters() {
    drive("counters", |stats| stats.entered > 20);
}

#[test]
fn text() {
    drive("text", |stats| stats.regions > 0);
}

/// Both ends of a connection are talked to, and lanes get as far as calls.
#[test]
fn messages() {
    drive("messages", |stats| stats.calls > 50 && stats.entered > 20);
}

#[test]
fn the_checker_notices_sabotage() {
    for sabotage in [
        Sabotage::DropLiveOut,
        Sabotage::SwapExits,
        Sabotage::StaleArgument,
        Sabotage::LoseStore,
        Sabotage::SkipFlags,
    ] {
        notices("symbolic", sabotage);
    }
}

#[test]
fn running_notices_sabotage() {
    for name in ["outlined", "roundtrip"] {
        for sabotage in [
            Sabotage::DropLiveOut,
            Sabotage::SwapExits,
            Sabotage::StaleArgument,
            Sabotage::LoseStore,
        ] {
            notices(name, sabotage);
        }
    }
}

#[test]
fn passes_notice_sabotage() {
    for sabotage in [
        Sabotage::StaleArgument,
        Sabotage::LoseStore,
        Sabotage::WrongCopy,
    ] {
        notices("optimized", sabotage);
    }
    for sabotage in [
        Sabotage::StaleArgument,
        Sabotage::LoseCheck,
        Sabotage::SwapArms,
        Sabotage::DecideBranch,
        Sabotage::MoveBound,
        Sabotage::ShiftFurther,
    ] {
        notices("loops", sabotage);
    }
}

#[test]
fn engines_notice_sabotage() {
    for sabotage in [Sabotage::StaleArgument, Sabotage::LoseStore] {
        notices("engines", sabotage);
    }
}

#[test]
fn changes_notice_sabotage() {
    for sabotage in [
        Sabotage::StaleArgument,
        Sabotage::LoseStore,
        Sabotage::LoseDefinition,
        Sabotage::KeepFunction,
        Sabotage::KeepCaller,
    ] {
        notices("changes", sabotage);
    }
}

#[test]
fn modules_notice_sabotage() {
    for sabotage in [
        Sabotage::StaleArgument,
        Sabotage::LoseStore,
        Sabotage::LoseDefinition,
        Sabotage::KeepFunction,
    ] {
        notices("modules", sabotage);
    }
}

#[test]
fn counters_notice_sabotage() {
    for sabotage in [Sabotage::MiscountEdge, Sabotage::LoseCall] {
        notices("counters", sabotage);
    }
}

#[test]
fn messages_notice_sabotage() {
    notices("messages", Sabotage::DamageMessage);
}

#[test]
fn text_notices_sabotage() {
    notices("text", Sabotage::PanickingParser);
}

/// What failed once must not fail again.
#[test]
fn regressions() {
    let cases = minimise::kept().expect("a readable folder");
    for (name, path, bytes) in &cases {
        let oracle = oracles::oracle(name).expect("files are named after oracles");
        if let Err(failure) = (oracle.check)(bytes, None) {
            panic!("{}:\n{failure}", path.display());
        }
    }
    println!("{} regressions", cases.len());
}

/// A failure becomes small: here, of an oracle that objects to one byte.
#[test]
fn failures_are_minimised() {
    let check = |bytes: &[u8], _: Option<Sabotage>| match bytes.contains(&7) {
        true => Err("seven".to_string()),
        false => Ok(Stats::default()),
    };
    let small = minimise::minimise(check, None, &random_bytes(3, 2000), Duration::from_secs(10));
    assert_eq!(small, [7]);
}
