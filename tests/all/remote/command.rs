//! `regraft run --executor`.

use crate::cli::{fine, refuses};

const NESTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif/nested.clif");

#[test]
fn the_command_runs_files_in_another_process() {
    let path = std::env::temp_dir().join(format!("regraft-{}-command", std::process::id()));
    let mut listener = std::process::Command::new(env!("CARGO_BIN_EXE_executor-of-tests"))
        .arg("--listen")
        .arg(&path)
        .spawn()
        .unwrap();
    for _ in 0..1000 {
        if path.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let place = path.to_str().unwrap();
    let common = [
        "run",
        "--quiet",
        "--sync",
        "--threshold",
        "1",
        "--check",
        NESTED,
    ];
    let here = fine(&common);
    let there = fine(&[&common[..], &["--executor", place]].concat());
    listener.kill().unwrap();
    listener.wait().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(there.stdout, here.stdout);
    assert!(there.stdout.contains(" passed, 0 failed"), "{there:?}");
}

#[test]
fn an_executor_that_is_not_there_is_said_to_be_missing() {
    let nowhere = ["run", NESTED, "--executor", "/nowhere/socket"];
    refuses(&nowhere, &["no executor at /nowhere/socket"]);
}
