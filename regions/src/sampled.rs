//! Counts from samples of the program counter.
//!
//! # Purpose
//! A timer says now and then which block a thread is in. [`from_samples`] turns a few such samples into a
//! [`FunctionProfile`] that formation can read like a counted one.
//!
//! # Notation
//! The *mass* of a loop is the number of samples in its own blocks (those that are in no loop inside it); blocks
//! outside of all loops are treated as a loop that runs once. The *static weight* of a block is its estimated
//! frequency ([`crate::frequency`]) times its instructions.
//!
//! # Model
//! 1. A sample stands for a number of executed instructions, so a block's count is its samples times that number,
//!    divided by its instructions.
//! 2. To the mass of the loops, one sample is added, shared out by static weight; and to the samples in a loop, one
//!    more, likewise, before its mass is shared out among its blocks. So estimates decide where samples are missing,
//!    and lose their say as samples come in.
//! 3. A header runs at least as often as each of its loop's own blocks.
//! 4. A block without samples runs at least 1/8 (n + 1) times as often as a header around it, for n samples in that
//!    loop, unless the client marked it cold or it only leads to a trap. It takes about 125 samples until a block
//!    that none of them saw counts as cold by the default policy.
//! 5. The edges of a block share its count by their estimates; a loop is left at most as often as it was entered.
//!
//! # Limitations
//! Time is not instructions: a block that waits for memory seems to run more often than it does. Flow is not
//! conserved, and [`FunctionProfile::is_exact`] is false. Trip counts are guesses by the ratio of samples inside and
//! around a loop.
//!
//! # Not here
//! Where samples come from, and how many make a part hot.

use cranelift_codegen::entity::{EntityRef, SecondaryMap};
use cranelift_codegen::ir::{Block, Function, Opcode};

use crate::flow::{Flow, FlowEdge};
use crate::frequency::{Frequencies, estimate};
use crate::loops::{LoopForest, LoopId};
use crate::profile::{FunctionProfile, instruction_count};

/// How often a thread was seen in each block of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    block: SecondaryMap<Block, u64>,
    total: u64,
}

impl Samples {
    /// No samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples of a block.
    pub fn add(&mut self, block: Block, count: u64) {
        self.block[block] = self.block[block].saturating_add(count);
        self.total = self.total.saturating_add(count);
    }

    /// The samples of a block.
    pub fn block(&self, block: Block) -> u64 {
        self.block[block]
    }

    /// The samples of all blocks.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// The part of a header's count that a block without samples has at least, as a divisor, for each sample.
const UNSEEN: f64 = 8.0;

/// Loops, and behind them one more for what is in no loop.
struct ByLoop(Vec<f64>);

impl ByLoop {
    fn new(loops: &LoopForest) -> Self {
        Self(vec![0.0; loops.len() + 1])
    }

    fn at(&self, loop_id: Option<LoopId>) -> f64 {
        self.0[self.index(loop_id)]
    }

    fn at_mut(&mut self, loop_id: Option<LoopId>) -> &mut f64 {
        let index = self.index(loop_id);
        &mut self.0[index]
    }

    fn index(&self, loop_id: Option<LoopId>) -> usize {
        loop_id.map_or(self.0.len() - 1, |id| id.index())
    }
}

/// Estimates how often each block and edge was executed, where a sample stands for `instructions_per_sample`.
///
/// Without samples, nothing was executed.
///
/// # Complexity
/// O(instructions + blocks + edges).
pub fn from_samples(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    samples: &Samples,
    instructions_per_sample: u64,
) -> FunctionProfile {
    let mut profile = FunctionProfile::new();
    profile.set_exact(false);
    if samples.total() == 0 {
        return profile;
    }
    let frequencies = estimate(func, flow, loops);
    let counts = block_counts(func, flow, loops, samples, &frequencies);
    // `as` saturates. What was reached at all counts.
    let executions = |count: f64| ((count * instructions_per_sample as f64) as u64).max(1);
    for &block in flow.rpo() {
        profile.set_block(block, executions(counts[block]));
    }
    profile.set_entries(profile.block(flow.entry()));
    for (edge, count) in edge_counts(flow, loops, &counts, &frequencies) {
        profile.set_edge(edge, executions(count));
    }
    profile
}

/// Samples of each block divided by its instructions: rules 1 to 4.
fn block_counts(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    samples: &Samples,
    frequencies: &Frequencies,
) -> SecondaryMap<Block, f64> {
    let instructions = |block| instruction_count(func, block).max(1) as f64;
    let weight = |block| frequencies.block(block) * instructions(block);
    let mut weights = ByLoop::new(loops);
    let mut sampled = ByLoop::new(loops);
    for &block in flow.rpo() {
        let innermost = loops.innermost(block);
        *weights.at_mut(innermost) += weight(block);
        *sampled.at_mut(innermost) += samples.block(block) as f64;
    }
    let total: f64 = weights.0.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut counts: SecondaryMap<Block, f64> = SecondaryMap::new();
    let mut header_counts = ByLoop::new(loops);
    for &block in flow.rpo() {
        let innermost = loops.innermost(block);
        let (weights, sampled) = (weights.at(innermost), sampled.at(innermost));
        let mass = sampled + weights / total;
        let seen = samples.block(block) as f64 + weight(block) / weights.max(f64::MIN_POSITIVE);
        counts[block] = mass * seen / (sampled + 1.0) / instructions(block);
        let most = header_counts.at_mut(innermost);
        *most = most.max(counts[block]);
    }
    let header_of = |l: Option<LoopId>| l.map_or(flow.entry(), |l| loops.header(l));
    let all = loops.loops().map(Some).chain([None]);
    for l in all {
        counts[header_of(l)] = header_counts.at(l);
    }
    // Samples in a loop with all that is nested in it; parents have smaller numbers.
    for l in loops.loops().rev() {
        *sampled.at_mut(loops.parent(l)) += sampled.at(Some(l));
    }
    let mut floors = ByLoop::new(loops);
    for l in loops.loops() {
        // The function as a whole gives no floor: what is in no loop may run once.
        let around = loops
            .parent(l)
            .map_or(0.0, |parent| floors.at(Some(parent)));
        let own = header_counts.at(Some(l)) / (UNSEEN * (sampled.at(Some(l)) + 1.0));
        *floors.at_mut(Some(l)) = own.max(around);
    }
    let mut cold: SecondaryMap<Block, bool> = SecondaryMap::new();
    for &block in flow.rpo() {
        let dominator = flow.domtree().idom(block);
        cold[block] = is_cold(func, block) || dominator.is_some_and(|idom| cold[idom]);
        if !cold[block] {
            counts[block] = counts[block].max(floors.at(loops.innermost(block)));
        }
    }
    counts
}

/// The count of each edge: rule 5.
fn edge_counts(
    flow: &Flow,
    loops: &LoopForest,
    counts: &SecondaryMap<Block, f64>,
    frequencies: &Frequencies,
) -> Vec<(FlowEdge, f64)> {
    let mut entered = ByLoop::new(loops);
    let mut edges = Vec::with_capacity(flow.edge_count());
    for &block in flow.rpo() {
        let innermost = loops.innermost(block);
        let all: f64 = flow.succs(block).map(|edge| frequencies.edge(edge)).sum();
        for edge in flow.succs(block) {
            let to = flow.edge(edge).to;
            let mut count = counts[block] * frequencies.edge(edge) / all;
            if let Some(l) = innermost.filter(|&l| !loops.contains(l, to)) {
                count = count.min(entered.at(Some(l)));
            }
            count = count.min(counts[to]);
            if let Some(l) = loops.loop_of_header(to)
                && !loops.contains(l, block)
            {
                *entered.at_mut(Some(l)) += count;
            }
            edges.push((edge, count));
        }
    }
    edges
}

/// Whether a block is marked cold or ends in a trap.
fn is_cold(func: &Function, block: Block) -> bool {
    let last = func.layout.last_inst(block);
    let traps = last.is_some_and(|inst| func.dfg.insts[inst].opcode() == Opcode::Trap);
    traps || func.layout.is_cold(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formation::{Formation, HotEntry, Policy, form};
    use crate::testing::{self, parse};

    /// An outer loop at block1, an inner one at block2; block5 is a branch of the inner loop that no sample sees,
    /// block6 a trap.
    const NEST: &str = "function %f(i32) {
        block0(v0: i32):
            jump block1
        block1:
            jump block2
        block2:
            v1 = iadd v0, v0
            v2 = iadd v1, v0
            brif v2, block5, block3
        block5:
            brif v0, block3, block6
        block6:
            trap user1
        block3:
            brif v1, block2, block4
        block4:
            brif v1, block1, block7
        block7:
            return
        }";

    fn block(number: u32) -> Block {
        Block::from_u32(number)
    }

    fn profiled(samples: &[(u32, u64)]) -> (Function, Flow, LoopForest, FunctionProfile) {
        let func = parse(NEST);
        let flow = Flow::compute(&func).unwrap();
        let loops = LoopForest::compute(&func, &flow);
        let mut seen = Samples::new();
        for &(number, count) in samples {
            seen.add(block(number), count);
        }
        let profile = from_samples(&func, &flow, &loops, &seen, 1_000_000);
        (func, flow, loops, profile)
    }

    fn formed(samples: &[(u32, u64)]) -> Formation {
        let (func, flow, loops, profile) = profiled(samples);
        let hot = HotEntry::Header(block(2));
        let policy = Policy::default();
        form(&func, &flow, &loops, &profile, &policy, hot, &|_| Ok(()))
    }

    #[test]
    fn without_samples_nothing_ran() {
        let (func, _, _, profile) = profiled(&[]);
        assert_eq!(profile.total(&func), 0);
        assert!(!profile.is_exact());
    }

    #[test]
    fn few_samples_choose_the_loop_and_leave_nothing_out_but_traps() {
        let region = formed(&[(2, 1), (3, 1)]).region.unwrap();
        assert_eq!(region.entry(), block(2));
        assert!(region.blocks().contains(block(5)));
        assert!(!region.blocks().contains(block(6)));
    }

    #[test]
    fn many_samples_make_the_unseen_cold() {
        let region = formed(&[(2, 2000), (3, 1000)]).region.unwrap();
        assert_eq!(region.entry(), block(2));
        assert!(!region.blocks().contains(block(5)));
    }

    #[test]
    fn samples_around_a_loop_make_its_trips_few() {
        let formation = formed(&[(2, 4), (3, 2), (4, 3), (1, 3)]);
        assert_eq!(formation.region.unwrap().entry(), block(1));
    }

    #[test]
    fn counts_are_about_right() {
        // 3 instructions of block2 and 1 of block3, a hundred trips each time: 3:1 of the samples, nearly all of them.
        let (_, _, _, profile) = profiled(&[(2, 300), (3, 100), (4, 1), (1, 1)]);
        let [header, latch, outer] = [2, 3, 1].map(|number| profile.block(block(number)) as f64);
        assert!((0.9..1.1).contains(&(header / latch)), "{profile:?}");
        assert!((50.0..200.0).contains(&(header / outer)), "{profile:?}");
    }

    #[test]
    fn any_samples_of_any_function_do() {
        for seed in 1..80 {
            let func = testing::random_cfg(seed, 20);
            let flow = Flow::compute(&func).unwrap();
            let loops = LoopForest::compute(&func, &flow);
            let mut samples = Samples::new();
            for (position, block) in func.layout.blocks().enumerate() {
                samples.add(block, (seed * position as u64) % 7);
            }
            let profile = from_samples(&func, &flow, &loops, &samples, u64::MAX);
            assert!(samples.total() == 0 || flow.rpo().iter().all(|&b| profile.block(b) > 0));
        }
    }
}
