//! The policy, rule by rule.

use super::*;
use crate::frequency::estimate;
use crate::testing::{self, parse};

/// Two nested loops: block1 is the outer header, block2 the inner loop, block4 a block of the inner loop.
const NEST: &str = "function %f(i32) {
    block0(v0: i32):
        jump block1
    block1:
        jump block2
    block2:
        brif v0, block4, block3
    block3:
        brif v0, block1, block5
    block4:
        v1 = iadd v0, v0
        jump block2
    block5:
        return
    }";

struct Case {
    func: Function,
    flow: Flow,
    loops: LoopForest,
    profile: FunctionProfile,
    policy: Policy,
}

impl Case {
    /// NEST entered `entries` times with these trips of the loops.
    fn nest(entries: u64, outer: u64, inner: u64) -> Case {
        let func = parse(NEST);
        let flow = Flow::compute(&func).unwrap();
        let loops = LoopForest::compute(&func, &flow);
        let mut profile = FunctionProfile::new();
        let [o, i] = [entries * outer, entries * outer * inner];
        profile.set_entries(entries);
        for (block, count) in [
            (0, entries),
            (1, o),
            (2, i),
            (3, o),
            (4, i - o),
            (5, entries),
        ] {
            profile.set_block(Block::from_u32(block), count);
        }
        let counts = [
            (0, 0, entries),
            (1, 0, o),
            (2, 0, i - o),
            (2, 1, o),
            (3, 0, o - entries),
        ];
        for (from, index, count) in counts.into_iter().chain([(3, 1, entries), (4, 0, i - o)]) {
            let edge = flow.find_edge(Block::from_u32(from), index).unwrap();
            profile.set_edge(edge, count);
        }
        let policy = Policy::default();
        Case {
            func,
            flow,
            loops,
            profile,
            policy,
        }
    }

    fn form(&self, hot: HotEntry, hookable: Hookable<'_>) -> Formation {
        let Case {
            func,
            flow,
            loops,
            profile,
            policy,
        } = self;
        form(func, flow, loops, profile, policy, hot, hookable)
    }

    fn survey(&self) -> Vec<String> {
        survey(
            &self.func,
            &self.flow,
            &self.loops,
            &self.profile,
            &self.policy,
            &|_| Ok(()),
        )
        .iter()
        .map(Candidate::to_string)
        .collect()
    }
}

fn yes(_: LoopId) -> Result<(), String> {
    Ok(())
}

fn header(number: u32) -> HotEntry {
    HotEntry::Header(Block::from_u32(number))
}

fn entry(formation: &Formation) -> Option<u32> {
    formation.region.as_ref().map(|r| r.entry().as_u32())
}

#[test]
fn a_long_inner_loop_is_taken() {
    let formation = Case::nest(1, 10, 100).form(header(2), &yes);
    assert_eq!(entry(&formation), Some(2));
    assert_eq!(formation.candidates.len(), 1);
    assert_eq!(formation.candidates[0].trips, Some(100.0));
    assert_eq!(formation.candidates[0].decision, Decision::Take);
}

#[test]
fn a_short_inner_loop_gives_way() {
    let formation = Case::nest(1, 1000, 3).form(header(2), &yes);
    assert_eq!(entry(&formation), Some(1));
    let reason = formation.candidates[0].decision.to_string();
    assert_eq!(
        reason,
        "skipped: it runs 3.0 times per entry, so it gives way to the loop around it, at block1"
    );
    // Both short: the outermost is kept.
    let formation = Case::nest(500, 2, 3).form(header(2), &yes);
    assert_eq!(entry(&formation), Some(1));
}

#[test]
fn what_cannot_be_hooked_gives_way() {
    let case = Case::nest(1, 10, 100);
    let inner = case.loops.loop_of_header(Block::from_u32(2)).unwrap();
    let refuse_inner = |l| match l == inner {
        true => Err("it holds a thing".to_string()),
        false => Ok(()),
    };
    let formation = case.form(header(2), &refuse_inner);
    assert_eq!(entry(&formation), Some(1));
    let refuse_outer = |l| match l == inner {
        true => Ok(()),
        false => Err("it holds a thing".to_string()),
    };
    let short = Case::nest(1, 1000, 3);
    assert_eq!(entry(&short.form(header(2), &refuse_outer)), Some(2));
    let refuse_all = |_| Err("no".to_string());
    let formation = case.form(header(2), &refuse_all);
    assert!(formation.region.is_none() && formation.whole_function);
    assert_eq!(formation.candidates.len(), 3);
}

#[test]
fn size_and_share_are_limits() {
    let mut case = Case::nest(1, 10, 100);
    case.policy.max_region_instructions = 2;
    let formation = case.form(header(2), &yes);
    assert!(formation.region.is_none() && !formation.whole_function);
    assert!(matches!(
        formation.candidates[0].decision,
        Decision::Skip(SkipReason::TooLarge {
            instructions: 3,
            limit: 2
        })
    ));
    // The cold half of the loop does not count.
    case.profile.set_block(Block::from_u32(4), 0);
    case.policy.max_region_instructions = 1;
    assert_eq!(entry(&case.form(header(2), &yes)), Some(2));
    let mut case = Case::nest(1, 10, 100);
    case.policy.min_share = 0.999_99;
    let formation = case.form(header(2), &yes);
    assert!(formation.region.is_none() && !formation.whole_function);
}

#[test]
fn cold_blocks_become_side_exits() {
    let mut case = Case::nest(1, 10, 100_000);
    case.policy.cold_share = 0.01;
    case.profile.set_block(Block::from_u32(4), 3);
    let region = case.form(header(2), &yes).region.unwrap();
    assert_eq!(region.blocks().len(), 1);
    assert_eq!(region.scope().len(), 2);
    assert_eq!(region.side_exits().len(), 1);
}

#[test]
fn no_loop_means_the_whole_function() {
    let case = Case::nest(1, 10, 100);
    let formation = case.form(header(5), &yes);
    assert!(formation.whole_function);
    assert_eq!(
        formation.candidates[0].decision,
        Decision::Skip(SkipReason::NoLoop)
    );
    // A block of a loop leads to the loop.
    let formation = case.form(header(3), &yes);
    assert_eq!(entry(&formation), Some(1));
    assert_eq!(formation.candidates.len(), 2);
}

#[test]
fn a_hot_function_is_left_to_its_long_loops() {
    let formation = Case::nest(1000, 2, 100).form(HotEntry::Function, &yes);
    assert!(!formation.whole_function && formation.region.is_none());
    assert!(matches!(
        formation.candidates[0].decision,
        Decision::Skip(SkipReason::LeftToLoop { .. })
    ));
    let formation = Case::nest(1000, 2, 3).form(HotEntry::Function, &yes);
    assert!(formation.whole_function && formation.region.is_none());
    let mut case = Case::nest(1000, 2, 3);
    case.policy.max_region_instructions = 6;
    assert!(!case.form(HotEntry::Function, &yes).whole_function);
}

#[test]
fn surveys_judge_from_the_inside_out() {
    let lines = Case::nest(1, 20, 1000).survey();
    assert_eq!(
        lines,
        [
            "loop0 at block1, depth 1, 20.0 trips, 100.00%: skipped: the loop inside it, at block2, \
             has been taken, and little is left",
            "loop1 at block2, depth 2, 1000.0 trips, 99.93%: taken",
        ]
    );
    let lines = Case::nest(1, 1000, 3).survey();
    assert!(
        lines[0].ends_with("taken")
            && lines[1].ends_with("gives way to the loop around it, at block1")
    );
    let mut uncounted = Case::nest(1, 2, 3);
    uncounted.profile = FunctionProfile::new();
    assert!(uncounted.survey()[1].ends_with("taken"));
}

#[test]
fn irreducible_cycles_are_reported() {
    let func = parse(
        "function %f(i32) {
        block0(v0: i32):
            brif v0, block1, block2
        block1:
            brif v0, block2, block3
        block2:
            jump block1
        block3:
            return
        }",
    );
    let flow = Flow::compute(&func).unwrap();
    let loops = LoopForest::compute(&func, &flow);
    let profile = estimate(&func, &flow, &loops).to_profile(&flow, 1000);
    let policy = Policy::default();
    let all = survey(&func, &flow, &loops, &profile, &policy, &yes);
    assert_eq!(all.len(), 1);
    let reason = Decision::Skip(SkipReason::Irreducible);
    assert_eq!((all[0].loop_id, &all[0].decision), (None, &reason));
    let hot = HotEntry::Header(Block::from_u32(1));
    let formation = form(&func, &flow, &loops, &profile, &policy, hot, &yes);
    assert!(formation.whole_function);
    assert_eq!(formation.candidates[0].decision, reason);
}

/// Whatever the profile says: no panic, only legal regions, and scopes that hold the hot header.
#[test]
fn absurd_profiles_do_no_harm() {
    for seed in 1..200u64 {
        let mut rng = testing::XorShift::new(seed);
        let func = testing::random_cfg(seed, 14);
        let flow = Flow::compute(&func).unwrap();
        let loops = LoopForest::compute(&func, &flow);
        let mut profile = FunctionProfile::new();
        let mut count = || [0, 1, 7, 1_000_000, u64::MAX][rng.below(5)];
        for block in func.layout.blocks() {
            profile.set_block(block, count());
        }
        for (edge, _) in flow.edges() {
            profile.set_edge(edge, count());
        }
        let policy = Policy::default();
        for block in func.layout.blocks() {
            let hot = HotEntry::Header(block);
            let formation = form(&func, &flow, &loops, &profile, &policy, hot, &yes);
            if let Some(region) = formation.region {
                assert!(region.scope().contains(block));
            }
        }
        survey(&func, &flow, &loops, &profile, &policy, &yes);
        form(
            &func,
            &flow,
            &loops,
            &profile,
            &policy,
            HotEntry::Function,
            &yes,
        );
    }
}

#[test]
fn deep_nests_take_linear_time() {
    let func = testing::deep_nest(20_000);
    let flow = Flow::compute(&func).unwrap();
    let loops = LoopForest::compute(&func, &flow);
    let profile = estimate(&func, &flow, &loops).to_profile(&flow, 1);
    let policy = Policy::default();
    let all = survey(&func, &flow, &loops, &profile, &policy, &yes);
    assert_eq!(all.len(), 20_000);
    let innermost = loops.header(loops.loops().next_back().unwrap());
    let hot = HotEntry::Header(innermost);
    form(&func, &flow, &loops, &profile, &policy, hot, &yes);
}
