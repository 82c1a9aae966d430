//! One of the two processes dies.
//!
//! `REGRAFT_KILLS` says how often.

use super::{SPIN, SUM, call, define, eager_to_tier_up, spawn};
use cranelift_codegen::data_value::DataValue;
use regraft::{Compilation, Config, Engine, Error, Executor, ExecutorError};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that anybody may wait for a process that is dead.
const BOUND: Duration = Duration::from_secs(8);

fn kills(default: u64) -> u64 {
    let asked = std::env::var("REGRAFT_KILLS").ok();
    let asked = asked.and_then(|asked| asked.parse().ok());
    asked.unwrap_or(default)
}

fn kill(process: u32) {
    // SAFETY: it ends a process that this test has started.
    unsafe { libc::kill(process.cast_signed(), libc::SIGKILL) };
}

fn is_alive(process: u32) -> bool {
    std::fs::exists(format!("/proc/{process}")).unwrap()
}

fn assert_gone(result: &Result<Vec<DataValue>, Error>) {
    assert!(
        matches!(result, Err(Error::Executor(ExecutorError::Gone { .. }))),
        "{result:?}"
    );
}

/// Threads that call, compile and spin are all told; the process is waited for; the next one is as good as new.
#[test]
fn an_executor_that_is_killed_ends_all_calls() {
    for round in 0..kills(20) {
        let executor = spawn();
        let process = executor.process_id().unwrap();
        let engine = Engine::new(
            Config::default()
                .loop_threshold(50)
                .compilation(Compilation::AtFirstCall)
                .executor(executor),
        )
        .unwrap();
        let memory = engine.program_memory(16, 16).unwrap();
        memory.write(0, &[1]).unwrap();
        let spin = define(&engine, SPIN);
        let sums: Vec<_> = (0..50)
            .map(|number| define(&engine, &SUM.replace("%sum", &format!("%sum{number}"))))
            .collect();
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let address = DataValue::I64(memory.address().get() as i64);
                assert_gone(&call(&engine, spin, &[address]));
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut calls = sums.iter().cycle().map(|&sum| {
                        let result = call(&engine, sum, &[DataValue::I64(1000)]);
                        result.map(|results| assert_eq!(results, [DataValue::I64(499_500)]))
                    });
                    let error = calls.find_map(Result::err);
                    assert!(
                        matches!(error, Some(Error::Executor(ExecutorError::Gone { .. }))),
                        "{error:?}"
                    );
                });
            }
            std::thread::sleep(Duration::from_micros(round * 997 % 20_000));
            kill(process);
        });
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        assert_gone(&call(&engine, sums[0], &[DataValue::I64(1)]));
        drop(memory);
        drop(engine);
        assert!(!is_alive(process));
    }
}

#[test]
fn an_executor_that_ends_itself_says_how() {
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let abort = define(
        &engine,
        "function %end() system_v {
    fn0 = %abort() system_v
block0:
    call fn0()
    return
}",
    );
    match call(&engine, abort, &[]) {
        Err(Error::Executor(ExecutorError::Gone { cause, ended })) => {
            let ended = ended.expect("it was started here");
            assert_eq!(ended.signal(), Some(libc::SIGABRT), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    // Another executor can be had.
    let engine = Engine::new(eager_to_tier_up(spawn())).unwrap();
    let sum = define(&engine, SUM);
    assert!(call(&engine, sum, &[DataValue::I64(3)]).is_ok());
}

/// What a compiler does that will be killed: it is this test binary, started again.
#[test]
#[ignore = "started by another test"]
fn a_compiler() {
    let Ok(_) = std::env::var("REGRAFT_COMPILER") else {
        return;
    };
    let executor = spawn();
    println!("executor {}", executor.process_id().unwrap());
    let engine = Engine::new(
        Config::default()
            .loop_threshold(50)
            .compilation(Compilation::AtFirstCall)
            .executor(executor),
    )
    .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0.. {
                    let sum = SUM.replace("%sum", &format!("%sum{thread}_{number}"));
                    let sum = define(engine, &sum);
                    let _ = call(engine, sum, &[DataValue::I64(100_000)]);
                }
            });
        }
    });
}

/// The executor ends what is under way and then itself: nothing hangs, no process is left.
#[test]
fn an_executor_outlives_a_compiler_that_is_killed_but_not_for_long() {
    for round in 0..kills(10) {
        let mut compiler = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "remote::faults::a_compiler",
                "--nocapture",
            ])
            .env("REGRAFT_COMPILER", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(compiler.stdout.take().unwrap()).lines();
        let mut executor = lines.map_while(Result::ok).filter_map(|line| {
            let (_, number) = line.split_once("executor ")?;
            number.trim().parse::<u32>().ok()
        });
        let executor = executor
            .next()
            .expect("the compiler says who runs its code");
        std::thread::sleep(Duration::from_micros(round * 3989 % 40_000));
        compiler.kill().unwrap();
        compiler.wait().unwrap();
        let start = Instant::now();
        while is_alive(executor) && !is_zombie(executor) {
            assert!(start.elapsed() < BOUND, "process {executor} is left");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Ended, and not waited for by whoever has inherited it.
fn is_zombie(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z"))
}

/// Its memory is given back with an engine, the executor's with it.
#[test]
fn no_memory_file_is_left() {
    let files = |process: u32| {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        maps.matches("regraft-").count()
    };
    let executor = spawn();
    let process = executor.process_id().unwrap();
    for _ in 0..3 {
        let engine = Engine::with_executor(Executor::clone(&executor), Config::default()).unwrap();
        let sum = define(&engine, SUM);
        assert!(call(&engine, sum, &[DataValue::I64(3)]).is_ok());
        assert_eq!(files(process), 2);
        drop(engine);
        assert_eq!(files(process), 0);
    }
}

/// No page of code can be written in the executor, and none executed in the compiler.
#[test]
fn code_is_writable_here_and_executable_there() {
    let executor = spawn();
    let process = executor.process_id().unwrap();
    let _engine = Engine::with_executor(executor, Config::default()).unwrap();
    let protections = |process: u32, name: &str| {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let lines = maps.lines().filter(|line| line.contains(name));
        let protections = lines.filter_map(|line| line.split_whitespace().nth(1));
        protections.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(protections(process, "memfd:regraft-code"), ["r-xs"]);
    assert_eq!(protections(process, "memfd:regraft-data"), ["rw-s"]);
}
