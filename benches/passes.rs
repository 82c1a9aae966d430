//! What the passes in front of tier 1 are worth.
//!
//! ```text
//! cargo bench -p regraft-benches --bench passes [-- slots|each|time]
//! ```
//!
//! The programs (`slots/`) have every local in a stack slot, as young compilers do it (`frontend`). `slots`: tiered code once everything is
//! compiled, against Cranelift's `speed` on the same CLIF. `each`: the same, with each pass left out, and each pass alone.
//! `time`: what the passes add to the compile time of tier 1.

use cranelift_codegen::ir::Function;
use regraft::optimizer::{Pass, Passes};
use regraft::{CompileMode, Config, Engine, Optimizer};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{Result, frontend, measure, ratio, run, timed};

const ROUNDS: usize = 11;

/// Name, text, and an argument that takes some milliseconds.
const PROGRAMS: [(&str, &str, i64); 8] = [
    ("collatz", include_str!("slots/collatz.txt"), 6_000),
    ("digits", include_str!("slots/digits.txt"), 20_000),
    ("gcd", include_str!("slots/gcd.txt"), 250),
    ("hash", include_str!("slots/hash.txt"), 50_000),
    ("mandelbrot", include_str!("slots/mandelbrot.txt"), 120),
    ("matrix", include_str!("slots/matrix.txt"), 100),
    ("sieve", include_str!("slots/sieve.txt"), 100),
    ("sort", include_str!("slots/sort.txt"), 100),
];

fn main() -> Result<()> {
    run(&[("slots", slots), ("each", each), ("time", time)])
}

fn with(passes: Passes) -> Config {
    Config {
        compile: CompileMode::Synchronous,
        optimizer: Optimizer {
            passes,
            ..Optimizer::default()
        },
        ..Config::default()
    }
}

/// A program in an engine, called until nothing is left to be compiled.
struct Tiered {
    _engine: Engine,
    call: regraft::TypedFn<(i64,), i64>,
}

impl Tiered {
    fn new(func: Function, passes: Passes, n: i64) -> Result<Self> {
        let engine = Engine::new(with(passes))?;
        let id = engine.define_function(func)?;
        let call = engine.get::<(i64,), i64>(id)?;
        let tiered = Self {
            _engine: engine,
            call,
        };
        for _ in 0..6 {
            tiered.run(n);
        }
        for _ in 0..1_100 {
            tiered.run(2);
        }
        tiered.run(n);
        Ok(tiered)
    }

    fn run(&self, n: i64) -> i64 {
        // SAFETY: the programs touch nothing but their own slots.
        unsafe { self.call.call((n,)) }
    }
}

struct Eager {
    _plain: Plain,
    call: extern "C" fn(i64) -> i64,
}

impl Eager {
    fn new(func: Function) -> Result<Self> {
        let mut plain = Plain::new(Level::Speed)?;
        let code = plain.define(func)?;
        // SAFETY: the front end's signature.
        let call = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(code) };
        Ok(Self {
            _plain: plain,
            call,
        })
    }
}

/// Tiered by `speed`, for one program.
fn compare(name: &str, text: &str, n: i64, passes: Passes, rounds: usize) -> Result<f64> {
    let func = frontend::compile(text, name)?;
    let eager = Eager::new(func.clone())?;
    let tiered = Tiered::new(func, passes, n)?;
    let (expected, got) = ((eager.call)(n), tiered.run(n));
    if expected != got {
        return Err(format!("{name}: {got} instead of {expected}").into());
    }
    let [eager, tiered] = measure(
        rounds,
        [&mut || timed(|| Ok((eager.call)(n))), &mut || {
            timed(|| Ok(tiered.run(n)))
        }],
    )?;
    Ok(ratio(tiered, eager))
}

fn mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

fn slots() -> Result<()> {
    println!("every local in a stack slot: time of tiered code by that of Cranelift `speed`");
    println!("{:<12} {:>10} {:>10}", "program", "no passes", "default");
    let mut ratios = [vec![], vec![]];
    for (name, text, n) in PROGRAMS {
        let without = compare(name, text, n, Passes::NONE, ROUNDS)?;
        let default = compare(name, text, n, Passes::default(), ROUNDS)?;
        println!("{name:<12} {without:>10.2} {default:>10.2}");
        ratios[0].push(without);
        ratios[1].push(default);
    }
    println!(
        "{:<12} {:>10.2} {:>10.2}",
        "mean",
        mean(&ratios[0]),
        mean(&ratios[1])
    );
    Ok(())
}

fn each() -> Result<()> {
    println!("geometric means over the programs: time by that of Cranelift `speed`");
    println!("{:<12} {:>10} {:>10}", "pass", "left out", "alone");
    for pass in Pass::ALL {
        let mut ratios = [vec![], vec![]];
        for (name, text, n) in PROGRAMS {
            let sets = [Passes::all().without(pass), Passes::NONE.with(pass)];
            for (ratios, passes) in ratios.iter_mut().zip(sets) {
                ratios.push(compare(name, text, n, passes, ROUNDS / 2)?);
            }
        }
        println!(
            "{:<12} {:>10.2} {:>10.2}",
            pass.name(),
            mean(&ratios[0]),
            mean(&ratios[1])
        );
    }
    Ok(())
}

fn time() -> Result<()> {
    println!("compile time of tier 1, with the passes by without");
    let mut ratios = vec![];
    for (name, text, n) in PROGRAMS {
        let mut micros = [vec![], vec![]];
        for _ in 0..ROUNDS {
            for (micros, passes) in micros.iter_mut().zip([Passes::NONE, Passes::default()]) {
                let tiered = Tiered::new(frontend::compile(text, name)?, passes, n)?;
                let report = tiered._engine.report();
                let spent: u64 = report
                    .functions
                    .iter()
                    .map(|(_, f)| f.compile_micros.get("tier1").copied().unwrap_or(0))
                    .sum();
                micros.push(spent as f64);
            }
        }
        let [without, with] = micros.map(|mut micros| {
            micros.sort_by(f64::total_cmp);
            micros[micros.len() / 2]
        });
        println!(
            "{name:<12} {without:>8.0} µs {with:>8.0} µs {:>6.2}",
            with / without
        );
        ratios.push(with / without);
    }
    println!("{:<12} {:>29.2}", "mean", mean(&ratios));
    Ok(())
}
