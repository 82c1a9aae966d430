//! What it costs that functions can be redefined and freed.
//!
//! ```text
//! cargo bench -p regraft-benches --bench reclaim [-- SECTION…]
//! ```
//!
//! Sections: `pinning`, `redefine`, `memory`; all by default.

use cranelift_codegen::ir::Function;
use regraft::{Compilation, CompileMode, Config, Engine, Mode, Reclamation, TypedFn};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{Result, measure, nanos_each, ratio, run, shapes, timed};
use std::time::Duration;

const ROUNDS: usize = 31;

fn main() -> Result<()> {
    run(&[
        ("pinning", pinning),
        ("redefine", redefine),
        ("memory", memory),
    ])
}

/// A call from Rust, with and without pinning.
fn pinning() -> Result<()> {
    println!("pinning: one call of an empty function from Rust, in nanoseconds");
    let leaf = "function %leaf(i64) -> i64 system_v {\nblock0(v0: i64):\n    return v0\n}";
    let leaf = shapes::parse(leaf, "leaf")?;
    let function = |reclamation| -> Result<TypedFn<(u64,), u64>> {
        let engine = Engine::new(Config::default().mode(Mode::Eager).reclamation(reclamation))?;
        let id = engine.define_function(leaf.clone())?;
        Ok(engine.get(id)?)
    };
    let pinned = function(Reclamation::Pinned)?;
    let announced = function(Reclamation::Announced)?;
    let calls = 1_000_000;
    let raw = |function: &TypedFn<(u64,), u64>| {
        // SAFETY: the function returns its argument.
        timed(|| Ok((0..calls).fold(0, |sum, n| sum + unsafe { function.call((n,)) })))
    };
    let safe = |function: &TypedFn<(u64,), u64>| {
        timed(|| {
            let mut sum = 0;
            for n in 0..calls {
                // SAFETY: as above.
                sum += unsafe { function.try_call((n,)) }?;
            }
            Ok(sum)
        })
    };
    let [plain, with, safe_plain, safe_with] = measure(
        ROUNDS,
        [
            &mut || raw(&announced),
            &mut || raw(&pinned),
            &mut || safe(&announced),
            &mut || safe(&pinned),
        ],
    )?;
    for (name, plain, with) in [("call", plain, with), ("try_call", safe_plain, safe_with)] {
        let [plain, with] = [plain, with].map(|time| nanos_each(time, calls));
        println!(
            "{name:<9} announced {plain:>6.2}  pinned {with:>6.2}  difference {:>6.2}",
            with - plain
        );
    }
    Ok(())
}

/// Redefinition, in units of a definition; both at tier 0.
fn redefine() -> Result<()> {
    println!(
        "redefine: from CLIF to the next call reaching it, at tier 0, in units of Engine::define"
    );
    println!(
        "{:<22} {:>8} {:>12} {:>12} {:>8}",
        "function", "insts", "define µs", "redefine µs", "ratio"
    );
    let functions = [
        ("tiny loop", shapes::parse(shapes::TINY, "tiny")?),
        ("branchy loop", shapes::parse(shapes::BRANCHY, "branchy")?),
        (
            "interpreter",
            shapes::parse(&shapes::interpreter(4_000), "interpreter")?,
        ),
    ];
    for (name, function) in functions {
        let mut anew = function.clone();
        anew.name = cranelift_codegen::ir::UserFuncName::testcase("anew");
        let engine = Engine::new(Config::default())?;
        let id = engine.define_function(function.clone())?;
        let [defined, redefined] = measure(
            ROUNDS,
            [
                &mut || {
                    let mut defined = None;
                    let time = timed(|| {
                        defined = Some(engine.define_function(anew.clone())?);
                        Ok(())
                    });
                    defined.map(|id| engine.remove(id)).transpose()?;
                    time
                },
                &mut || timed(|| Ok(engine.redefine(id, function.clone())?)),
            ],
        )?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{name:<22} {:>8} {:>12.1} {:>12.1} {:>8.3}",
            shapes::instructions(&function),
            micros(defined),
            micros(redefined),
            ratio(redefined, defined)
        );
    }
    Ok(())
}

/// Resident memory of each of many live functions.
fn memory() -> Result<()> {
    println!(
        "memory: resident bytes for each of 4,000 live functions, in units of cranelift-jit at `speed`"
    );
    println!(
        "{:<14} {:>6} {:>14} {:>14} {:>8} {:>14} {:>8} {:>14} {:>8}",
        "function",
        "insts",
        "cranelift-jit",
        "tier 0",
        "ratio",
        "at first call",
        "ratio",
        "eager",
        "ratio"
    );
    let functions = [
        ("tiny loop", shapes::parse(shapes::TINY, "tiny")?),
        ("branchy loop", shapes::parse(shapes::BRANCHY, "branchy")?),
        (
            "interpreter",
            shapes::parse(&shapes::interpreter(100), "interpreter")?,
        ),
    ];
    for (name, function) in functions {
        let mut plain = Plain::new(Level::Speed)?;
        let jit = each_of_many(|at| {
            plain.define_as(&format!("f{at}"), function.clone())?;
            Ok(())
        })?;
        let with = |mode, compilation| -> Result<f64> {
            let engine = Engine::new(
                Config::default()
                    .mode(mode)
                    .compilation(compilation)
                    .compile(CompileMode::Synchronous),
            )?;
            let each = each_of_many(|at| define_as(&engine, &format!("f{at}"), &function))?;
            drop(engine);
            Ok(each)
        };
        let tiered = with(Mode::Tiered, Compilation::AtDefinition)?;
        let lazy = with(Mode::Tiered, Compilation::AtFirstCall)?;
        let eager = with(Mode::Eager, Compilation::AtDefinition)?;
        println!(
            "{name:<14} {:>6} {jit:>14.0} {tiered:>14.0} {:>8.2} {lazy:>14.0} {:>8.2} {eager:>14.0} {:>8.2}",
            shapes::instructions(&function),
            tiered / jit,
            lazy / jit,
            eager / jit
        );
    }
    Ok(())
}

fn define_as(engine: &Engine, name: &str, function: &Function) -> Result<()> {
    let id = engine.declare(name, &function.signature)?;
    engine.define(id, function.clone())?;
    Ok(())
}

/// How much resident memory grows with each definition.
fn each_of_many(mut define: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    const MANY: usize = 4_000;
    // What is allocated once.
    for at in 0..MANY / 10 {
        define(at)?;
    }
    let before = resident()?;
    for at in MANY / 10..MANY + MANY / 10 {
        define(at)?;
    }
    Ok((resident()? - before) as f64 / MANY as f64)
}

/// Resident bytes, free memory of the allocator returned before.
fn resident() -> Result<i64> {
    // SAFETY: it changes nothing that a program can see.
    unsafe { libc::malloc_trim(0) };
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: i64 = statm
        .split(' ')
        .nth(1)
        .ok_or("no resident pages")?
        .parse()?;
    Ok(pages * 4096)
}
