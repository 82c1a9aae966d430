//! Tests of [`super`]. Each test runs again in a process of its own, which forks.

use crate::config::Pacing;
use crate::config::detection::{Detection, Sampling};
use crate::config::{ArenaConfig, Faults};
use crate::context::Engine;
use crate::units::function::FunctionId;
use crate::{Compilation, CompileMode, Config, Error};
use cranelift_reader::parse_functions;
use regraft_executor::section::*;
use std::process::Command;
use std::sync::{Arc, atomic::*};

mod sides;
mod threads;

const CHILD: &str = "REGRAFT_FORKS";

/// Runs `test` in a process of its own; `body` runs there.
fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        // A test that hangs is a test that fails.
        // SAFETY: no preconditions.
        unsafe { libc::alarm(60) };
        return body();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let module = module_path!().split_once("::").unwrap().1;
    child.args(["--exact", &format!("{module}::{test}")]);
    child
        .args(["--test-threads", "1", "--nocapture"])
        .env(CHILD, "1");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}", output.status);
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(ran, "there is no test {module}::{test}");
}

/// A process that was forked.
#[must_use]
struct Forked(libc::pid_t);

impl Forked {
    /// Forks; `body` runs in the child, which fails when it panics.
    fn new(body: impl FnOnce()) -> Self {
        // SAFETY: the test's other threads are those of the engine, which is what is tested.
        Self::by(|| unsafe { libc::fork() }, body)
    }

    fn by(fork: impl FnOnce() -> libc::pid_t, body: impl FnOnce()) -> Self {
        let child = fork();
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: no preconditions. Alarms are not inherited.
            unsafe { libc::alarm(30) };
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err();
            // SAFETY: ends the process without running what belongs to the parent.
            unsafe { libc::_exit(failed.into()) };
        }
        Self(child)
    }

    fn succeeds(self) {
        let mut status = 0;
        // SAFETY: a child of this process.
        assert_eq!(unsafe { libc::waitpid(self.0, &mut status, 0) }, self.0);
        assert_eq!(status, 0, "the child ended with status {status:#x}");
    }
}

fn config() -> Config {
    Config::default()
        .compile(CompileMode::Synchronous)
        .loop_threshold(10)
        .entry_threshold(10)
        .pacing(Pacing::Counts)
        .arena(ArenaConfig {
            code_bytes: 4 << 20,
            data_bytes: 4 << 20,
        })
}

fn engine(config: Config) -> Engine {
    Engine::new(config).unwrap()
}

/// A function that multiplies its argument by a constant, in a loop, with a block that is cold but in the last
/// iteration.
fn times(name: &str, factor: i64) -> String {
    format!(
        "function %{name}(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = iconst.i64 1
    v5 = iadd v2, v4
    v11 = iconst.i64 {factor}
    v6 = iadd v3, v11
    v7 = icmp eq v5, v0
    brif v7, block2, block3(v6)
block2:
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

fn product(n: i64, factor: i64) -> i64 {
    n * factor + n
}

fn define(engine: &Engine, name: &str, factor: i64) -> Result<FunctionId, Error> {
    engine.define_function(parse_functions(&times(name, factor)).unwrap().remove(0))
}

fn redefine(engine: &Engine, id: FunctionId, factor: i64) {
    let function = parse_functions(&times("f", factor)).unwrap().remove(0);
    engine.redefine(id, function).unwrap();
}

/// A safe call.
fn call(engine: &Engine, id: FunctionId, n: i64) -> Result<i64, crate::Trap> {
    let typed = engine.get::<(i64,), i64>(id).unwrap();
    // SAFETY: the functions of these tests touch no memory.
    unsafe { typed.try_call((n,)) }
}

#[track_caller]
fn check(engine: &Engine, id: FunctionId, n: i64, factor: i64) {
    assert_eq!(call(engine, id, n).unwrap(), product(n, factor));
}
