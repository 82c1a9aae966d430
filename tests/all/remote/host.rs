//! Functions and memory of the process that makes code.

use super::{call, define, eager_to_tier_up, spawn};
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{AbiParam, Signature, types};
use regraft::executor::HOST_FUNCTION_FAILED;
use regraft::{Engine, Error, Executor, ExecutorError, TrapKind};

fn signature(engine: &Engine) -> Signature {
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params = vec![AbiParam::new(types::I64), AbiParam::new(types::F32)];
    signature.returns = vec![AbiParam::new(types::I64)];
    signature
}

const CALLER: &str = "function %caller(i64) -> i64 system_v {
    fn0 = %host(i64, f32) -> i64 system_v
block0(v0: i64):
    v1 = iconst.i64 0
    v2 = f32const 0x1.8p0
    jump block1(v0, v1)
block1(v3: i64, v4: i64):
    v5 = call fn0(v3, v2)
    v6 = iadd v4, v5
    v7 = iconst.i64 1
    v8 = isub v3, v7
    brif v8, block1(v8, v6), block2
block2:
    return v6
}";

#[test]
fn host_functions_are_called_back_and_call_again() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let double = define(
        &engine,
        "function %double(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iadd v0, v0
    return v1
}",
    );
    let (inner, caller) = (engine.clone(), std::thread::current().id());
    let host = move |args: &[DataValue]| {
        assert_eq!(std::thread::current().id(), caller);
        assert_eq!(args[1], DataValue::F32(1.5.into()));
        Some(call(&inner, double, &args[..1]).unwrap())
    };
    let signature = signature(&engine);
    engine.host_function("host", &signature, host).unwrap();
    let caller = define(&engine, CALLER);
    for _ in 0..3 {
        let results = call(&engine, caller, &[DataValue::I64(100)]).unwrap();
        assert_eq!(results, [DataValue::I64(10_100)]);
    }
}

#[test]
fn a_host_function_that_fails_is_a_trap() {
    type Host = fn(&[DataValue]) -> Option<Vec<DataValue>>;
    let executor = spawn();
    let failing: [Host; 4] = [
        |_| None,
        |_| Some(vec![]),
        |_| Some(vec![DataValue::I32(1)]),
        |_| panic!("as asked for"),
    ];
    for host in failing {
        let engine = Engine::new(eager_to_tier_up(executor.clone())).unwrap();
        let signature = signature(&engine);
        engine.host_function("host", &signature, host).unwrap();
        let caller = define(&engine, CALLER);
        match call(&engine, caller, &[DataValue::I64(3)]) {
            Err(Error::Trap(trap)) => {
                assert_eq!(trap.kind, TrapKind::Code);
                assert_eq!(trap.code, Some(HOST_FUNCTION_FAILED));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A trap in what a host function calls comes back to the host function.
#[test]
fn traps_end_the_innermost_call() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let divide = define(
        &engine,
        "function %divide(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    v2 = udiv v0, v1
    return v2
}",
    );
    let inner = engine.clone();
    let host = move |args: &[DataValue]| match call(&inner, divide, &args[..1]) {
        Err(Error::Trap(_)) => Some(vec![DataValue::I64(1)]),
        other => panic!("{other:?}"),
    };
    let signature = signature(&engine);
    engine.host_function("host", &signature, host).unwrap();
    let caller = define(&engine, CALLER);
    let results = call(&engine, caller, &[DataValue::I64(10)]).unwrap();
    assert_eq!(results, [DataValue::I64(10)]);
}

#[test]
fn memory_is_seen_by_both() {
    for executor in [Executor::in_process(), spawn()] {
        let engine = Engine::new(eager_to_tier_up(executor)).unwrap();
        let memory = engine.program_memory(100, 16).unwrap();
        memory.write(8, &7_i64.to_ne_bytes()).unwrap();
        let increment = define(
            &engine,
            "function %increment(i64) system_v {
block0(v0: i64):
    v1 = load.i64 v0+8
    v2 = iadd v1, v1
    store v2, v0+16
    return
}",
        );
        let address = memory.address().get() as i64;
        call(&engine, increment, &[DataValue::I64(address)]).unwrap();
        let mut bytes = [0; 8];
        memory.read(16, &mut bytes).unwrap();
        assert_eq!(i64::from_ne_bytes(bytes), 14);
        let size = memory.size();
        assert!(size >= 100);
        assert_eq!(memory.read(size - 7, &mut bytes), None);
        assert_eq!(memory.write(usize::MAX, &bytes), None);
        assert_eq!(memory.write(size, &[]), Some(()));
    }
}

#[test]
fn in_this_process_host_functions_are_refused() {
    let engine = Engine::new(eager_to_tier_up(Executor::in_process())).unwrap();
    let signature = signature(&engine);
    let refused = engine.host_function("host", &signature, |_| None);
    assert!(matches!(
        refused,
        Err(Error::Executor(ExecutorError::Unsupported { .. }))
    ));
}
