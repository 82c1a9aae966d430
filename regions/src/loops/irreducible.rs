//! Cycles that are no natural loops.
//!
//! # Notation
//! An *irreducible cycle* is a strongly connected component of more than one block that remains when all natural
//! back edges are removed. It can be entered at more than one block, so it has no header to put a hook at.
//!
//! # Limitations
//! Cycles nested in an irreducible cycle are part of it and are not told apart.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::Block;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::flow::Flow;

/// A cycle with several entries, or one whose entry does not dominate it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrreducibleCycle {
    /// The blocks of the cycle, in reverse postorder.
    pub blocks: Vec<Block>,
    /// Those of `blocks` that have a predecessor outside the cycle.
    pub entries: Vec<Block>,
}

/// Find the strongly connected components that remain without natural back edges.
///
/// Kosaraju's algorithm rather than Tarjan's: petgraph's `tarjan_scc` recurses.
pub(super) fn find(flow: &Flow) -> Vec<IrreducibleCycle> {
    let number = |block: Block| flow.rpo_number(block).unwrap_or(u32::MAX);
    let forward = || {
        flow.edges()
            .map(|(_, edge)| edge)
            .filter(|edge| flow.is_reachable(edge.from) && !flow.dominates(edge.to, edge.from))
    };
    // A cycle cannot go forward in reverse postorder all the way.
    if forward().all(|edge| number(edge.from) < number(edge.to)) {
        return Vec::new();
    }
    let mut graph: DiGraph<(), ()> = DiGraph::with_capacity(flow.rpo().len(), flow.edge_count());
    for _ in flow.rpo() {
        graph.add_node(());
    }
    let node = |block: Block| NodeIndex::new(number(block) as usize);
    for edge in forward() {
        graph.add_edge(node(edge.from), node(edge.to), ());
    }
    let mut cycles: Vec<Vec<NodeIndex>> = kosaraju_scc(&graph);
    cycles.retain(|cycle| cycle.len() > 1);
    for cycle in &mut cycles {
        cycle.sort_unstable();
    }
    cycles.sort_unstable();
    let mut cycle_of: SecondaryMap<Block, u32> = SecondaryMap::new();
    let block_at = |node: NodeIndex| flow.rpo()[node.index()];
    for (number, cycle) in (1..).zip(&cycles) {
        for &node in cycle {
            cycle_of[block_at(node)] = number;
        }
    }
    let is_entry = |block: &Block| {
        flow.preds(*block)
            .iter()
            .any(|&e| cycle_of[flow.edge(e).from] != cycle_of[*block])
    };
    cycles
        .into_iter()
        .map(|cycle| {
            let blocks: Vec<Block> = cycle.into_iter().map(block_at).collect();
            let entries = blocks.iter().copied().filter(is_entry).collect();
            IrreducibleCycle { blocks, entries }
        })
        .collect()
}
