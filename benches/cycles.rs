//! Define, call hot, redefine, call, remove: how much memory stays behind.
//!
//! ```text
//! cargo bench -p regraft-benches --bench cycles [-- CYCLES]
//! ```
//!
//! 200,000 cycles by default, each contender in a process of its own, one after the other. cranelift-jit cannot
//! redefine or remove: it gets a module for each body, freed by hand, or one module for all, in which nothing is
//! freed.

use cranelift_codegen::ir::Function;
use regraft::{CompileMode, Config, Engine, Reclamation};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{Result, machine, shapes};
use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Points of the curve, after the start.
const POINTS: u64 = 10;

/// Steps of the loop in each call: it gets hot in the first.
const STEPS: u64 = 2_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let args: Vec<&str> = args.into_iter().filter(|arg| *arg != "--bench").collect();
    match *args.as_slice() {
        ["run", contender, cycles] => run(contender, cycles.parse()?),
        [] => compare(200_000),
        [cycles] => compare(cycles.parse()?),
        _ => Err("usage: cycles [CYCLES]".into()),
    }
}

const CONTENDERS: [&str; 3] = ["regraft", "module-each", "one-module"];

/// Runs each contender in a process of its own and prints the curves side by side.
fn compare(cycles: u64) -> Result<()> {
    println!("machine: {}", machine());
    println!("{cycles} cycles of define, call hot, redefine, call, remove; resident KiB");
    let mut curves = vec![];
    for contender in CONTENDERS {
        let output = Command::new(std::env::current_exe()?)
            .args(["run", contender, &cycles.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{contender} failed: {}", output.status).into());
        }
        curves.push(String::from_utf8(output.stdout)?);
    }
    let columns: Vec<Vec<&str>> = curves.iter().map(|curve| curve.lines().collect()).collect();
    println!(
        "{:>9} {:>12} {:>24} {:>24}",
        "cycles", "regraft", "cranelift-jit, freed", "cranelift-jit, kept"
    );
    for row in 0..=POINTS as usize {
        let cell = |column: usize| columns[column].get(row).copied().unwrap_or("-");
        let at = cycles * row as u64 / POINTS;
        println!("{at:>9} {:>12} {:>24} {:>24}", cell(0), cell(1), cell(2));
    }
    for (contender, lines) in CONTENDERS.iter().zip(&columns) {
        for line in lines.iter().skip(POINTS as usize + 1) {
            println!("{contender}: {line}");
        }
    }
    Ok(())
}

fn run(contender: &str, cycles: u64) -> Result<()> {
    let first = shapes::parse(shapes::TINY, "tiny")?;
    let second = shapes::parse(shapes::MEDIUM, "medium")?;
    match contender {
        "regraft" => tiered(cycles, &first, &second),
        "module-each" => {
            let each = |function: &Function| -> Result<u64> {
                let mut plain = Plain::new(Level::Speed)?;
                let result = call(plain.define(function.clone())?);
                // SAFETY: nothing of the module runs, and its pointer is forgotten.
                unsafe { plain.free() };
                Ok(result)
            };
            curve(cycles, |_| Ok(each(&first)? + each(&second)?))
        }
        "one-module" => {
            let mut plain = Plain::new(Level::Speed)?;
            curve(cycles, |cycle| {
                let mut sum = 0;
                for (part, function) in [&first, &second].into_iter().enumerate() {
                    sum += call(plain.define_as(&format!("f{cycle}_{part}"), function.clone())?);
                }
                Ok(sum)
            })
        }
        other => Err(format!("no contender {other}").into()),
    }
}

fn tiered(cycles: u64, first: &Function, second: &Function) -> Result<()> {
    let engine = Engine::new(
        Config::default()
            .compile(CompileMode::Synchronous) // The pointers below are compared, not called.
            .reclamation(Reclamation::Pinned),
    )?;
    let mut addresses = HashSet::new();
    curve(cycles, |_| {
        let id = engine.define_function(first.clone())?;
        let function = engine.get::<(u64,), u64>(id)?;
        addresses.insert(engine.pointer(id)?.addr());
        // SAFETY: the loops touch no memory.
        let before = unsafe { function.call((STEPS,)) };
        engine.redefine(id, second.clone())?;
        // SAFETY: as above.
        let after = unsafe { function.call((STEPS,)) };
        engine.remove(id)?;
        Ok(before + after)
    })?;
    let memory = engine.memory();
    println!(
        "{} stub addresses; waiting to be freed: {}",
        addresses.len(),
        memory.waiting
    );
    for (tier, bytes) in memory.tiers.iter().enumerate() {
        println!(
            "tier {tier}: {} bytes live, {} retired, {} freed",
            bytes.live, bytes.retired, bytes.freed
        );
    }
    for (name, range) in [("code", memory.code), ("data", memory.data)] {
        println!(
            "{name}: {} bytes in use, {} touched, {} holes, fragmentation {:.4}",
            range.live,
            range.touched,
            range.holes,
            range.fragmentation()
        );
    }
    Ok(())
}

fn call(address: *const u8) -> u64 {
    // SAFETY: both functions have this signature, and their loops touch no memory.
    unsafe { std::mem::transmute::<*const u8, extern "C" fn(u64) -> u64>(address)(STEPS) }
}

/// Runs the cycles; prints the resident memory at the start and at each point.
fn curve(cycles: u64, mut cycle: impl FnMut(u64) -> Result<u64>) -> Result<()> {
    let start = Instant::now();
    let expected = cycle(u64::MAX)?;
    println!("{}", resident_kib()?);
    for point in 0..POINTS {
        for number in cycles * point / POINTS..cycles * (point + 1) / POINTS {
            if cycle(number)? != expected {
                return Err(format!("cycle {number} gave another result").into());
            }
        }
        println!("{}", resident_kib()?);
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / cycles.max(1) as f64;
    println!("{each:.0} µs a cycle");
    Ok(())
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(kib.ok_or("no VmRSS")?.trim().parse()?)
}
