//! The control-flow graph of a function, with an identity for every edge.
//!
//! # Purpose
//! Cranelift's [`ControlFlowGraph`] maps blocks to *sets* of neighbours. Counting, exits and region hooks need
//! more: a `brif` whose two targets are the same block has two edges, and they can carry different arguments.
//! [`Flow`] gives each `BlockCall` of each terminator its own [`FlowEdge`] and keeps Cranelift's graph and
//! [`DominatorTree`] beside them.
//!
//! # Notation
//! An edge is `from --inst[index]--> to`: the `index`-th entry of `InstructionData::branch_destination` of the
//! terminator `inst` of `from`. So `brif` has 0 = then, 1 = else; `br_table` has 0 = default, then the entries;
//! `try_call` has the catch clauses in order and the normal return last.
//!
//! # Invariants
//! * *contiguous*: the edges of one block have consecutive numbers, in terminator order.
//! * *reachable predecessors*: [`Flow::preds`] lists only edges that can be taken, those from reachable blocks.
//!
//! # Limitations
//! A `Flow` is a picture of the function it was computed from; an edit to the terminators makes it stale.
//!
//! # Not here
//! Loops ([`crate::loops`]), and anything that reads other instructions than terminators and those that name a block.

use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::entity::{EntityRef, EntitySet, PrimaryMap, SecondaryMap, entity_impl};
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{Block, Function, Inst, InstructionData};

/// One `BlockCall` of one terminator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowEdge(u32);
entity_impl!(FlowEdge, "edge");

/// What a [`FlowEdge`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The branching block.
    pub from: Block,
    /// The terminator of `from`.
    pub inst: Inst,
    /// Position in `branch_destination` of `inst`.
    pub index: u32,
    /// The target.
    pub to: Block,
}

/// Why no [`Flow`] can be computed: the function is not valid CLIF.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The function has no block (it is a declaration).
    #[error("function {function} has no entry block")]
    NoEntryBlock {
        /// Name of the function.
        function: String,
    },
    /// A block does not end in a terminator.
    #[error("{block} does not end in a terminator")]
    MissingTerminator {
        /// The open block.
        block: Block,
    },
    /// A branch goes to a block that is not in the layout.
    #[error("{from} branches to {to}, which is not in the layout")]
    TargetNotInLayout {
        /// The branching block.
        from: Block,
        /// The missing target.
        to: Block,
    },
}

/// A contiguous run of positions in an edge list.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The control-flow graph, dominator tree and edge numbering of one function.
pub struct Flow {
    entry: Block,
    cfg: ControlFlowGraph,
    domtree: DominatorTree,
    rpo: Vec<Block>,
    /// Position in `rpo` plus one; 0 for unreachable blocks.
    rpo_number: SecondaryMap<Block, u32>,
    edges: PrimaryMap<FlowEdge, Edge>,
    succs: SecondaryMap<Block, Span>,
    preds: SecondaryMap<Block, Span>,
    pred_edges: Vec<FlowEdge>,
    handlers_taken: EntitySet<Block>,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

impl Flow {
    /// Number the edges of `func` and compute its dominator tree.
    ///
    /// # Errors
    /// [`FlowError::NoEntryBlock`]: the layout is empty. [`FlowError::MissingTerminator`],
    /// [`FlowError::TargetNotInLayout`]: a block is malformed, reachable or not.
    ///
    /// # Complexity
    /// O(instructions + edges) beside Cranelift's own analyses.
    pub fn compute(func: &Function) -> Result<Flow, FlowError> {
        let Some(entry) = func.layout.entry_block() else {
            return Err(FlowError::NoEntryBlock {
                function: func.name.to_string(),
            });
        };
        let (edges, succs) = number_edges(func)?;
        let cfg = ControlFlowGraph::with_function(func);
        let domtree = DominatorTree::with_function(func, &cfg);
        let rpo: Vec<Block> = domtree.cfg_rpo().copied().collect();
        let mut rpo_number = SecondaryMap::new();
        for (number, &block) in (1..).zip(&rpo) {
            rpo_number[block] = number;
        }
        let (preds, pred_edges) = index_preds(&edges, &rpo, &rpo_number);
        Ok(Flow {
            entry,
            cfg,
            domtree,
            rpo,
            rpo_number,
            edges,
            succs,
            preds,
            pred_edges,
            handlers_taken: handlers_taken(func),
        })
    }

    /// The function's entry block.
    pub fn entry(&self) -> Block {
        self.entry
    }

    /// Cranelift's control-flow graph.
    pub fn cfg(&self) -> &ControlFlowGraph {
        &self.cfg
    }

    /// Cranelift's dominator tree.
    pub fn domtree(&self) -> &DominatorTree {
        &self.domtree
    }

    /// All edges, also those of unreachable blocks, in layout order.
    pub fn edges(&self) -> impl Iterator<Item = (FlowEdge, Edge)> + '_ {
        self.edges.iter().map(|(number, &edge)| (number, edge))
    }

    /// The edge with this number.
    ///
    /// # Panics
    /// If `edge` comes from another function's `Flow` and is out of range.
    pub fn edge(&self, edge: FlowEdge) -> Edge {
        self.edges[edge]
    }

    /// The number of edges; edge numbers lie below it.
    pub fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// The edges out of `block`, in terminator order.
    pub fn succs(&self, block: Block) -> impl ExactSizeIterator<Item = FlowEdge> + use<> {
        self.succs[block].range().map(FlowEdge::new)
    }

    /// The edges into `block` that come from reachable blocks, in the order of their numbers.
    pub fn preds(&self, block: Block) -> &[FlowEdge] {
        &self.pred_edges[self.preds[block].range()]
    }

    /// The edge at position `index` of the terminator of `from`, if there is one.
    pub fn find_edge(&self, from: Block, index: u32) -> Option<FlowEdge> {
        self.succs(from).nth(index as usize)
    }

    /// Whether control can come to `block` from the entry. False for blocks the function does not have.
    pub fn is_reachable(&self, block: Block) -> bool {
        self.rpo_number[block] != 0
    }

    /// The reachable blocks in reverse postorder; the entry comes first.
    pub fn rpo(&self) -> &[Block] {
        &self.rpo
    }

    /// The position of `block` in [`Flow::rpo`]; `None` if it is unreachable.
    pub fn rpo_number(&self, block: Block) -> Option<u32> {
        self.rpo_number[block].checked_sub(1)
    }

    /// Whether every path from the entry to `b` goes through `a`. Reflexive; false if either is unreachable.
    pub fn dominates(&self, a: Block, b: Block) -> bool {
        self.is_reachable(a) && self.is_reachable(b) && self.domtree.block_dominates(a, b)
    }

    /// Whether a counter on this edge needs the edge to be split: its source has other successors and its
    /// target has other predecessors (or is the entry, which is also entered from outside).
    pub fn is_critical(&self, edge: FlowEdge) -> bool {
        let Edge { from, to, .. } = self.edges[edge];
        self.succs(from).len() > 1 && (self.preds(to).len() > 1 || to == self.entry)
    }

    /// Whether a `get_exception_handler_address`, anywhere in the function, takes the address of one of the handlers
    /// of the `try_call` that ends `block`.
    pub fn is_handler_taken(&self, block: Block) -> bool {
        self.handlers_taken.contains(block)
    }

    /// Sort blocks into reverse postorder; unreachable ones go last, by number.
    pub fn sort_rpo(&self, blocks: &mut [Block]) {
        blocks.sort_unstable_by_key(|&b| (self.rpo_number(b).unwrap_or(u32::MAX), b));
    }
}

/// The blocks that `get_exception_handler_address` names.
fn handlers_taken(func: &Function) -> EntitySet<Block> {
    let mut taken = EntitySet::new();
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            if let InstructionData::ExceptionHandlerAddress { block, .. } = func.dfg.insts[inst] {
                taken.insert(block);
            }
        }
    }
    taken
}

type NumberedEdges = (PrimaryMap<FlowEdge, Edge>, SecondaryMap<Block, Span>);

/// Give every block call of every terminator its number.
fn number_edges(func: &Function) -> Result<NumberedEdges, FlowError> {
    let dfg = &func.dfg;
    let mut edges = PrimaryMap::new();
    let mut succs = SecondaryMap::new();
    for from in func.layout.blocks() {
        let Some(inst) = func
            .layout
            .last_inst(from)
            .filter(|&inst| dfg.insts[inst].opcode().is_terminator())
        else {
            return Err(FlowError::MissingTerminator { block: from });
        };
        let start = edges.len() as u32;
        let calls = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
        for (index, call) in (0..).zip(calls) {
            let to = call.block(&dfg.value_lists);
            if !func.layout.is_block_inserted(to) {
                return Err(FlowError::TargetNotInLayout { from, to });
            }
            edges.push(Edge {
                from,
                inst,
                index,
                to,
            });
        }
        succs[from] = Span {
            start,
            end: edges.len() as u32,
        };
    }
    Ok((edges, succs))
}

/// Group the edges of reachable blocks by target (a counting sort).
fn index_preds(
    edges: &PrimaryMap<FlowEdge, Edge>,
    rpo: &[Block],
    rpo_number: &SecondaryMap<Block, u32>,
) -> (SecondaryMap<Block, Span>, Vec<FlowEdge>) {
    let mut preds: SecondaryMap<Block, Span> = SecondaryMap::new();
    let taken = || edges.iter().filter(|(_, e)| rpo_number[e.from] != 0);
    for (_, edge) in taken() {
        preds[edge.to].end += 1;
    }
    let mut next = 0;
    for &block in rpo {
        let count = preds[block].end;
        preds[block] = Span {
            start: next,
            end: next,
        };
        next += count;
    }
    let mut pred_edges = vec![FlowEdge::from_u32(0); next as usize];
    for (number, edge) in taken() {
        let span = &mut preds[edge.to];
        pred_edges[span.end as usize] = number;
        span.end += 1;
    }
    (preds, pred_edges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, parse};

    #[test]
    fn equal_targets_are_two_edges() {
        let func = parse(
            "function %f(i32) {
            block0(v0: i32):
                brif v0, block1, block1
            block1:
                br_table v0, block2, [block1, block2]
            block2:
                return
            }",
        );
        let flow = Flow::compute(&func).unwrap();
        let shown: Vec<String> = flow
            .edges()
            .map(|(n, e)| format!("{n}: {}[{}] -> {}", e.from, e.index, e.to))
            .collect();
        assert_eq!(
            shown,
            [
                "edge0: block0[0] -> block1",
                "edge1: block0[1] -> block1",
                "edge2: block1[0] -> block2",
                "edge3: block1[1] -> block1",
                "edge4: block1[2] -> block2",
            ]
        );
        assert_eq!(flow.preds(Block::from_u32(1)).len(), 3);
    }

    #[test]
    fn unreachable_blocks_are_no_predecessors() {
        let func = parse(
            "function %f() {
            block0:
                jump block1
            block1:
                return
            block2:
                jump block1
            }",
        );
        let flow = Flow::compute(&func).unwrap();
        assert_eq!(flow.edge_count(), 2);
        assert_eq!(flow.preds(Block::from_u32(1)).len(), 1);
        assert!(!flow.is_reachable(Block::from_u32(2)));
        assert!(!flow.is_reachable(Block::from_u32(77)));
        assert!(!flow.dominates(Block::from_u32(2), Block::from_u32(2)));
    }

    #[test]
    fn malformed_functions_are_refused() {
        let mut func = Function::new();
        assert!(matches!(
            Flow::compute(&func),
            Err(FlowError::NoEntryBlock { .. })
        ));
        let block = func.dfg.make_block();
        func.layout.append_block(block);
        assert_eq!(
            Flow::compute(&func).err(),
            Some(FlowError::MissingTerminator { block })
        );
    }

    /// `a` dominates `b` iff `b` cannot be reached once `a` is removed.
    #[test]
    fn dominance_matches_its_definition() {
        for seed in 1..60 {
            let func = testing::random_cfg(seed, 12);
            let flow = Flow::compute(&func).unwrap();
            for &a in flow.rpo() {
                let without = testing::reachable(&flow, flow.entry(), |b| b != a);
                for &b in flow.rpo() {
                    assert_eq!(flow.dominates(a, b), !without.contains(&b), "seed {seed}");
                }
            }
        }
    }
}
