//! Tiering up, seen from outside: what is compiled, entered, left out and
//! re-formed, and that results do not change.

use regraft::regions::Policy;
use regraft::report::{PartDecision, PartState, SideExitState};
use regraft::report::{PartReport, RegionReport};
use regraft::{CompileMode, Config, Engine, Mode, Report};

/// An engine that tiers up early and in the calling thread.
pub fn eager_to_tier(threshold: u32) -> Config {
    Config::default()
        .compile(CompileMode::Synchronous)
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(threshold)
        .entry_threshold(threshold)
        .check(true)
}

/// Defines the functions of `clif` and returns the engine.
pub fn engine(config: Config, clif: &str) -> Engine {
    let engine = Engine::new(config).expect("an engine for the host");
    for function in cranelift_reader::parse_functions(clif).expect("valid CLIF") {
        engine.define_function(function).expect("a good definition");
    }
    engine
}

fn region<'r>(report: &'r Report, function: &str, header: &str) -> &'r RegionReport {
    let regions = report.functions[function].regions.iter();
    regions
        .into_iter()
        .find(|region| region.header == header)
        .expect("the loop is in the report")
}

fn call1(engine: &Engine, name: &str, arg: i64) -> i64 {
    let id = engine.lookup(name).expect("the function is declared");
    let function = engine.get::<(i64,), i64>(id).expect("the types agree");
    // SAFETY: the CLIF of these tests touches no memory but its own frame.
    unsafe { function.call((arg,)) }
}

const SUM: &str = include_str!("../../outliner/testdata/sum.clif");

#[test]
fn a_running_loop_is_entered_and_its_function_stays() {
    for compile in [CompileMode::Synchronous, CompileMode::Background] {
        let config = Config::default()
            .compile(compile)
            .pacing(regraft::Pacing::Counts);
        let engine = engine(config, SUM);
        let n = 200_000_000;
        assert_eq!(call1(&engine, "sum", n), n * (n - 1) / 2);
        let report = engine.report();
        let function = &report.functions["sum"];
        assert_eq!(function.versions.len(), 1);
        assert_eq!(function.versions[0].tier, 0);
        let region = region(&report, "sum", "block1");
        assert_eq!((region.entries, region.entries_while_running), (1, 1));
        assert_eq!(region.part.state, PartState::Published);
        assert_eq!(region.exits[0].count, 1);
    }
}

#[test]
fn tier0_mode_never_tiers_up() {
    let config = eager_to_tier(1).mode(Mode::Tier0);
    let engine = engine(config, SUM);
    for _ in 0..100 {
        assert_eq!(call1(&engine, "sum", 1000), 499_500);
    }
    let report = engine.report();
    assert_eq!(report.functions["sum"].entries, 100);
    let region = region(&report, "sum", "block1");
    assert_eq!(region.part.state, PartState::Cold);
    assert_eq!(region.blocks["block1"], 100_000);
}

pub const COLD: &str = "
function %step(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0x55
    v2 = bxor v0, v1
    return v2
}
function %cold(i64, i64) -> i64 system_v {
    fn0 = %step(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    jump block1(v2, v2)
block1(v3: i64, v4: i64):
    v5 = icmp uge v3, v1
    brif v5, block3, block2(v4)
block2(v7: i64):
    v8 = iadd v7, v3
    v9 = iconst.i64 1
    v10 = iadd v3, v9
    v11 = icmp ult v10, v0
    brif v11, block1(v10, v8), block4
block3:
    v12 = call fn0(v4)
    jump block2(v12)
block4:
    return v8
}";

pub fn cold_model(n: i64, from: i64) -> i64 {
    (0..n).fold(
        0,
        |sum, i| if i >= from { (sum ^ 0x55) + i } else { sum + i },
    )
}

fn call2(engine: &Engine, name: &str, args: (i64, i64)) -> i64 {
    let id = engine.lookup(name).expect("the function is declared");
    let function = engine.get::<(i64, i64), i64>(id).expect("the types agree");
    // SAFETY: as in `call1`.
    unsafe { function.call(args) }
}

#[test]
fn a_cold_block_is_left_out_and_compiled_when_first_taken() {
    let engine = engine(eager_to_tier(100), COLD);
    assert_eq!(
        call2(&engine, "cold", (5000, 1 << 40)),
        cold_model(5000, 1 << 40)
    );
    let report = engine.report();
    let side = &region(&report, "cold", "block1").part.side_exits[0];
    assert_eq!(
        (side.to.as_str(), side.count, side.state.as_str()),
        ("block3", 0, "lazy")
    );

    assert_eq!(call2(&engine, "cold", (5000, 4990)), cold_model(5000, 4990));
    let report = engine.report();
    let region = region(&report, "cold", "block1");
    let side = &region.part.side_exits[0];
    assert_eq!((side.count, side.state.as_str()), (10, "compiled"));
    assert_eq!(region.part.formations, 1);
}

#[test]
fn a_region_whose_side_exits_run_hot_is_formed_again() {
    let engine = engine(eager_to_tier(100), COLD);
    assert_eq!(
        call2(&engine, "cold", (50_000, 1000)),
        cold_model(50_000, 1000)
    );
    let report = engine.report();
    let region = region(&report, "cold", "block1");
    assert_eq!(region.part.formations, 2);
    assert!(region.part.hot_blocks.contains(&"block3".to_string()));
    assert!(region.part.side_exits.is_empty());
    // Once for the loop, and once more at most, when the new region is there.
    assert!(region.entries <= 2, "{}", region.entries);
}

/// A loop whose hot path changes again and again.
#[test]
fn forming_again_is_bounded() {
    let mut clif = "
function %phases(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = iconst.i64 12
    v5 = ushr v2, v4
    v6 = ireduce.i32 v5
    br_table v6, block3(v3), [block3(v3)"
        .to_string();
    for case in 0..10 {
        clif += &format!(", block{}", 10 + case);
    }
    clif += "]
block3(v8: i64):
    v9 = iconst.i64 1
    v10 = iadd v2, v9
    v11 = icmp ult v10, v0
    brif v11, block1(v10, v8), block4
block4:
    return v8
";
    for case in 0..10 {
        let (a, b) = (100 + 2 * case, 101 + 2 * case);
        clif += &format!(
            "block{}:\n v{a} = iconst.i64 {case}\n v{b} = iadd v3, v{a}\n jump block3(v{b})\n",
            10 + case
        );
    }
    clif += "}";
    let config = eager_to_tier(100).side_exit_threshold(10);
    let engine = engine(config, &clif);
    let n = 11 * 4096;
    let expected: i64 = (0..10).map(|case| case * 4096).sum();
    assert_eq!(call1(&engine, "phases", n), expected);
    let report = engine.report();
    let part = &region(&report, "phases", "block1").part;
    assert_eq!(part.formations, 3, "{part:?}");
    assert!(part.given_up.contains("formed 3 times"), "{part:?}");
}

#[test]
fn a_function_that_is_called_often_is_compiled_whole_less_its_cold_blocks() {
    let clif = "
function %choose(i64, i64) -> i64 system_v {
    ss0 = explicit_slot 8
block0(v0: i64, v1: i64):
    v2 = stack_addr.i64 ss0
    store v0, v2
    v3 = icmp eq v0, v1
    brif v3, block1, block2
block1:
    v4 = load.i64 v2
    v5 = imul v4, v4
    return v5
block2:
    v6 = load.i64 v2
    v7 = iadd v6, v1
    return v7
}";
    let engine = engine(eager_to_tier(50), clif);
    for i in 0..200 {
        assert_eq!(call2(&engine, "choose", (i, -1)), i - 1);
    }
    let report = engine.report();
    let whole = &report.functions["choose"].whole_function;
    assert_eq!((whole.state.as_str(), whole.formations), ("published", 1));
    assert_eq!(whole.side_exits[0].to, "block1");
    assert_eq!(report.functions["choose"].tier, Some(1));
    for i in 0..2000 {
        assert_eq!(call2(&engine, "choose", (i, i)), i * i);
        assert_eq!(call2(&engine, "choose", (i, i + 1)), 2 * i + 1);
    }
    let PartReport {
        formations,
        side_exits,
        ..
    } = &engine.report().functions["choose"].whole_function;
    assert_eq!((*formations, side_exits.len()), (2, 0));
}

#[test]
fn an_inner_loop_with_few_trips_gives_way_to_the_loop_around_it() {
    let clif = include_str!("../../outliner/testdata/nest.clif");
    let engine = engine(eager_to_tier(1000), clif);
    let id = engine.lookup("nest").expect("the function is declared");
    let nest = engine.get::<(i32, i32), i32>(id).expect("the types agree");
    // SAFETY: as in `call1`.
    unsafe { nest.call((100_000, 3)) };
    let report = engine.report();
    assert_eq!(
        region(&report, "nest", "block1").part.state,
        PartState::Published
    );
    let inner = region(&report, "nest", "block2");
    assert_eq!(inner.part.state, PartState::Skipped);
    assert!(
        inner.part.reason.contains("block1"),
        "{}",
        inner.part.reason
    );
}

#[test]
fn a_loop_that_cannot_be_hooked_says_why_and_still_runs() {
    let clif = "
function %frame(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = get_stack_pointer.i64
    v5 = icmp eq v4, v3
    v6 = uextend.i64 v5
    v7 = iadd v3, v6
    v8 = iconst.i64 1
    v9 = iadd v2, v8
    v10 = icmp ult v9, v0
    brif v10, block1(v9, v7), block2
block2:
    return v7
}";
    let engine = engine(eager_to_tier(10), clif);
    assert_eq!(call1(&engine, "frame", 10_000), 0);
    let report = engine.report();
    let region = region(&report, "frame", "block1");
    assert_eq!(region.part.decision, PartDecision::Refuse);
    assert_eq!(region.part.reason_code, "frame-identity");
    for _ in 0..100 {
        call1(&engine, "frame", 10);
    }
    assert_eq!(engine.report().functions["frame"].tier, Some(1));
}

#[test]
fn irreducible_cycles_are_reported_and_covered_by_the_function() {
    let clif = "
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
}";
    let engine = engine(eager_to_tier(10), clif);
    // Odd numbers enter the cycle at one end, even ones at the other.
    let model = |n: i64| {
        let mut n = n - (n & 1);
        loop {
            n -= 1;
            if n <= 1 {
                return n;
            }
            n -= 1;
        }
    };
    for n in -50..150 {
        assert_eq!(call1(&engine, "irreducible", n), model(n), "{n}");
    }
    let function = &engine.report().functions["irreducible"];
    assert_eq!(function.irreducible.len(), 1);
    assert_eq!(function.tier, Some(1));
}

/// `min_trip_count: 0` takes every loop by itself: regions inside regions.
#[test]
fn nested_regions_agree() {
    let clif = include_str!("../../outliner/testdata/nest.clif");
    let mut results = vec![];
    for policy in [0.0, 16.0, 1e9] {
        let config = eager_to_tier(5).policy(Policy {
            min_trip_count: policy,
            ..Policy::default()
        });
        let engine = engine(config, clif);
        let id = engine.lookup("nest").expect("the function is declared");
        let nest = engine.get::<(i32, i32), i32>(id).expect("the types agree");
        // SAFETY: as in `call1`.
        let run = |i| unsafe { nest.call((50 + i, 20)) };
        results.push((0..50).map(run).collect::<Vec<i32>>());
    }
    let model = |n: i32| {
        (0..n).fold(0, |sum: i32, outer| {
            let sum = (0..20).fold(sum, |sum, inner| sum.wrapping_add(inner * outer));
            sum ^ 20
        })
    };
    let expected: Vec<i32> = (0..50).map(|i| model(50 + i)).collect();
    for results in results {
        assert_eq!(results, expected);
    }
}

/// A saved profile is for the CLIF that the client defined, not for what the
/// engine made of it.
#[test]
fn a_profile_matches_the_clients_clif() {
    let engine = engine(eager_to_tier(100), COLD);
    call2(&engine, "cold", (50, 1000));
    let profile = engine.profile();
    for function in cranelift_reader::parse_functions(COLD).expect("valid CLIF") {
        let name = function.name.to_string();
        let saved = &profile.functions[name.trim_start_matches('%')];
        let flow = regraft::regions::Flow::compute(&function).expect("a function with blocks");
        saved.to_profile(&function, &flow).expect("the hash agrees");
    }
}

/// A dispatch loop with twelve opcodes, of which the two lowest bits of a
/// number make hot ones; `n` says how often another one comes.
const DISPATCH: &str = "
function %dispatch(i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    jump block1(v0, v2)
block1(v3: i64, v4: i64):
    v5 = urem v3, v1
    v6 = ireduce.i32 v5
    br_table v6, block14, [block2, block3, block4, block5, block6, block7, block8, block9, block10, block11, block12, block13]
block2:
    v10 = iconst.i64 3
    v11 = iadd v4, v10
    jump block15(v11)
block3:
    v12 = iconst.i64 5
    v13 = bxor v4, v12
    jump block15(v13)
block4:
    v14 = ishl v4, v3
    jump block15(v14)
block5:
    v15 = isub v4, v3
    jump block15(v15)
block6:
    v16 = imul v4, v3
    jump block15(v16)
block7:
    v17 = band v4, v3
    jump block15(v17)
block8:
    v18 = bor v4, v3
    jump block15(v18)
block9:
    v19 = rotl v4, v3
    jump block15(v19)
block10:
    v20 = bxor v4, v3
    jump block15(v20)
block11:
    v21 = umin v4, v3
    jump block15(v21)
block12:
    v22 = umax v4, v3
    jump block15(v22)
block13:
    v23 = ushr v4, v3
    jump block15(v23)
block14:
    v24 = iadd v4, v3
    jump block15(v24)
block15(v30: i64):
    v31 = iconst.i64 -1
    v32 = iadd v3, v31
    brif v32, block1(v32, v30), block16
block16:
    return v30
}";

/// What `DISPATCH` computes.
fn dispatch_model(n: u64, opcodes: u64) -> u64 {
    (1..=n).rev().fold(0, |v: u64, i| {
        let amount = (i & 63) as u32;
        match i % opcodes {
            0 => v.wrapping_add(3),
            1 => v ^ 5,
            2 => v << amount,
            3 => v.wrapping_sub(i),
            4 => v.wrapping_mul(i),
            5 => v & i,
            6 => v | i,
            7 => v.rotate_left(amount),
            8 => v ^ i,
            9 => v.min(i),
            10 => v.max(i),
            11 => v >> amount,
            _ => v.wrapping_add(i),
        }
    })
}

/// The cold opcodes of a dispatch share a side exit's code, and each comes to
/// its own continuation; opcodes out of the table's range too.
#[test]
fn cold_opcodes_find_their_continuations() {
    let config = eager_to_tier(100) // Once formed, a region stays as it is.
        .side_exit_threshold(u32::MAX);
    let engine = engine(config, DISPATCH);
    let run = |n: u64, opcodes: u64| {
        let result = call2(&engine, "dispatch", (n as i64, opcodes as i64));
        assert_eq!(result as u64, dispatch_model(n, opcodes), "{n}, {opcodes}");
    };
    run(10_000, 2);
    assert!(engine.profile().functions["dispatch"].exact);
    assert_eq!(
        region(&engine.report(), "dispatch", "block1")
            .part
            .side_exits
            .len(),
        11
    );
    for opcodes in 3..40 {
        run(2000 + opcodes, opcodes);
    }
    let report = engine.report();
    let sides = &region(&report, "dispatch", "block1").part.side_exits;
    assert!(
        sides
            .iter()
            .all(|side| side.count > 0 && side.state == SideExitState::Compiled)
    );
    // Each opcode of 3..40 came as often as its number says.
    let times = |opcode: u64| -> u64 {
        let comes = |opcodes: u64| (1..=2000 + opcodes).filter(move |i| i % opcodes == opcode);
        (3..40).map(|opcodes| comes(opcodes).count() as u64).sum()
    };
    let third = sides
        .iter()
        .find(|side| side.to == "block5")
        .expect("opcode 3");
    assert_eq!(third.count, times(3));
}
