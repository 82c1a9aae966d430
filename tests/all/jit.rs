//! `regraft::jit` beside cranelift-jit: every scenario runs on both, and at threshold 1.

#![expect(clippy::result_large_err, reason = "the error is cranelift-module's")]

mod data;
mod errors;
mod kinds;
mod machine_code;
mod modules;
mod names;

use cranelift_codegen::ir::{Function, Signature};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, isa};
use cranelift_module::{FuncId, Linkage, Module, ModuleResult};

use kinds::{Finalized, Kind, engine_at_threshold_one, on_every_kind};

/// Parses one function.
fn parse(clif: &str) -> Function {
    cranelift_reader::parse_functions(clif).unwrap().remove(0)
}

fn signature(clif: &str) -> Signature {
    parse(&format!(
        "function %f{clif} system_v {{\nblock0:\n    trap user1\n}}"
    ))
    .signature
    .clone()
}

/// Declares a function with the signature of its CLIF.
fn declare<M: Module>(module: &mut M, name: &str, clif: &str) -> FuncId {
    let signature = parse(clif).signature.clone();
    module
        .declare_function(name, Linkage::Export, &signature)
        .unwrap()
}

fn try_define<M: Module>(module: &mut M, id: FuncId, clif: &str) -> ModuleResult<()> {
    let mut context = Context::for_function(parse(clif));
    module.define_function(id, &mut context)
}

fn define<M: Module>(module: &mut M, name: &str, clif: &str) -> FuncId {
    let id = declare(module, name, clif);
    try_define(module, id, clif).unwrap();
    id
}

/// Calls a function from `i64` to `i64`.
fn call(code: *const u8, argument: i64) -> i64 {
    // SAFETY: all functions of these tests that are called this way have this signature, and touch
    // memory that exists.
    let function: extern "C" fn(i64) -> i64 = unsafe { std::mem::transmute(code) };
    function(argument)
}

/// The host's target with these settings.
fn host(settings: &[(&str, &str)]) -> isa::OwnedTargetIsa {
    let mut target = cranelift_native::builder().unwrap();
    let mut flags = settings::builder();
    for (name, value) in settings {
        if flags.set(name, value).is_err() {
            target.set(name, value).unwrap();
        }
    }
    target.finish(settings::Flags::new(flags)).unwrap()
}

/// The sum of the numbers below the argument.
const SUM: &str = "function %sum(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = icmp ult v2, v0
    brif v4, block2, block3
block2:
    v5 = iadd v3, v2
    v6 = iconst.i64 1
    v7 = iadd v2, v6
    jump block1(v7, v5)
block3:
    return v3
}";
