//! The process that makes code forks: its child has the same views of memory in which the executor runs code.

use super::{SUM, call, define, eager_to_tier_up, spawn};
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{AbiParam, Signature, types};
use regraft::{Engine, Error, ExecutorError, FunctionId};
use std::io::{Read, Write};

/// How long a child may take.
const SECONDS: u32 = 60;

/// Forks: 0 in the child.
fn fork() -> libc::pid_t {
    // SAFETY: the child uses the engine, whose promise this is, and ends by `end`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child");
    child
}

/// Does `body` in a child, and ends it; a failure is a panic.
fn end(body: impl FnOnce()) -> ! {
    // SAFETY: no preconditions. A child that hangs is a failure.
    unsafe { libc::alarm(SECONDS) };
    let body = std::panic::AssertUnwindSafe(body);
    let failed = std::panic::catch_unwind(body).is_err();
    // SAFETY: nothing that belongs to the parent runs.
    unsafe { libc::_exit(failed.into()) }
}

fn succeeds(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `status` is an integer.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0), "{status:#x}");
}

fn sums(engine: &Engine, id: FunctionId) {
    for n in [1, 1000] {
        let results = call(engine, id, &[DataValue::I64(n)]).unwrap();
        assert_eq!(results, [DataValue::I64(n * (n - 1) / 2)]);
    }
}

/// The child takes what the parent takes at the same time, and gives up what both have.
#[test]
fn what_a_child_does_leaves_the_executor_alone() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let before = define(&engine, SUM);
    sums(&engine, before);
    let memory = engine.program_memory(16, 16).unwrap();
    memory.write(0, &[1]).unwrap();
    let (mut told, mut tell) = std::io::pipe().unwrap();
    let child = fork();
    if child == 0 {
        end(move || {
            let mut byte = [0];
            told.read_exact(&mut byte).unwrap();
            let calls = call(&engine, before, &[DataValue::I64(3)]);
            let refused = calls.expect_err("it is the parent's");
            let unsupported = matches!(refused, Error::Executor(ExecutorError::Unsupported { .. }));
            assert!(unsupported, "{refused}");
            for number in 0..300 {
                let text = SUM.replace("%sum", &format!("%child{number}"));
                let function = cranelift_reader::parse_functions(&text).unwrap().remove(0);
                assert!(engine.define_function(function).is_err());
            }
            assert!(memory.read(0, &mut byte).is_some() && byte == [1]);
            memory.write(0, &[2]).unwrap();
            engine.remove(before).unwrap();
            drop(memory);
            drop(engine);
        });
    }
    let after: Vec<FunctionId> = (0..300)
        .map(|number| define(&engine, &SUM.replace("%sum", &format!("%sum{number}"))))
        .collect();
    tell.write_all(&[1]).unwrap();
    succeeds(child);
    sums(&engine, before);
    after.into_iter().for_each(|id| sums(&engine, id));
    let mut byte = [0];
    memory.read(0, &mut byte).unwrap();
    assert_eq!(byte, [1]);
}

/// A call in whose middle the process forks goes on in the parent.
#[test]
fn a_host_function_that_forks() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.returns = vec![AbiParam::new(types::I64)];
    let host = |_: &[DataValue]| Some(vec![DataValue::I64(fork().into())]);
    engine.host_function("host", &signature, host).unwrap();
    let caller = define(
        &engine,
        "function %caller() -> i64 system_v {
    fn0 = %host() -> i64 system_v
block0:
    v0 = call fn0()
    return v0
}",
    );
    let parent = std::process::id();
    let results = call(&engine, caller, &[]);
    if std::process::id() != parent {
        end(|| {
            let refused = results.expect_err("it is the parent's");
            let unsupported = matches!(refused, Error::Executor(ExecutorError::Unsupported { .. }));
            assert!(unsupported, "{refused}");
        });
    }
    let results = results.unwrap();
    let [DataValue::I64(child)] = results[..] else {
        panic!("{results:?}");
    };
    succeeds(child.try_into().unwrap());
    let sum = define(&engine, SUM);
    sums(&engine, sum);
}
