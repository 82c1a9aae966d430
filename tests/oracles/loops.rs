//! A random program with loops as people write them, and what passes make of it.
//!
//! Both are interpreted, so that traps can be compared as well; then both run as machine code, where nothing trapped. The program is also
//! run by an engine with every pass, in some cases.

use super::engines::{call, define, with_passes};
use super::optimize::{Plan, plan, run_plan};
use super::plain::{Outcome, Plain, isa};
use super::{Sabotage, Stats};
use crate::generate::host::{Arg, Host};
use crate::generate::{MAIN, Source, structured};
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::Function;
use cranelift_interpreter::environment::FunctionStore;
use cranelift_interpreter::interpreter::{Interpreter, InterpreterState};
use cranelift_interpreter::step::ControlFlow;

/// Instructions per call.
const FUEL: u64 = 200_000;
/// Bytes at the end of a case that choose the passes and the arguments.
const CHOICE_BYTES: usize = 48;

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Returned(Outcome),
    Trapped(String),
}

fn interpret(func: &Function, args: &[DataValue]) -> Option<End> {
    let mut store = FunctionStore::default();
    store.add(func.name.to_string(), func);
    let state = InterpreterState::default().with_function_store(store);
    let mut interpreter = Interpreter::new(state).with_fuel(Some(FUEL));
    let name = func.name.to_string();
    match super::quietly(|| interpreter.call_by_name(&name, args)) {
        Ok(Ok(ControlFlow::Return(results))) => Some(End::Returned(Outcome::new(&results, vec![]))),
        Ok(Ok(ControlFlow::Trap(trap))) => Some(End::Trapped(format!("{trap:?}"))),
        _ => None,
    }
}

/// What passes make of a program with loops does what the program does, traps included.
///
/// # Errors
///
/// The first difference, and the CLIF.
pub fn check(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let (program, choices) = bytes.split_at(bytes.len() - bytes.len().min(CHOICE_BYTES));
    let source = structured::draw(&mut Source::new(program));
    cranelift_codegen::verify_function(&source, &*isa())
        .map_err(|errors| format!("the generator is wrong: {errors}\n{source}"))?;
    let (args, plan_bytes) = choices.split_at(choices.len() / 2);
    let mut plan = plan(plan_bytes);
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    let mut optimized = source.clone();
    stats.optimized = run_plan(&mut optimized, &mut plan)?;
    if let Some(sabotage) = sabotage {
        stats.sabotaged = usize::from(sabotage.spoil(&mut optimized, false));
    }
    let mut args = Source::new(args);
    let in_engine = args.percent(30);
    for _ in 0..3 {
        let inputs = [
            DataValue::I64(args.bits().cast_signed()),
            DataValue::I64(args.bits().cast_signed()),
            DataValue::I32(args.bits() as i32),
        ];
        let how = (sabotage, in_engine);
        compare(&source, &optimized, &inputs, how, &mut stats)
            .map_err(|error| describe(&error, &plan, &source, &optimized, &inputs))?;
    }
    Ok(stats)
}

fn describe(
    error: &str,
    plan: &Plan,
    source: &Function,
    optimized: &Function,
    args: &[DataValue],
) -> String {
    format!("{error}\n; arguments {args:?}\n; {plan:?}\n{source}\n; optimized\n{optimized}")
}

fn compare(
    source: &Function,
    optimized: &Function,
    inputs: &[DataValue],
    (sabotage, in_engine): (Option<Sabotage>, bool),
    stats: &mut Stats,
) -> Result<(), String> {
    let Some(expected) = interpret(source, inputs) else {
        return Ok(());
    };
    if let Some(got) = interpret(optimized, inputs) {
        stats.interpreted += 1;
        if got != expected {
            return Err(format!("interpreted: {got:?}, not {expected:?}"));
        }
    }
    if sabotage.is_some() {
        return Ok(());
    }
    let host = Host::new();
    let args: Vec<Arg> = inputs.iter().cloned().map(Arg::Value).collect();
    if in_engine {
        let (engine, main) = define(std::slice::from_ref(source), with_passes(), &host)?;
        for _ in 0..2 {
            let got = call(&engine, main, &host, &args);
            stats.calls += 1;
            let difference = match (&got, &expected) {
                (Ok(got), End::Returned(expected)) => got.difference(expected),
                (Err(_), End::Trapped(_)) => None,
                _ => Some(format!("{got:?}, not {expected:?}")),
            };
            if let Some(difference) = difference {
                return Err(format!("in the engine: {difference}"));
            }
        }
    }
    // Plain machine code that traps would end the test.
    let End::Returned(expected) = expected else {
        return Ok(());
    };
    for function in [source, optimized] {
        let made = Plain::compile(std::slice::from_ref(function), MAIN, &host)?;
        let got = made.run(&host, &args);
        stats.calls += 1;
        if let Some(difference) = got.difference(&expected) {
            return Err(difference);
        }
    }
    Ok(())
}
