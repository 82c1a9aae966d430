//! Natural loops, their nesting, and the cycles that are not natural loops.
//!
//! # Purpose
//! Every natural loop may get a region hook at its header, so hooks, counters and region formation ask for
//! latches, exits, preheaders and nesting. Cranelift's `LoopAnalysis` has headers, parents and levels only; it
//! also puts unreachable blocks into loops and stops counting levels at 254, which is why it is not used here
//! (the tests compare with it where both apply).
//!
//! # Notation
//! A *back edge* is an edge whose target dominates its source; the target is the *header*, the source a *latch*.
//! The natural loop of a header is the header and all blocks that reach one of its latches without passing
//! through it. All back edges to one header make one loop. An *exit* is an edge from inside to outside.
//!
//! # Invariants
//! * *forest*: two loops are disjoint or one contains the other.
//! * *outer first*: a loop's number is greater than its parent's; numbers follow the header's reverse postorder.
//! * *reachable only*: no unreachable block is in any loop.
//!
//! # Limitations
//! A cycle that can be entered at more than one block is no natural loop. Such cycles are found as the strongly
//! connected components that remain when back edges are removed, and only listed ([`IrreducibleCycle`]).
//!
//! # Not here
//! Anything that changes the function: no preheaders are made, no node is split.

mod irreducible;

use cranelift_codegen::entity::packed_option::PackedOption;
use cranelift_codegen::entity::{PrimaryMap, SecondaryMap, entity_impl};
use cranelift_codegen::ir::{Block, Function};

use crate::flow::{Flow, FlowEdge};

pub use irreducible::IrreducibleCycle;

/// A natural loop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoopId(u32);
entity_impl!(LoopId, "loop");

struct LoopData {
    header: Block,
    parent: PackedOption<LoopId>,
    children: Vec<LoopId>,
    depth: u32,
    height: u32,
    latches: Vec<Block>,
    back_edges: Vec<FlowEdge>,
    /// Preorder number in the forest, and the end of the subtree's numbers.
    pre: u32,
    pre_end: u32,
    /// Where in `LoopForest::members` the blocks of this loop lie, nested loops included.
    members: std::ops::Range<usize>,
}

/// All loops of a function.
pub struct LoopForest {
    loops: PrimaryMap<LoopId, LoopData>,
    innermost: SecondaryMap<Block, PackedOption<LoopId>>,
    /// Blocks in loops with their reverse postorder number, grouped by innermost loop in forest preorder.
    members: Vec<(u32, Block)>,
    irreducible: Vec<IrreducibleCycle>,
}

impl std::fmt::Debug for LoopForest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoopForest").finish_non_exhaustive()
    }
}

impl LoopForest {
    /// Find the loops of `func`.
    ///
    /// Headers are treated innermost first; a finished inner loop is skipped as one node on the way from a
    /// latch back to the header, through a forest of parents with path halving.
    ///
    /// # Complexity
    /// O((blocks + edges) log blocks); no recursion.
    ///
    /// # Reference
    /// R. E. Tarjan, "Testing flow graph reducibility", JCSS 9, 1974; P. Havlak, "Nesting of reducible and
    /// irreducible loops", TOPLAS 19(4), 1997.
    pub fn compute(_func: &Function, flow: &Flow) -> LoopForest {
        let mut loops = find_headers(flow);
        let mut innermost = SecondaryMap::new();
        assign_blocks(flow, &mut loops, &mut innermost);
        link_forest(&mut loops);
        let members = group_members(flow, &mut loops, &innermost);
        let irreducible = irreducible::find(flow);
        LoopForest {
            loops,
            innermost,
            members,
            irreducible,
        }
    }

    /// All loops, outer before inner.
    pub fn loops(&self) -> impl DoubleEndedIterator<Item = LoopId> + ExactSizeIterator + use<> {
        self.loops.keys()
    }

    /// The number of loops.
    pub fn len(&self) -> usize {
        self.loops.len()
    }

    /// Whether the function has no natural loop.
    pub fn is_empty(&self) -> bool {
        self.loops.is_empty()
    }

    /// The header of `l`.
    pub fn header(&self, l: LoopId) -> Block {
        self.loops[l].header
    }

    /// The loop directly around `l`.
    pub fn parent(&self, l: LoopId) -> Option<LoopId> {
        self.loops[l].parent.expand()
    }

    /// The loops directly inside `l`.
    pub fn children(&self, l: LoopId) -> &[LoopId] {
        &self.loops[l].children
    }

    /// The nesting depth of `l`; an outermost loop has 1.
    pub fn depth(&self, l: LoopId) -> u32 {
        self.loops[l].depth
    }

    /// How many levels of loops `l` has, itself included; a loop without loops in it has 1.
    pub fn height(&self, l: LoopId) -> u32 {
        self.loops[l].height
    }

    /// The sources of the back edges of `l`, each once.
    pub fn latches(&self, l: LoopId) -> &[Block] {
        &self.loops[l].latches
    }

    /// The back edges of `l`.
    pub fn back_edges(&self, l: LoopId) -> &[FlowEdge] {
        &self.loops[l].back_edges
    }

    /// The blocks of `l` in reverse postorder, nested loops included. O(k log k) for k blocks.
    pub fn blocks(&self, l: LoopId) -> Vec<Block> {
        let mut members = self.members[self.loops[l].members.clone()].to_vec();
        members.sort_unstable();
        members.into_iter().map(|(_, block)| block).collect()
    }

    /// The number of blocks of `l`, nested loops included. O(1).
    pub fn block_count(&self, l: LoopId) -> usize {
        self.loops[l].members.len()
    }

    /// The edges that leave `l`, by reverse postorder of their source, then terminator order.
    pub fn exits(&self, l: LoopId, flow: &Flow) -> Vec<FlowEdge> {
        self.blocks(l)
            .into_iter()
            .flat_map(|block| flow.succs(block))
            .filter(|&edge| !self.contains(l, flow.edge(edge).to))
            .collect()
    }

    /// What [`LoopForest::exits`] gives for every loop, in one pass: O(edges + exits), where an edge out of a nest
    /// is an exit of each loop that it leaves.
    pub fn exits_of_all(&self, flow: &Flow) -> SecondaryMap<LoopId, Vec<FlowEdge>> {
        let mut exits: SecondaryMap<LoopId, Vec<FlowEdge>> = SecondaryMap::new();
        for &block in flow.rpo() {
            for edge in flow.succs(block) {
                let to = flow.edge(edge).to;
                for l in self.around(block).take_while(|&l| !self.contains(l, to)) {
                    exits[l].push(edge);
                }
            }
        }
        exits
    }

    /// The edges that enter `l` from outside; all of them lead to the header.
    pub fn entry_edges(&self, l: LoopId, flow: &Flow) -> Vec<FlowEdge> {
        flow.preds(self.header(l))
            .iter()
            .copied()
            .filter(|&edge| !self.contains(l, flow.edge(edge).from))
            .collect()
    }

    /// The one predecessor of the header outside `l`, if it has no other successor than the header.
    pub fn preheader(&self, l: LoopId, flow: &Flow) -> Option<Block> {
        match self.entry_edges(l, flow)[..] {
            [edge] => Some(flow.edge(edge).from).filter(|&from| flow.succs(from).len() == 1),
            _ => None,
        }
    }

    /// The innermost loop that holds `block`.
    pub fn innermost(&self, block: Block) -> Option<LoopId> {
        self.innermost[block].expand()
    }

    /// The loop whose header is `block`.
    pub fn loop_of_header(&self, block: Block) -> Option<LoopId> {
        self.innermost(block).filter(|&l| self.header(l) == block)
    }

    /// Whether `block` is in `l` or in a loop nested in it. O(1).
    pub fn contains(&self, l: LoopId, block: Block) -> bool {
        self.innermost(block)
            .is_some_and(|inner| self.encloses(l, inner))
    }

    /// Whether `inner` is `outer` or nested in it. O(1).
    pub fn encloses(&self, outer: LoopId, inner: LoopId) -> bool {
        let outer = &self.loops[outer];
        (outer.pre..outer.pre_end).contains(&self.loops[inner].pre)
    }

    /// The loops around `block`, innermost first.
    pub fn around(&self, block: Block) -> impl Iterator<Item = LoopId> + '_ {
        std::iter::successors(self.innermost(block), |&l| self.parent(l))
    }

    /// The cycles that are not natural loops, in reverse postorder of their first block.
    pub fn irreducible(&self) -> &[IrreducibleCycle] {
        &self.irreducible
    }
}

/// One loop for each block that dominates one of its predecessors, in reverse postorder.
fn find_headers(flow: &Flow) -> PrimaryMap<LoopId, LoopData> {
    let mut loops = PrimaryMap::new();
    for &header in flow.rpo() {
        let mut back_edges = Vec::new();
        let mut latches = Vec::new();
        for &edge in flow.preds(header) {
            let from = flow.edge(edge).from;
            if flow.dominates(header, from) {
                back_edges.push(edge);
                // The edges of one block are neighbours in `preds`.
                if latches.last() != Some(&from) {
                    latches.push(from);
                }
            }
        }
        if !back_edges.is_empty() {
            loops.push(LoopData {
                header,
                parent: None.into(),
                children: Vec::new(),
                depth: 0,
                height: 1,
                latches,
                back_edges,
                pre: 0,
                pre_end: 0,
                members: 0..0,
            });
        }
    }
    loops
}

/// Walk back from the latches of each loop, inner loops first, and set innermost loops and parents.
fn assign_blocks(
    flow: &Flow,
    loops: &mut PrimaryMap<LoopId, LoopData>,
    innermost: &mut SecondaryMap<Block, PackedOption<LoopId>>,
) {
    // `top` leads from a loop towards the outermost loop around it that has been found so far.
    let mut top: SecondaryMap<LoopId, PackedOption<LoopId>> = SecondaryMap::new();
    let mut work = Vec::new();
    for l in loops.keys().rev() {
        innermost[loops[l].header] = l.into();
        work.extend_from_slice(&loops[l].latches);
        while let Some(block) = work.pop() {
            let entered = match innermost[block].expand() {
                None => {
                    innermost[block] = l.into();
                    block
                }
                Some(inner) => {
                    let inner = outermost(&mut top, inner);
                    if inner == l {
                        continue;
                    }
                    loops[inner].parent = l.into();
                    top[inner] = l.into();
                    loops[inner].header
                }
            };
            work.extend(flow.preds(entered).iter().map(|&e| flow.edge(e).from));
        }
    }
}

/// Follow `top` to its end, halving the path.
fn outermost(top: &mut SecondaryMap<LoopId, PackedOption<LoopId>>, mut l: LoopId) -> LoopId {
    while let Some(up) = top[l].expand() {
        if let Some(up_twice) = top[up].expand() {
            top[l] = up_twice.into();
        }
        l = up;
    }
    l
}

/// Fill in children, depths, heights and preorder intervals from the parents.
fn link_forest(loops: &mut PrimaryMap<LoopId, LoopData>) {
    // Subtree sizes, in `pre_end` for now; parents have smaller numbers.
    for l in loops.keys().rev() {
        loops[l].pre_end += 1;
        if let Some(parent) = loops[l].parent.expand() {
            loops[parent].pre_end += loops[l].pre_end;
            loops[parent].height = loops[parent].height.max(loops[l].height + 1);
        }
    }
    let mut next_root = 0;
    let mut next_child: SecondaryMap<LoopId, u32> = SecondaryMap::new();
    for l in loops.keys() {
        let size = loops[l].pre_end;
        let pre = match loops[l].parent.expand() {
            Some(parent) => {
                loops[l].depth = loops[parent].depth + 1;
                loops[parent].children.push(l);
                let pre = next_child[parent];
                next_child[parent] += size;
                pre
            }
            None => {
                loops[l].depth = 1;
                next_root += size;
                next_root - size
            }
        };
        loops[l].pre = pre;
        loops[l].pre_end = pre + size;
        next_child[l] = pre + 1;
    }
}

/// Group the blocks by forest preorder, so that the blocks of each loop are one slice.
fn group_members(
    flow: &Flow,
    loops: &mut PrimaryMap<LoopId, LoopData>,
    innermost: &SecondaryMap<Block, PackedOption<LoopId>>,
) -> Vec<(u32, Block)> {
    let mut start = vec![0usize; loops.len() + 1];
    let in_loops = || {
        (0u32..)
            .zip(flow.rpo())
            .filter_map(|(number, &block)| Some((innermost[block].expand()?, (number, block))))
    };
    for (l, _) in in_loops() {
        start[loops[l].pre as usize + 1] += 1;
    }
    for pre in 1..start.len() {
        start[pre] += start[pre - 1];
    }
    for l in loops.keys() {
        loops[l].members = start[loops[l].pre as usize]..start[loops[l].pre_end as usize];
    }
    let mut members = vec![(0, flow.entry()); start[loops.len()]];
    for (l, member) in in_loops() {
        let next = &mut start[loops[l].pre as usize];
        members[*next] = member;
        *next += 1;
    }
    members
}

#[cfg(test)]
mod tests;
