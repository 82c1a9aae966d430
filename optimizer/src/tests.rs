//! Snapshots of every pass: the function before, and after.

use crate::{Fuel, Pass, Passes, Policy, Summary, Unknown, optimize, run_pass};
use cranelift_codegen::ir::Function;
use cranelift_codegen::settings::{self, Flags};
use cranelift_codegen::verify_function;

fn parse(clif: &str) -> Function {
    cranelift_reader::parse_functions(clif)
        .expect("valid CLIF")
        .remove(0)
}

fn verify(func: &Function) {
    if let Err(errors) = verify_function(func, &Flags::new(settings::builder())) {
        panic!("{errors}\n{func}");
    }
}

/// What a series of passes makes of a function.
fn run(clif: &str, passes: &[Pass]) -> (Function, Summary) {
    let mut func = parse(clif);
    let mut summary = Summary::default();
    for &pass in passes {
        let policy = Policy::default();
        let ran = run_pass(
            &mut func,
            pass,
            &mut Unknown,
            &policy,
            &mut Fuel::limited(u64::MAX),
            &mut summary,
        );
        ran.expect("a function that verifies");
        verify(&func);
    }
    (func, summary)
}

fn story(clif: &str, passes: &[Pass]) -> String {
    let (func, summary) = run(clif, passes);
    let mut text = format!("; before\n{}\n; after\n{func}\n", parse(clif));
    for effort in summary.efforts {
        let (before, after) = (effort.before, effort.after);
        text += &format!(
            "; {}: {} changes, instructions {} to {}, loads {} to {}, stores {} to {}\n",
            effort.pass,
            effort.changes,
            before.instructions,
            after.instructions,
            before.loads,
            after.loads,
            before.stores,
            after.stores
        );
    }
    text
}

/// Compares with a file in `snapshots`.
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots"),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(concat!("optimizer__", $name), $text);
        });
    };
}

mod calls;
mod loops;

/// A loop with every variable in a slot, as young front ends make it.
const SUM_IN_SLOTS: &str = "
function %sum(i64) -> i64 {
    ss0 = explicit_slot 8
    ss1 = explicit_slot 8
    ss2 = explicit_slot 8
block0(v0: i64):
    v1 = stack_addr.i64 ss0
    v2 = stack_addr.i64 ss1
    v3 = stack_addr.i64 ss2
    store notrap aligned v0, v1
    v4 = iconst.i64 0
    store notrap aligned v4, v2
    store notrap aligned v4, v3
    jump block1
block1:
    v5 = stack_addr.i64 ss1
    v6 = load.i64 notrap aligned v5
    v7 = stack_addr.i64 ss0
    v8 = load.i64 notrap aligned v7
    v9 = icmp slt v6, v8
    brif v9, block2, block3
block2:
    v10 = load.i64 notrap aligned v3
    v11 = load.i64 notrap aligned v2
    v12 = iadd v10, v11
    store notrap aligned v12, v3
    v13 = iconst.i64 1
    v14 = load.i64 notrap aligned v2
    v15 = iadd v14, v13
    store notrap aligned v15, v2
    jump block1
block3:
    v16 = load.i64 notrap aligned v3
    return v16
}";

#[test]
fn promote() {
    let (func, summary) = run(SUM_IN_SLOTS, &[Pass::Promote]);
    let after = summary.efforts[0].after;
    assert_eq!((after.loads, after.stores), (0, 0), "{func}");
    assert_eq!(
        func.sized_stack_slots
            .values()
            .map(|slot| slot.size)
            .sum::<u32>(),
        0
    );
    snapshot!("promote", story(SUM_IN_SLOTS, &[Pass::Promote]));
}

#[test]
fn narrow_and_float_accesses_are_converted() {
    let clif = "
function %f(i32, f64) -> i32, i64, f32 {
    ss0 = explicit_slot 16
block0(v0: i32, v1: f64):
    v2 = stack_addr.i64 ss0
    istore8 v0, v2
    v3 = sload8.i32 v2
    store v1, v2+8
    v4 = load.i64 v2+8
    store v0, v2+4
    v5 = load.f32 v2+4
    return v3, v4, v5
}";
    snapshot!("conversions", story(clif, &[Pass::Promote]));
}

#[test]
fn a_slot_whose_address_is_passed_on_stays_in_memory() {
    let clif = "
function %f(i64) -> i64 {
    ss0 = explicit_slot 8
    sig0 = (i64)
    fn0 = %g sig0
block0(v0: i64):
    v1 = stack_addr.i64 ss0
    store notrap v0, v1
    call fn0(v1)
    v2 = load.i64 notrap v1
    return v2
}";
    let (_, summary) = run(clif, &Pass::ALL);
    assert_eq!(summary.efforts, []);
}

#[test]
fn partial_overlaps_are_loaded() {
    let clif = "
function %f(i64, i32) -> i64 {
    ss0 = explicit_slot 8
block0(v0: i64, v1: i32):
    v2 = stack_addr.i64 ss0
    store notrap v0, v2
    store notrap v1, v2+4
    v3 = load.i64 notrap v2
    return v3
}";
    let (_, summary) = run(clif, &Pass::ALL);
    assert_eq!(summary.efforts, []);
}

#[test]
fn a_variable_index_reads_every_part_of_its_slot() {
    let clif = "
function %f(i64, i64) -> i64 {
    ss0 = explicit_slot 64
block0(v0: i64, v1: i64):
    v2 = stack_addr.i64 ss0
    v3 = iadd v2, v1
    store notrap v0, v2+8
    v4 = load.i64 notrap v3
    store notrap v4, v3+16
    v5 = load.i64 notrap v2+8
    return v5
}";
    let (_, summary) = run(clif, &Pass::ALL);
    assert_eq!(summary.efforts, []);
    // The same, where the variable is subtracted.
    let clif = clif.replace("iadd", "isub");
    let (_, summary) = run(&clif, &Pass::ALL);
    assert_eq!(summary.efforts, []);
}

/// The condition's load cannot be seen by the store to the other region; the one in the body is done before the loop once
/// the loop tests at its bottom.
const INVARIANT_LOADS: &str = "
function %f(i64, i64, i32) -> i32 {
    region0 = 1 \"record\"
    region1 = 2 \"heap\"
block0(v0: i64, v1: i64, v2: i32):
    jump block1(v2)
block1(v3: i32):
    v4 = load.i32 notrap region0 v0+4
    v5 = icmp ult v3, v4
    brif v5, block2, block3
block2:
    v6 = load.i32 region0 v0+8
    v7 = uextend.i64 v3
    v8 = iadd v1, v7
    store region1 v6, v8
    v9 = iadd v3, v6
    jump block1(v9)
block3:
    return v3
}";

#[test]
fn invert() {
    snapshot!("invert", story(INVARIANT_LOADS, &[Pass::Invert]));
}

#[test]
fn hoist() {
    let passes = [Pass::Invert, Pass::Hoist, Pass::Forward];
    snapshot!("hoist", story(INVARIANT_LOADS, &passes));
}

/// A counter in memory: its value travels in a parameter, its stores stay.
#[test]
fn scalar_promotion() {
    let clif = "
function %f(i64, i32) {
block0(v0: i64, v1: i32):
    jump block1(v1)
block1(v2: i32):
    v3 = load.i64 v0+16
    v4 = uextend.i64 v2
    v5 = iadd v3, v4
    store v5, v0+16
    v6 = iconst.i32 -1
    v7 = iadd v2, v6
    brif v7, block1(v7), block2
block2:
    return
}";
    snapshot!(
        "scalar_promotion",
        story(clif, &[Pass::Hoist, Pass::Forward])
    );
}

#[test]
fn loads_that_may_trap_stay_behind_what_can_be_seen() {
    let clif = "
function %f(i64, i64, i32) {
    region0 = 1 \"a\"
    region1 = 2 \"b\"
block0(v0: i64, v1: i64, v2: i32):
    jump block1(v2)
block1(v3: i32):
    store region1 v3, v1
    v4 = load.i32 region0 v0
    v5 = iadd v3, v4
    brif v5, block1(v5), block2
block2:
    return
}";
    let (_, summary) = run(clif, &Pass::ALL);
    assert_eq!(summary.efforts, []);
}

#[test]
fn forward() {
    let clif = "
function %f(i64, i64, i32) -> i32 {
block0(v0: i64, v1: i64, v2: i32):
    brif v2, block1, block2
block1:
    store v2, v0+8
    jump block3
block2:
    v3 = iconst.i64 8
    v4 = iadd v0, v3
    v5 = load.i32 v4
    jump block3
block3:
    v6 = load.i32 v0+8
    return v6
}";
    snapshot!("forward", story(clif, &[Pass::Forward]));
}

/// An address that is computed anew in each iteration is another place then.
#[test]
fn a_place_ends_where_its_address_is_defined_again() {
    let clif = "
function %f(i64) -> i64 {
block0(v0: i64):
    jump block1(v0)
block1(v1: i64):
    v2 = load.i64 v1
    v3 = load.i64 v2+8
    brif v3, block1(v2), block2
block2:
    return v2
}";
    let (_, summary) = run(clif, &[Pass::Hoist, Pass::Forward, Pass::Dead]);
    assert_eq!(summary.efforts, []);
}

#[test]
fn dead() {
    let clif = "
function %f(i64, i64, i64) {
block0(v0: i64, v1: i64, v2: i64):
    store notrap v1, v0
    store notrap v2, v0+8
    store notrap v2, v0
    store v1, v0+16
    v3 = load.i64 v2
    store v3, v0+16
    return
}";
    let (_, summary) = run(clif, &[Pass::Dead]);
    assert_eq!(summary.efforts[0].changes, 1);
    snapshot!("dead", story(clif, &[Pass::Dead]));
}

#[test]
fn atomic_operations_and_fences_are_barriers() {
    for barrier in ["fence", "v9 = atomic_rmw.i64 add v1, v1", "call fn0()"] {
        let clif = format!(
            "
function %f(i64, i64) -> i64 {{
    sig0 = ()
    fn0 = %g sig0
block0(v0: i64, v1: i64):
    store notrap v1, v0
    {barrier}
    v2 = load.i64 notrap v0
    store notrap v2, v0
    return v2
}}"
        );
        let (func, summary) = run(&clif, &Pass::ALL);
        assert_eq!(summary.efforts, [], "{func}");
    }
}

/// Each unit of fuel is one change; without fuel nothing happens.
#[test]
fn fuel() {
    let policy = Policy::default();
    let mut unlimited = Fuel::UNLIMITED;
    let mut func = parse(SUM_IN_SLOTS);
    optimize(
        &mut func,
        Passes::all(),
        &mut Unknown,
        &policy,
        &mut unlimited,
    )
    .expect("it verifies");
    let all = unlimited.burnt();
    assert!(all > 5);
    for units in 0..=all {
        let mut fuel = Fuel::limited(units);
        let mut func = parse(SUM_IN_SLOTS);
        let summary = optimize(&mut func, Passes::all(), &mut Unknown, &policy, &mut fuel);
        assert_eq!(summary.expect("it verifies").changes(), units);
        verify(&func);
    }
}

#[test]
fn switches() {
    let mut fuel = Fuel::UNLIMITED;
    let passes = Passes::all().without(Pass::Promote);
    let mut func = parse(SUM_IN_SLOTS);
    let summary = optimize(
        &mut func,
        passes,
        &mut Unknown,
        &Policy::default(),
        &mut fuel,
    )
    .expect("it verifies");
    assert!(
        summary
            .efforts
            .iter()
            .all(|effort| effort.pass != Pass::Promote)
    );
    for pass in Pass::ALL {
        assert_eq!(Pass::from_name(pass.name()), Some(pass));
        assert!(!Passes::NONE.contains(pass));
    }
}
