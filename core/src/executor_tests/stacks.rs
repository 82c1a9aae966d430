//! Tests of `regraft_executor::stacks`: generated code on stacks that are too small for a code generator, and what of the runtime
//! shows to who entered it.

use crate::context::Engine;
use crate::units::function::FunctionId;
use crate::{Compilation, CompileMode, Config};
use cranelift_reader::parse_functions;
use regraft_executor::stacks::*;
use small::{Kind, run_on};
use std::panic::catch_unwind;
use std::sync::atomic::*;

mod shows;
mod small;

/// An engine that compiles on the thread that asks.
fn engine(config: Config) -> Engine {
    let engine = Engine::new(
        config
            .compile(CompileMode::Synchronous)
            .pacing(crate::Pacing::Counts)
            .loop_threshold(10)
            .entry_threshold(1000)
            .arena(crate::config::ArenaConfig {
                code_bytes: 4 << 20,
                data_bytes: 4 << 20,
            }),
    )
    .unwrap();
    engine.symbol("host", shows::host as *const u8).unwrap();
    engine
}

fn define(engine: &Engine, clif: &str) -> FunctionId {
    let functions = parse_functions(clif).unwrap_or_else(|error| panic!("{error}\n{clif}"));
    let ids = functions
        .into_iter()
        .map(|function| engine.define_function(function).unwrap());
    ids.reduce(|_, last| last).unwrap()
}

/// A function of one integer, called raw.
fn raw(engine: &Engine, id: FunctionId) -> extern "C" fn(i64) -> i64 {
    let pointer = engine.pointer(id).unwrap();
    // SAFETY: the functions of these tests have this signature.
    unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(pointer) }
}

/// `f(n)`: a loop of `n` iterations with a block that is cold but in the last one: the sum of 1 to `n`, and `n` once
/// more. `call` is an instruction of that block, or nothing.
fn with_side_exit(call: &str) -> String {
    format!(
        "function %f(i64) -> i64 system_v {{
    fn0 = %host() system_v
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = iconst.i64 1
    v5 = iadd v2, v4
    v6 = iadd v3, v5
    v7 = icmp eq v5, v0
    brif v7, block2, block3(v6)
block2:
{call}
    v8 = iadd v6, v0
    jump block3(v8)
block3(v9: i64):
    v10 = icmp ult v5, v0
    brif v10, block1(v5, v9), block4
block4:
    return v9
}}"
    )
}

fn expected(n: i64) -> i64 {
    n * (n + 1) / 2 + n
}

#[test]
fn a_hot_loop_and_its_first_side_exit_on_a_small_stack() {
    for kind in Kind::ALL {
        let engine = engine(Config::default());
        let f = define(&engine, &with_side_exit(""));
        let raw = raw(&engine, f);
        run_on(kind, || assert_eq!(raw(1000), expected(1000)));
        let report = engine.report();
        let region = &report.functions["f"].regions[0];
        assert!(!region.versions.is_empty(), "{kind:?}: no tier 1");
    }
}

#[test]
fn a_first_call_on_a_small_stack() {
    for kind in Kind::ALL {
        let engine = engine(Config::default().compilation(Compilation::AtFirstCall));
        let f = define(&engine, &with_side_exit(""));
        let raw = raw(&engine, f);
        run_on(kind, || assert_eq!(raw(3), expected(3)));
    }
}

/// Uses much stack.
#[inline(never)]
fn deep() -> u64 {
    std::hint::black_box(&mut [1_u64; 200 << 10 >> 3])
        .iter()
        .sum()
}

#[test]
fn a_definition_on_demand_on_a_small_stack() {
    for kind in Kind::ALL {
        let engine = engine(Config::default());
        let source = parse_functions(&with_side_exit("")).unwrap().remove(0);
        let f = engine.declare("f", &source.signature).unwrap();
        let defined = engine.define_lazily(f, move |_| {
            assert_eq!(deep(), 200 << 10 >> 3);
            Ok(source)
        });
        defined.unwrap();
        let raw = raw(&engine, f);
        run_on(kind, || assert_eq!(raw(3), expected(3)));
    }
}

#[test]
fn the_calling_sequence_of_a_safe_call_on_a_small_stack() {
    for kind in Kind::ALL {
        let engine = engine(Config::default().compilation(Compilation::AtFirstCall));
        let f = define(&engine, &with_side_exit(""));
        let typed = engine.get::<(i64,), i64>(f).unwrap();
        run_on(kind, || {
            // SAFETY: the function touches no memory.
            assert_eq!(unsafe { typed.try_call((3,)) }.unwrap(), expected(3));
        });
    }
}

#[test]
fn a_definition_on_demand_that_calls_generated_code() {
    let inner = engine(Config::default().compilation(Compilation::AtFirstCall));
    let g = define(&inner, &with_side_exit(""));
    let call_g = raw(&inner, g);
    let outer = engine(Config::default());
    let source = parse_functions(&with_side_exit("")).unwrap().remove(0);
    let f = outer.declare("f", &source.signature).unwrap();
    let defined = outer.define_lazily(f, move |_| {
        assert_eq!(call_g(3), expected(3));
        Ok(source)
    });
    defined.unwrap();
    let raw = raw(&outer, f);
    run_on(Kind::Thread, || assert_eq!(raw(1000), expected(1000)));
}

#[test]
fn a_panic_comes_back_to_the_stack_that_it_left() {
    let panic = catch_unwind(|| on_own_stack(|| panic!("as asked for")));
    let payload = panic.err().unwrap();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"as asked for"));
    let local = 0_u8;
    let here = (&raw const local).addr();
    let there = on_own_stack(|| {
        let local = 0_u8;
        (&raw const local).addr()
    });
    assert!(there.unwrap().abs_diff(here) > 64 << 10);
}

/// Runs `work` while so many stacks are in use.
fn on_nested_stacks(stacks: usize, work: &dyn Fn() -> usize) -> usize {
    match stacks {
        0 => work(),
        _ => on_own_stack(|| on_nested_stacks(stacks - 1, work)).unwrap(),
    }
}

/// What an entry thunk probes is enough.
#[test]
fn entering_the_runtime_takes_less_stack_than_its_thunks_probe() {
    let engine = engine(Config::default().compilation(Compilation::AtFirstCall));
    let f = define(&engine, &with_side_exit(""));
    let raw = raw(&engine, f);
    // All stacks in use, so that the way through the system is measured too.
    let used = on_nested_stacks(KEPT, &|| {
        run_on(Kind::Context, || assert_eq!(raw(3), expected(3)))
    });
    let empty = run_on(Kind::Context, || {});
    // Half of it, so that a signal handler has the rest.
    assert!(
        used - empty <= 4096,
        "{used} bytes, of which {empty} are the test's"
    );
}
