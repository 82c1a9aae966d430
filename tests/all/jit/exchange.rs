//! Functions that are redefined, removed and freed.

use super::*;
use regraft::jit::JITModule;
use regraft::{Config, Engine};

/// Adds a number to the argument.
fn adds(n: i64) -> String {
    format!(
        "function %f(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 {n}
    v2 = iadd v0, v1
    return v2
}}"
    )
}

fn redefine(module: &mut JITModule, id: FuncId, clif: &str) -> ModuleResult<()> {
    let mut context = Context::for_function(parse(clif));
    module.redefine_function(id, &mut context)
}

const CALLS_FIRST: &str = "function %caller(i64) -> i64 system_v {
    fn0 = colocated u0:0(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    return v1
}";

#[test]
fn calls_reach_the_newest_definition() {
    let mut module = kinds::AtThresholdOne::module();
    let id = define(&mut module, "f", &adds(0));
    // Not finalized yet: it is defined anew.
    redefine(&mut module, id, &adds(1)).unwrap();
    let caller = define(&mut module, "caller", CALLS_FIRST);
    module.finalize();
    let [code, caller] = [id, caller].map(|id| module.code(id));
    assert_eq!([code, caller].map(|code| call(code, 10)), [11, 11]);
    for n in 2..20 {
        redefine(&mut module, id, &adds(n)).unwrap();
        for _ in 0..3 {
            assert_eq!([code, caller].map(|code| call(code, 10)), [10 + n; 2]);
        }
    }
    assert_eq!(module.code(id), code);

    let other = "function %f(i32) -> i64 system_v {
block0(v0: i32):
    v1 = sextend.i64 v0
    return v1
}";
    let unresolved = CALLS_FIRST.replace("u0:0", "u0:99");
    for wrong in [other, &unresolved] {
        redefine(&mut module, id, wrong).unwrap_err();
        assert_eq!(call(caller, 10), 29);
    }
    // SAFETY: nothing runs.
    unsafe { module.engine().unwrap().quiescent() };
    assert_eq!(call(caller, 10), 29);
    assert_eq!(module.engine().unwrap().memory().waiting, 0);
}

#[test]
fn calls_of_a_removed_function_trap() {
    let mut module = kinds::AtThresholdOne::module();
    let id = define(&mut module, "f", &adds(1));
    let caller = define(&mut module, "caller", CALLS_FIRST);
    module.finalize();
    let engine = module.engine().unwrap().clone();
    let typed = engine
        .get::<(i64,), i64>(module.engine_function(caller).unwrap())
        .unwrap();
    // SAFETY: the code touches no memory.
    let try_call = || unsafe { typed.try_call((10,)) };
    assert_eq!(try_call().unwrap(), 11);
    module.remove_function(id).unwrap();
    let trap = try_call().unwrap_err();
    assert_eq!(trap.kind, regraft::TrapKind::Unresolvable);
    assert!(module.remove_function(id).is_err());
    // What is defined under the number now is another function.
    try_define(&mut module, id, &adds(5)).unwrap();
    module.finalize();
    assert_eq!(call(module.code(id), 10), 15);
    assert!(try_call().is_err());
    redefine(&mut module, caller, CALLS_FIRST).unwrap();
    assert_eq!(try_call().unwrap(), 15);
    let pending = define(&mut module, "pending", &adds(7));
    module.remove_function(pending).unwrap();
    module.finalize();
}

/// Modules come and go on several threads, while the compile threads work on their functions.
#[test]
fn modules_are_freed_while_their_functions_get_hot() {
    let engine = Engine::new(
        Config::default()
            .pacing(regraft::Pacing::Counts)
            .loop_threshold(1)
            .entry_threshold(1)
            .workers(2)
            .check(true),
    );
    let engine = engine.unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for cycle in 0..60 {
                    let mut module = module_on(engine);
                    let sum = define(&mut module, "sum", SUM);
                    let caller = define(&mut module, "caller", CALLS_FIRST);
                    module.finalize();
                    for n in 0..cycle * thread {
                        let expected = n * (n - 1) / 2;
                        assert_eq!(call(module.code(caller), n), expected);
                        assert_eq!(call(module.code(sum), n), expected);
                    }
                    // SAFETY: only this thread calls the functions, and none runs.
                    unsafe { module.free() };
                }
            });
        }
    });
    engine.wait_idle();
    let memory = engine.memory();
    assert_eq!(
        [memory.tiers[0].live, memory.tiers[1].live],
        [0, 0],
        "{memory:?}"
    );
    assert_eq!((memory.waiting, engine.report().functions.len()), (0, 0));
}

/// What clients with a stack walker look up is where they expect it.
#[test]
fn functions_with_handlers_or_stack_maps_stay_where_they_are() {
    let engine = engine_at_threshold_one();
    let mut module = module_on(&engine);
    define(&mut module, "f", &adds(1));
    let caller = "function %caller(i64) -> i64 system_v {
    ss0 = explicit_slot 8
    sig0 = (i64) -> i64 system_v
    fn0 = colocated u0:0(i64) -> i64 system_v
block0(v0: i64):
    CALL
block1(v1: i64):
    return v1
}";
    let calls = [
        "try_call fn0(v0), sig0, block1(ret0), []",
        "v2 = call fn0(v0), stack_map=[i64 @ ss0+0]\n    jump block1(v2)",
    ];
    for (at, text) in calls.into_iter().enumerate() {
        let clif = caller.replace("CALL", text);
        let id = declare(&mut module, &format!("caller{at}"), &clif);
        let mut context = Context::for_function(parse(&clif));
        module.define_function(id, &mut context).unwrap();
        module.finalize();
        for _ in 0..3 {
            assert_eq!(call(module.code(id), 10), 11);
        }
        let code = context.compiled_code().unwrap();
        let found = module.code(id);
        // SAFETY: the code is that long.
        let found = unsafe { std::slice::from_raw_parts(found, code.code_buffer().len()) };
        // All but the address of the callee.
        let pairs = found.iter().zip(code.code_buffer());
        assert!(pairs.filter(|(one, other)| one != other).count() <= 8);
        assert_eq!(code.buffer.user_stack_maps().len(), at);
        assert!(redefine(&mut module, id, &adds(1)).is_err());
        let first = cranelift_module::FuncId::from_u32(0);
        assert!(redefine(&mut module, first, &clif).is_err());
    }
}

/// Modules that come and go on one engine leave nothing, whatever became of their functions.
#[test]
fn free_memory_frees_all_of_a_module() {
    let engine = engine_at_threshold_one();
    let mut live = vec![];
    for cycle in 0..40 {
        let mut module = module_on(&engine);
        let sum = define(&mut module, "sum", SUM);
        let caller = define(&mut module, "caller", CALLS_FIRST);
        let bytes = module
            .declare_anonymous_function(&signature("(i64) -> i64"))
            .unwrap();
        module
            .define_function_bytes(bytes, 16, &[0; 100], &[])
            .unwrap();
        module.finalize();
        for _ in 0..3 {
            assert_eq!(call(module.code(caller), 100), 4950);
        }
        redefine(&mut module, sum, SUM).unwrap();
        let fixed = redefine(&mut module, bytes, SUM).unwrap_err();
        assert!(fixed.to_string().contains("fixed address"), "{fixed}");
        assert!(module.remove_function(bytes).is_err());
        for _ in 0..3 {
            assert_eq!(call(module.code(caller), 100), 4950);
        }
        if cycle % 2 == 0 {
            let pending = define(&mut module, "pending", SUM);
            redefine(&mut module, pending, &adds(1)).unwrap();
        }
        // SAFETY: nothing runs, and no pointer is used any more.
        unsafe { module.free() };
        // SAFETY: nothing runs.
        unsafe { engine.quiescent() };
        let memory = engine.memory();
        live.push((
            memory.code.live,
            memory.data.live,
            memory.tiers[0].live,
            memory.tiers[1].live,
        ));
    }
    assert_eq!(live[5..].iter().max(), live[5..].iter().min(), "{live:?}");
    assert_eq!((live[0].2, live[0].3), (0, 0));
    assert_eq!(engine.report().functions.len(), 0);
}
