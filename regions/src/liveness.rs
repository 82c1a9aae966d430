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
//! The lists of all blocks together take memory in proportion to their lengths, which can be blocks × values; more
//! than 2³² entries are too many.
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
    /// Where in `values` the list of a block is.
    lists: SecondaryMap<Block, (u32, u32)>,
    values: Vec<Value>,
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
        let (start, end) = self.lists[block];
        &self.values[start as usize..end as usize]
    }

    /// Whether `value` (already resolved through aliases) is live-in at `block`.
    pub fn is_live_in(&self, block: Block, value: Value) -> bool {
        self.live_in(block).binary_search(&value).is_ok()
    }
}

/// For each value in turn, go back from its uses to its definition and mark the blocks on the way.
///
/// Blocks are known by their position in reverse postorder here.
fn explore(func: &Function, flow: &Flow, wanted: impl Fn(Block) -> bool) -> Liveness {
    let uses = Uses::upward_exposed(func, flow);
    let preds = Preds::new(flow);
    let wanted: Vec<bool> = flow.rpo().iter().map(|&block| wanted(block)).collect();
    // The last value that visited a block, plus one.
    let mut visited = vec![0_u32; flow.rpo().len()];
    let mut found: Vec<(u32, Value)> = Vec::new();
    let mut work: Vec<u32> = Vec::new();
    for (value, users) in uses.by_value() {
        let mark = value.as_u32() + 1;
        if let Some(defined_in) = definition(func, value).and_then(|block| flow.rpo_number(block)) {
            visited[defined_in as usize] = mark;
        }
        work.extend_from_slice(users);
        while let Some(block) = work.pop() {
            if visited[block as usize] == mark {
                continue;
            }
            visited[block as usize] = mark;
            if wanted[block as usize] {
                found.push((block, value));
            }
            work.extend_from_slice(preds.of(block));
        }
    }
    group(flow, &found)
}

/// Groups pairs by block; the values of one block stay in their order.
fn group(flow: &Flow, found: &[(u32, Value)]) -> Liveness {
    let mut next = starts(flow.rpo().len(), found.iter().map(|&(block, _)| block));
    let mut lists = SecondaryMap::new();
    for (number, &block) in flow.rpo().iter().enumerate() {
        if next[number] < next[number + 1] {
            lists[block] = (next[number], next[number + 1]);
        }
    }
    let mut values = vec![Value::from_u32(0); found.len()];
    for &(block, value) in found {
        values[next[block as usize] as usize] = value;
        next[block as usize] += 1;
    }
    Liveness { lists, values }
}

/// Where the items of each key start if they are sorted by key, and where the last ones end.
fn starts(keys: usize, items: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut starts = vec![0_u32; keys + 1];
    for key in items {
        starts[key as usize + 1] += 1;
    }
    for key in 0..keys {
        starts[key + 1] += starts[key];
    }
    starts
}

/// The predecessors of each block, once for each edge.
struct Preds {
    starts: Vec<u32>,
    blocks: Vec<u32>,
}

impl Preds {
    fn new(flow: &Flow) -> Self {
        let mut preds = Self {
            starts: vec![0],
            blocks: Vec::with_capacity(flow.edge_count()),
        };
        for &block in flow.rpo() {
            let from = flow.preds(block).iter().map(|&edge| flow.edge(edge).from);
            preds
                .blocks
                .extend(from.filter_map(|from| flow.rpo_number(from)));
            preds.starts.push(preds.blocks.len() as u32);
        }
        preds
    }

    fn of(&self, block: u32) -> &[u32] {
        let block = block as usize;
        &self.blocks[self.starts[block] as usize..self.starts[block + 1] as usize]
    }
}

/// Reachable blocks that use a value but do not define it, each once, by value.
struct Uses {
    starts: Vec<u32>,
    blocks: Vec<u32>,
}

impl Uses {
    fn upward_exposed(func: &Function, flow: &Flow) -> Self {
        let dfg = &func.dfg;
        let mut uses: Vec<(Value, u32)> = Vec::new();
        // The last block that listed or defined the value, plus one. In SSA form a definition comes before the uses
        // of its block.
        let mut seen = vec![0_u32; dfg.num_values()];
        for (number, &block) in (0..).zip(flow.rpo()) {
            let mark = number + 1;
            for &param in dfg.block_params(block) {
                seen[param.index()] = mark;
            }
            let mut used = |value: Value, seen: &mut Vec<u32>| {
                // An alias is seen as itself too: that saves looking it up again.
                if seen[value.index()] == mark {
                    return;
                }
                seen[value.index()] = mark;
                let resolved = dfg.resolve_aliases(value);
                if resolved == value || seen[resolved.index()] != mark {
                    seen[resolved.index()] = mark;
                    uses.push((resolved, number));
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
                    seen[result.index()] = mark;
                }
            }
        }
        let starts = starts(
            dfg.num_values(),
            uses.iter().map(|(value, _)| value.as_u32()),
        );
        let mut next = starts.clone();
        let mut blocks = vec![0; uses.len()];
        for (value, block) in uses {
            let next = &mut next[value.index()];
            blocks[*next as usize] = block;
            *next += 1;
        }
        Self { starts, blocks }
    }

    /// The values that have such uses, in order, with the blocks.
    fn by_value(&self) -> impl Iterator<Item = (Value, &[u32])> {
        let spans = self.starts.windows(2).zip(0_u32..);
        let used = spans.filter(|(span, _)| span[0] < span[1]);
        used.map(|(span, value)| {
            let blocks = &self.blocks[span[0] as usize..span[1] as usize];
            (Value::from_u32(value), blocks)
        })
    }
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
