//! The report: valid by its schema, stable, and readable again.

use crate::tiering::{eager_to_tier, engine};
use regraft::report::{Phase, REPORT_VERSION};
use regraft::{Config, Detection, Engine, Mode, Observe, Report, Sampling};
use serde_json::Value;
use std::sync::Arc;

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../core/report.schema.json");
    let schema: Value = serde_json::from_str(text).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

fn validate(report: &Report) {
    let json: Value = serde_json::from_str(&report.to_json()).expect("the report is JSON");
    let errors: Vec<String> = schema()
        .iter_errors(&json)
        .map(|error| format!("{} at {}", error, error.instance_path))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert_eq!(
        Report::from_json(&report.to_json()).expect("it reads back"),
        *report
    );
}

/// An engine with something of everything.
fn busy_engine() -> Engine {
    let clif = [
        include_str!("../../outliner/testdata/nest.clif"),
        include_str!("../../outliner/testdata/exits.clif"),
        "
function %pointer(i64) -> i64 system_v {
block0(v0: i64):
    jump block1(v0)
block1(v1: i64):
    v2 = get_stack_pointer.i64
    v3 = iconst.i64 1
    v4 = isub v1, v3
    brif v4, block1(v4), block2
block2:
    return v4
}
function %irreducible(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 1
    v2 = band v0, v1
    brif v2, block1(v0), block2(v0)
block1(v3: i64):
    v4 = isub v3, v1
    jump block2(v4)
block2(v5: i64):
    v6 = isub v5, v1
    v7 = icmp sgt v6, v1
    brif v7, block1(v6), block3
block3:
    return v6
}",
    ]
    .join("\n");
    let engine = engine(eager_to_tier(20), &clif);
    let id = |name| engine.lookup(name).expect("the function is declared");
    let nest = engine
        .get::<(i32, i32), i32>(id("nest"))
        .expect("the types agree");
    let exits = engine
        .get::<(i64, i64), i64>(id("exits"))
        .expect("the types agree");
    let pointer = engine
        .get::<(i64,), i64>(id("pointer"))
        .expect("the types agree");
    for i in 0..30 {
        // SAFETY: the functions touch no memory.
        unsafe {
            nest.call((100, 40));
            exits.call((1_000_000, 999_983 + i));
            pointer.call((100,));
        }
    }
    engine
}

#[test]
fn reports_are_valid_by_the_schema() {
    validate(&busy_engine().report());
    for mode in [Mode::Tier0, Mode::Eager] {
        let config = Config::default().mode(mode);
        let engine = engine(config, include_str!("../../outliner/testdata/nest.clif"));
        validate(&engine.report());
    }
    let inspected = engine(
        eager_to_tier(20).observe(Observe {
            inspect: true,
            ..Observe::default()
        }),
        include_str!("../../outliner/testdata/exits.clif"),
    );
    let exits = inspected.lookup("exits").expect("it is declared");
    let exits = inspected
        .get::<(i64, i64), i64>(exits)
        .expect("the types agree");
    for i in 0..30 {
        // SAFETY: the function touches no memory.
        unsafe { exits.call((1_000_000, 999_983 + i)) };
    }
    validate(&inspected.report());
    let mut profile = busy_engine().profile();
    for (stale, saved) in [true, false]
        .into_iter()
        .zip(profile.functions.values_mut())
    {
        saved.hash ^= u64::from(stale);
    }
    let config = Config::default()
        .detection(Detection::Sampling(Sampling::default()))
        .profile(Some(Arc::new(profile)));
    let engine = engine(config, include_str!("../../outliner/testdata/nest.clif"));
    validate(&engine.report());
}

#[test]
fn the_schema_rejects_what_is_no_report() {
    let mut json: Value =
        serde_json::from_str(&busy_engine().report().to_json()).expect("the report is JSON");
    json["functions"]["nest"]["regions"][0]["state"] = "delighted".into();
    assert!(!schema().is_valid(&json));
}

#[test]
fn a_report_of_another_version_is_refused() {
    let text = busy_engine()
        .report()
        .to_json()
        .replace(&format!("\"version\": {REPORT_VERSION}"), "\"version\": 9");
    let error = Report::from_json(&text).expect_err("version 9 is not known");
    assert!(error.to_string().contains("version 9"), "{error}");
}

/// What was done shows as phases, which with the rest are the whole time.
#[test]
fn time_is_accounted_for() {
    let report = busy_engine().report();
    let [thread] = &*report.account.threads else {
        panic!("one thread does it all: {:?}", report.account);
    };
    let done = [
        Phase::Analyze,
        Phase::Form,
        Phase::Extract,
        Phase::GenerateTier0,
        Phase::GenerateTier1,
        Phase::Link,
    ];
    for phase in done {
        assert!(thread.phases.contains_key(&phase), "{phase:?}: {thread:?}");
    }
    let phases: u64 = thread.phases.values().sum();
    let whole = phases + thread.rest_micros;
    // Each is rounded down.
    let rounding = Phase::ALL.len() as u64 + 1;
    assert!(whole.abs_diff(thread.micros) <= rounding, "{thread:?}");
    assert!(thread.micros <= report.account.micros, "{report:?}");
}

/// The whole report, less what the clock and the machine decide.
#[test]
fn report_snapshot() {
    let mut report = busy_engine().report();
    report.target = "[target]".to_string();
    report.memory = Default::default();
    report.account = Default::default();
    for function in report.functions.values_mut() {
        function
            .compile_micros
            .values_mut()
            .for_each(|micros| *micros = 0);
        let regions = function.regions.iter_mut();
        let parts = regions.flat_map(|region| {
            region.part.side_exits.iter_mut().for_each(|side| {
                side.compile_micros = 0;
                side.code_bytes = 0;
            });
            region.versions.iter_mut()
        });
        for version in parts.chain(&mut function.versions) {
            version.compile_micros = 0;
            version.code_bytes = 0;
            // Where templates make tier 0, its counters are in no CLIF.
            if version.tier == 0 {
                version.instructions_before = 0;
                version.instructions_after = 0;
            }
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("report__busy", report.to_json()));
}
