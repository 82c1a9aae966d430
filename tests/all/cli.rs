//! The `regraft` command: what it prints, and its exit codes.

use regraft::config::FoundBy;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The command, next to the directory of this test's binary. It is built first, so that it is not an old one.
pub fn regraft() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("this binary has a path");
        let profile = test
            .parent()
            .and_then(Path::parent)
            .expect("target/<profile>/deps");
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "-p",
            "regraft-command",
            "--bin",
            "regraft",
        ]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        // Where the target was named, it is a folder between target and profile.
        let target = target_lexicon::HOST.to_string();
        if profile
            .parent()
            .is_some_and(|above| above.ends_with(&target))
        {
            build.args(["--target", &target]);
        }
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        let built = build.status().expect("cargo runs");
        assert!(built.success(), "the command does not build");
        let binary = profile.join(format!("regraft{}", std::env::consts::EXE_SUFFIX));
        assert!(binary.exists(), "no {}", binary.display());
        binary
    })
}

/// A file for one test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str, text: &str) -> Self {
        let name = format!("regraft-cli-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a scratch file can be written");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(args: &[&str]) -> Ran {
    let output = Command::new(regraft())
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Runs, and expects exit code 0.
pub fn fine(args: &[&str]) -> Ran {
    let ran = run(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran
}

/// Runs, and expects exit code 2 and these words on standard error.
pub fn refuses(args: &[&str], words: &[&str]) {
    let ran = run(args);
    assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{args:?}");
    for word in words {
        assert!(
            ran.stderr.contains(word),
            "{args:?}: no {word:?} in {}",
            ran.stderr
        );
    }
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}

const SUM: &str = "
function %sum(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)

block1(v2: i64, v3: i64):
    v4 = iadd v3, v2
    v5 = iconst.i64 1
    v6 = iadd v2, v5
    v7 = icmp ult v6, v0
    brif v7, block1(v6, v4), block2

block2:
    return v4
}
; run: %sum(100000) == 4999950000
; print: %sum(10)
";

#[test]
fn a_run_that_passes() {
    let file = Scratch::new("pass.clif", SUM);
    let ran = run(&["run", file.path(), "--sync"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("%sum(10) -> 45\n"), "{ran:?}");
    assert!(ran.stdout.contains("\n1 passed, 0 failed\n"), "{ran:?}");
    assert_eq!(ran.stderr, "");
    for mode in ["tiered", "tier0", "eager"] {
        let ran = run(&[
            "run",
            file.path(),
            "--mode",
            mode,
            "--wrap",
            "3",
            "--repeat",
            "2",
            "--check",
        ]);
        assert_eq!(ran.code, Some(0), "{mode}: {ran:?}");
    }
}

#[test]
fn a_run_that_fails() {
    let file = Scratch::new("fail.clif", &format!("{SUM}; run: %sum(4) == 7\n"));
    let ran = run(&["run", file.path()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("FAIL"), "{ran:?}");
    assert!(
        ran.stdout.contains(":19 [host] run: %sum(4) == 7, got 6\n"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("\n1 passed, 1 failed\n"), "{ran:?}");
}

#[test]
fn a_function_that_does_not_compile() {
    let text = "function %f() -> i32 {\nblock0:\n v0 = iconst.i64 1\n return v0\n}\n";
    let file = Scratch::new("verify.clif", text);
    let ran = run(&["run", file.path()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("f does not verify"), "{ran:?}");
    refuses(&["regions", file.path()], &["clif:1:1: f does not verify"]);
}

#[test]
fn other_targets_are_skipped() {
    let text = format!("test run\ntarget s390x\n{SUM}");
    let file = Scratch::new("skip.clif", &text);
    let ran = run(&["run", file.path()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout.ends_with("\n0 passed, 0 failed, 2 skipped\n"),
        "{ran:?}"
    );
}

#[test]
fn bad_files_are_named_with_line_and_column() {
    let text = SUM.replace("icmp ult v6", "icmp oops v6");
    let file = Scratch::new("malformed.clif", &text);
    let place = format!("{}:11:15: ", file.path());
    refuses(&["run", file.path()], &[&place]);
    refuses(&["regions", file.path()], &[&place]);
    let file = Scratch::new(
        "setting.clif",
        &format!("test run\nset warp_speed=9\n{SUM}"),
    );
    refuses(
        &["run", file.path()],
        &[":2:5: unknown setting 'warp_speed=9'"],
    );
    let file = Scratch::new("huge.clif", &SUM.replace("v4 ", "v4000000000 "));
    refuses(
        &["run", file.path()],
        &[":8:5: the number of v4000000000 is too large"],
    );
    refuses(
        &["run", "/does/not/exist.clif"],
        &["/does/not/exist.clif: No such file"],
    );
}

#[test]
fn nonsense_on_the_command_line() {
    let file = Scratch::new("options.clif", SUM);
    refuses(&["run", file.path(), "--wrap", "0"], &["--wrap"]);
    refuses(&["run", file.path(), "--repeat", "0"], &["--repeat"]);
    refuses(
        &["run", file.path(), "--threshold", "abc"],
        &["--threshold", "abc"],
    );
    refuses(
        &["run", file.path(), "--mode", "fast"],
        &["tiered", "tier0", "eager"],
    );
    refuses(
        &["run", file.path(), "--set", "warp_speed=9"],
        &["warp_speed"],
    );
    refuses(
        &["run", file.path(), "--set", "enable_verifier=9"],
        &["enable_verifier", "9"],
    );
    refuses(&["run"], &["FILE"]);
    refuses(&["frobnicate", file.path()], &["frobnicate"]);
    let outline = ["outline", file.path(), "--function"];
    refuses(
        &[&outline[..], &["sum", "--header", "block9"]].concat(),
        &["block9", "there are: block1"],
    );
    refuses(
        &[&outline[..], &["sum", "--header", "block2"]].concat(),
        &["block2", "there are: block1"],
    );
    refuses(
        &[&outline[..], &["mul", "--header", "block1"]].concat(),
        &["mul", "there are: sum"],
    );
    let cold = ["sum", "--header", "block1", "--cold", "block0"];
    refuses(
        &[&outline[..], &cold].concat(),
        &["block0", "there are: block1"],
    );
}

#[test]
fn regions_as_json() {
    let file = Scratch::new("regions.clif", SUM);
    let ran = run(&["regions", file.path(), "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["version"], 1);
    let found = &json["functions"]["sum"]["loops"][0];
    assert_eq!(found["header"], "block1");
    assert_eq!(found["decision"], "take");
    assert_eq!(found["live_ins"][2]["value"], "v0");
    assert_eq!(found["exits"][0]["to"], "block2");
}

#[test]
fn a_refused_loop_says_why() {
    let text = SUM.replace(
        "v5 = iconst.i64 1",
        "v9 = get_frame_pointer.i64\n    v5 = iconst.i64 1",
    );
    let file = Scratch::new("refused.clif", &text);
    let ran = run(&["regions", file.path(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let found = &json["functions"]["sum"]["loops"][0];
    assert_eq!(found["decision"], "refuse", "{found}");
    assert_eq!(found["reason_code"], "frame-identity", "{found}");
    let ran = run(&[
        "outline",
        file.path(),
        "--function",
        "sum",
        "--header",
        "block1",
    ]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cannot be outlined"), "{ran:?}");
}

#[test]
fn outline_tells_the_whole_story() {
    let file = Scratch::new("outline.clif", SUM);
    let ran = run(&[
        "outline",
        file.path(),
        "--function",
        "%sum",
        "--header",
        "block1",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["; source", "; region at block1", "; outlined", "; residual"] {
        assert!(ran.stdout.contains(part), "no {part} in {}", ran.stdout);
    }
    cranelift_reader::parse_functions(&ran.stdout).expect("the story is CLIF");
}

#[test]
fn reports_go_round() {
    let file = Scratch::new("report.clif", SUM);
    let ran = run(&[
        "run",
        file.path(),
        "--sync",
        "--threshold",
        "10",
        "--report",
        "-",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("1 passed, 0 failed\n"), "{ran:?}");
    let report =
        regraft::Report::from_json(&ran.stdout).expect("standard output is the report alone");
    let region = &report.functions["sum"].regions[0];
    assert!(region.entries_while_running > 0, "{region:?}");
    let saved = Scratch::new("report.json", &ran.stdout);
    let ran = run(&["report", saved.path()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout.contains("block1") && ran.stdout.contains("published"),
        "{ran:?}"
    );
    let garbage = Scratch::new("garbage.json", "{\"version\": 1, ");
    refuses(
        &["report", garbage.path()],
        &["this is no region report", "line 1"],
    );
    let future = Scratch::new("future.json", &saved_version(&saved, 99));
    refuses(&["report", future.path()], &["99"]);
}

fn saved_version(saved: &Scratch, version: u32) -> String {
    let text = std::fs::read_to_string(&saved.0).expect("it was written");
    let written = format!("\"version\": {}", regraft::report::REPORT_VERSION);
    text.replacen(&written, &format!("\"version\": {version}"), 1)
}

#[test]
fn several_engines_make_one_report() {
    let host = std::env::consts::ARCH;
    let text = format!("test run\ntarget {host}\ntarget {host}\n{SUM}");
    let file = Scratch::new("twice.clif", &text);
    let ran = run(&["run", file.path(), "--report", "-"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report = regraft::Report::from_json(&ran.stdout).expect("a report");
    let names: Vec<&String> = report.functions.keys().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0], "sum");
    assert!(
        names[1].starts_with("sum@") && names[1].ends_with(&format!(":{host}")),
        "{names:?}"
    );
}

#[test]
fn profiles_go_round() {
    let file = Scratch::new("profile.clif", SUM);
    let saved = Scratch::new("profile.json", "");
    let ran = run(&[
        "run",
        file.path(),
        "--mode",
        "tier0",
        "--save-profile",
        saved.path(),
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&["regions", file.path(), "--profile", saved.path(), "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["functions"]["sum"]["profile"], "saved");
    assert_eq!(json["functions"]["sum"]["loops"][0]["trips"], 50_005.0);
    let other = Scratch::new("other.clif", &SUM.replace("ult", "ule"));
    refuses(
        &["regions", other.path(), "--profile", saved.path()],
        &["the profile of sum"],
    );
    let garbage = Scratch::new("garbage-profile.json", "[1, 2]");
    refuses(
        &["regions", file.path(), "--profile", garbage.path()],
        &["garbage-profile.json"],
    );
}

/// Calls by number: the file's text and what the engine is given differ.
const CALLER: &str = "
function u0:0(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 3
    v2 = imul v0, v1
    return v2
}
function u0:1(i64) -> i64 {
    fn0 = u0:0(i64) -> i64
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = call fn0(v2)
    v5 = iadd v3, v4
    v6 = iconst.i64 1
    v7 = iadd v2, v6
    v8 = icmp ult v7, v0
    brif v8, block1(v7, v5), block2
block2:
    return v5
}
; run: %caller(5000) == 37492500
";

#[test]
fn a_saved_profile_starts_the_next_run_warm() {
    let file = Scratch::new("warm.clif", &format!("{SUM}{CALLER}"));
    let profile = Scratch::new("warm-profile.json", "");
    let report = |args: &[&str]| {
        let ran = run(&[&["run", file.path(), "--sync", "--report", "-"], args].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let report = regraft::Report::from_json(&ran.stdout);
        (report.expect("standard output is the report alone"), ran)
    };
    let found_by = |report: &regraft::Report| -> Vec<FoundBy> {
        let functions = report.functions.values();
        let parts = functions.flat_map(|function| {
            let regions = function.regions.iter().map(|region| &region.part);
            regions.chain([&function.whole_function])
        });
        parts.filter_map(|part| part.found_by).collect()
    };
    let (cold, _) = report(&["--save-profile", profile.path()]);
    assert_eq!(found_by(&cold), [FoundBy::Counters; 3]);
    let (warm, _) = report(&["--profile", profile.path()]);
    assert_eq!(found_by(&warm), [FoundBy::Profile; 3]);

    let changed = Scratch::new("changed.clif", &SUM.replace("iconst.i64 1", "iconst.i64 2"));
    let changed = changed.path();
    let ran = run(&[
        "run",
        changed,
        "--profile",
        profile.path(),
        "--threshold",
        "9",
    ]);
    assert_eq!(ran.code, Some(1), "the sum is another: {ran:?}");
    for words in ["changed.clif", "the profile of sum is ignored", "hash"] {
        assert!(ran.stdout.contains(words), "{ran:?}");
    }
    let text = std::fs::read_to_string(profile.path()).expect("it was written");
    let torn = Scratch::new("torn-profile.json", &text[..text.len() / 3]);
    refuses(
        &["run", file.path(), "--profile", torn.path()],
        &["torn-profile.json", "line", "--save-profile"],
    );
    refuses(
        &["run", file.path(), "--profile", "/nowhere/profile.json"],
        &["/nowhere/profile.json"],
    );
}

#[test]
fn sampling_by_command() {
    let clif = SUM.replace(
        "; run: %sum(100000) == 4999950000",
        "; run: %sum(400000000) == 79999999800000000",
    );
    let file = Scratch::new("sampling.clif", &clif);
    let args = [
        "run",
        file.path(),
        "--detector",
        "sampling",
        "--report",
        "-",
    ];
    let ran = run(&args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report = regraft::Report::from_json(&ran.stdout).expect("a report");
    assert_eq!(report.detection, FoundBy::Sampling);
    assert_eq!(report.functions["sum"].entries, 0);
    let saved = Scratch::new("sampling.json", &ran.stdout);
    let ran = run(&["report", saved.path()]);
    assert!(ran.stdout.contains("detection by sampling"), "{ran:?}");
    refuses(
        &["run", file.path(), "--detector", "dowsing"],
        &["--detector", "counters", "sampling"],
    );
}

/// Nothing runs whose report, page or profile could not be written.
#[test]
fn what_cannot_be_written_is_refused_before_anything_runs() {
    let file = Scratch::new("unwritten.clif", SUM);
    for option in ["--report", "--html", "--save-profile"] {
        let ran = run(&["run", file.path(), option, "/no/such/folder/file"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("/no/such/folder/file"), "{ran:?}");
        assert_eq!(ran.stdout, "", "{option}");
    }
}

/// What Cranelift's run tests throw with: who handles nothing is told so, and another process has no such function.
#[test]
fn exceptions_by_command() {
    let text = "function %throw(i64) -> i64 tail {
    fn0 = %__cranelift_throw(i64, i64, i64, i32, i64, i64)
block0(v0: i64):
    v1 = get_frame_pointer.i64
    v2 = iconst.i32 4
    call fn0(v1, v1, v1, v2, v0, v1)
    trap user1
}
function %catch(i64) -> i64 {
    sig0 = (i64) -> i64 tail
    fn0 = %throw sig0
block0(v0: i64):
    try_call fn0(v0), sig0, block1(ret0), [ tag3: block2, tag4: block1(exn0) ]
block1(v1: i64):
    return v1
block2:
    trap user2
}
; run: %catch(7) == 7
";
    let file = Scratch::new("throw.clif", text);
    for mode in ["tiered", "tier0", "eager"] {
        let ran = fine(&[
            "run",
            file.path(),
            "--mode",
            mode,
            "--threshold",
            "1",
            "--wrap",
            "3",
        ]);
        assert!(ran.stdout.contains("1 passed, 0 failed"), "{ran:?}");
    }
    let nobody = Scratch::new("nobody.clif", &text.replace("tag4", "tag5"));
    let ran = run(&["run", nobody.path()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("trap user249 "), "{ran:?}");
    let ran = run(&["run", file.path(), "--executor", "spawn"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let many: String = (0..3000)
        .map(|n| format!("; run: %sum({}) != 1\n", n % 7 + 3))
        .collect();
    let file = Scratch::new("pipe.clif", &format!("{SUM}{many}"));
    let mut child = Command::new(regraft())
        .args(["run", file.path()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn help_is_enough() {
    let ran = run(&["--help"]);
    assert_eq!(ran.code, Some(0));
    for word in ["run", "regions", "outline", "report", "--verbose"] {
        assert!(ran.stdout.contains(word), "{word}");
    }
    let ran = run(&["run", "--help"]);
    for word in [
        "--wrap",
        "--threshold",
        "--sync",
        "--repeat",
        "--report",
        "--save-profile",
        "--profile",
        "--detector",
    ] {
        assert!(ran.stdout.contains(word), "{word}");
    }
}
