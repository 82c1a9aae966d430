//! Calls, first calls, hot loops and traps.

use super::{SUM, call, define, eager_to_tier_up, spawn};
use cranelift_codegen::data_value::DataValue;
use regraft::config::FoundBy;
use regraft::report::PartState;
use regraft::{
    Compilation, Config, Detection, Engine, Error, Executor, ExecutorError, FunctionId, Sampling,
    TrapKind,
};
use std::time::{Duration, Instant};

#[test]
fn a_loop_is_entered_at_tier_1_while_it_runs() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let sum = define(&engine, SUM);
    let results = call(&engine, sum, &[DataValue::I64(100_000)]).unwrap();
    assert_eq!(results, [DataValue::I64(4_999_950_000)]);
    let report = engine.report();
    let region = &report.functions["sum"].regions[0];
    assert_eq!(region.entries_while_running, 1, "{region:#?}");
    assert_eq!(region.versions.len(), 1, "{region:#?}");
}

#[test]
fn functions_are_compiled_when_they_are_first_called() {
    for executor in [Executor::in_process(), spawn()] {
        let config = eager_to_tier_up(executor).compilation(Compilation::AtFirstCall);
        let engine = Engine::new(config).unwrap();
        let caller = SUM.to_string()
            + "
function %caller(i64) -> i64 system_v {
    fn0 = %sum(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v2 = call fn0(v1)
    return v2
}";
        let caller = define(&engine, &caller);
        let results = call(&engine, caller, &[DataValue::I64(10)]).unwrap();
        assert_eq!(results, [DataValue::I64(990)]);
    }
}

#[test]
fn symbols_and_library_calls_are_the_executors() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let clif = "function %pid() -> i32 system_v {
    fn0 = %getpid() -> i32 system_v
block0:
    v0 = call fn0()
    return v0
}
function %floor(f64) -> f64 system_v {
block0(v0: f64):
    v1 = floor v0
    return v1
}";
    let floor = define(&engine, clif);
    let pid = engine.lookup("pid").unwrap();
    let results = call(&engine, pid, &[]).unwrap();
    let spawned = engine.config().executor.process_id().unwrap();
    assert_eq!(results, [DataValue::I32(spawned as i32)]);
    assert_ne!(spawned, std::process::id());
    let results = call(&engine, floor, &[DataValue::F64(2.5.into())]).unwrap();
    assert_eq!(results, [DataValue::F64(2.0.into())]);
}

#[test]
fn traps_come_back_with_the_same_locations() {
    const TRAPS: [&str; 4] = [
        "function %f(i64) -> i64 system_v {
block0(v0: i64):
    jump block1(v0)
block1(v1: i64):
    v2 = iconst.i64 1
    v3 = isub v1, v2
    v4 = iconst.i64 100
    v5 = udiv v4, v3
    brif v3, block1(v3), block2
block2:
    return v5
}",
        "function %f(i64) -> i64 system_v {
block0(v0: i64):
    v1 = load.i64 v0
    return v1
}",
        "function %f(i64) -> i64 system_v {
    fn0 = %f(i64) -> i64 system_v
    ss0 = explicit_slot 1024
block0(v0: i64):
    v1 = stack_addr.i64 ss0
    store v0, v1
    v2 = call fn0(v0)
    v3 = load.i64 v1
    v4 = iadd v2, v3
    return v4
}",
        "function %f(i64) -> i64 system_v {
    sig0 = (i64) -> i64 system_v
block0(v0: i64):
    v1 = call_indirect sig0, v0(v0)
    return v1
}",
    ];
    let executor = spawn();
    for clif in TRAPS {
        let trap = |executor: Executor| {
            let engine = Engine::new(eager_to_tier_up(executor)).unwrap();
            let f = define(&engine, clif);
            match call(&engine, f, &[DataValue::I64(8)]) {
                // Which instruction finds no stack depends on where that began.
                Err(Error::Trap(trap)) if trap.kind == TrapKind::StackOverflow => {
                    let function = trap.location.map(|location| location.function);
                    (trap.kind, trap.code, format!("{function:?}"))
                }
                Err(Error::Trap(trap)) => (trap.kind, trap.code, format!("{:?}", trap.location)),
                other => panic!("{other:?}"),
            }
        };
        let ours = trap(Executor::in_process());
        assert!(ours.2.starts_with("Some"), "{ours:?}");
        for _ in 0..2 {
            assert_eq!(trap(executor.clone()), ours);
        }
    }
}

/// The examples, through every command that they have.
#[test]
fn the_examples_do_what_they_do_in_one_process() {
    use regraft_command::clif::{Program, TestFile, Verdict};
    let executor = spawn();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif");
    let mut commands = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let file = TestFile::parse(&name, &text).unwrap();
        let target = &file.targets()[0];
        let [ours, theirs] = [Executor::in_process(), executor.clone()].map(|executor| {
            Program::build(&file, target, eager_to_tier_up(executor), None).unwrap()
        });
        let ids = ours.ids().zip(theirs.ids());
        for (function, (ours_id, theirs_id)) in file.functions().iter().zip(ids) {
            for command in &function.commands {
                let run = |program: &Program, id: Result<FunctionId, &Error>| {
                    // What traps in one process traps in the other.
                    let results = call(program.engine(), id.unwrap(), command.args());
                    let judged = results.map(|results| command.judge(&results));
                    judged.map_err(|error| error.to_string())
                };
                let (ours, theirs) = (run(&ours, ours_id), run(&theirs, theirs_id));
                assert!(
                    !matches!(ours, Ok(Verdict::Failed { .. })),
                    "{name}: {ours:?}"
                );
                assert_eq!(ours.is_ok(), theirs.is_ok(), "{name}: {theirs:?}");
                if ours.is_ok() {
                    assert_eq!(ours, theirs, "{name}:{}", command.line);
                }
                commands += 1;
            }
        }
    }
    assert!(commands > 20, "{commands}");
}

#[test]
fn many_threads_are_inside_at_once() {
    let engine = Engine::new(
        Config::default()
            .compilation(Compilation::AtFirstCall)
            .executor(spawn())
            .loop_threshold(2),
    )
    .unwrap();
    let ids: Vec<_> = (0..8)
        .map(|number| define(&engine, &SUM.replace("%sum", &format!("%sum{number}"))))
        .collect();
    std::thread::scope(|scope| {
        for turn in 0..8 {
            let (engine, ids) = (&engine, &ids);
            scope.spawn(move || {
                for round in 0..200 {
                    let n = 1000 + round;
                    let id = ids[(turn + round as usize) % ids.len()];
                    let results = call(engine, id, &[DataValue::I64(n)]).unwrap();
                    assert_eq!(results, [DataValue::I64(n * (n - 1) / 2)]);
                }
            });
        }
    });
}

/// Functions are replaced while other threads run them, and what was replaced is freed.
#[test]
fn what_is_replaced_is_freed() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let sum = define(&engine, SUM);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let results = call(&engine, sum, &[DataValue::I64(1000)]).unwrap();
                    assert_eq!(results, [DataValue::I64(499_500)]);
                }
            });
        }
        for _ in 0..50 {
            let func = cranelift_reader::parse_functions(SUM).unwrap().remove(0);
            engine.redefine(sum, func).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    engine.collect();
    let memory = engine.memory();
    assert_eq!(memory.waiting, 0, "{memory:?}");
    assert!(memory.tiers[0].freed > 0, "{memory:?}");
}

#[test]
fn what_another_process_cannot_do_is_refused() {
    let executor = spawn();
    let engine = Engine::new(eager_to_tier_up(executor.clone())).unwrap();
    let sum = define(&engine, SUM);
    let refused = |error: Error| {
        assert!(
            matches!(error, Error::Executor(ExecutorError::Unsupported { .. })),
            "{error:?}"
        );
    };
    refused(engine.get::<(i64,), i64>(sum).unwrap_err());
    refused(engine.pointer(sum).unwrap_err());
    assert_ne!(engine.executor_address(sum).unwrap().get(), 0);
}

#[test]
fn threads_of_the_executor_are_sampled() {
    let config = Config::default()
        .detection(Detection::Sampling(Sampling::default()))
        .executor(spawn());
    let engine = Engine::new(config).unwrap();
    let sum = define(&engine, SUM);
    let found = || {
        let report = engine.report();
        let region = &report.functions["sum"].regions[0];
        (region.part.state == PartState::Published).then(|| region.clone())
    };
    let start = Instant::now();
    while found().is_none() && start.elapsed() < Duration::from_secs(20) {
        let n = 50_000_000;
        let results = call(&engine, sum, &[DataValue::I64(n)]).unwrap();
        assert_eq!(results, [DataValue::I64(n * (n - 1) / 2)]);
    }
    let region = found().expect("the loop was seen");
    assert_eq!(region.part.found_by, Some(FoundBy::Sampling));
}

#[test]
fn a_call_with_more_values_than_fit_is_refused() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let params = vec!["i64"; 5000].join(", ");
    let blocks: Vec<_> = (0..5000).map(|n| format!("v{n}: i64")).collect();
    let clif = format!(
        "function %f({params}) -> i64 system_v {{\nblock0({}):\n    return v4999\n}}",
        blocks.join(", ")
    );
    let f = define(&engine, &clif);
    let error = call(&engine, f, &vec![DataValue::I64(1); 5000]).unwrap_err();
    assert!(
        matches!(error, Error::Executor(ExecutorError::TooLong { .. })),
        "{error:?}"
    );
    // The connection goes on.
    let sum = define(&engine, SUM);
    assert!(call(&engine, sum, &[DataValue::I64(10)]).is_ok());
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let program = regraft_executor::remote::Program::new("/nowhere/regraft-executor");
    let error = Executor::spawn_program(&program).unwrap_err();
    assert!(matches!(error, ExecutorError::Start { .. }), "{error:?}");
    let error = Executor::connect("/nowhere/socket".as_ref()).unwrap_err();
    assert!(matches!(error, ExecutorError::Start { .. }), "{error:?}");
    // One that says nothing and ends.
    let program = regraft_executor::remote::Program::new("true");
    let error = Executor::spawn_program(&program).unwrap_err();
    assert!(matches!(error, ExecutorError::Gone { .. }), "{error:?}");
}

#[test]
fn an_executor_that_listens_serves_several() {
    let path = std::env::temp_dir().join(format!("regraft-{}-listen", std::process::id()));
    let mut listener = std::process::Command::new(env!("CARGO_BIN_EXE_executor-of-tests"))
        .arg("--listen")
        .arg(&path)
        .spawn()
        .unwrap();
    let mut executors = vec![];
    for _ in 0..1000 {
        match Executor::connect(&path) {
            Ok(executor) => executors.push(executor),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
        if executors.len() == 3 {
            break;
        }
    }
    assert_eq!(executors.len(), 3);
    for executor in executors {
        let engine = Engine::with_executor(executor, Config::default()).unwrap();
        let sum = define(&engine, SUM);
        let results = call(&engine, sum, &[DataValue::I64(10)]).unwrap();
        assert_eq!(results, [DataValue::I64(45)]);
    }
    listener.kill().unwrap();
    listener.wait().unwrap();
    std::fs::remove_file(&path).unwrap();
}

/// Signatures of every scalar type come through.
#[test]
fn values_of_every_type_come_through() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let clif = "function %f(i8, i16, i32, i64, i128, f32, f64, i8x16) -> i8x16, f64, f32, i128, i64, i32, i16, i8 tail {
block0(v0: i8, v1: i16, v2: i32, v3: i64, v4: i128, v5: f32, v6: f64, v7: i8x16):
    return v7, v6, v5, v4, v3, v2, v1, v0
}";
    let f = define(&engine, clif);
    let args = [
        DataValue::I8(-1),
        DataValue::I16(-2),
        DataValue::I32(-3),
        DataValue::I64(-4),
        DataValue::I128(-5),
        DataValue::F32(1.5.into()),
        DataValue::F64((-2.5).into()),
        DataValue::V128([7; 16]),
    ];
    let results = call(&engine, f, &args).unwrap();
    let reversed: Vec<_> = args.iter().rev().cloned().collect();
    assert_eq!(format!("{results:?}"), format!("{reversed:?}"));
}
