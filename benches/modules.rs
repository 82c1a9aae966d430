//! A module for each function, as many clients of cranelift-jit have it: on cranelift-jit and on the
//! drop-in.
//!
//! ```text
//! cargo bench -p regraft-benches --bench modules
//! ```
//!
//! Time: median of rounds in which the contenders take turns, in processor time of the thread. Memory: each
//! contender in a process of its own.

use cranelift_codegen::Context;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use regraft_benches::{Result, machine, measure, ratio, shapes, timed};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Modules in a round.
const MODULES: u32 = 100;
const ROUNDS: usize = 31;
/// Modules whose memory is measured.
const LIVE: usize = 4_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let args: Vec<&str> = args.into_iter().filter(|arg| *arg != "--bench").collect();
    match *args.as_slice() {
        [] => {
            println!("machine: {}", machine());
            time()?;
            memory()
        }
        ["live", contender, shape] => live(contender, &shape_named(shape)?),
        _ => Err("usage: modules".into()),
    }
}

const SHAPES: [&str; 3] = ["straight", "tiny", "medium"];

fn shape_named(name: &str) -> Result<Function> {
    match name {
        "straight" => shapes::parse(STRAIGHT, name),
        "tiny" => shapes::parse(shapes::TINY, name),
        "medium" => shapes::parse(shapes::MEDIUM, name),
        _ => Err("no such shape".into()),
    }
}

/// No loop.
const STRAIGHT: &str = "
function %straight(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 3
    v2 = imul v0, v1
    v3 = iadd v2, v0
    return v3
}";

fn target(level: &str) -> Result<OwnedTargetIsa> {
    let mut flags = settings::builder();
    flags.set("opt_level", level)?;
    flags.set("enable_verifier", "false")?;
    Ok(cranelift_native::builder()?.finish(settings::Flags::new(flags))?)
}

/// A module with one function, ready to be called; its code stays when the module is dropped.
macro_rules! module_of {
    ($jit:ident, $isa:expr, $function:expr) => {{
        let builder = $jit::JITBuilder::with_isa(Arc::clone($isa), default_libcall_names());
        let mut module = $jit::JITModule::new(builder);
        let id = define(&mut module, $function)?;
        module.finalize_definitions()?;
        let code = module.get_finalized_function(id);
        (module, code)
    }};
}

use regraft::jit;

fn define<M: Module>(module: &mut M, function: &Function) -> Result<FuncId> {
    let id = module.declare_function("f", Linkage::Export, &function.signature)?;
    let mut context = Context::for_function(function.clone());
    module.define_function(id, &mut context)?;
    Ok(id)
}

fn time() -> Result<()> {
    println!("declare, define, finalize one function in a module of its own; freed afterwards");
    println!(
        "{:<10} {:>14} {:>14} {:>12} {:>10} {:>10}",
        "function", "jit none, µs", "jit speed, µs", "drop-in, µs", "/ none", "/ speed"
    );
    let [none, speed] = [target("none")?, target("speed")?];
    for shape in SHAPES {
        let function = shape_named(shape)?;
        let original = |isa: &OwnedTargetIsa| {
            timed(|| {
                for _ in 0..MODULES {
                    let (module, _) = module_of!(cranelift_jit, isa, &function);
                    // SAFETY: the function is never called.
                    unsafe { module.free_memory() };
                }
                Ok(())
            })
        };
        let drop_in = || {
            timed(|| {
                for _ in 0..MODULES {
                    let (module, _) = module_of!(jit, &speed, &function);
                    // SAFETY: the function is never called.
                    unsafe { module.free_memory() };
                }
                Ok(())
            })
        };
        let times = measure(
            ROUNDS,
            [
                &mut || original(&none),
                &mut || original(&speed),
                &mut || drop_in(),
            ],
        )?;
        let micros = times.map(|time: Duration| time.as_secs_f64() * 1e6 / f64::from(MODULES));
        println!(
            "{shape:<10} {:>14.1} {:>14.1} {:>12.1} {:>10.2} {:>10.2}",
            micros[0],
            micros[1],
            micros[2],
            ratio(times[2], times[0]),
            ratio(times[2], times[1])
        );
    }
    Ok(())
}

fn memory() -> Result<()> {
    println!(
        "resident bytes for each of {LIVE} modules of one function that were dropped, not freed"
    );
    println!(
        "{:<10} {:>14} {:>12} {:>8}",
        "function", "cranelift-jit", "drop-in", "ratio"
    );
    for shape in SHAPES {
        let bytes = ["cranelift-jit", "drop-in"].map(|contender| -> Result<f64> {
            let output = Command::new(std::env::current_exe()?)
                .args(["live", contender, shape])
                .output()?;
            Ok(String::from_utf8(output.stdout)?.trim().parse()?)
        });
        let [original, drop_in] = bytes;
        let (original, drop_in) = (original?, drop_in?);
        println!(
            "{shape:<10} {original:>14.0} {drop_in:>12.0} {:>8.2}",
            drop_in / original
        );
    }
    Ok(())
}

fn live(contender: &str, function: &Function) -> Result<()> {
    let isa = target("speed")?;
    let make = |count: usize| -> Result<()> {
        for _ in 0..count {
            match contender {
                "drop-in" => drop(module_of!(jit, &isa, function)),
                _ => drop(module_of!(cranelift_jit, &isa, function)),
            }
        }
        Ok(())
    };
    // What is made once is not what a function takes.
    make(100)?;
    let before = resident()?;
    make(LIVE)?;
    println!("{:.1}", (resident()? - before) / LIVE as f64);
    Ok(())
}

/// Bytes of memory that are resident.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.ok_or("no resident size")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024.0)
}
