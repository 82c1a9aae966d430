//! What the passes in front of tier 1 are worth.
//!
//! ```text
//! cargo bench -p regraft-benches --bench passes [-- slots|bounds|each|time|sets|workloads|left-out]
//! ```
//!
//! The programs (`slots/`) have every local in a stack slot, as young compilers do it (`frontend`). `slots`: tiered code once everything is
//! compiled, against Cranelift's `speed` on the same CLIF. `bounds`: what there is to be had, against the same: `speed` on CLIF whose scalars are in
//! values, and the programs in Rust (`native`) at -O3. `each`: the same, with each pass left out, and each pass alone.
//! `time`: what the passes add to the compile time of tier 1; `sets`: the same for pass after pass. `workloads`: the C programs beside the project
//! (`../shared/workloads`), as WebAssembly at -O0 and -O3, at peak, against eager code. `left-out`: the
//! same, with each pass left out, against tiered code without passes.

use cranelift_codegen::ir::Function;
use regraft::config::Optimizer;
use regraft::optimizer::{Fuel, Pass, Passes, Policy, Unknown};
use regraft::{CompileMode, Config, Engine, Mode};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{Contender, Result, frontend, measure, native, ratio, run, timed};
use regraft_wasm::{Func, Imports, Instance, Module, Store, Value};
use std::path::Path;
use std::time::Duration;

const ROUNDS: usize = 21;

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
    run(&[
        ("slots", slots),
        ("bounds", bounds),
        ("each", each),
        ("time", time),
        ("sets", sets),
        ("workloads", workloads),
        ("left-out", left_out),
    ])
}

fn with(passes: Passes) -> Config {
    Config::default()
        .compile(CompileMode::Synchronous)
        .optimizer(Optimizer {
            passes,
            ..Optimizer::default()
        })
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

/// What can be had of a program, by `speed`: `speed` on CLIF whose scalars are values, and LLVM's code.
fn bound(name: &str, text: &str, n: i64) -> Result<[f64; 2]> {
    let func = frontend::compile(text, name)?;
    let mut promoted = func.clone();
    let (policy, passes) = (Policy::default(), Passes::NONE.with(Pass::Promote));
    let mut fuel = Fuel::UNLIMITED;
    regraft::optimizer::optimize(&mut promoted, passes, &mut Unknown, &policy, &mut fuel)?;
    let (eager, values) = (Eager::new(func)?, Eager::new(promoted)?);
    let native = native::program(name).ok_or_else(|| format!("{name}: not in Rust"))?;
    let expected = (eager.call)(n);
    for got in [(values.call)(n), native(n)] {
        if expected != got {
            return Err(format!("{name}: {got} instead of {expected}").into());
        }
    }
    let [eager, values, native] = measure(
        ROUNDS,
        [
            &mut || timed(|| Ok((eager.call)(n))),
            &mut || timed(|| Ok((values.call)(n))),
            &mut || timed(|| Ok(native(std::hint::black_box(n)))),
        ],
    )?;
    Ok([ratio(values, eager), ratio(native, eager)])
}

fn bounds() -> Result<()> {
    println!("what can be had: time by that of Cranelift `speed`");
    println!("{:<12} {:>10} {:>10}", "program", "values", "LLVM");
    let mut ratios = [vec![], vec![]];
    for (name, text, n) in PROGRAMS {
        let [values, native] = bound(name, text, n)?;
        println!("{name:<12} {values:>10.2} {native:>10.2}");
        ratios[0].push(values);
        ratios[1].push(native);
    }
    print_means(&ratios);
    Ok(())
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

fn print_means(ratios: &[Vec<f64>; 2]) {
    let [first, second] = ratios.each_ref().map(|ratios| mean(ratios));
    println!("{:<12} {first:>10.2} {second:>10.2}", "mean");
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
    print_means(&ratios);
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

/// Microseconds that tier 1 takes to compile a program, with each set of passes: medians.
fn compile_times<const N: usize>(
    (name, text, n): (&str, &str, i64),
    sets: [Passes; N],
) -> Result<[f64; N]> {
    let mut micros = [const { vec![] }; N];
    for _ in 0..ROUNDS {
        for (micros, passes) in micros.iter_mut().zip(sets) {
            let tiered = Tiered::new(frontend::compile(text, name)?, passes, n)?;
            let report = tiered._engine.report();
            let functions = report.functions.iter();
            let spent = functions.map(|(_, f)| f.compile_micros.get("tier1").copied());
            micros.push(spent.map(Option::unwrap_or_default).sum::<u64>() as f64);
        }
    }
    Ok(micros.map(|mut micros| {
        micros.sort_by(f64::total_cmp);
        micros[micros.len() / 2]
    }))
}

fn time() -> Result<()> {
    println!("compile time of tier 1, with the passes by without");
    let mut ratios = vec![];
    for program in PROGRAMS {
        let [without, with] = compile_times(program, [Passes::NONE, Passes::default()])?;
        let ratio = with / without;
        println!(
            "{:<12} {without:>8.0} µs {with:>8.0} µs {ratio:>6.2}",
            program.0
        );
        ratios.push(ratio);
    }
    println!("{:<12} {:>29.2}", "mean", mean(&ratios));
    Ok(())
}

/// What each pass adds to those before it, in time run and in time to compile.
fn sets() -> Result<()> {
    let mut passes = Passes::NONE;
    println!("geometric means; passes from the first line down to the pass that is named");
    println!("{:<12} {:>10} {:>10}", "pass", "run", "compile");
    let order = [
        Pass::Promote,
        Pass::Invert,
        Pass::Checks,
        Pass::Thread,
        Pass::Select,
        Pass::Unroll,
        Pass::Strength,
        Pass::Forward,
        Pass::Dead,
        Pass::Hoist,
        Pass::Inline,
        Pass::Devirtualize,
    ];
    for pass in order {
        passes = passes.with(pass);
        let (mut run, mut compile) = (vec![], vec![]);
        for program in PROGRAMS {
            let (name, text, n) = program;
            run.push(compare(name, text, n, passes, ROUNDS)?);
            let [without, with] = compile_times(program, [Passes::NONE, passes])?;
            compile.push(with / without);
        }
        println!(
            "{:<12} {:>10.2} {:>10.2}",
            pass.name(),
            mean(&run),
            mean(&compile)
        );
    }
    Ok(())
}

/// A workload's `run` in an engine of its own.
fn workload(wasm: &[u8], mode: Mode, passes: Passes) -> Result<Func> {
    let store = Store::new(
        Config::default()
            .mode(mode)
            .settings(vec![("enable_verifier".to_string(), "false".to_string())])
            .optimizer(Optimizer {
                passes,
                ..Optimizer::default()
            }),
    )?;
    let instance = Instance::new(&store, &Module::new(wasm)?, &Imports::new())?;
    Ok(instance.func("run")?)
}

fn sum(run: &Func, argument: i32) -> Result<f64> {
    match run.call(&[Value::I32(argument)])?[..] {
        [Value::F64(bits)] => Ok(f64::from_bits(bits)),
        _ => Err("run does not return a float".into()),
    }
}

/// The argument for a call of about 5 ms.
fn calibrated(run: &Func) -> Result<i32> {
    let mut argument = 1;
    loop {
        let time = timed(|| sum(run, argument))?;
        if time >= Duration::from_millis(4) || argument > 1 << 20 {
            return Ok(argument);
        }
        argument *= 2;
    }
}

/// The columns of a table over the workloads; the first is what the others are measured against.
type Column = (&'static str, Mode, Passes);

/// The workloads at peak, by column.
fn table<const N: usize>(columns: [Column; N]) -> Result<()> {
    const SETTLE: Duration = Duration::from_millis(600);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/workloads");
    let mut files = vec![];
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|ext| ext == "wasm"));
    files.sort();
    for build in ["O3", "O0"] {
        println!("peak, -{build} builds: time by that of {}", columns[0].0);
        print!("{:<12}", "program");
        columns.iter().for_each(|(name, ..)| print!(" {name:>10}"));
        println!();
        let mut ratios = [const { vec![] }; N];
        let named = |path: &&std::path::PathBuf| path.to_string_lossy().contains(build);
        for file in files.iter().filter(named) {
            let wasm = std::fs::read(file)?;
            let mut runs = vec![];
            for (_, mode, passes) in columns {
                runs.push(workload(&wasm, mode, passes)?);
            }
            let argument = calibrated(&runs[0])?;
            let expected = sum(&runs[0], argument)?;
            for run in &runs {
                // In processor time: who waits for a processor runs nothing that could get hot.
                let mut ran = Duration::ZERO;
                while ran < SETTLE {
                    let mut got = f64::NAN;
                    ran += timed(|| {
                        got = sum(run, argument)?;
                        Ok(())
                    })?;
                    if got.to_bits() != expected.to_bits() {
                        return Err(format!("{got} instead of {expected}").into());
                    }
                }
            }
            let calls = runs.iter();
            let mut calls: Vec<_> = calls
                .map(|run| move || timed(|| sum(run, argument)))
                .collect();
            let contenders: Vec<Contender<'_>> =
                calls.iter_mut().map(|call| call as Contender<'_>).collect();
            let contenders: [Contender<'_>; N] = contenders
                .try_into()
                .map_err(|_| "a column is missing".to_string())?;
            let times = measure(2 * ROUNDS, contenders)?;
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            print!("{name:<12}");
            for (ratios, time) in ratios.iter_mut().zip(times) {
                let ratio = ratio(time, times[0]);
                print!(" {ratio:>10.2}");
                ratios.push(ratio);
            }
            println!();
        }
        print!("{:<12}", "mean");
        ratios
            .iter()
            .for_each(|ratios| print!(" {:>10.2}", mean(ratios)));
        println!();
    }
    Ok(())
}

fn workloads() -> Result<()> {
    table([
        ("eager", Mode::Eager, Passes::NONE),
        ("no passes", Mode::Tiered, Passes::NONE),
        ("default", Mode::Tiered, Passes::default()),
        ("all", Mode::Tiered, Passes::all()),
    ])
}

/// All passes but one, for each.
fn left_out() -> Result<()> {
    println!("each column without the pass that it names");
    let mut columns = [("no passes", Mode::Tiered, Passes::NONE); 2 + Pass::ALL.len()];
    columns[1] = ("all", Mode::Tiered, Passes::all());
    for (column, pass) in columns[2..].iter_mut().zip(Pass::ALL) {
        *column = (pass.name(), Mode::Tiered, Passes::all().without(pass));
    }
    table(columns)
}
