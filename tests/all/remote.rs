//! Code that runs in another process: the same results, the same traps, and what can go wrong between two processes.

mod calls;
mod command;
mod faults;
mod fork;
mod host;
mod sandbox;
mod wasm;

use cranelift_codegen::data_value::DataValue;
use regraft::{CompileMode, Config, Engine, Error, Executor, FunctionId, Pacing};
use regraft_executor::remote::Program;

/// The `regraft-executor` command, as it is built with the tests.
pub fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_executor-of-tests"))
}

/// A process that runs code.
pub fn spawn() -> Executor {
    Executor::spawn_program(&program()).expect("an executor starts")
}

/// Tiers up at the first opportunity, in the calling thread.
fn eager_to_tier_up(executor: Executor) -> Config {
    Config::default()
        .compile(CompileMode::Synchronous)
        .pacing(Pacing::Counts)
        .loop_threshold(1)
        .entry_threshold(1)
        .check(true)
        .executor(executor)
}

/// Defines the functions of a text; the last one is returned.
fn define(engine: &Engine, clif: &str) -> FunctionId {
    let functions = cranelift_reader::parse_functions(clif).expect("the text is CLIF");
    let mut last = None;
    for func in functions {
        let defined = engine.define_function(func);
        last = Some(defined.expect("the function is accepted"));
    }
    last.expect("there is a function")
}

fn call(engine: &Engine, id: FunctionId, args: &[DataValue]) -> Result<Vec<DataValue>, Error> {
    // SAFETY: the code runs in another process, or touches nothing.
    unsafe { engine.call(id, args) }
}

const SUM: &str = "function %sum(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = iadd v3, v2
    v5 = iconst.i64 1
    v6 = iadd v2, v5
    v7 = icmp ult v6, v0
    brif v7, block1(v6, v4), block2
block2:
    return v4
}";

/// Loops until a byte of memory is 0.
const SPIN: &str = "function %spin(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1)
block1(v2: i64):
    v3 = iconst.i64 1
    v4 = iadd v2, v3
    v5 = load.i8 v0
    brif v5, block1(v4), block2
block2:
    return v4
}";
