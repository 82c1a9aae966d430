//! Checks, branches and loops.

use super::{parse, run, story, verify};
use crate::{Fuel, Pass, Policy, Summary, Unknown, run_pass};

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

/// A row of a matrix by a column: indices that two loops bound, an addition that cannot overflow, and a check that can fail.
const CHECKED: &str = "
function %f(i64, i64) -> i64 {
    ss0 = explicit_slot 2048
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    v3 = iconst.i64 16
    v4 = iconst.i64 256
    v5 = iconst.i64 1
    v6 = iconst.i64 3
    v7 = stack_addr.i64 ss0
    jump block1(v2)
block1(v10: i64):
    v11 = icmp slt v10, v3
    brif v11, block2(v2), block5
block2(v20: i64):
    v21 = icmp ult v20, v3
    brif v21, block3, block4
block3:
    v30 = imul v10, v3
    v31 = uadd_overflow_trap v30, v20, int_ovf
    v32 = icmp uge v31, v4
    trapnz v32, heap_oob
    v33 = ishl v31, v6
    v34 = iadd v7, v33
    v35 = icmp ult v1, v0
    trapz v35, heap_oob
    v36 = icmp ule v1, v0
    trapz v36, heap_oob
    store notrap aligned v1, v34
    v37 = iadd v20, v5
    jump block2(v37)
block4:
    v40 = iadd v10, v5
    jump block1(v40)
block5:
    return v0
}";

#[test]
fn checks() {
    let (_, summary) = run(CHECKED, &[Pass::Checks]);
    assert_eq!(summary.efforts[0].changes, 3);
    snapshot!("checks", story(CHECKED, &[Pass::Checks]));
}

/// The same, where each check can fail: another bound, another start, another order.
#[test]
fn checks_that_can_fail_stay() {
    for (from, to) in [
        ("v4 = iconst.i64 256", "v4 = iconst.i64 255"),
        ("jump block1(v2)", "jump block1(v0)"),
        ("v11 = icmp slt v10, v3", "v11 = icmp slt v10, v4"),
        ("v20, v5\n", "v20, v1\n"),
    ] {
        let clif = CHECKED.replacen(from, to, 1);
        assert_ne!(clif, CHECKED);
        let (func, _) = run(&clif, &[Pass::Checks]);
        let text = func.to_string();
        let kept = text.contains("trapnz v32") || to.contains("v1");
        assert!(kept, "{to}: {func}");
        assert!(text.contains("trapz v35"), "{func}");
    }
}

/// A flag that ends a loop, and what decides it.
const FLAG: &str = "
function %f(i64, i64) -> i64 {
block0(v0: i64, v1: i64):
    v2 = iconst.i64 1
    v3 = iconst.i64 0
    jump block1(v0, v2)
block1(v10: i64, v11: i64):
    brif v11, block2, block6
block2:
    v20 = load.i64 v10
    v21 = icmp slt v20, v1
    brif v21, block3, block4
block3:
    v30 = iadd v10, v20
    jump block5(v30, v2)
block4:
    jump block5(v10, v3)
block5(v50: i64, v51: i64):
    jump block1(v50, v51)
block6:
    return v10
}";

#[test]
fn thread() {
    snapshot!("thread", story(FLAG, &[Pass::Thread]));
}

const ARMS: &str = "
function %f(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 1
    v2 = iconst.i64 3
    v3 = iconst.i64 0
    jump block1(v0, v3)
block1(v10: i64, v11: i64):
    v12 = icmp ne v10, v1
    brif v12, block2, block6
block2:
    v20 = band v10, v1
    brif v20, block3, block4
block3:
    v30 = imul v10, v2
    v31 = iadd v30, v1
    jump block5(v31)
block4:
    v40 = ushr v10, v1
    jump block5(v40)
block5(v50: i64):
    v51 = iadd v11, v1
    jump block1(v50, v51)
block6:
    return v11
}";

#[test]
fn select() {
    snapshot!("select", story(ARMS, &[Pass::Select]));
}

/// What may trap is not computed in vain, nor what is marked cold.
#[test]
fn arms_that_do_more_stay() {
    for (from, to) in [
        ("ushr v10, v1", "udiv v10, v1"),
        ("ushr v10, v1", "load.i64 v10"),
        ("block4:", "block4 cold:"),
    ] {
        let (_, summary) = run(&ARMS.replace(from, to), &[Pass::Select]);
        assert_eq!(summary.efforts, []);
    }
}

/// A loop that loads, with this test and this step.
fn counted(test: &str, step: i64) -> String {
    format!(
        "
function %f(i64) -> i32 {{
block0(v0: i64):
    v1 = iconst.i64 {step}
    v2 = iconst.i64 0
    v3 = iconst.i64 6
    v4 = iconst.i64 2
    v5 = iconst.i32 0
    jump block1(v2, v5)
block1(v10: i64, v11: i32):
    v12 = icmp {test} v10, v3
    brif v12, block2, block3
block2:
    v20 = ishl v10, v4
    v21 = iadd v0, v20
    v22 = load.i32 notrap v21
    v23 = iadd v11, v22
    v24 = iadd v10, v1
    jump block1(v24, v23)
block3:
    return v11
}}"
    )
}

#[test]
fn unroll() {
    let clif = counted("ult", 3);
    snapshot!("unroll", story(&clif, &[Pass::Unroll, Pass::Strength]));
    let rounds = counted("slt", 1).replace("iconst.i64 6", "iconst.i64 18");
    snapshot!("unroll_rounds", story(&rounds, &[Pass::Unroll]));
}

/// The number of iterations is exact for every test, or the loop stays.
#[test]
fn iterations_are_counted() {
    for (test, step, loops) in [
        ("ult", 1, false),
        ("slt", 2, false),
        ("ne", 3, false),
        ("ne", 4, true),
        ("sle", -1, true),
        ("sge", 1, false),
        ("eq", 1, false),
        ("ule", -1, false),
    ] {
        let (func, _) = run(&counted(test, step), &[Pass::Unroll]);
        let flow = regraft_regions::Flow::compute(&func).expect("a valid function");
        let forest = regraft_regions::LoopForest::compute(&func, &flow);
        assert_eq!(!forest.is_empty(), loops, "{test} {step}: {func}");
    }
}

#[test]
fn strength() {
    let clif = "
function %f(i64, i64, i32) -> i64, i32 {
block0(v0: i64, v1: i64, v2: i32):
    v3 = iconst.i64 3
    v4 = iadd v1, v3
    v5 = ishl v4, v3
    v6 = iadd v0, v5
    v7 = imul v6, v3
    v8 = iconst.i32 0x8000_0001
    v9 = iadd v2, v8
    v10 = iadd v9, v8
    v11 = iconst.i32 5
    v12 = imul v10, v11
    return v7, v12
}";
    snapshot!("strength", story(clif, &[Pass::Strength]));
}

/// Every pass on every function here, on any amount of fuel, leaves a function that verifies.
#[test]
fn fuel_may_end_anywhere() {
    let clif = [
        CHECKED.to_string(),
        FLAG.to_string(),
        ARMS.to_string(),
        counted("slt", 1),
    ];
    for clif in clif {
        for pass in Pass::ALL {
            for units in 0..6 {
                let mut func = parse(&clif);
                let mut summary = Summary::default();
                let mut fuel = Fuel::limited(units);
                let ran = run_pass(
                    &mut func,
                    pass,
                    &mut Unknown,
                    &Policy::default(),
                    &mut fuel,
                    &mut summary,
                );
                ran.expect("a function that verifies");
                verify(&func);
            }
        }
    }
}
