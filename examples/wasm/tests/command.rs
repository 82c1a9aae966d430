//! The command: what it prints, and its exit codes.

mod common;

use common::{assemble, folder};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_regraft-wasm");
    let output = Command::new(program).args(arguments).output();
    output.expect("the command runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, assemble(text)).expect("a file");
    path
}

const SUM: &str = r#"(module
    (func (export "sum") (param $n i64) (result i64) (local $i i64) (local $sum i64)
        (loop $again
            (local.set $sum (i64.add (local.get $sum) (local.get $i)))
            (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $again (i64.le_s (local.get $i) (local.get $n))))
        (local.get $sum))
    (func (export "divide") (param i32 i32) (result i32)
        (i32.div_s (local.get 0) (local.get 1))))"#;

#[test]
fn functions_are_invoked_in_every_mode() {
    let folder = folder("command-invoke");
    let path = file(&folder, "sum.wasm", SUM);
    let path = path.to_str().unwrap();
    for mode in ["tiered", "tier0", "eager"] {
        let output = run(&[path, "--invoke", "sum", "100000", "--mode", mode, "--sync"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output), "5000050000\n");
    }
    let output = run(&[path, "--invoke", "divide", "-7", "2", "--time"]);
    assert_eq!(stdout(&output), "-3\n");
    assert!(stderr(&output).contains("instantiate"));
}

/// Options may follow a number, also one that begins like an option.
#[test]
fn negative_numbers_are_no_options() {
    let folder = folder("command-negative");
    let negate = r#"(module
        (func (export "negate") (param f64 i32) (result f64) (f64.neg (local.get 0))))"#;
    let path = file(&folder, "negate.wasm", negate);
    let path = path.to_str().unwrap();
    for (argument, result) in [
        ("-inf", "inf"),
        ("inf", "-inf"),
        ("-2.5e3", "2500"),
        ("-nan", "NaN"),
    ] {
        let output = run(&[path, "--invoke", "negate", argument, "-0x10", "--sync"]);
        assert_eq!(
            stdout(&output),
            format!("{result}\n"),
            "{}",
            stderr(&output)
        );
    }
    let output = run(&[path, "--invoke", "negate", "-interactive", "1"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_report_names_regions() {
    let folder = folder("command-report");
    let path = file(&folder, "sum.wasm", SUM);
    let report = folder.join("report.json");
    let output = run(&[
        path.to_str().unwrap(),
        "--invoke",
        "sum",
        "100000",
        "--threshold",
        "10",
        "--sync",
        "--report",
        report.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("\"state\": \"published\""), "{report}");
    assert!(report.contains("\"entries_while_running\": 1"), "{report}");
}

/// What one run leaves, the next one loads; and where nothing can be left, the program runs all the same.
#[test]
fn a_profile_cache_is_left_and_found() {
    let folder = folder("command-cache");
    let path = file(&folder, "sum.wasm", SUM);
    let cache = folder.join("cache");
    let report = folder.join("report.json");
    let run_with = |more: &[&str]| {
        let mut arguments = vec![path.to_str().unwrap(), "--invoke", "sum", "100000"];
        arguments.extend(["--report", report.to_str().unwrap(), "--profile-cache"]);
        arguments.extend(more);
        let output = run(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output), "5000050000\n");
        (std::fs::read_to_string(&report).unwrap(), stderr(&output))
    };
    let cache = cache.to_str().unwrap();
    assert!(run_with(&[cache]).0.contains("\"loaded\": 0,"));
    let (second, errors) = run_with(&[cache]);
    assert!(second.contains("\"loaded\": true"), "{second}");
    assert_eq!(errors, "");
    let (third, _) = run_with(&[cache, "--no-code-cache"]);
    assert!(third.contains("\"loaded\": 0,"), "{third}");
    let (_, errors) = run_with(&["/proc/nowhere"]);
    assert!(errors.contains("/proc/nowhere"), "{errors}");
    let output = run(&[path.to_str().unwrap(), "--no-code-cache"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn errors_have_their_codes_and_say_what_to_do() {
    let folder = folder("command-errors");
    let sum = file(&folder, "sum.wasm", SUM);
    let sum = sum.to_str().unwrap();
    let wide = file(&folder, "wide.wasm", "(module (memory i64 1))");
    let text = folder.join("sum.wat");
    std::fs::write(&text, "(modul)").unwrap();
    let broken = folder.join("broken.wasm");
    std::fs::write(&broken, b"\0asm\x01\0\0\0\x01\xff").unwrap();
    let needs = file(
        &folder,
        "needs.wasm",
        r#"(module (import "env" "f" (func)))"#,
    );
    let cases: [(&[&str], i32, &str); 11] = [
        (
            &[sum, "--invoke", "divide", "1", "0"],
            1,
            "integer divide by zero",
        ),
        (&[sum], 2, "--invoke: sum, divide"),
        (&[sum, "--invoke", "sum"], 2, "takes 1 arguments"),
        (
            &[sum, "--invoke", "sum", "many"],
            2,
            "not a value of type i64",
        ),
        (&[wide.to_str().unwrap()], 2, "proposal memory64"),
        (
            &[text.to_str().unwrap()],
            2,
            "not a WebAssembly module, neither in binary nor in text form",
        ),
        (&[broken.to_str().unwrap()], 2, "not valid"),
        (&[needs.to_str().unwrap()], 2, "import env.f"),
        (
            &[sum, "--dir", "/no/such/folder", "--invoke", "sum", "1"],
            2,
            "--dir /no/such/folder",
        ),
        (
            &[sum, "--report", "/no/such/report", "--invoke", "sum", "1"],
            2,
            "/no/such/report",
        ),
        (
            &[sum, "--html", "/no/such/page", "--invoke", "sum", "1"],
            2,
            "/no/such/page",
        ),
    ];
    for (arguments, code, message) in cases {
        let output = run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(message), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}: nothing has run");
    }
    assert_eq!(run(&["/no/such/file"]).status.code(), Some(2));
    assert_eq!(run(&[sum, "--mode", "warp"]).status.code(), Some(2));
}

#[test]
fn a_wasi_program_gets_its_arguments_and_its_exit_code() {
    let folder = folder("command-wasi");
    // Writes its arguments to standard output and exits with their number.
    let path = file(
        &folder,
        "echo.wasm",
        r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (drop (call $args (i32.const 64) (i32.const 1024)))
            (i32.store (i32.const 16) (i32.const 1024))
            (i32.store (i32.const 20) (i32.load (i32.const 4)))
            (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
            (call $exit (i32.load (i32.const 0)))))"#,
    );
    let output = run(&[path.to_str().unwrap(), "--", "one", "--two"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(stdout(&output), "echo.wasm\0one\0--two\0");
}

#[test]
fn text_is_assembled() {
    let folder = folder("command-text");
    let path = folder.join("sum.wat");
    std::fs::write(&path, SUM).unwrap();
    let output = run(&[path.to_str().unwrap(), "--invoke", "sum", "4"]);
    assert_eq!(stdout(&output), "10\n", "{}", stderr(&output));
}

#[test]
fn the_environment_is_what_is_given() {
    let folder = folder("command-environment");
    // Writes its environment to standard output and exits with the number of variables.
    let path = file(
        &folder,
        "environment.wasm",
        r#"(module
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (drop (call $get (i32.const 64) (i32.const 1024)))
            (i32.store (i32.const 16) (i32.const 1024))
            (i32.store (i32.const 20) (i32.load (i32.const 4)))
            (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
            (call $exit (i32.load (i32.const 0)))))"#,
    );
    let path = path.to_str().unwrap();
    let output = run(&[path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let given = ["--env", "A=1=2", "--env", "NOT_SET_ANYWHERE", "--env", "B="];
    let output = run(&[&[path], &given[..]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(stdout(&output), "A=1=2\0B=\0");
    // A variable without a value has the value that the command's own has.
    let program = env!("CARGO_BIN_EXE_regraft-wasm");
    let output = Command::new(program)
        .args([path, "--env", "REGRAFT_WASM_C"])
        .env("REGRAFT_WASM_C", "3")
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "REGRAFT_WASM_C=3\0");
    assert_eq!(run(&[path, "--env", "=1"]).status.code(), Some(2));
}

#[test]
fn a_directory_can_have_another_name_for_the_program() {
    let folder = folder("command-directory");
    // Writes the name of its first directory to standard output.
    let path = file(
        &folder,
        "directory.wasm",
        r#"(module
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $get (i32.const 3) (i32.const 0)))
            (drop (call $name (i32.const 3) (i32.const 1024) (i32.load (i32.const 4))))
            (i32.store (i32.const 16) (i32.const 1024))
            (i32.store (i32.const 20) (i32.load (i32.const 4)))
            (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))))"#,
    );
    let path = path.to_str().unwrap();
    let host = folder.to_str().unwrap();
    for (given, name) in [
        (host.to_string(), host),
        (format!("{host}::/share"), "/share"),
    ] {
        let output = run(&[path, "--dir", &given]);
        assert_eq!(stdout(&output), name, "{}", stderr(&output));
    }
}

#[test]
fn missing_functions_can_be_stubs() {
    let folder = folder("command-stubs");
    let path = file(
        &folder,
        "stubs.wasm",
        r#"(module (import "host" "beep" (func $beep (param i32) (result f64)))
        (func (export "one") (result i32) (i32.const 1))
        (func (export "beep") (drop (call $beep (i32.const 7)))))"#,
    );
    let path = path.to_str().unwrap();
    for mode in ["tiered", "tier0", "eager"] {
        let common = [path, "--stub-imports", "--mode", mode, "--invoke"];
        let output = run(&[&common[..], &["one"]].concat());
        assert_eq!(stdout(&output), "1\n", "{}", stderr(&output));
        let output = run(&[&common[..], &["beep"]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("import host.beep"));
    }
    let memory = file(
        &folder,
        "memory.wasm",
        r#"(module (import "host" "memory" (memory 1)))"#,
    );
    let output = run(&[memory.to_str().unwrap(), "--stub-imports"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("import host.memory"));
}

#[test]
fn a_stack_overflow_is_a_trap() {
    let folder = folder("command-stack");
    let text = r#"(module (func $f (export "f") (param i64) (result i64)
        (i64.add (call $f (i64.add (local.get 0) (i64.const 1))) (i64.const 1))))"#;
    let path = file(&folder, "deep.wasm", text);
    for mode in ["tiered", "tier0", "eager"] {
        let output = run(&[path.to_str().unwrap(), "--invoke", "f", "0", "--mode", mode]);
        assert_eq!(output.status.code(), Some(1), "{mode}: {}", stderr(&output));
        assert!(stderr(&output).contains("call stack exhausted"));
    }
}

#[test]
fn a_program_ends_when_its_time_is_up() {
    let folder = folder("command-timeout");
    let spin = file(
        &folder,
        "spin.wasm",
        r#"(module (func (export "_start") (loop $again (br $again))))"#,
    );
    for mode in ["tiered", "tier0", "eager"] {
        let output = run(&[spin.to_str().unwrap(), "--mode", mode, "--timeout", "0.2"]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains("the program was interrupted"));
    }
    let sum = file(&folder, "sum.wasm", SUM);
    let output = run(&[
        sum.to_str().unwrap(),
        "--invoke",
        "sum",
        "3",
        "--timeout",
        "60",
    ]);
    assert_eq!(stdout(&output), "6\n");
    let output = run(&[
        sum.to_str().unwrap(),
        "--invoke",
        "sum",
        "3",
        "--timeout",
        "0",
    ]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_executor_that_is_not_there_is_said_to_be_missing() {
    let folder = folder("command-executor");
    let path = file(&folder, "sum.wasm", SUM);
    let path = path.to_str().unwrap();
    let arguments = [path, "--invoke", "sum", "5", "--executor"];
    let here = run(&[&arguments[..], &["in-process"]].concat());
    assert_eq!(stdout(&here), "15\n");
    let nowhere = run(&[&arguments[..], &["/nowhere/socket"]].concat());
    assert_eq!(nowhere.status.code(), Some(2));
    let said = stderr(&nowhere);
    assert!(said.contains("no executor at /nowhere/socket"), "{said}");
}
