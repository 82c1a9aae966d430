//! Saved profiles: what ran before is compiled when it is defined, and what does not fit is left alone.

use super::*;
use regraft::Compilation;
use regraft::config::FoundBy;
use regraft::regions::{Profile, SavedRegion};
use regraft::report::SavedProfileReport;
use regraft::report::{PartState, SavedState};
use std::sync::Arc;

fn call2(engine: &Engine, name: &str, args: (i64, i64)) -> i64 {
    let id = engine.lookup(name).expect("the function is declared");
    let function = engine.get::<(i64, i64), i64>(id).expect("the types agree");
    // SAFETY: the CLIF of these tests touches no memory.
    unsafe { function.call(args) }
}

/// The profile of a run in which a side exit ran hot, through JSON.
fn profile_of_cold() -> Profile {
    let engine = engine(eager_to_tier(100), COLD);
    assert_eq!(
        call2(&engine, "cold", (50_000, 1000)),
        cold_model(50_000, 1000)
    );
    let profile = engine.profile();
    let text = profile.to_json();
    let read = Profile::from_json(&text).expect("what was written");
    assert_eq!(read, profile);
    read
}

fn with_profile(profile: Profile) -> Config {
    eager_to_tier(100).profile(Some(Arc::new(profile)))
}

fn saved(report: &Report, function: &str) -> SavedProfileReport {
    let saved = report.functions[function].saved_profile.clone();
    saved.expect("there is a profile")
}

#[test]
fn what_ran_before_is_compiled_at_definition() {
    let profile = profile_of_cold();
    for compile in [CompileMode::Synchronous, CompileMode::Background] {
        let config = (with_profile(profile.clone())).compile(compile);
        let engine = engine(config, COLD);
        engine.wait_idle();
        let report = engine.report();
        assert_eq!(saved(&report, "cold").state, SavedState::Used);
        assert_eq!(saved(&report, "cold").reason_code, "");
        let region = region(&report, "cold", "block1");
        assert_eq!(region.part.state, PartState::Published);
        assert_eq!(region.part.found_by, Some(FoundBy::Profile));
        assert_eq!(region.versions[0].found_by, Some(FoundBy::Profile));
        // As it was formed last, with the block that ran hot.
        assert!(region.part.hot_blocks.contains(&"block3".to_string()));
        assert_eq!(call2(&engine, "cold", (5000, 10)), cold_model(5000, 10));
        let report = engine.report();
        let region = self::region(&report, "cold", "block1");
        assert_eq!((region.entries, region.entries_while_running), (1, 0));
        // The next run knows what this one knew.
        let again = engine.profile();
        assert_eq!(
            again.functions["cold"].regions,
            profile.functions["cold"].regions
        );
    }
}

#[test]
fn a_function_that_was_compiled_whole_is_again() {
    let clif = "
function %choose(i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64):
    v3 = icmp eq v0, v1
    brif v3, block1, block2
block1:
    v5 = imul v0, v0
    return v5
block2:
    v7 = iadd v0, v1
    return v7
}";
    let first = engine(eager_to_tier(50), clif);
    (0..100).for_each(|i| assert_eq!(call2(&first, "choose", (i, -1)), i - 1));
    let engine = engine(with_profile(first.profile()), clif);
    let report = engine.report();
    let function = &report.functions["choose"];
    assert_eq!(function.tier, Some(1));
    assert_eq!(function.whole_function.found_by, Some(FoundBy::Profile));
    assert_eq!(function.whole_function.side_exits[0].to, "block1");
    assert_eq!(call2(&engine, "choose", (7, 7)), 49);
    assert_eq!(call2(&engine, "choose", (7, 8)), 15);
}

#[test]
fn counts_alone_are_evidence_too() {
    let config = eager_to_tier(100).mode(Mode::Tier0);
    let counting = engine(config, COLD);
    call2(&counting, "cold", (5000, 1 << 40));
    let profile = counting.profile();
    assert!(profile.functions["cold"].regions.is_empty());
    let engine = engine(with_profile(profile), COLD);
    let report = engine.report();
    let region = region(&report, "cold", "block1");
    assert_eq!(region.part.found_by, Some(FoundBy::Profile));
    assert_eq!(region.part.side_exits[0].to, "block3");
    assert_eq!(call2(&engine, "cold", (500, 400)), cold_model(500, 400));
}

#[test]
fn a_renamed_function_is_known_by_its_hash() {
    let renamed = COLD.replace("%cold", "%warm");
    let engine = engine(with_profile(profile_of_cold()), &renamed);
    let report = engine.report();
    assert_eq!(
        region(&report, "warm", "block1").part.found_by,
        Some(FoundBy::Profile)
    );
    assert_eq!(call2(&engine, "warm", (500, 400)), cold_model(500, 400));
}

#[test]
fn a_changed_function_is_not_what_it_was() {
    let changed = COLD.replace("v9 = iconst.i64 1\n", "v9 = iconst.i64 2\n");
    assert_ne!(changed, COLD);
    let engine = engine(with_profile(profile_of_cold()), &changed);
    let report = engine.report();
    let ignored = saved(&report, "cold");
    assert_eq!(
        (ignored.state.as_str(), &*ignored.reason_code),
        ("ignored", "stale-hash")
    );
    assert!(ignored.reason.contains("hash"), "{ignored:?}");
    assert_eq!(
        region(&report, "cold", "block1").part.state,
        PartState::Cold
    );
    // Counters find it as ever.
    call2(&engine, "cold", (5000, 1 << 40));
    let report = engine.report();
    let region = region(&report, "cold", "block1");
    assert_eq!(region.part.found_by, Some(FoundBy::Counters));
    assert_eq!(region.part.state, PartState::Published);
}

#[test]
fn a_function_that_is_not_in_the_profile_has_none() {
    let engine = engine(with_profile(profile_of_cold()), SUM);
    assert_eq!(engine.report().functions["sum"].saved_profile, None);
    assert_eq!(call1(&engine, "sum", 1000), 499_500);
}

#[test]
fn functions_compiled_at_their_first_call_too() {
    let config = (with_profile(profile_of_cold())).compilation(Compilation::AtFirstCall);
    let engine = engine(config, COLD);
    assert_eq!(call2(&engine, "cold", (5, 1)), cold_model(5, 1));
    let report = engine.report();
    let region = region(&report, "cold", "block1");
    assert_eq!(
        (region.entries, region.part.found_by),
        (1, Some(FoundBy::Profile))
    );
}

#[test]
fn a_redefinition_has_its_own_profile() {
    let mut profile = profile_of_cold();
    let first = engine(eager_to_tier(100), SUM);
    call1(&first, "sum", 10_000);
    let sum = first.profile().functions["sum"].clone();
    profile.functions.insert("sum".to_string(), sum);
    let other = SUM.replace("iadd v3, v2", "bxor v3, v2");
    let engine = engine(with_profile(profile), &other);
    let report = engine.report();
    assert_eq!(saved(&report, "sum").reason_code, "stale-hash");
    let id = engine.lookup("sum").expect("the function is declared");
    let function = cranelift_reader::parse_functions(SUM).expect("valid CLIF");
    for function in function {
        engine.redefine(id, function).expect("a good definition");
    }
    let report = engine.report();
    assert_eq!(saved(&report, "sum").state, SavedState::Used);
    assert_eq!(
        region(&report, "sum", "block1").part.found_by,
        Some(FoundBy::Profile)
    );
    assert_eq!(call1(&engine, "sum", 1000), 499_500);
}

#[test]
fn a_profile_beside_sampling() {
    let config = sampling(CompileMode::Synchronous).profile(Some(Arc::new(profile_of_cold())));
    let engine = engine(config, COLD);
    let report = engine.report();
    let region = region(&report, "cold", "block1");
    assert_eq!(region.part.found_by, Some(FoundBy::Profile));
    assert_eq!(call2(&engine, "cold", (500, 400)), cold_model(500, 400));
}

#[test]
fn text_that_is_no_profile_is_refused_with_its_place() {
    let text = profile_of_cold().to_json();
    let half = &text[..text.len() / 2];
    for bad in ["", "[]", "{\"version\": 1}", half] {
        let error = Profile::from_json(bad).expect_err("no profile");
        assert_eq!(error.code(), "malformed", "{bad:?}: {error}");
    }
    let future = text.replace("\"version\": 1", "\"version\": 7");
    let error = Profile::from_json(&future).expect_err("of another version");
    assert_eq!(error.code(), "bad-version");
}

/// Whatever a profile of the right hash says, code is right, and what does not fit is named.
#[test]
fn profiles_that_lie() {
    let honest = profile_of_cold();
    type Lie = fn(&mut Profile);
    let lies: [(&str, Lie); 9] = [
        ("", |profile| cold(profile).entries = u64::MAX),
        ("", |profile| cold(profile).blocks.clear()),
        ("", |profile| {
            let blocks = cold(profile).blocks.values_mut();
            blocks.for_each(|count| *count = u64::MAX);
            cold(profile).regions.clear();
        }),
        ("", |profile| region_of(profile).blocks.truncate(1)),
        ("", |profile| {
            let blocks = ["block0", "block1", "block2"].map(String::from).to_vec();
            let entry = "block0".to_string();
            cold(profile).regions = vec![SavedRegion { entry, blocks }; 3];
        }),
        ("unknown-block", |profile| {
            region_of(profile).blocks.push("block99".to_string());
        }),
        ("illegal-region", |profile| {
            region_of(profile).blocks.push("block4".to_string());
        }),
        ("no-loop", |profile| {
            region_of(profile).entry = "block2".to_string();
        }),
        ("unknown-edge", |profile| cold(profile).edges[0].index = 9),
    ];
    for (index, (reason, lie)) in lies.into_iter().enumerate() {
        let mut profile = honest.clone();
        lie(&mut profile);
        let engine = engine(with_profile(profile), COLD);
        let report = engine.report();
        assert_eq!(saved(&report, "cold").reason_code, reason, "lie {index}");
        for args in [(0, 0), (1, 0), (3000, 1500), (3000, 1 << 40), (5000, 0)] {
            let result = call2(&engine, "cold", args);
            // The loop runs once at least.
            assert_eq!(result, cold_model(args.0.max(1), args.1), "lie {index}");
        }
    }
}

fn cold(profile: &mut Profile) -> &mut regraft::regions::SavedFunction {
    profile.functions.get_mut("cold").expect("it was saved")
}

fn region_of(profile: &mut Profile) -> &mut SavedRegion {
    &mut cold(profile).regions[0]
}
