//! Functions: what they compute, and what becomes of them when the module is finalized again, shared,
//! dropped or freed.

use super::*;
use cranelift_module::ModuleReloc;
use regraft::jit::JITModule;
use regraft::report::PartState;
use regraft::{Config, Engine};
use std::sync::Arc;
use std::time::{Duration, Instant};

on_every_kind! {
    loops_and_calls
    anonymous_functions
    finalized_any_number_of_times
    dropped_modules_leave_their_code
    freed_modules_free_what_was_never_finalized
    compiled_code_is_left_in_the_context
    a_context_is_used_again
}

fn loops_and_calls<K: Kind>() {
    let mut module = K::module();
    // Each refers to the other, which is defined later.
    let even = "function %even(i64) -> i64 system_v {
    fn0 = colocated u0:1(i64) -> i64 system_v
block0(v0: i64):
    brif v0, block1, block2
block1:
    v1 = iconst.i64 -1
    v2 = iadd v0, v1
    v3 = call fn0(v2)
    return v3
block2:
    v4 = iconst.i64 1
    return v4
}";
    let odd = even
        .replace("even", "odd")
        .replace("u0:1", "u0:0")
        .replace("iconst.i64 1\n", "iconst.i64 0\n");
    let ids = [
        declare(&mut module, "even", even),
        declare(&mut module, "odd", &odd),
    ];
    let sum = declare(&mut module, "sum", SUM);
    for (id, clif) in ids.into_iter().zip([even, &odd]) {
        try_define(&mut module, id, clif).unwrap();
    }
    try_define(&mut module, sum, SUM).unwrap();
    module.finalize();
    let [even, odd, sum] = [ids[0], ids[1], sum].map(|id| module.code(id));
    for _ in 0..3 {
        assert_eq!([1001, 1000].map(|n| call(even, n)), [0, 1]);
        assert_eq!([1001, 1000].map(|n| call(odd, n)), [1, 0]);
        assert_eq!(call(sum, 5000), 12_497_500);
    }
}

fn anonymous_functions<K: Kind>() {
    let mut module = K::module();
    let signature = parse(SUM).signature.clone();
    let ids: Vec<FuncId> = (0..3)
        .map(|_| module.declare_anonymous_function(&signature).unwrap())
        .collect();
    for (n, &id) in ids.iter().enumerate() {
        let clif = format!(
            "function %f(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 {n}
    v2 = iadd v0, v1
    return v2
}}"
        );
        try_define(&mut module, id, &clif).unwrap();
    }
    module.finalize();
    let results: Vec<i64> = ids.iter().map(|&id| call(module.code(id), 10)).collect();
    assert_eq!(results, [10, 11, 12]);
}

fn finalized_any_number_of_times<K: Kind>() {
    let mut module = K::module();
    module.finalize();
    let sum = define(&mut module, "sum", SUM);
    module.finalize();
    module.finalize();
    let before = module.code(sum);
    let twice = define(
        &mut module,
        "twice",
        "function %twice(i64) -> i64 system_v {
    fn0 = u0:0(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v2 = iadd v1, v1
    return v2
}",
    );
    module.finalize();
    assert_eq!(module.code(sum), before);
    assert_eq!(call(module.code(twice), 100), 9900);
}

fn dropped_modules_leave_their_code<K: Kind>() {
    let mut module = K::module();
    let sum = define(&mut module, "sum", SUM);
    module.finalize();
    let code = module.code(sum);
    let _pending = define(&mut module, "never finalized", SUM);
    drop(module);
    assert_eq!(call(code, 2000), 1_999_000);
}

fn freed_modules_free_what_was_never_finalized<K: Kind>() {
    for finalized in [false, true] {
        let mut module = K::module();
        let sum = define(&mut module, "sum", SUM);
        if finalized {
            module.finalize();
            assert_eq!(call(module.code(sum), 10), 45);
        }
        define(&mut module, "another", SUM);
        // SAFETY: nothing runs, and no pointer is used any more.
        unsafe { module.free() };
    }
}

fn compiled_code_is_left_in_the_context<K: Kind>() {
    let mut module = K::module();
    let id = declare(&mut module, "sum", SUM);
    let mut context = Context::for_function(parse(SUM));
    context.set_disasm(true);
    module.define_function(id, &mut context).unwrap();
    let code = context.compiled_code().unwrap();
    assert!(!code.code_buffer().is_empty());
    assert!(code.vcode.is_some());
    for reloc in code.buffer.relocs() {
        ModuleReloc::from_mach_reloc(reloc, &context.func, id);
    }
    assert_eq!(context.func.signature, parse(SUM).signature);
}

fn a_context_is_used_again<K: Kind>() {
    let mut module = K::module();
    let mut context = module.make_context();
    let mut ids = vec![];
    for n in 0..3 {
        context.func = parse(SUM);
        let id = declare(&mut module, &format!("sum{n}"), SUM);
        module.define_function(id, &mut context).unwrap();
        module.clear_context(&mut context);
        ids.push(id);
    }
    module.finalize();
    for id in ids {
        assert_eq!(call(module.code(id), 100), 4950);
    }
}

#[test]
fn the_function_of_the_client_is_left_in_the_context() {
    let mut module = module_on(&engine_at_threshold_one());
    let id = declare(&mut module, "sum", SUM);
    let mut context = Context::for_function(parse(SUM));
    module.define_function(id, &mut context).unwrap();
    assert_eq!(context.func.to_string(), parse(SUM).to_string());
}

#[test]
fn code_tiers_up_while_the_module_is_shared() {
    let engine = Engine::new(Config::default().pacing(regraft::Pacing::Counts)).unwrap();
    let mut module = module_on(&engine);
    let sum = define(&mut module, "sum", SUM);
    module.finalize();
    let before = module.get_finalized_function(sum);
    let module = Arc::new(module);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let module = Arc::clone(&module);
            std::thread::spawn(move || {
                let code = module.get_finalized_function(sum);
                for _ in 0..20 {
                    assert_eq!(call(code, 100_000), 4_999_950_000);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    engine.wait_idle();
    let report = engine.report();
    assert_eq!(
        report.functions["sum"].regions[0].part.state,
        PartState::Published
    );
    assert_eq!(module.get_finalized_function(sum), before);
    assert_eq!(call(before, 1000), 499_500);
}

#[test]
fn functions_that_are_called_often_are_compiled_whole() {
    let engine = engine_at_threshold_one();
    let mut module = module_on(&engine);
    let id = define(
        &mut module,
        "square",
        "function %square(i64) -> i64 system_v {
block0(v0: i64):
    v1 = imul v0, v0
    return v1
}",
    );
    module.finalize();
    for _ in 0..3 {
        assert_eq!(call(module.code(id), 12), 144);
    }
    assert_eq!(engine.report().functions["square"].tier, Some(1));
}

#[test]
fn a_defined_function_is_one_of_the_engine() {
    let engine = engine_at_threshold_one();
    let mut module = module_on(&engine);
    let sum = declare(&mut module, "sum", SUM);
    assert_eq!(module.engine_function(sum), None);
    try_define(&mut module, sum, SUM).unwrap();
    module.finalize();
    let id = module.engine_function(sum).unwrap();
    let typed = module.engine().unwrap().get::<(i64,), i64>(id).unwrap();
    // SAFETY: the code touches no memory.
    assert_eq!(unsafe { typed.try_call((100,)) }.unwrap(), 4950);
    // Names of modules are not the engine's.
    assert_eq!(engine.lookup("sum"), None);
}

#[test]
fn modules_on_one_engine_may_use_the_same_names() {
    let engine = engine_at_threshold_one();
    let constant = |n: i64| {
        format!(
            "function %f(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 {n}
    return v1
}}"
        )
    };
    let mut codes = vec![];
    for n in 0..3 {
        let mut module = module_on(&engine);
        let id = define(&mut module, "main", &constant(n));
        module.finalize();
        codes.push(module.code(id));
    }
    assert_eq!(
        codes
            .into_iter()
            .map(|code| call(code, 0))
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(engine.report().functions.len(), 3);
}

#[test]
fn modules_are_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<JITModule>();
}

/// Kibibytes of memory that are resident.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Run with `--nocapture` to see time and memory.
#[test]
fn one_module_per_function() {
    fn cycle<K: Kind>(name: &str, isa: &isa::OwnedTargetIsa) {
        let mut times = [Duration::ZERO; 3];
        let before = resident();
        for n in 0..2000 {
            let start = Instant::now();
            let mut module = K::make(Some(Arc::clone(isa)), &[]);
            let made = start.elapsed();
            let sum = define(&mut module, "sum", SUM);
            let defined = start.elapsed();
            module.finalize();
            assert_eq!(call(module.code(sum), n), n * (n - 1) / 2);
            drop(module);
            let steps = [made, defined - made, start.elapsed() - defined];
            for (time, step) in times.iter_mut().zip(steps) {
                *time += step;
            }
        }
        let [made, defined, finalized] = times.map(|time| time / 2000);
        let memory = resident().saturating_sub(before);
        println!(
            "{name}: a module {made:?}, define {defined:?}, finalize {finalized:?}; {memory} KiB"
        );
    }
    let isa = host(&[]);
    cycle::<kinds::Original>("cranelift-jit", &isa);
    cycle::<kinds::DropIn>("regraft::jit", &isa);
}
