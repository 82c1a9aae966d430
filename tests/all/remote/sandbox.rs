//! What code of a confined executor can do to the system: nothing.

use super::{SUM, call, define, eager_to_tier_up, program, spawn};
use cranelift_codegen::data_value::DataValue;
use regraft::{Engine, Error, Executor, ExecutorError};

/// Asks the system for what a program needs to do harm; -1 and `EPERM` each.
const ASK: &str = "function %ask(i64, i64, i64, i64, i64, i64, i64) -> i64 system_v {
    fn0 = %syscall(i64, i64, i64, i64, i64, i64, i64) -> i64 system_v
block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64, v5: i64, v6: i64):
    v7 = call fn0(v0, v1, v2, v3, v4, v5, v6)
    return v7
}
function %mistake() -> i32 system_v {
    fn0 = %__errno_location() -> i64 system_v
block0:
    v0 = call fn0()
    v1 = load.i32 v0
    return v1
}";

fn sandboxed() -> Executor {
    Executor::spawn_program(&program().sandboxed()).expect("the system has seccomp")
}

#[test]
fn a_confined_program_has_its_data_and_nothing_else() {
    const EPERM: i32 = 1;
    let ask = |executor: Executor| {
        let engine = Engine::new(eager_to_tier_up(executor)).unwrap();
        let mistake = define(&engine, ASK);
        let id = engine.lookup("ask").unwrap();
        let memory = engine.program_memory(4096, 4096).unwrap();
        memory.write(0, b"/dev/null\0").unwrap();
        let path = memory.address().get() as i64;
        let rwx = i64::from(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
        let private = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let calls: [(i64, [i64; 6]); 9] = [
            (libc::SYS_openat, [-100, path, 0, 0, 0, 0]),
            (libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
            (libc::SYS_mmap, [0, 4096, rwx, private, -1, 0]),
            (libc::SYS_mprotect, [path, 4096, rwx, 0, 0, 0]),
            (libc::SYS_memfd_create, [path, 0, 0, 0, 0, 0]),
            (libc::SYS_execve, [path, 0, 0, 0, 0, 0]),
            (libc::SYS_clone, [17, 0, 0, 0, 0, 0]),
            (
                libc::SYS_kill,
                [i64::from(std::process::id()), 0, 0, 0, 0, 0],
            ),
            (libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
        ];
        calls.map(|(number, arguments)| {
            let mut args = vec![DataValue::I64(number)];
            args.extend(arguments.map(DataValue::I64));
            let result = call(&engine, id, &args).unwrap();
            let errno = call(&engine, mistake, &[]).unwrap();
            (result[0] == DataValue::I64(-1)).then(|| errno[0].clone())
        })
    };
    let denied = ask(sandboxed());
    assert_eq!(denied, [const { Some(DataValue::I32(EPERM)) }; 9]);
}

/// The oracle sees a program that is not confined.
#[test]
fn without_the_sandbox_it_could() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    define(&engine, ASK);
    let id = engine.lookup("ask").unwrap();
    let args = [libc::SYS_socket, 1, 1, 0, 0, 0, 0].map(DataValue::I64);
    let result = call(&engine, id, &args).unwrap();
    assert_ne!(result, [DataValue::I64(-1)]);
}

#[test]
fn a_confined_executor_runs_code_with_threads_and_traps() {
    let executor = sandboxed();
    let engine = Engine::new(eager_to_tier_up(executor.clone())).unwrap();
    let sum = define(&engine, SUM);
    let load = define(
        &engine,
        "function %load(i64) -> i64 system_v {
block0(v0: i64):
    v1 = load.i64 v0
    return v1
}",
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let results = call(&engine, sum, &[DataValue::I64(1000)]).unwrap();
                    assert_eq!(results, [DataValue::I64(499_500)]);
                    let trap = call(&engine, load, &[DataValue::I64(8)]);
                    assert!(matches!(trap, Err(Error::Trap(_))), "{trap:?}");
                }
            });
        }
    });
    // It maps nothing more.
    let second = Engine::new(eager_to_tier_up(executor));
    assert!(matches!(
        second,
        Err(Error::Executor(ExecutorError::Refused { .. }))
    ));
}
