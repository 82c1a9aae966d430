//! What people see of a run: the table after it, the page, two reports compared; and what that costs nobody else.

use crate::cli::{Scratch, fine, refuses, regraft};
use crate::tiering::{eager_to_tier, engine};
use regraft::report::{EventKind, EventReport};
use regraft::{CompileMode, Engine, Observe, Report};
use std::process::{Command, Stdio};

const RARELY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/clif/trap_exit.clif"
);
const NESTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif/nested.clif");

fn read(scratch: &Scratch) -> String {
    std::fs::read_to_string(scratch.path()).expect("it was written")
}

#[test]
fn a_run_ends_with_its_story() {
    let said = fine(&["run", "--sync", "--threshold", "20", NESTED]).stdout;
    let (results, story) = said.split_once("passed, 0 failed\n").expect("a summary");
    assert!(results.contains("ok "));
    let lines = story.lines().count();
    assert!((5..=15).contains(&lines), "{lines} lines: {story}");
    for word in ["rectangle", "block2", "published", "µs", "entered"] {
        assert!(story.contains(word), "{word}: {story}");
    }
    let quiet = fine(&["run", "--sync", "--threshold", "20", "--quiet", NESTED]).stdout;
    assert!(quiet.ends_with("passed, 0 failed\n"), "{quiet}");
}

#[test]
fn the_story_of_many_files_is_short_too() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif");
    let files = std::fs::read_dir(folder).expect("there are examples");
    let files = files.map(|file| file.expect("a file").path().display().to_string());
    let files: Vec<String> = files.collect();
    let mut args = vec!["run", "--sync", "--threshold", "20"];
    args.extend(files.iter().map(|file| &**file));
    let said = fine(&args).stdout;
    let (_, story) = said.split_once("failed\n").expect("a summary");
    assert_eq!(story.lines().count(), 15, "{story}");
}

#[test]
fn a_report_to_standard_output_is_nothing_but_json() {
    let ran = fine(&["run", "--sync", "--report", "-", NESTED]);
    assert!(Report::from_json(&ran.stdout).is_ok(), "{}", ran.stdout);
    assert!(ran.stderr.contains("entered"), "{}", ran.stderr);
}

#[test]
fn a_page_comes_from_a_run_or_from_its_report() {
    let (page, report) = (Scratch::new("page.html", ""), Scratch::new("page.json", ""));
    let args = ["run", "--sync", "--threshold", "20", RARELY];
    fine(
        &[
            &args[..],
            &["--html", page.path(), "--report", report.path()],
        ]
        .concat(),
    );
    let direct = read(&page);
    assert!(direct.starts_with("<!doctype html>") && direct.contains("Outlined CLIF"));
    fine(&["report", report.path(), "--html", page.path()]);
    // All but the title, which says where it comes from.
    assert!(direct.len().abs_diff(read(&page).len()) < 1000);
    assert!(read(&page).contains("region block1"));
    let wrong = Scratch::new("wrong.json", "{\n \"version\": 9 }");
    refuses(
        &["report", wrong.path(), "--html", page.path()],
        &["line 2, column 13", "version 9"],
    );
}

#[test]
fn two_reports_are_compared() {
    let (before, after) = (Scratch::new("a.json", ""), Scratch::new("b.json", ""));
    fine(&["run", "--mode", "tier0", "--report", before.path(), NESTED]);
    let args = [
        "run",
        "--sync",
        "--threshold",
        "20",
        "--report",
        after.path(),
        NESTED,
    ];
    fine(&args);
    let said = fine(&["diff", before.path(), after.path()]).stdout;
    assert!(said.contains("cold → published"), "{said}");
    assert!(said.contains("entries into regions: 0 →"), "{said}");
    let copy = Scratch::new("copy.json", &read(&before));
    let same = fine(&["diff", before.path(), copy.path()]).stdout;
    assert!(!same.contains("cold →"), "{same}");
    refuses(&["diff", before.path(), before.path()], &["same file"]);
    refuses(&["diff", before.path(), NESTED], &["no region report"]);
}

fn observed(inspect: bool) -> Engine {
    observed_by(Observe {
        inspect,
        ..Observe::default()
    })
}

fn observed_by(observe: Observe) -> Engine {
    let config = eager_to_tier(20)
        .observe(observe)
        .compile(CompileMode::Synchronous);
    let engine = engine(config, include_str!("../../outliner/testdata/nest.clif"));
    let nest = engine.lookup("nest").expect("it is declared");
    let nest = engine
        .get::<(i32, i32), i32>(nest)
        .expect("the types agree");
    // SAFETY: the function touches no memory.
    unsafe { nest.call((100, 40)) };
    engine
}

#[test]
fn events_tell_a_function_s_life_in_order() {
    let engine = observed(true);
    let id = engine.lookup("nest").expect("it is declared");
    engine.remove(id).expect("it is there");
    engine.collect();
    let events = engine.report().events.expect("they were asked for");
    assert_eq!(events.left_out, 0);
    let place = |what: &str| {
        let found = |event: &EventReport| event.event.as_str() == what && event.function == "nest";
        let at = events.list.iter().position(found);
        at.unwrap_or_else(|| panic!("no {what} in {events:#?}"))
    };
    let life = [
        "compiled",
        "defined",
        "hot",
        "published",
        "removed",
        "freed",
    ]
    .map(place);
    assert!(life.is_sorted(), "{life:?} in {events:#?}");
    let of = |what: &str| {
        events
            .list
            .iter()
            .filter(|event| event.event.as_str() == what)
            .count()
    };
    assert_eq!(
        of("compiled"),
        of("freed"),
        "everything that was compiled is freed"
    );
}

#[test]
fn code_is_the_same_where_tools_know_it() {
    let folder = std::env::temp_dir().join(format!("regraft-same-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let tools = observed_by(Observe {
        debugger: true,
        unwinder: true,
        directory: Some(folder.clone()),
        ..Observe::default()
    });
    let (plain, known) = (observed(false).report(), tools.report());
    std::fs::remove_dir_all(&folder).expect("it is there");
    let sizes = |report: &Report| {
        let functions = report.functions.values();
        let versions = functions.flat_map(|function| {
            let regions = function.regions.iter();
            let regions = regions.flat_map(|region| &region.versions);
            function.versions.iter().chain(regions)
        });
        let sizes = versions.map(|version| (version.tier, version.code_bytes));
        sizes.collect::<Vec<_>>()
    };
    assert!(sizes(&plain).len() >= 2);
    assert_eq!(sizes(&plain), sizes(&known));
}

#[test]
fn a_trace_has_what_happened_by_thread() {
    let file = Scratch::new("trace.json", "");
    fine(&["run", "--threshold", "20", "--trace", file.path(), NESTED]);
    let trace: serde_json::Value = serde_json::from_str(&read(&file)).expect("it is JSON");
    let lines = trace.as_array().expect("a list");
    let there = |phase: &str, name: &str| {
        let mut lines = lines.iter();
        lines.any(|line| {
            line["ph"] == phase && line["name"].as_str().is_some_and(|own| own.contains(name))
        })
    };
    for (phase, name) in [
        ("X", "rectangle, tier 0"),
        ("X", ", tier 1"),
        ("b", "region at block"),
        ("e", "region at block"),
        ("i", "published: "),
        ("M", "thread_name"),
    ] {
        assert!(there(phase, name), "{phase} {name}: {trace}");
    }
    let threads = lines.iter().filter(|line| line["ph"] == "M");
    assert_eq!(
        threads.count(),
        2,
        "the one that runs, and the one that compiles"
    );
    refuses(
        &["run", "--trace", "/nowhere/trace.json", NESTED],
        &["cannot be written"],
    );
}

/// Each division waits for the one before: seconds, where a bar is shown after one.
const LONG: &str = "
function %long(i64) -> i64 {
block0(v0: i64):
    jump block1(v0, v0)
block1(v1: i64, v2: i64):
    v3 = imul v2, v2
    v4 = iconst.i64 -1
    v5 = isub v3, v4
    v8 = urem v5, v0
    v6 = iadd v1, v4
    brif v6, block1(v6, v8), block2
block2:
    v7 = iconst.i64 0
    return v7
}
; run: %long(1000000000) == 0
";

#[test]
fn a_run_that_takes_long_says_at_which_tier() {
    let file = Scratch::new("times.clif", LONG);
    let ran = fine(&["run", "--inspect", "--report", "-", file.path()]);
    let report = Report::from_json(&ran.stdout).expect("a report");
    let times = report.times.expect("they were asked for");
    // Seconds of a loop that was entered at tier 1, and a sample every few milliseconds.
    assert!(times.tier1 > 10 && times.tier1 > times.tier0, "{times:?}");
    let events = report.events.expect("they were asked for").list;
    let at = |kind: EventKind| events.iter().position(|event| event.event == kind);
    let (published, entered) = (at(EventKind::Published), at(EventKind::Entered));
    assert!(published.is_some() && entered > published, "{events:#?}");
}

#[test]
fn a_run_that_takes_long_has_a_bar_on_a_terminal_alone() {
    let file = Scratch::new("long.clif", LONG);
    let piped = fine(&["run", "--quiet", file.path()]);
    assert_eq!(piped.stderr, "");
    let command = format!("{} run --quiet {}", regraft().display(), file.path());
    let terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env_remove("RUST_LOG")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output();
    let Ok(terminal) = terminal else {
        return eprintln!("skipped: there is no script");
    };
    let said = String::from_utf8_lossy(&terminal.stdout);
    assert!(said.contains("1 passed, 0 failed"), "{said}");
    assert!(said.contains("0/1") && said.contains("long.clif"), "{said}");
}

#[test]
fn what_is_not_asked_for_is_not_collected_and_code_is_the_same() {
    let (plain, inspected) = (observed(false).report(), observed(true).report());
    assert_eq!(plain.events, None);
    assert_eq!(plain.times, None);
    assert!(inspected.times.is_some());
    for (name, function) in &plain.functions {
        let other = &inspected.functions[name];
        assert!(function.detail.is_none() && other.detail.is_some());
        let regions = function.regions.iter().zip(&other.regions);
        let versions = regions.flat_map(|(a, b)| a.versions.iter().zip(&b.versions));
        let versions = versions.chain(function.versions.iter().zip(&other.versions));
        for (a, b) in versions {
            assert!(a.code.is_none());
            assert_eq!(a.code_bytes, b.code_bytes);
            let code = b.code.as_ref().expect("it was asked for");
            assert!(code.clif.contains("block0"));
            assert!(code.machine.contains("ret"), "{}", code.machine);
        }
    }
}
