//! Tests of [`super`]: every kind of trap, everywhere it can happen, and what is left afterwards.

use super::*;
use crate::code::codemap::CodeUnit;
use crate::config::{Compilation, CompileMode, Config, Mode};
use crate::context::Engine;
use crate::error::Error;
use crate::units::function::FunctionId;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::Block;
use cranelift_reader::parse_functions;

mod after;
mod cost;
mod kinds;
mod process;
mod stack;

/// Where a trap is made to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Tier0,
    Eager,
    Region,
    Continuation,
    Background,
}

const EVERYWHERE: [Where; 5] = [
    Where::Tier0,
    Where::Eager,
    Where::Region,
    Where::Continuation,
    Where::Background,
];

impl Where {
    fn engine(self) -> Engine {
        let (mode, compile) = match self {
            Self::Tier0 => (Mode::Tier0, CompileMode::Synchronous),
            Self::Eager => (Mode::Eager, CompileMode::Synchronous),
            Self::Region | Self::Continuation => (Mode::Tiered, CompileMode::Synchronous),
            Self::Background => (Mode::Tiered, CompileMode::Background),
        };
        engine(
            small()
                .mode(mode)
                .compile(compile)
                .pacing(crate::Pacing::Counts)
                .loop_threshold(10)
                .check(true),
        )
    }

    /// The loop of [`hot_loop`] or [`cold_block`].
    fn clif(self, operation: &str) -> String {
        match self {
            Self::Continuation => cold_block(operation),
            _ => hot_loop(operation),
        }
    }

    fn unit(self) -> Option<(CodeUnit, u8)> {
        let [region, start] = [1, 2].map(Block::from_u32);
        match self {
            Self::Tier0 => Some((CodeUnit::Function, 0)),
            Self::Eager => Some((CodeUnit::Function, 1)),
            Self::Region => Some((CodeUnit::Region { entry: region }, 1)),
            Self::Continuation => Some((CodeUnit::Continuation { region, start }, 1)),
            Self::Background => None,
        }
    }
}

fn small() -> Config {
    Config::default()
        .arena(crate::config::ArenaConfig {
            code_bytes: 4 << 20,
            data_bytes: 4 << 20,
        })
        .pacing(crate::Pacing::Counts)
}

fn engine(config: Config) -> Engine {
    Engine::new(config).unwrap()
}

fn define(engine: &Engine, clif: &str) -> FunctionId {
    let functions = parse_functions(clif).unwrap_or_else(|error| panic!("{error}\n{clif}"));
    let functions = functions.into_iter();
    let ids = functions.map(|function| engine.define_function(function).unwrap());
    ids.reduce(|_, last| last).unwrap()
}

/// Calls with 64-bit integers.
fn call(engine: &Engine, id: FunctionId, args: &[i64]) -> Result<Vec<DataValue>, Error> {
    let args: Vec<_> = args.iter().map(|&arg| DataValue::I64(arg)).collect();
    // SAFETY: the functions of these tests are sound but for their traps.
    unsafe { engine.call(id, &args) }
}

fn trap(result: Result<Vec<DataValue>, Error>) -> Trap {
    match result {
        Err(Error::Trap(trap)) => *trap,
        other => panic!("no trap: {other:?}"),
    }
}

/// `f(n, good, bad)`: a loop of `n` iterations that runs `operation`, which makes v20 of v10, in
/// block2; v10 is `good`, and `bad` in the last iteration.
fn hot_loop(operation: &str) -> String {
    format!(
        "function %f(i64, i64, i64) -> i64 system_v {{
    sig0 = (i64) -> i64 system_v
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    v9 = iconst.i64 1
    v6 = iadd v4, v9
    v7 = icmp eq v6, v0
    v10 = select v7, v2, v1
    jump block2
block2:
{operation}
    jump block3
block3:
    v8 = icmp ult v6, v0
    brif v8, block1(v6, v20), block4
block4:
    return v20
}}"
    )
}

/// As [`hot_loop`], but that block2 is entered in the last iteration only.
fn cold_block(operation: &str) -> String {
    format!(
        "function %f(i64, i64, i64) -> i64 system_v {{
    sig0 = (i64) -> i64 system_v
block0(v0: i64, v1: i64, v10: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    v9 = iconst.i64 1
    v6 = iadd v4, v9
    v7 = icmp eq v6, v0
    brif v7, block2, block3(v1)
block2:
{operation}
    jump block3(v20)
block3(v30: i64):
    v8 = icmp ult v6, v0
    brif v8, block1(v6, v30), block4
block4:
    return v30
}}"
    )
}
