//! Publication under load: what every thread sees while functions are compiled, formed again and redefined.
//!
//! Two claims are watched: no code page is ever writable and executable at one address, by the process's own list of
//! mappings; and a call gives the result of one definition, never of half of one.

use crate::tiering::eager_to_tier;
use cranelift_codegen::ir::Function;
use regraft::{CompileMode, Engine, FunctionId, TypedFn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const CALLERS: usize = 4;
const FUNCTIONS: usize = 8;

/// How often each function is redefined.
const ROUNDS: i64 = 40;

/// A loop that adds `round` as often as it is told, in a shape that depends on the round.
fn definition(index: usize, round: i64) -> Function {
    let rounds: String = (0..round % 8)
        .map(|at| {
            format!(
                "    v{} = bxor v{}, v3\n    v{} = bxor v{}, v3\n",
                21 + 2 * at,
                20 + 2 * at,
                22 + 2 * at,
                21 + 2 * at
            )
        })
        .collect();
    let last = 20 + 2 * (round % 8);
    let clif = format!(
        "function %f{index}(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 0
    v2 = iconst.i64 1
    v3 = iconst.i64 {round}
    jump block1(v1, v1)
block1(v4: i64, v5: i64):
    v20 = iadd v5, v3
{rounds}    v6 = iadd v4, v2
    v7 = icmp ult v6, v0
    brif v7, block1(v6, v{last}), block2
block2:
    return v{last}
}}"
    );
    let functions = cranelift_reader::parse_functions(&clif);
    functions.expect("valid CLIF").remove(0)
}

/// Whether a mapping of the process is writable and executable; `None` where the system does not tell.
fn writable_and_executable() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    assert!(maps.contains("r-x"), "there is code");
    maps.lines().find(|line| is_both(line)).map(str::to_string)
}

/// Whether a line of the list of mappings is of one that is writable and executable.
fn is_both(line: &str) -> bool {
    let protection = line.split_whitespace().nth(1).unwrap_or_default();
    protection.contains('w') && protection.contains('x')
}

#[test]
fn no_page_is_writable_and_executable_and_no_code_half_there() {
    let config = eager_to_tier(3).compile(CompileMode::Background).workers(2);
    let engine = Engine::new(config).expect("an engine for the host");
    let defined: Vec<(FunctionId, TypedFn<(i64,), i64>)> = (0..FUNCTIONS)
        .map(|index| {
            let id = engine
                .define_function(definition(index, 1))
                .expect("a good definition");
            (id, engine.get(id).expect("the types agree"))
        })
        .collect();
    let done = AtomicBool::new(false);
    let (calls, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (defined, done, calls) = (&defined, &done, &calls);
            scope.spawn(move || {
                let mut newest = [1; FUNCTIONS];
                for call in caller.. {
                    if done.load(Relaxed) {
                        break;
                    }
                    let n = 10 + (call % 90) as i64;
                    let at = call % FUNCTIONS;
                    // SAFETY: the functions touch no memory.
                    let result = unsafe { defined[at].1.try_call((n,)) };
                    let result = result.expect("it does not trap");
                    let round = result / n;
                    assert!(
                        result % n == 0 && (newest[at]..=ROUNDS).contains(&round),
                        "{result} is of no definition after {}",
                        newest[at]
                    );
                    newest[at] = round;
                    calls.fetch_add(1, Relaxed);
                }
            });
        }
        let (watched, count) = (&done, &looks);
        scope.spawn(move || {
            while !watched.load(Relaxed) {
                assert_eq!(writable_and_executable(), None);
                count.fetch_add(1, Relaxed);
            }
        });
        for round in 2..=ROUNDS {
            for (index, (id, _)) in defined.iter().enumerate() {
                engine
                    .redefine(*id, definition(index, round))
                    .expect("a good definition");
            }
            // Someone has called and looked in the meantime.
            let (called, looked) = (calls.load(Relaxed), looks.load(Relaxed));
            while calls.load(Relaxed) == called || looks.load(Relaxed) == looked {
                std::thread::yield_now();
            }
        }
        engine.wait_idle();
        done.store(true, Relaxed);
    });
    let report = engine.report();
    assert!(report.workers.jobs > 0);
    assert_eq!(report.workers.panics, 0);
    println!(
        "{} calls, {} looks at the mappings, {} jobs",
        calls.into_inner(),
        looks.into_inner(),
        report.workers.jobs
    );
}

#[test]
fn a_writable_and_executable_page_would_be_seen() {
    for (protection, both) in [
        ("rwxp", true),
        ("-wxs", true),
        ("r-xp", false),
        ("rw-s", false),
    ] {
        let line = format!("7f0000000000-7f0000001000 {protection} 00000000 00:01 1 /memfd:code");
        assert_eq!(is_both(&line), both);
    }
}
