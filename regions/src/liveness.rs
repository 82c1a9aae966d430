//! SSA liveness at block boundaries.
//!
//! # Purpose
//! The live-ins of a region's header are the parameters of the outlined function, and those of its exit targets
//! are what it has to return. [`Liveness`] answers both.
//!
//! # Notation
//! A value is *live-in* at a block if some path from the start of the block reaches a use of the value before
//! its definition. A block's own parameters are defined by the block, so they are never live-in there. Arguments
//! that a terminator passes to a target, and the context values of its exception table, are uses in the
//! branching block. User stack map entries name stack slots, not values, so they use nothing.
//!
//! # Invariants
//! * *resolved*: every value listed is the end of its alias chain (`resolve_aliases`).
//! * *sorted*: live-in lists are sorted by value number, without duplicates.
//!
//! # Limitations
//! The lists of all blocks together take memory in proportion to their lengths, which can be blocks × values.
//! Who needs few blocks asks with [`Liveness::compute_at`], which keeps only those lists.
//!
//! # Not here
//! Liveness inside a block, and values of unreachable blocks (their uses keep nothing alive).

use cranelift_codegen::entity::{EntityRef, SecondaryMap};
use cranelift_codegen::ir::{Block, Function, Value, ValueDef};

use crate::blocks::BlockSet;
use crate::flow::Flow;

/// The live-in values of blocks.
pub struct Liveness {
    live_in: SecondaryMap<Block, Vec<Value>>,
}

impl std::fmt::Debug for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Liveness").finish_non_exhaustive()
    }
}

impl Liveness {
    /// Compute the live-ins of every reachable block.
    ///
    /// # Complexity
    /// O(instructions + edges into blocks where a value is live, summed over values); no recursion.
    ///
    /// # Reference
    /// F. Brandner, B. Boissinot, A. Darte, B. Dupont de Dinechin, F. Rastello, "Computing liveness sets for
    /// SSA-form programs", INRIA RR-7503, 2011, section 5 (path exploration, one variable at a time).
    pub fn compute(func: &Function, flow: &Flow) -> Liveness {
        explore(func, flow, |_| true)
    }

    /// Compute the live-ins of `blocks` only; the lists of other blocks stay empty.
    pub fn compute_at(func: &Function, flow: &Flow, blocks: &BlockSet) -> Liveness {
        explore(func, flow, |block| blocks.contains(block))
    }

    /// The values live-in at `block`, by number, without the block's own parameters.
    pub fn live_in(&self, block: Block) -> &[Value] {
        &self.live_in[block]
    }

    /// Whether `value` (already resolved through aliases) is live-in at `block`.
    pub fn is_live_in(&self, block: Block, value: Value) -> bool {
        self.live_in[block].binary_search(&value).is_ok()
    }
}

/// For each value in turn, go back from its uses to its definition and mark the blocks on the way.
fn explore(func: &Function, flow: &Flow, wanted: impl Fn(Block) -> bool) -> Liveness {
    let uses = upward_exposed_uses(func, flow);
    let mut live_in: SecondaryMap<Block, Vec<Value>> = SecondaryMap::new();
    // The last value that visited a block, plus one.
    let mut visited: SecondaryMap<Block, u32> = SecondaryMap::new();
    let mut work: Vec<Block> = Vec::new();
    for same_value in uses.chunk_by(|a, b| a.0 == b.0) {
        let value = same_value[0].0;
        let defined_in = definition(func, value);
        let mark = value.as_u32() + 1;
        work.extend(same_value.iter().map(|&(_, block)| block));
        while let Some(block) = work.pop() {
            if visited[block] == mark || Some(block) == defined_in {
                continue;
            }
            visited[block] = mark;
            if wanted(block) {
                live_in[block].push(value);
            }
            work.extend(flow.preds(block).iter().map(|&e| flow.edge(e).from));
        }
    }
    Liveness { live_in }
}

/// Pairs of a value and a reachable block that uses it but does not define it, sorted and unique.
fn upward_exposed_uses(func: &Function, flow: &Flow) -> Vec<(Value, Block)> {
    let dfg = &func.dfg;
    let mut uses = Vec::new();
    // The last block that listed or defined the value, plus one. In SSA form a definition comes before the uses of
    // its block.
    let mut seen: SecondaryMap<Value, u32> = SecondaryMap::with_capacity(dfg.num_values());
    for &block in flow.rpo() {
        let mark = block.index() as u32 + 1;
        for &param in dfg.block_params(block) {
            seen[param] = mark;
        }
        let mut used = |value: Value, seen: &mut SecondaryMap<Value, u32>| {
            // An alias is seen as itself too: that saves looking it up again.
            if seen[value] == mark {
                return;
            }
            seen[value] = mark;
            let resolved = dfg.resolve_aliases(value);
            if resolved == value || seen[resolved] != mark {
                seen[resolved] = mark;
                uses.push((resolved, block));
            }
        };
        for inst in func.layout.block_insts(block) {
            // Only branches have values elsewhere than among their arguments.
            if dfg.insts[inst].opcode().is_branch() {
                for value in dfg.inst_values(inst) {
                    used(value, &mut seen);
                }
            } else {
                for &value in dfg.inst_args(inst) {
                    used(value, &mut seen);
                }
            }
            for &result in dfg.inst_results(inst) {
                seen[result] = mark;
            }
        }
    }
    uses.sort_unstable();
    uses
}

/// The block that defines a resolved value.
fn definition(func: &Function, value: Value) -> Option<Block> {
    match func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        // E-graph unions live only inside Cranelift's optimiser.
        ValueDef::Union(..) => None,
    }
}

#[cfg(test)]
mod tests;
