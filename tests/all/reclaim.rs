//! Redefinition, removal and reclamation, seen from outside.

use crate::tiering::{COLD, cold_model, eager_to_tier, engine};
use regraft::memory::MemoryStats;
use regraft::{CompileMode, Engine, Error, FunctionId, Mode, Reclamation, TrapKind, TypedFn};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Barrier, mpsc};

/// A loop of `n` steps that adds `step`, and calls nothing.
fn adding(step: i64) -> cranelift_codegen::ir::Function {
    let clif = format!(
        "function %f(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v7 = iconst.i64 {step}
    v8 = iconst.i64 1
    v4 = iadd v3, v7
    v5 = iadd v2, v8
    v6 = icmp ult v5, v0
    brif v6, block1(v5, v4), block2
block2:
    return v4
}}"
    );
    parse(&clif)
}

fn parse(clif: &str) -> cranelift_codegen::ir::Function {
    let functions = cranelift_reader::parse_functions(clif);
    functions.expect("valid CLIF").remove(0)
}

/// Calls the function `f`.
const CALLER: &str = "function %g(i64) -> i64 system_v {
    fn0 = %f(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    return v1
}";

fn typed(engine: &Engine, id: FunctionId) -> TypedFn<(i64,), i64> {
    engine.get(id).expect("the types agree")
}

/// Calls a function that touches no memory.
fn call(function: &TypedFn<(i64,), i64>, arg: i64) -> i64 {
    // SAFETY: the functions of these tests touch no memory but their own frames.
    unsafe { function.call((arg,)) }
}

/// Bytes of code in use, but for what every engine has.
fn live(memory: &MemoryStats) -> u64 {
    memory.tiers.iter().map(|tier| tier.live).sum()
}

/// Everything that is taken of code and data memory.
fn in_use(memory: &MemoryStats) -> (usize, usize, u64) {
    (memory.code.live, memory.data.live, live(memory))
}

#[test]
fn calls_reach_the_new_body_through_every_pointer() {
    for mode in [Mode::Tiered, Mode::Tier0, Mode::Eager] {
        let config = eager_to_tier(10).mode(mode);
        let engine = Engine::new(config).unwrap();
        let id = engine.define_function(adding(1)).unwrap();
        let caller = engine.define_function(parse(CALLER)).unwrap();
        let (direct, through) = (typed(&engine, id), typed(&engine, caller));
        let pointer = engine.pointer(id).unwrap();
        for step in 1..20 {
            for _ in 0..15 {
                assert_eq!(call(&direct, 100), 100 * step);
                assert_eq!(call(&through, 100), 100 * step);
            }
            engine.redefine(id, adding(step + 1)).unwrap();
            assert_eq!(engine.pointer(id).unwrap(), pointer);
        }
        assert_eq!(call(&direct, 100), 2000);
    }
}

#[test]
fn what_was_replaced_is_freed() {
    let engine = engine(eager_to_tier(10), "");
    let id = engine.define_function(adding(1)).unwrap();
    let function = typed(&engine, id);
    call(&function, 1000);
    let steady = engine.memory();
    for step in 2..100 {
        engine.redefine(id, adding(step)).unwrap();
        assert_eq!(call(&function, 1000), 1000 * step);
        assert_eq!(engine.memory().waiting, 0);
    }
    let memory = engine.memory();
    assert_eq!(in_use(&memory), in_use(&steady));
    for tier in memory.tiers {
        assert!(tier.freed > 0 && tier.retired == 0, "{memory:?}");
    }
}

#[test]
fn tier_0_goes_when_the_whole_function_is_at_tier_1() {
    let engine = engine(eager_to_tier(10), COLD);
    let id = engine.lookup("cold").unwrap();
    let cold = engine.get::<(i64, i64), i64>(id).unwrap();
    for round in 0..40 {
        // SAFETY: as in `call`.
        let result = unsafe { cold.call((1, 1 << 40)) };
        assert_eq!(result, cold_model(1, 1 << 40), "{round}");
    }
    let report = engine.report();
    let function = &report.functions["cold"];
    assert_eq!(function.tier, Some(1), "{}", report.to_json());
    let calls = function.entries;
    assert!(calls > 0);
    engine.collect();
    let memory = engine.memory();
    assert!(memory.tiers[0].freed > 0, "{memory:?}");
    // What it counted is still known, and it goes on working: cold paths too.
    assert_eq!(engine.report().functions["cold"].entries, calls);
    for n in [1, 5000] {
        // SAFETY: as in `call`.
        assert_eq!(unsafe { cold.call((n, 0)) }, cold_model(n, 0));
    }
}

#[test]
fn an_older_formation_is_freed() {
    let config = eager_to_tier(100)
        .side_exit_threshold(4)
        .entry_threshold(u32::MAX);
    let engine = engine(config, COLD);
    let id = engine.lookup("cold").unwrap();
    let cold = engine.get::<(i64, i64), i64>(id).unwrap();
    let arguments = [(5000, 1 << 40), (5000, 1000), (5000, 0), (5000, 4000)];
    for (n, from) in arguments {
        // SAFETY: as in `call`.
        assert_eq!(unsafe { cold.call((n, from)) }, cold_model(n, from));
    }
    let region = &engine.report().functions["cold"].regions[0];
    assert!(region.part.formations > 1, "{region:?}");
    let memory = engine.memory();
    assert!(memory.tiers[1].freed > 0, "{memory:?}");
    assert_eq!(memory.waiting, 0);
}

#[test]
fn a_failed_redefinition_changes_nothing() {
    let engine = engine(eager_to_tier(10), "");
    let id = engine.define_function(adding(3)).unwrap();
    let function = typed(&engine, id);
    assert_eq!(call(&function, 1000), 3000);
    let before = engine.memory();
    let wrong = [
        // Another signature.
        "function %f(i32) -> i32 system_v { block0(v0: i32): return v0 }",
        // It does not verify.
        "function %f(i64) -> i64 system_v { block0(v0: i64): v1 = iconst.i32 1 return v1 }",
        // It refers to nobody.
        "function %f(i64) -> i64 system_v { fn0 = u0:999(i64) -> i64 system_v block0(v0: i64): v1 = call fn0(v0) return v1 }",
    ];
    for clif in wrong {
        let error = engine.redefine(id, parse(clif)).unwrap_err();
        println!("{error}");
        assert_eq!(call(&function, 1000), 3000);
    }
    assert_eq!(in_use(&engine.memory()), in_use(&before));
}

#[test]
fn a_definition_that_cannot_be_compiled_leaves_nothing_behind() {
    let strike = std::sync::Arc::new(AtomicBool::new(false));
    let faults = {
        let strike = std::sync::Arc::clone(&strike);
        regraft::config::Faults::new(move |stage, _| {
            matches!(stage, regraft::config::Stage::Link(0)) && strike.load(Ordering::Relaxed)
        })
    };
    let config = eager_to_tier(1_000_000).faults(Some(faults));
    let engine = Engine::new(config).unwrap();
    let id = engine.define_function(adding(3)).unwrap();
    let before = engine.memory();
    strike.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        let error = engine.redefine(id, adding(4)).unwrap_err();
        assert!(matches!(error, Error::Compile { .. }), "{error}");
    }
    assert_eq!(in_use(&engine.memory()), in_use(&before));
    assert_eq!(call(&typed(&engine, id), 10), 30);
}

#[test]
fn a_call_of_a_function_that_was_removed_is_an_error() {
    let engine = engine(eager_to_tier(10), "");
    let id = engine.define_function(adding(1)).unwrap();
    let caller = engine.define_function(parse(CALLER)).unwrap();
    let (direct, through) = (typed(&engine, id), typed(&engine, caller));
    assert_eq!((call(&direct, 50), call(&through, 50)), (50, 50));
    engine.remove(id).unwrap();
    for function in [&direct, &through] {
        // SAFETY: as in `call`.
        let trap = unsafe { function.try_call((50,)) }.unwrap_err();
        assert_eq!(trap.kind, TrapKind::Unresolvable, "{trap}");
    }
    assert!(matches!(
        engine.get::<(i64,), i64>(id),
        Err(Error::UnknownFunction { .. })
    ));
    assert!(matches!(
        engine.remove(id),
        Err(Error::UnknownFunction { .. })
    ));
    assert!(matches!(
        engine.redefine(id, adding(1)),
        Err(Error::UnknownFunction { .. })
    ));
    assert_eq!(engine.lookup("f"), None);
    // The name is free again, and is another function's; who called the old one does not call it.
    let new = engine.define_function(adding(7)).unwrap();
    assert_ne!(new, id);
    assert_eq!(call(&typed(&engine, new), 10), 70);
    // SAFETY: as in `call`.
    assert!(unsafe { through.try_call((50,)) }.is_err());
}

#[test]
fn everything_of_a_removed_function_is_freed() {
    let engine = engine(eager_to_tier(10), "");
    // Chunks of slots are kept.
    let first = engine.define_function(adding(1)).unwrap();
    call(&typed(&engine, first), 1000);
    engine.remove(first).unwrap();
    let before = engine.memory();
    for step in 1..600 {
        let id = engine.define_function(adding(step)).unwrap();
        let function = typed(&engine, id);
        assert_eq!(call(&function, 1000), 1000 * step);
        engine.remove(id).unwrap();
    }
    let after = engine.memory();
    assert_eq!(in_use(&after), in_use(&before));
    assert_eq!(live(&after), 0);
}

#[test]
fn functions_that_call_each_other_can_all_be_removed() {
    let clif = "function %a(i64) -> i64 system_v {
    fn0 = %b(i64) -> i64 system_v
block0(v0: i64):
    brif v0, block1, block2
block1:
    v4 = iconst.i64 1
    v1 = isub v0, v4
    v2 = call fn0(v1)
    v3 = iadd v2, v4
    return v3
block2:
    return v0
}
function %b(i64) -> i64 system_v {
    fn0 = %a(i64) -> i64 system_v
    fn1 = %b(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    return v1
}";
    let engine = engine(eager_to_tier(10), clif);
    let ids = ["a", "b"].map(|name| engine.lookup(name).unwrap());
    assert_eq!(call(&typed(&engine, ids[0]), 100), 100);
    for id in ids {
        engine.remove(id).unwrap();
    }
    let memory = engine.memory();
    assert_eq!((live(&memory), memory.waiting), (0, 0), "{memory:?}");
    // An engine with such a cycle is dropped whole.
    let dropped = self::engine(eager_to_tier(10), clif);
    drop(dropped);
}

/// A host function that lets a test see that it is inside, and keeps it there.
static INSIDE: AtomicBool = AtomicBool::new(false);
static LEAVE: AtomicBool = AtomicBool::new(false);

extern "C" fn linger(value: i64) -> i64 {
    INSIDE.store(true, Ordering::SeqCst);
    while !LEAVE.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    value
}

#[test]
fn an_activation_of_the_old_body_finishes_in_it() {
    let clif = "function %f(i64) -> i64 system_v {
    fn0 = %linger(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v3 = iconst.i64 1
    v2 = iadd v1, v3
    return v2
}";
    let engine = Engine::new(eager_to_tier(1000)).unwrap();
    engine.symbol("linger", linger as *const u8).unwrap();
    let id = engine.define_function(parse(clif)).unwrap();
    let function = typed(&engine, id);
    std::thread::scope(|scope| {
        let old = scope.spawn(|| call(&function, 41));
        while !INSIDE.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        engine.redefine(id, adding(1)).unwrap();
        // It waits for the thread that is inside.
        let memory = engine.memory();
        assert_eq!((memory.waiting, memory.tiers[0].freed), (1, 0));
        assert!(memory.tiers[0].retired > 0);
        assert_eq!(call(&function, 5), 5);
        LEAVE.store(true, Ordering::SeqCst);
        assert_eq!(old.join().unwrap(), 42);
    });
    // The next call that returns frees it, at the latest when it is called a while.
    for _ in 0..2000 {
        call(&function, 5);
    }
    let memory = engine.memory();
    assert_eq!((memory.waiting, memory.tiers[0].retired), (0, 0));
    assert!(memory.tiers[0].freed > 0);
}

#[test]
fn clients_of_raw_pointers_announce() {
    let configs = [
        Reclamation::Automatic,
        Reclamation::Announced,
        Reclamation::Pinned,
    ];
    for reclamation in configs {
        let config = eager_to_tier(10).reclamation(reclamation);
        let engine = Engine::new(config).unwrap();
        let id = engine.define_function(adding(1)).unwrap();
        // From here on, the engine cannot know who is inside.
        engine.pointer(id).unwrap();
        engine.redefine(id, adding(2)).unwrap();
        engine.collect();
        let pinned = reclamation == Reclamation::Pinned;
        assert_eq!(engine.memory().waiting, usize::from(!pinned));
        // SAFETY: no other thread knows the engine.
        unsafe { engine.quiescent() };
        let memory = engine.memory();
        assert_eq!((memory.waiting, memory.tiers[0].retired), (0, 0));
        assert!(memory.tiers[0].freed > 0);
        assert_eq!(call(&typed(&engine, id), 10), 20);
    }
}

#[test]
fn code_that_takes_addresses_is_a_client_of_raw_pointers() {
    let clif = "function %g() -> i64 system_v {
    fn0 = %f(i64) -> i64 system_v
block0:
    v0 = func_addr.i64 fn0
    return v0
}";
    let engine = Engine::new(eager_to_tier(10)).unwrap();
    let id = engine.define_function(adding(1)).unwrap();
    engine.redefine(id, adding(2)).unwrap();
    assert_eq!(engine.memory().waiting, 0);
    engine.define_function(parse(clif)).unwrap();
    engine.redefine(id, adding(3)).unwrap();
    assert_eq!(engine.memory().waiting, 1);
}

#[test]
fn a_background_compilation_of_an_old_body_is_not_published() {
    let config = eager_to_tier(5).compile(CompileMode::Background);
    let engine = Engine::new(config).unwrap();
    let id = engine.define_function(adding(1)).unwrap();
    let function = typed(&engine, id);
    for step in 2..200 {
        // Gets hot, and is redefined while the worker compiles.
        call(&function, 50);
        engine.redefine(id, adding(step)).unwrap();
        assert_eq!(call(&function, 50), 50 * step);
    }
    engine.wait_idle();
    assert_eq!(call(&function, 50), 50 * 199);
    engine.remove(id).unwrap();
    engine.wait_idle();
    engine.collect();
    let memory = engine.memory();
    assert_eq!((live(&memory), memory.waiting), (0, 0), "{memory:?}");
}

#[test]
fn threads_see_one_body_or_the_next() {
    let config = eager_to_tier(20).compile(CompileMode::Background);
    let engine = Engine::new(config).unwrap();
    let id = engine.define_function(adding(1)).unwrap();
    let (begun, newest) = (AtomicI64::new(1), AtomicI64::new(1));
    let stop = AtomicBool::new(false);
    let start = Barrier::new(5);
    let (failed, failures) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (engine, begun, newest, stop, start) = (&engine, &begun, &newest, &stop, &start);
            let failed = failed.clone();
            scope.spawn(move || {
                let function = typed(engine, id);
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    // What had returned before the call, and what had begun after it.
                    let oldest = newest.load(Ordering::SeqCst);
                    let step = call(&function, 64) / 64;
                    let latest = begun.load(Ordering::SeqCst);
                    if !(oldest..=latest).contains(&step) {
                        let _ = failed.send((oldest, step, latest));
                    }
                }
            });
        }
        start.wait();
        for step in 2..400 {
            begun.store(step, Ordering::SeqCst);
            engine.redefine(id, adding(step)).unwrap();
            newest.store(step, Ordering::SeqCst);
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(failed);
    assert_eq!(failures.iter().next(), None);
    engine.wait_idle();
    engine.collect();
    let memory = engine.memory();
    assert_eq!(memory.waiting, 0);
    assert!(memory.tiers[0].freed > 0);
}

/// Code that is compiled after a function was removed, and refers to it.
#[test]
fn code_that_refers_to_a_removed_function_is_still_compiled() {
    const REFERS: &str = "function %h(i64, i64) -> i64 system_v {
    fn0 = %gone(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    jump block1(v2, v2)
block1(v3: i64, v4: i64):
    v5 = icmp eq v3, v1
    brif v5, block2, block4(v4)
block2:
    v13 = iconst.i64 1000
    v6 = icmp slt v1, v13
    brif v6, block5, block3
block3:
    v7 = call fn0(v3)
    jump block4(v7)
block5:
    v14 = iconst.i64 5
    v8 = iadd v4, v14
    jump block4(v8)
block4(v9: i64):
    v15 = iconst.i64 1
    v10 = iadd v3, v15
    v11 = iadd v9, v15
    v12 = icmp ult v10, v0
    brif v12, block1(v10, v11), block6
block6:
    return v11
}";
    for pacing in [regraft::Pacing::Counts, regraft::Pacing::Cost] {
        for compilation in [
            regraft::Compilation::AtDefinition,
            regraft::Compilation::AtFirstCall,
        ] {
            let config = eager_to_tier(10).pacing(pacing).compilation(compilation);
            let engine = Engine::new(config).expect("an engine for the host");
            let gone = "function %gone(i64) -> i64 system_v { block0(v0: i64): return v0 }";
            let gone = engine
                .define_function(parse(gone))
                .expect("a good definition");
            let h = engine
                .define_function(parse(REFERS))
                .expect("a good definition");
            let late = REFERS.replace("%h", "%late");
            let late = engine
                .define_function(parse(&late))
                .expect("a good definition");
            let typed = |id| engine.get(id).expect("the types agree");
            let (h, late): (TypedFn<(i64, i64), i64>, TypedFn<_, _>) = (typed(h), typed(late));
            let run = |function: &TypedFn<(i64, i64), i64>, n: i64, at: i64| {
                // SAFETY: the function touches no memory.
                unsafe { function.try_call((n, at)) }
            };
            // The loop gets hot; neither of its cold blocks has run.
            assert_eq!(run(&h, 100, -1), Ok(100));
            engine.remove(gone).expect("it exists");
            // The side exit, for the first time: what it leads to refers to the removed function.
            assert_eq!(run(&h, 100, 50), Ok(105));
            let trap = run(&h, 5000, 4000).expect_err("a call of a removed function");
            assert_eq!(trap.kind, TrapKind::Unresolvable);
            assert_eq!(run(&late, 100, 50), Ok(105));
        }
    }
}
