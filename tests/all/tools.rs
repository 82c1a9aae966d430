//! Generated code as perf and gdb know it. Skipped, saying so, where they are not there or may not look.

use crate::cli::{Scratch, regraft};
use regraft::{Config, Engine, Observe};
use std::path::{Path, PathBuf};
use std::process::Command;

const NESTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif/nested.clif");

/// A folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("regraft-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a tool is there.
fn there(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no {tool}");
    }
    found
}

/// What gdb says to a script, in which `run` is the command with the arguments; `None` where it cannot trace.
fn gdb(folder: &Path, args: &[&str], script: &str) -> Option<String> {
    let file = folder.join("script.gdb");
    let settings = "set pagination off\nset debuginfod enabled off\nset breakpoint pending on\n";
    std::fs::write(&file, format!("{settings}{script}")).expect("a script can be written");
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-x"])
        .arg(&file)
        .arg("--args")
        .arg(regraft())
        .args(args)
        .env("REGRAFT_GDB", "1")
        .env("TMPDIR", folder)
        .output()
        .expect("gdb runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if said.contains("ptrace: Operation not permitted") {
        eprintln!("skipped: gdb may not trace here");
        return None;
    }
    Some(said)
}

#[test]
fn gdb_breaks_steps_and_walks_the_stack_by_lines_of_clif() {
    if !cfg!(target_arch = "x86_64") || !there("gdb") {
        return;
    }
    let folder = Folder::new("gdb");
    let script = "
break -function rectangle.tier1.region.block2
run
delete
tbreak rectangle-1.clif:19
continue
backtrace
list
info registers rip rsp
step
continue
";
    let args = ["run", "--quiet", "--sync", "--threshold", "20", NESTED];
    let Some(said) = gdb(&folder.0, &args, script) else {
        return;
    };
    // From the region through tier 0 and the calling sequence into the host.
    let frames = [
        "#0  rectangle.tier1.region.block2 () at rectangle-1.clif:19",
        "rectangle.tier0 () at rectangle-1.clif:",
        "in regraft_call ()",
        "enter",
        "in main ()",
    ];
    let mut rest = &*said;
    for frame in frames {
        let found = rest.find(frame);
        let at = found.unwrap_or_else(|| panic!("no {frame}:\n{said}"));
        rest = &rest[at..];
    }
    for part in [
        "v13 = iadd v11, v12",
        "<rectangle.tier1.region.block2+",
        "10 passed, 0 failed",
        "exited normally",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
}

#[test]
fn gdb_knows_where_a_trap_is() {
    if !cfg!(target_arch = "x86_64") || !there("gdb") {
        return;
    }
    let folder = Folder::new("gdb-trap");
    let clif = "function %bad(i64) -> i64 {
block0(v0: i64):
    brif v0, block1, block2
block1:
    trap user1
block2:
    return v0
}
; run: %bad(1) == 0
";
    let file = Scratch::new("bad.clif", clif);
    let script = "run\nbacktrace\ninfo registers rdi\n";
    let Some(said) = gdb(&folder.0, &["run", "--quiet", file.path()], script) else {
        return;
    };
    for part in ["SIGILL", "#0  bad.tier0 () at bad-", "in main ()", "rdi "] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
}

/// Runs a loop under perf; `None` where perf may not look.
fn perf(folder: &Path, form: &str) -> Option<PathBuf> {
    let data = folder.join("perf.data");
    let output = Command::new("perf")
        .args(["record", "-q", "-k", "mono", "-e", "cpu-clock:u", "-o"])
        .arg(&data)
        .arg(regraft())
        .args(["run", "--quiet", "--repeat", "50", NESTED])
        .env("REGRAFT_PERF", form)
        .env("TMPDIR", folder)
        .output()
        .expect("perf runs");
    if !output.status.success() || !data.exists() {
        let why = String::from_utf8_lossy(&output.stderr);
        eprintln!("skipped: perf may not record here: {why}");
        return None;
    }
    Some(data)
}

/// The names that perf has for the samples of a recording.
fn names(data: &Path) -> String {
    let output = Command::new("perf")
        .args(["report", "--stdio", "--sort", "sym", "-i"])
        .arg(data)
        .output()
        .expect("perf runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn perf_has_names_by_a_map_of_addresses() {
    if !there("perf") {
        return;
    }
    let folder = Folder::new("perf-map");
    let Some(data) = perf(&folder.0, "map") else {
        return;
    };
    let names = names(&data);
    assert!(names.contains("euclid.tier1.region.block1"), "{names}");
}

#[test]
fn perf_has_names_and_lines_by_a_jitdump() {
    if !there("perf") {
        return;
    }
    let folder = Folder::new("jitdump");
    let Some(data) = perf(&folder.0, "jitdump") else {
        return;
    };
    let injected = folder.0.join("injected.data");
    let inject = Command::new("perf")
        .args(["inject", "--jit", "-i"])
        .arg(&data)
        .arg("-o")
        .arg(&injected)
        .output()
        .expect("perf runs");
    assert!(inject.status.success(), "{inject:?}");
    let names = names(&injected);
    assert!(names.contains("euclid.tier1.region.block1"), "{names}");
}

/// Counts the frames of generated code in a backtrace.
extern "C" fn walk() -> i64 {
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    // Frames of the test come after those of generated code, if it goes on behind them.
    i64::from(trace.contains("backtraces_go_through_generated_code"))
}

const CALLER: &str = "
function %caller() -> i64 system_v {
    sig0 = () -> i64 system_v
    fn0 = %walk sig0
block0:
    v0 = call fn0()
    return v0
}";

#[test]
fn backtraces_go_through_generated_code() {
    let go_on = |unwinder: bool| {
        let engine = Engine::new(Config::default().observe(Observe {
            unwinder,
            ..Observe::default()
        }));
        let engine = engine.expect("an engine");
        engine.symbol("walk", walk as *const ()).unwrap();
        let function = cranelift_reader::parse_functions(CALLER)
            .expect("CLIF")
            .remove(0);
        let id = engine.define_function(function).expect("a function");
        let caller = engine.get::<(), i64>(id).expect("its type");
        // SAFETY: it calls a function of this test.
        unsafe { caller.call(()) }
    };
    assert_eq!(go_on(true), 1);
    // Without, nobody knows how: that is what the switch is for.
    assert_eq!(go_on(false), 0);
}
