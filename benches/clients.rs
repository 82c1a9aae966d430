//! Clients of cranelift-jit that change their import: whole modules, from their definition to the end of what they compute.
//!
//! ```text
//! cargo bench -p regraft-benches --bench clients [-- NAME…]
//! ```
//!
//! *With passes*: an engine that runs `Optimizer::default()`. The programs come from a front end that keeps every local in a stack slot. Both contenders get the same target, at `speed`,
//! and everything else as it is by default; they take turns, each time with a module of its own. By the wall clock, since the
//! drop-in compiles on other threads as well.

use cranelift_codegen::Context;
use cranelift_codegen::ir::{ExternalName, Function, UserExternalName};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use regraft::config::Optimizer;
use regraft::{Config, Engine, jit};
use regraft_benches::{Result, elapsed, frontend, machine, measure, ratio, verdict};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const ROUNDS: usize = 5;

/// A program's name, text, and what its `main` is called with.
type Program = (&'static str, &'static str, i64);

const PROGRAMS: [Program; 7] = [
    ("fft", include_str!("clients/fft.txt"), 8_000),
    ("collatz", include_str!("clients/collatz.txt"), 2_000_000),
    ("primes", include_str!("clients/primes.txt"), 700_000),
    ("recursion", include_str!("clients/recursion.txt"), 37),
    ("machine", include_str!("clients/machine.txt"), 10_000_000),
    ("life", include_str!("clients/life.txt"), 10_000),
    ("strings", include_str!("clients/strings.txt"), 50_000_000),
];

fn target() -> Result<OwnedTargetIsa> {
    let mut flags = settings::builder();
    flags.set("opt_level", "speed")?;
    Ok(cranelift_native::builder()?.finish(settings::Flags::new(flags))?)
}

/// Defines the functions of a program; returns the last, which is `main`.
fn define<M: Module>(module: &mut M, functions: &[Function]) -> Result<FuncId> {
    let mut ids = HashMap::new();
    let mut last = None;
    for function in functions {
        let name = function.name.to_string();
        let id = module.declare_function(&name, Linkage::Export, &function.signature)?;
        ids.insert(name, id);
        last = Some(id);
    }
    for function in functions {
        let mut function = function.clone();
        for callee in function.dfg.ext_funcs.keys().collect::<Vec<_>>() {
            let ExternalName::TestCase(name) = &function.dfg.ext_funcs[callee].name else {
                continue;
            };
            let id = ids.get(&format!("%{name}").replace("%%", "%"));
            let id = id.ok_or("a call of nothing")?;
            let name = UserExternalName::new(0, id.as_u32());
            let name = function.declare_imported_user_function(name);
            function.dfg.ext_funcs[callee].name = ExternalName::user(name);
        }
        let id = ids[&function.name.to_string()];
        module.define_function(id, &mut Context::for_function(function))?;
    }
    last.ok_or_else(|| "no function".into())
}

/// A module's `main` once, from its definition to its result.
macro_rules! run {
    ($jit:ident, $isa:expr, $functions:expr, $argument:expr, $result:expr $(, $engine:expr)?) => {
        elapsed(|| {
            #[allow(unused_mut, reason = "where an engine is given")]
            let mut builder = $jit::JITBuilder::with_isa(Arc::clone($isa), default_libcall_names());
            $(builder.engine($engine);)?
            let mut module = $jit::JITModule::new(builder);
            let main = define(&mut module, $functions)?;
            module.finalize_definitions()?;
            let code = module.get_finalized_function(main);
            // SAFETY: `main` of each program takes and returns one number.
            let main = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(code) };
            let result = main($argument);
            // SAFETY: nothing of the module runs any more.
            unsafe { module.free_memory() };
            match $result.replace(Some(result)) {
                Some(before) if before != result => {
                    Err(format!("{before} before, {result} now").into())
                }
                _ => Ok(()),
            }
        })
    };
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    println!("machine: {}", machine());
    println!(
        "modules at `speed`, from definition to result, in units of cranelift-jit (aim ≤ 1.00)"
    );
    let isa = target()?;
    let mut logs = [vec![], vec![]];
    for (name, text, argument) in PROGRAMS {
        if !chosen.is_empty() && !chosen.iter().any(|chosen| *chosen == name) {
            continue;
        }
        let functions = frontend::compile_module(text)?;
        let result = std::cell::Cell::new(None);
        let passes = || {
            let config = Config::default().optimizer(Optimizer::default());
            Engine::new(config)
        };
        let [original, drop_in, passes] = measure(
            ROUNDS,
            [
                &mut || run!(cranelift_jit, &isa, &functions, argument, result),
                &mut || run!(jit, &isa, &functions, argument, result),
                &mut || {
                    let engine = passes()?;
                    run!(jit, &isa, &functions, argument, result, engine.clone())
                },
            ],
        )?;
        let by_original = ratio(drop_in, original);
        for (logs, time) in logs.iter_mut().zip([drop_in, passes]) {
            logs.push(ratio(time, original).ln());
        }
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{name:<10} cranelift-jit {:>8.1} ms, drop-in {:>8.1} ms, ratio {by_original:.2}: {}; with passes {:.2}",
            millis(original),
            millis(drop_in),
            verdict(by_original <= 1.0),
            ratio(passes, original)
        );
    }
    let [mean, passes] =
        logs.map(|logs: Vec<f64>| (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp());
    println!("geometric mean {mean:.2}, with passes {passes:.2}");
    Ok(())
}
