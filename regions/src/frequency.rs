//! How often blocks and edges will probably run, when nothing has been counted yet.
//!
//! # Purpose
//! Counter placement wants to keep counters off hot paths before anything is known. A wrong guess costs an
//! increment on a hot path, never correctness.
//!
//! # Notation
//! *p(b)* is the estimated frequency of `b` per entry of the function with every loop taken to run once; the
//! frequency of a block at loop depth *d* is *p(b) × 10^d*: a back edge is taken with probability 0.9.
//!
//! # Model
//! * Successors share their source evenly, except that a *cold* one (marked cold, or ending in a trap) weighs
//!   1/100 of another.
//! * An edge that leaves a loop carries all of *p* of its source: a loop is left once for each time it is
//!   entered, at which exit nobody knows. *p(b)* never exceeds *p* of the immediate dominator, so several exits
//!   to one place do not add up to more than the loop was entered.
//!
//! # Limitations
//! The result does not obey flow conservation (loops with several exits, irreducible cycles, depths over 30).
//!
//! # Not here
//! The branch heuristics that look at operands (pointers, calls, comparisons with zero): CLIF has lost the types
//! that they need.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function, Opcode};

use crate::flow::{Flow, FlowEdge};
use crate::loops::LoopForest;
use crate::profile::FunctionProfile;

/// Times that a loop is taken to run per entry: 1 / (1 - 0.9).
const TRIPS: f64 = 10.0;
/// The weight of a cold successor beside 1.0 of another.
const COLD: f64 = 0.01;
/// Deeper loops count as this deep: 10^30 is far from infinity and beyond all programs.
const MAX_DEPTH: u32 = 30;

/// Frequencies of blocks and edges relative to one entry of the function.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    block: SecondaryMap<Block, f64>,
    edge: SecondaryMap<FlowEdge, f64>,
}

impl Frequencies {
    /// The frequency of a block; 0.0 if it is unreachable.
    pub fn block(&self, block: Block) -> f64 {
        self.block[block]
    }

    /// The frequency of an edge; 0.0 if it is unreachable.
    pub fn edge(&self, edge: FlowEdge) -> f64 {
        self.edge[edge]
    }

    /// Frequencies that were measured, to place counters anew with what an earlier run has shown.
    pub fn from_profile(flow: &Flow, profile: &FunctionProfile) -> Frequencies {
        let scale = profile.entries().max(1) as f64;
        let mut block = SecondaryMap::new();
        for &b in flow.rpo() {
            block[b] = profile.block(b) as f64 / scale;
        }
        let mut edge = SecondaryMap::new();
        for (number, _) in flow.edges() {
            edge[number] = profile.edge(number) as f64 / scale;
        }
        Frequencies { block, edge }
    }

    /// A profile as if the function had been entered `entries` times; marked inexact. For tools that show what
    /// formation would do before there is a real profile.
    pub fn to_profile(&self, flow: &Flow, entries: u64) -> FunctionProfile {
        // `as` saturates.
        let count = |frequency: f64| (frequency * entries as f64) as u64;
        let mut profile = FunctionProfile::new();
        profile.set_entries(entries).set_exact(false);
        for &block in flow.rpo() {
            profile.set_block(block, count(self.block(block)));
        }
        for (edge, _) in flow.edges() {
            profile.set_edge(edge, count(self.edge(edge)));
        }
        profile
    }
}

/// Estimate frequencies from the shape of the control-flow graph.
///
/// # Complexity
/// O(blocks + edges), one pass in reverse postorder.
///
/// # Reference
/// Y. Wu, J. R. Larus, "Static branch frequency and program profile analysis", MICRO-27, 1994. Of their
/// heuristics only the loop branch one is used, and their propagation is replaced by one pass that treats a loop
/// as run once and multiplies by depth afterwards.
pub fn estimate(func: &Function, flow: &Flow, loops: &LoopForest) -> Frequencies {
    let scale = |depth: u32| TRIPS.powi(depth.min(MAX_DEPTH) as i32);
    let depth = |block: Block| loops.innermost(block).map_or(0, |l| loops.depth(l));
    let mut p: SecondaryMap<Block, f64> = SecondaryMap::new();
    let mut block_frequency = SecondaryMap::new();
    let mut edge_frequency = SecondaryMap::new();
    p[flow.entry()] = 1.0;
    for &block in flow.rpo() {
        if let Some(idom) = flow.domtree().idom(block) {
            p[block] = p[block].min(p[idom]);
        }
        let frequency = p[block] * scale(depth(block));
        block_frequency[block] = frequency;
        let innermost = loops.innermost(block);
        let stays = |to: Block| innermost.is_none_or(|l| loops.contains(l, to));
        let weights = flow
            .succs(block)
            .map(|e| flow.edge(e).to)
            .filter(|&to| stays(to))
            .map(|to| weight(func, to))
            .sum::<f64>();
        for edge in flow.succs(block) {
            let to = flow.edge(edge).to;
            let header = loops.loop_of_header(to);
            let is_back_edge = header.is_some_and(|l| loops.contains(l, block));
            let carried = if stays(to) {
                weight(func, to) / weights
            } else {
                weight(func, to)
            };
            edge_frequency[edge] = if stays(to) {
                frequency * carried
            } else {
                // Depth of the place the edge leads to, before it enters a loop there.
                let entered = u32::from(header.is_some() && !is_back_edge);
                p[block] * carried * scale(depth(to) - entered)
            };
            let retreating = flow.rpo_number(to) <= flow.rpo_number(block);
            if !retreating {
                p[to] += p[block] * carried;
            }
        }
    }
    Frequencies {
        block: block_frequency,
        edge: edge_frequency,
    }
}

/// The weight of a block among the successors of another.
fn weight(func: &Function, block: Block) -> f64 {
    let traps = func
        .layout
        .last_inst(block)
        .is_some_and(|inst| func.dfg.insts[inst].opcode() == Opcode::Trap);
    if traps || func.layout.is_cold(block) {
        COLD
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, parse};

    fn estimated(text: &str) -> Vec<f64> {
        let func = parse(text);
        let flow = Flow::compute(&func).unwrap();
        let loops = LoopForest::compute(&func, &flow);
        let frequencies = estimate(&func, &flow, &loops);
        func.layout
            .blocks()
            .map(|b| (frequencies.block(b) * 1000.0).round() / 1000.0)
            .collect()
    }

    #[test]
    fn loops_multiply_and_branches_divide() {
        let blocks = estimated(
            "function %f(i32) {
            block0(v0: i32):
                jump block1
            block1:
                brif v0, block2, block5
            block2:
                brif v0, block3, block4
            block3:
                jump block4
            block4:
                jump block1
            block5:
                return
            }",
        );
        assert_eq!(blocks, [1.0, 10.0, 10.0, 5.0, 10.0, 1.0]);
    }

    #[test]
    fn cold_blocks_and_traps_weigh_little() {
        let blocks = estimated(
            "function %f(i32) {
            block0(v0: i32):
                brif v0, block1, block2
            block1:
                brif v0, block3, block4
            block2 cold:
                return
            block3:
                return
            block4:
                trap user1
            }",
        );
        assert!(blocks[1] > 0.98 && blocks[2] < 0.011, "{blocks:?}");
        assert!(blocks[3] > 0.97 && blocks[4] < 0.011, "{blocks:?}");
    }

    #[test]
    fn estimates_are_finite_and_at_most_the_dominators() {
        for seed in 1..80 {
            let func = testing::random_cfg(seed, 20);
            let flow = Flow::compute(&func).unwrap();
            let loops = LoopForest::compute(&func, &flow);
            let frequencies = estimate(&func, &flow, &loops);
            for &block in flow.rpo() {
                let frequency = frequencies.block(block);
                assert!(frequency.is_finite() && frequency >= 0.0);
                if let Some(idom) = flow.domtree().idom(block)
                    && loops.innermost(idom) == loops.innermost(block)
                {
                    assert!(frequency <= frequencies.block(idom));
                }
            }
            for (edge, _) in flow.edges() {
                assert!(frequencies.edge(edge).is_finite());
            }
            let unused = frequencies.to_profile(&flow, u64::MAX);
            assert!(!unused.is_exact());
        }
    }
}
