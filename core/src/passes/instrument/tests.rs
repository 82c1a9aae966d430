//! Snapshots of tier-0 instrumentation: source, counters, instrumented code.

use super::{Plan, indirect_calls, instrument};
use crate::units::tiering::{Analysis, known_counts};
use cranelift_codegen::ir::types;
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings::{self, Flags};
use cranelift_codegen::verify_function;
use regraft_outliner::Hook;
use regraft_outliner::hookable_loop;
use regraft_regions::{Counting, Flow, LoopForest, Site, estimate, place};
use std::fmt::Write;

fn check(name: &str, clif: &str) {
    check_with(name, clif, true, 1);
}

fn check_counting(name: &str, clif: &str, counting: bool) {
    check_with(name, clif, counting, 1);
}

fn check_copies(name: &str, clif: &str, copies: u32) {
    check_with(name, clif, true, copies);
}

fn check_with(name: &str, clif: &str, counting: bool, copies: u32) {
    let func = cranelift_reader::parse_functions(clif).unwrap().remove(0);
    let flow = Flow::compute(&func).unwrap();
    let loops = LoopForest::compute(&func, &flow);
    let analysis = Analysis::new(flow, loops);
    let hooked: Vec<_> = analysis
        .loops
        .loops()
        .filter_map(|id| {
            hookable_loop(
                &func,
                &analysis.flow,
                &analysis.loops,
                analysis.liveness(&func),
                id,
            )
            .ok()
        })
        .collect();
    let known = known_counts(&analysis.flow, hooked.iter().map(|(region, _)| region));
    let frequencies = estimate(&func, &analysis.flow, &analysis.loops);
    let placement = place(
        &func,
        &analysis.flow,
        &frequencies,
        &known,
        Counting::SpanningTree,
    );
    let hooks: Vec<Hook<'_>> = hooked
        .iter()
        .map(|(region, interface)| Hook { region, interface })
        .collect();
    let targets = match counting {
        true => indirect_calls(&func),
        false => vec![],
    };
    let units: Vec<u32> = (10..).take(hooks.len()).collect();
    let plan = Plan {
        copies,
        flow: &analysis.flow,
        hooks: &hooks,
        hook_units: &units,
        placement: counting.then_some(&placement),
        targets: &targets,
        unit: 1,
        pointer: types::I64,
        call_conv: CallConv::SystemV,
    };
    let (instrumented, layout) = instrument(&func, &plan).unwrap();
    if let Err(errors) = verify_function(&instrumented, &Flags::new(settings::builder())) {
        panic!("{errors}\n{instrumented}");
    }
    let mut text = format!("; source\n{func}\n; counters ({} bytes)\n", layout.bytes());
    for (index, hook) in hooks.iter().enumerate().filter(|_| counting) {
        writeln!(
            text,
            ";   +{}: countdown of {}",
            layout.countdown(index),
            hook.region.entry()
        )
        .unwrap();
    }
    let sites = placement.sites.iter().filter(|_| counting);
    for (index, site) in sites.enumerate() {
        let place = match *site {
            Site::Block(block) => block.to_string(),
            Site::Edge(edge) | Site::Table(edge) => {
                let edge = analysis.flow.edge(edge);
                format!("{} -> {}", edge.from, edge.to)
            }
        };
        writeln!(text, ";   +{}: {place}", layout.site(index)).unwrap();
    }
    write!(text, "\n; instrumented\n{instrumented}").unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("instrument__{name}"), text));
}

#[test]
fn one_loop() {
    check(
        "one_loop",
        include_str!("../../../../outliner/testdata/sum.clif"),
    );
}

/// The address of the counters is computed once, at the entry, ahead of the countdown of calls.
#[test]
fn counters_in_copies() {
    check_copies(
        "copies",
        include_str!("../../../../outliner/testdata/sum.clif"),
        8,
    );
}

/// Two hooks, one inside the other: a value of the inner loop meets what the
/// inner region returned, in the outer loop.
#[test]
fn loop_nest() {
    check(
        "loop_nest",
        include_str!("../../../../outliner/testdata/nest.clif"),
    );
}

/// The inner loop is left for good, by a value of the outer one: whoever takes
/// that exit, the loop's own blocks or the inner region, stores the value.
#[test]
fn an_exit_of_both_loops() {
    check(
        "both_loops",
        include_str!("../../../../outliner/testdata/both_loops.clif"),
    );
}

/// Without counters: nothing but a load and a branch at each header.
#[test]
fn uncounted() {
    check_counting(
        "uncounted",
        include_str!("../../../../outliner/testdata/nest.clif"),
        false,
    );
}

#[test]
fn several_exits() {
    check(
        "several_exits",
        include_str!("../../../../outliner/testdata/exits.clif"),
    );
}

#[test]
fn jump_table() {
    check(
        "jump_table",
        include_str!("../../../../outliner/testdata/br_table.clif"),
    );
}

#[test]
fn try_call() {
    check(
        "try_call",
        include_str!("../../../../outliner/testdata/try_call.clif"),
    );
}

/// Two cells for an indirect call: the target that is ahead, and by how much.
#[test]
fn targets_of_indirect_calls() {
    check(
        "targets",
        "function %f(i64, i64) -> i64 {
    sig0 = (i64) -> i64
block0(v0: i64, v1: i64):
    v2 = call_indirect sig0, v1(v0)
    return v2
}",
    );
}
