//! Inlined functions: redefined, removed and trapping while copies of them run.

use crate::tiering::{eager_to_tier, engine};
use regraft::config::Optimizer;
use regraft::optimizer::{Pass, Passes};
use regraft::report::VersionReport;
use regraft::{CompileMode, Config, Engine, FunctionId, Report, TrapKind, TypedFn};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A small function, with `number` in it.
fn callee(number: i64) -> cranelift_codegen::ir::Function {
    parse(&format!(
        "function %f(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 {number}
    v2 = imul v0, v1
    return v2
}}"
    ))
}

/// The sum of `f(1)` over a loop of `n` steps, which calls `step` with the number of each.
const CALLER: &str = "function %g(i64) -> i64 system_v {
    fn0 = %f(i64) -> i64 system_v
    fn1 = %step(i64) system_v
block0(v0: i64):
    v1 = iconst.i64 0
    v2 = iconst.i64 1
    jump block1(v1, v1)
block1(v3: i64, v4: i64):
    call fn1(v3)
    v5 = call fn0(v2)
    v6 = iadd v4, v5
    v7 = iadd v3, v2
    v8 = icmp ult v7, v0
    brif v8, block1(v7, v6), block2
block2:
    return v6
}";

fn parse(clif: &str) -> cranelift_codegen::ir::Function {
    let functions = cranelift_reader::parse_functions(clif);
    functions.expect("valid CLIF").remove(0)
}

fn config() -> Config {
    eager_to_tier(10).optimizer(Optimizer {
        passes: Passes::all(),
        ..Optimizer::default()
    })
}

fn typed(engine: &Engine, id: FunctionId) -> TypedFn<(i64,), i64> {
    engine.get(id).expect("the types agree")
}

/// Calls a function that touches no memory but what its test gives it.
fn call(function: &TypedFn<(i64,), i64>, arg: i64) -> i64 {
    // SAFETY: as said.
    unsafe { function.call((arg,)) }
}

/// The newest version of a function's only loop, or of the function.
fn versions(report: &Report, function: &str) -> Vec<VersionReport> {
    let function = &report.functions[function];
    let regions = function.regions.iter();
    let regions = regions.flat_map(|region| region.versions.clone());
    regions.chain(function.versions.clone()).collect()
}

fn holds_copies(engine: &Engine, function: &str) -> bool {
    let report = engine.report();
    let versions = versions(&report, function);
    let mut passes = versions.iter().flat_map(|version| &version.passes);
    passes.any(|pass| pass.pass == Pass::Inline.name())
}

type Step = Box<dyn Fn(i64)>;

thread_local! {
    /// What `step` does.
    static STEP: RefCell<Option<Step>> = const { RefCell::new(None) };
}

extern "C" fn step(number: i64) {
    STEP.with_borrow(|step| {
        if let Some(step) = step {
            step(number);
        }
    });
}

fn stepping() -> (Engine, FunctionId, FunctionId) {
    let engine = engine(config(), "");
    engine.symbol("step", step as *const u8).unwrap();
    let f = engine.define_function(callee(1)).expect("it is good");
    let g = engine.define_function(parse(CALLER)).expect("it is good");
    (engine, f, g)
}

#[test]
fn what_is_called_next_is_what_was_defined_last() {
    let (engine, f, g) = stepping();
    let caller = typed(&engine, g);
    assert_eq!(call(&caller, 1000), 1000);
    assert!(holds_copies(&engine, "g"), "{}", engine.report().to_json());
    for round in 2..12 {
        // In the middle of a loop that holds a copy, by the thread that runs it.
        let inside = engine.clone();
        STEP.set(Some(Box::new(move |number| {
            if number == 500 {
                inside.redefine(f, callee(round)).expect("it is good");
            }
        })));
        let before = round - 1;
        assert_eq!(call(&caller, 1000), 500 * before + 500 * round);
        STEP.set(None);
        // From outside.
        assert_eq!(call(&caller, 100), 100 * round);
    }
    engine.remove(f).expect("it is there");
    // SAFETY: as in `call`.
    let trap = unsafe { caller.try_call((10,)) }.expect_err("it calls what was removed");
    assert_eq!(trap.kind, TrapKind::Unresolvable, "{trap}");
}

#[test]
fn a_removal_in_a_loop_that_holds_a_copy_is_a_trap_at_the_next_call() {
    let (engine, f, g) = stepping();
    let caller = typed(&engine, g);
    call(&caller, 1000);
    assert!(holds_copies(&engine, "g"));
    let inside = engine.clone();
    STEP.set(Some(Box::new(move |number| {
        if number == 7 {
            inside.remove(f).expect("it is there");
        }
    })));
    // SAFETY: as in `call`.
    let trap = unsafe { caller.try_call((1000,)) };
    STEP.set(None);
    assert_eq!(trap.expect_err("removed").kind, TrapKind::Unresolvable);
}

/// Reads the word at `v1`, calls `f`, and counts in how many of `n` steps `f` returned less than what was read.
const WATCHER: &str = "function %w(i64, i64) -> i64 system_v {
    fn0 = %f(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    v3 = iconst.i64 1
    jump block1(v2, v2)
block1(v4: i64, v5: i64):
    v6 = atomic_load.i64 notrap aligned v1
    v7 = call fn0(v3)
    v8 = icmp slt v7, v6
    v9 = uextend.i64 v8
    v10 = iadd v5, v9
    v11 = iadd v4, v3
    v12 = icmp ult v11, v0
    brif v12, block1(v11, v10), block2
block2:
    return v10
}";

/// Calls `f` as long as it returns 1; no memory is read, and nothing else is called.
const SPINNER: &str = "function %s(i64) -> i64 system_v {
    fn0 = %f(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    jump block1(v1)
block1(v2: i64):
    v3 = call fn0(v0)
    v4 = icmp eq v3, v0
    brif v4, block1(v3), block2
block2:
    return v3
}";

#[test]
fn threads_in_copies_see_a_redefinition_once_it_has_returned() {
    for compile in [CompileMode::Synchronous, CompileMode::Background] {
        let engine = engine(config().compile(compile), "");
        let f = engine.define_function(callee(1)).expect("it is good");
        let w = engine.define_function(parse(WATCHER)).expect("it is good");
        let watcher = engine.get::<(i64, i64), i64>(w).expect("the types agree");
        let (defined, done) = (AtomicI64::new(1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        let word = defined.as_ptr() as i64;
                        // SAFETY: it reads the word atomically, as everybody writes it.
                        let late = unsafe { watcher.call((100_000, word)) };
                        assert_eq!(late, 0, "calls reached what had been replaced");
                    }
                });
            }
            for number in 2..60 {
                engine.redefine(f, callee(number)).expect("it is good");
                defined.store(number, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            done.store(true, Ordering::SeqCst);
        });
        assert!(holds_copies(&engine, "w"));
    }
}

#[test]
fn a_loop_that_only_calls_ends_when_what_it_calls_is_redefined() {
    let engine = engine(config(), "");
    let f = engine.define_function(callee(1)).expect("it is good");
    let s = engine.define_function(parse(SPINNER)).expect("it is good");
    let spinner = typed(&engine, s);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| call(&spinner, 1));
        while !holds_copies(&engine, "s") {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        engine.redefine(f, callee(2)).expect("it is good");
        assert_eq!(thread.join().expect("no panic"), 2);
    });
}

#[test]
fn a_trap_in_a_copy_is_located_in_what_was_copied() {
    let clif = "function %f(i64) -> i64 system_v {
block0(v0: i64):
    jump block5
block5:
    v1 = iconst.i64 100
    v2 = udiv v1, v0
    return v2
}
function %g(i64) -> i64 system_v {
    fn0 = %f(i64) -> i64 system_v
block0(v0: i64):
    v1 = iconst.i64 -1
    jump block1(v0)
block1(v3: i64):
    v4 = call fn0(v3)
    v5 = iadd v3, v1
    jump block1(v5)
}";
    for (located, expected) in [
        (clif.to_string(), "block5"),
        (clif.replace("    v2 = udiv", "@0012 v2 = udiv"), "@0012"),
    ] {
        let engine = engine(config(), &located);
        let g = engine.lookup("g").expect("it is defined");
        let function = typed(&engine, g);
        // SAFETY: as in `call`.
        let trap = unsafe { function.try_call((1000,)) }.expect_err("it divides by zero");
        assert!(holds_copies(&engine, "g"), "{}", engine.report().to_json());
        let location = trap.location.expect("it is known where");
        assert_eq!((&*location.function, location.tier), ("f", 1));
        assert!(location.to_string().starts_with(expected), "{location}");
    }
}

/// fib, which holds copies of itself.
const FIB: &str = "function %fib(i64) -> i64 system_v {
    fn0 = %fib(i64) -> i64 system_v
block0(v0: i64):
    v1 = iconst.i64 2
    v2 = icmp slt v0, v1
    brif v2, block2(v0), block1
block1:
    v3 = iconst.i64 -1
    v4 = iadd v0, v3
    v5 = call fn0(v4)
    v6 = iadd v4, v3
    v7 = call fn0(v6)
    v8 = iadd v5, v7
    jump block2(v8)
block2(v9: i64):
    return v9
}";

#[test]
fn recursion_is_bounded_and_everything_is_freed() {
    let engine = engine(config(), "");
    let first = engine.define_function(parse(FIB)).expect("it is good");
    assert_eq!(call(&typed(&engine, first), 20), 6765);
    assert!(holds_copies(&engine, "fib"));
    let version = versions(&engine.report(), "fib").pop().expect("tier 1");
    assert!(version.instructions_before < 2500, "{version:?}");
    engine.remove(first).expect("it is there");
    let before = engine.memory();
    for _ in 0..20 {
        let id = engine.define_function(parse(FIB)).expect("it is good");
        assert_eq!(call(&typed(&engine, id), 15), 610);
        engine.redefine(id, parse(FIB)).expect("it is good");
        assert_eq!(call(&typed(&engine, id), 15), 610);
        engine.remove(id).expect("it is there");
    }
    let after = engine.memory();
    assert_eq!(
        (after.code.live, after.data.live, after.waiting),
        (before.code.live, before.data.live, 0)
    );
}
