//! What it costs that code runs in another process.
//!
//! ```text
//! cargo bench -p regraft-benches --bench remote [-- SECTION…]
//! ```
//!
//! Sections: `calls`, `first`, `hot`, `start`, `loops`; all by default. Everything is by the wall clock: what counts is how long a
//! caller waits for two processes.

use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::UserFuncName;
use regraft::{Compilation, CompileMode, Config, Engine, Executor, FunctionId, Mode, Pacing};
use regraft_benches::{Result, elapsed, measure, ratio, run, shapes, verdict};
use regraft_executor::remote::Program;
use std::time::Duration;

const ROUNDS: usize = 31;

fn main() -> Result<()> {
    run(&[
        ("calls", calls),
        ("first", first),
        ("hot", hot),
        ("start", start),
        ("loops", loops),
    ])
}

/// The executor of this bench, which is built with it.
fn spawn() -> Result<Executor> {
    Ok(Executor::spawn_program(&Program::new(env!(
        "CARGO_BIN_EXE_executor-of-benches"
    )))?)
}

fn call(engine: &Engine, id: FunctionId, argument: i64) -> Result<Vec<DataValue>> {
    // SAFETY: the functions of this bench touch no memory.
    Ok(unsafe { engine.call(id, &[DataValue::I64(argument)]) }?)
}

fn micros(time: Duration, count: u32) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(count)
}

/// Prints how many microseconds more something takes in another process.
fn print(what: &str, [here, there]: [Duration; 2], count: u32, aim: f64) {
    let [here, there] = [here, there].map(|time| micros(time, count));
    println!(
        "{what:<22} in process {here:>8.2} µs, out of process {there:>8.2} µs, difference {:>7.2} µs: {}",
        there - here,
        verdict(there - here < aim)
    );
}

const LEAF: &str = "function %leaf(i64) -> i64 system_v {\nblock0(v0: i64):\n    return v0\n}";

fn engine(executor: &Executor, config: Config) -> Result<Engine> {
    Ok(Engine::with_executor(executor.clone(), config)?)
}

/// A call of an empty function, from the process that makes code.
fn calls() -> Result<()> {
    println!("calls: one call of an empty function (aim < 10 µs more)");
    const COUNT: u32 = 2000;
    let leaf = shapes::parse(LEAF, "leaf")?;
    let caller = |executor: &Executor| -> Result<_> {
        let config = Config::default().mode(Mode::Eager);
        let engine = engine(executor, config)?;
        let id = engine.define_function(leaf.clone())?;
        Ok((engine, id))
    };
    let (here, there) = (caller(&Executor::in_process())?, caller(&spawn()?)?);
    let many = |(engine, id): &(Engine, FunctionId)| {
        elapsed(|| {
            for argument in 0..i64::from(COUNT) {
                call(engine, *id, argument)?;
            }
            Ok(())
        })
    };
    let times = measure(ROUNDS, [&mut || many(&here), &mut || many(&there)])?;
    print("empty call", times, COUNT, 10.0);
    Ok(())
}

/// Functions that are called by another for the first time.
fn first() -> Result<()> {
    println!("first: a first call from generated code, compilation included (aim < 30 µs more)");
    const COUNT: u32 = 200;
    let chain = |executor: &Executor| -> Result<Duration> {
        let config = Config::default()
            .mode(Mode::Eager)
            .compilation(Compilation::AtFirstCall);
        let engine = engine(executor, config)?;
        let mut id = engine.define_function(shapes::parse(LEAF, "leaf")?)?;
        for number in 0..COUNT {
            let callee = if number == 0 {
                "leaf".to_string()
            } else {
                format!("link{}", number - 1)
            };
            let clif = format!(
                "function %link(i64) -> i64 system_v {{\n    fn0 = %{callee}(i64) -> i64 system_v\n\
                 block0(v0: i64):\n    v1 = call fn0(v0)\n    return v1\n}}"
            );
            let mut func = shapes::parse(&clif, "link")?;
            func.name = UserFuncName::testcase(format!("link{number}"));
            id = engine.define_function(func)?;
        }
        elapsed(|| call(&engine, id, 1))
    };
    let (here, there) = (Executor::in_process(), spawn()?);
    let times = measure(ROUNDS, [&mut || chain(&here), &mut || chain(&there)])?;
    print("first call", times, COUNT, 30.0);
    Ok(())
}

/// A loop that asks whether there is code for it, and is told that there is none.
fn hot() -> Result<()> {
    println!("hot: a countdown that has run out (aim < 30 µs more)");
    const COUNT: u32 = 200;
    let loops = |executor: &Executor| -> Result<Duration> {
        // Each function asks once: synchronous compilation of a loop of a few instructions.
        let config = Config::default()
            .compile(CompileMode::Synchronous)
            .pacing(Pacing::Counts)
            .loop_threshold(1)
            .entry_threshold(u32::MAX);
        let engine = engine(executor, config)?;
        let mut ids = vec![];
        for number in 0..COUNT {
            let mut func = shapes::parse(shapes::TINY, "tiny")?;
            func.name = UserFuncName::testcase(format!("tiny{number}"));
            ids.push(engine.define_function(func)?);
        }
        // The calling sequence, and the lane.
        call(&engine, ids[0], 10)?;
        let calls = |argument: i64| {
            elapsed(|| {
                for &id in &ids[1..] {
                    call(&engine, id, argument)?;
                }
                Ok(())
            })
        };
        let cold = calls(10)?;
        // The same calls without anything to compile.
        Ok(cold.saturating_sub(calls(10)?))
    };
    let (here, there) = (Executor::in_process(), spawn()?);
    let times = measure(ROUNDS, [&mut || loops(&here), &mut || loops(&there)])?;
    print("hot countdown", times, COUNT - 1, 30.0);
    Ok(())
}

/// From nothing to an executor that has answered, and its end.
fn start() -> Result<()> {
    println!("start: an executor that has answered, and an engine with it (aim < 5 ms)");
    let started = || {
        elapsed(|| {
            let executor = spawn()?;
            engine(&executor, Config::default())
        })
    };
    let [time] = measure(ROUNDS, [&mut || started()])?;
    let met = time < Duration::from_millis(5);
    println!("start {:>8.2} µs: {}", micros(time, 1), verdict(met));
    Ok(())
}

/// What runs long runs as fast.
fn loops() -> Result<()> {
    println!(
        "loops: a call of some milliseconds, out of process in units of in process (aim 1.02)"
    );
    for (name, text, argument) in [
        ("tiny loop", shapes::TINY, 20_000_000),
        ("branchy loop", shapes::BRANCHY, 5_000_000),
    ] {
        let func = shapes::parse(text, name)?;
        let prepared = |executor: &Executor| -> Result<_> {
            let engine = engine(executor, Config::default())?;
            let id = engine.define_function(func.clone())?;
            call(&engine, id, argument)?;
            engine.wait_idle();
            Ok((engine, id))
        };
        let (here, there) = (prepared(&Executor::in_process())?, prepared(&spawn()?)?);
        let once = |(engine, id): &(Engine, FunctionId)| elapsed(|| call(engine, *id, argument));
        let [here, there] = measure(ROUNDS, [&mut || once(&here), &mut || once(&there)])?;
        let ratio = ratio(there, here);
        println!(
            "{name:<14} in process {:>8.2} ms, ratio {ratio:.3}: {}",
            here.as_secs_f64() * 1e3,
            verdict(ratio <= 1.02)
        );
    }
    Ok(())
}
