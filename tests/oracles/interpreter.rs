//! Cranelift's interpreter: a second opinion on what a program does.
//!
//! Limitations: it has no memory but stack slots, and lacks some operations. Where it gives up, there is no
//! opinion.

use super::plain::{Outcome, name_of};
use crate::generate::host::{Arg, Host};
use cranelift_codegen::ir::Function;
use cranelift_interpreter::environment::FunctionStore;
use cranelift_interpreter::interpreter::{Interpreter, InterpreterState};
use cranelift_interpreter::step::ControlFlow;

/// Instructions per call.
const FUEL: u64 = 400_000;

/// Runs `main`; `None` where the interpreter cannot.
pub fn interpret(functions: &[Function], main: &str, host: &Host, args: &[Arg]) -> Option<Outcome> {
    let mut store = FunctionStore::default();
    for function in functions {
        // The interpreter looks callees up by the names as CLIF prints them.
        store.add(function.name.to_string(), function);
    }
    let main = functions
        .iter()
        .find(|function| name_of(function) == main)?;
    let state = InterpreterState::default().with_function_store(store);
    let mut interpreter = Interpreter::new(state).with_fuel(Some(FUEL));
    let args = host.arguments(args);
    let name = main.name.to_string();
    let run = super::quietly(|| interpreter.call_by_name(&name, &args));
    match run {
        Ok(Ok(ControlFlow::Return(results))) => Some(Outcome::new(&results, vec![])),
        _ => None,
    }
}
