//! What people see of a run: the table after it, the page, two reports compared; and what that costs nobody else.

use crate::cli::{Scratch, fine, refuses};
use crate::tiering::{eager_to_tier, engine};
use regraft::report::EventReport;
use regraft::{CompileMode, Config, Engine, Observe, Report};

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
    let config = Config {
        observe: Observe { inspect },
        compile: CompileMode::Synchronous,
        ..eager_to_tier(20)
    };
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
fn what_is_not_asked_for_is_not_collected_and_code_is_the_same() {
    let (plain, inspected) = (observed(false).report(), observed(true).report());
    assert_eq!(plain.events, None);
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
            // Cranelift's is disassembled; that of templates is shown as bytes, which end by `leave` and `ret`.
            assert!(code.machine.contains("ret") || code.machine.contains("c9 c3"));
        }
    }
}
