//! Where to count, so that few increments give all counts.
//!
//! # Purpose
//! A counter in every block is simple and slow. Flow is conserved: what enters a block leaves it. So it is enough
//! to count the edges that a spanning tree of the control-flow graph leaves out, and with a *maximum* spanning
//! tree by expected frequency these are the rarely executed ones.
//!
//! # Notation
//! The *counter graph* has two nodes in(B), out(B) for each reachable block and one node EXIT. Its *arcs* are
//!
//! ```text
//!   block      in(B)  -> out(B)      counts executions of B
//!   edge       out(A) -> in(B)       counts one CFG edge
//!   leave      out(B) -> EXIT        if B has no successors
//!   transfer   out(H) -> in(T)|EXIT  tier 0 gave a loop to a region, which came back at T (or returned)
//!   enter      EXIT   -> in(entry)   counts entries of the function
//! ```
//!
//! At every node, what comes in equals what goes out. Arcs that the caller measures anyway ([`Known`]) stay out of
//! the tree. Of the others, those in the tree are computed and the rest, the *chords*, become counter [`Site`]s.
//!
//! # Phases
//! graph → tables → maximum spanning forest (Kruskal) → sites; later [`reconstruct`] peels the leaves of the forest.
//!
//! A `br_table` with many destinations is counted as a *table*: one increment before it, at an index, instead of one
//! at each destination. It runs as often, and the code for it is as long as for two counters; none of its edges is in
//! the forest then.
//!
//! # Invariants
//! * *determined*: every arc is known, a site, or in the forest.
//! * *entry is free*: the enter arc is always in the forest, so nothing is counted outside of blocks and edges.
//!
//! # Limitations
//! Flow is lost where control leaves a block in the middle (a trap, an exception out of a plain call, a call that
//! does not return) and while the function runs. The counts are then off by as much, and
//! [`is_exact`](crate::profile::FunctionProfile::is_exact) is false where that shows.
//!
//! # Not here
//! The counting code, and what a counter looks like in memory.

mod loops;
mod reconstruct;

use cranelift_codegen::entity::{EntitySet, SecondaryMap};
use cranelift_codegen::ir::{Block, Function, Opcode};
use std::cmp::Reverse;

use crate::flow::{Flow, FlowEdge};
use crate::frequency::Frequencies;

pub use reconstruct::{Measured, reconstruct};

/// A counter on a critical edge needs a block of its own and a jump beside the increment.
const SPLIT_COST: f64 = 1.5;

/// A `br_table` with this many destinations, the default included, is counted as a table.
const TABLE_MIN: usize = 8;

/// Where one counter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    /// Anywhere in the block: it counts the block's executions.
    Block(Block),
    /// On the edge.
    Edge(FlowEdge),
    /// An element of an array of counters that is indexed like the `br_table` which the edge belongs to.
    ///
    /// All edges of one `br_table` are such sites or none is. They follow each other: the entries of the table,
    /// and then the default.
    Table(FlowEdge),
}

/// How to choose the sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Counting {
    /// As few increments as possible.
    #[default]
    SpanningTree,
    /// A counter in every block, and on those edges that block counts do not determine. To check the other mode.
    EveryBlock,
    /// Only how often the loops are entered whose headers are counted anyway. What else runs how often is estimated from
    /// that, and [`is_exact`](crate::profile::FunctionProfile::is_exact) is false: for whoever asks about loops only.
    Loops,
}

/// Control that goes from tier 0 to a region and comes back elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// The loop header at which the region is entered.
    pub from: Block,
    /// The exit target at which tier 0 goes on; `None` if the function returns.
    pub to: Option<Block>,
}

/// What the caller counts for reasons of its own.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Blocks whose executions are counted: headers with a hook, maybe the entry.
    pub block_counted: EntitySet<Block>,
    /// Transfers, each counted.
    pub transfers: Vec<Transfer>,
}

/// The counters of one function, and how the other counts follow from them.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Where the counters go. [`Measured::sites`] is parallel to it.
    pub sites: Vec<Site>,
    mode: Counting,
    arcs: Vec<Arc>,
    nodes: u32,
    /// With [`Counting::Loops`], the headers that are counted.
    headers: Vec<Block>,
}

impl Placement {
    /// The mode it was made in.
    pub fn mode(&self) -> Counting {
        self.mode
    }

    /// The number of edges that have to be split to hold a counter.
    pub fn split_edges(&self, flow: &Flow) -> usize {
        self.sites
            .iter()
            .filter(|site| matches!(site, Site::Edge(edge) if flow.is_critical(*edge)))
            .count()
    }

    /// The increments expected per entry of the function.
    pub fn expected_increments(&self, frequencies: &Frequencies) -> f64 {
        self.sites
            .iter()
            .map(|site| match *site {
                Site::Block(block) => frequencies.block(block),
                Site::Edge(edge) | Site::Table(edge) => frequencies.edge(edge),
            })
            .sum()
    }
}

/// What an arc of the counter graph stands for.
#[derive(Clone, Copy, Debug)]
enum What {
    Block(Block),
    Edge(FlowEdge),
    Leave(Block),
    Transfer(u32),
    Enter,
}

/// How the count of an arc is come by.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Computed from its neighbours.
    Tree,
    /// Counted at this site.
    Site(u32),
    /// Counted by the caller.
    Known,
}

#[derive(Clone, Copy, Debug)]
struct Arc {
    from: u32,
    to: u32,
    what: What,
    source: Source,
}

/// Choose where to count.
///
/// # Requires
/// Each transfer starts at a block that has successors (a loop header has); others are ignored, as are transfers
/// from or to unreachable blocks.
///
/// # Ensures
/// With exact measurements, [`reconstruct`] gives the count of every reachable block and edge, but in [`Counting::Loops`].
/// Tables apart, no other choice of arcs in the same graph has a smaller sum of expected frequencies (with critical edges at 1.5 times
/// theirs).
///
/// # Complexity
/// O(edges × log edges).
///
/// # Reference
/// D. E. Knuth, F. R. Stevenson, "Optimal measurement points for program frequency counts", BIT 13, 1973;
/// T. Ball, J. R. Larus, "Optimally profiling and tracing programs", TOPLAS 16(4), 1994, section 3.
pub fn place(
    func: &Function,
    flow: &Flow,
    frequencies: &Frequencies,
    known: &Known,
    mode: Counting,
) -> Placement {
    if mode == Counting::Loops {
        return loops::place(flow, known);
    }
    let mut arcs = counter_graph(flow, known);
    let mut sites = Vec::new();
    if mode == Counting::SpanningTree {
        count_tables(func, flow, &mut arcs, &mut sites);
    }
    let nodes = 2 * flow.rpo().len() as u32 + 1;
    let in_tree = spanning_forest(flow, frequencies, &arcs, nodes, mode);
    let mut transfer_ends: SecondaryMap<Block, TransferEnds> = SecondaryMap::new();
    for transfer in &known.transfers {
        transfer_ends[transfer.from].starts = true;
        if let Some(to) = transfer.to {
            transfer_ends[to].arrives = true;
        }
    }
    for (arc, in_tree) in arcs.iter_mut().zip(in_tree) {
        if !in_tree
            && matches!(arc.source, Source::Tree)
            && let Some(site) = site(flow, &transfer_ends, arc.what)
        {
            arc.source = Source::Site(sites.len() as u32);
            sites.push(site);
        }
    }
    Placement {
        sites,
        mode,
        arcs,
        nodes,
        headers: vec![],
    }
}

/// The arcs in reverse postorder of their blocks; [`Source::Tree`] stands for "not decided".
fn counter_graph(flow: &Flow, known: &Known) -> Vec<Arc> {
    let exit = 2 * flow.rpo().len() as u32;
    let node_in = |block| flow.rpo_number(block).map(|number| 2 * number);
    let node_out = |block| flow.rpo_number(block).map(|number| 2 * number + 1);
    let undecided = |from, to, what| Arc {
        from,
        to,
        what,
        source: Source::Tree,
    };
    let mut arcs = Vec::with_capacity(3 * flow.rpo().len() + flow.edge_count());
    arcs.push(undecided(exit, 0, What::Enter));
    for (number, &block) in (0..).zip(flow.rpo()) {
        let [before, after] = [2 * number, 2 * number + 1];
        arcs.push(undecided(before, after, What::Block(block)));
        if known.block_counted.contains(block)
            && let Some(arc) = arcs.last_mut()
        {
            arc.source = Source::Known;
        }
        if flow.succs(block).len() == 0 {
            arcs.push(undecided(after, exit, What::Leave(block)));
        }
        for edge in flow.succs(block) {
            if let Some(to) = node_in(flow.edge(edge).to) {
                arcs.push(undecided(after, to, What::Edge(edge)));
            }
        }
    }
    for (index, transfer) in (0..).zip(&known.transfers) {
        let to = transfer.to.map_or(Some(exit), node_in);
        if let (Some(from), Some(to)) = (node_out(transfer.from), to)
            && flow.succs(transfer.from).len() > 0
        {
            arcs.push(Arc {
                source: Source::Known,
                ..undecided(from, to, What::Transfer(index))
            });
        }
    }
    arcs
}

/// Take the edges of large `br_table`s out of the choice, as sites.
fn count_tables(func: &Function, flow: &Flow, arcs: &mut [Arc], sites: &mut Vec<Site>) {
    let mut first = 0;
    while first < arcs.len() {
        let What::Edge(number) = arcs[first].what else {
            first += 1;
            continue;
        };
        // The arcs of a block's edges follow each other, the default of a table first.
        let edge = flow.edge(number);
        let edges = flow.succs(edge.from).len();
        if edges >= TABLE_MIN && func.dfg.insts[edge.inst].opcode() == Opcode::BrTable {
            let base = sites.len() as u32;
            let last = base + edges as u32 - 1;
            let table = &mut arcs[first..first + edges];
            for (position, arc) in (base..).zip(table.iter_mut()) {
                arc.source =
                    Source::Site(position.checked_sub(base + 1).map_or(last, |n| base + n));
            }
            let (default, entries) = (number, flow.succs(edge.from).skip(1));
            sites.extend(entries.chain([default]).map(Site::Table));
        }
        first += edges;
    }
}

/// For each arc, whether it is in the maximum spanning forest of the arcs that may be in it.
///
/// Kruskal's algorithm; arc numbers break ties, so that equal inputs give equal placements.
fn spanning_forest(
    flow: &Flow,
    frequencies: &Frequencies,
    arcs: &[Arc],
    nodes: u32,
    mode: Counting,
) -> Vec<bool> {
    let mut candidates: Vec<(Reverse<u64>, u32)> = Vec::with_capacity(arcs.len());
    for (number, arc) in (0..).zip(arcs) {
        let weight = match (arc.source, arc.what) {
            (Source::Known | Source::Site(_), _) => continue,
            (_, What::Block(_)) if mode == Counting::EveryBlock => continue,
            (_, What::Enter | What::Transfer(_)) => f64::INFINITY,
            (_, What::Block(block) | What::Leave(block)) => frequencies.block(block),
            (_, What::Edge(edge)) if flow.is_critical(edge) => {
                // Zero frequencies still prefer blocks.
                (frequencies.edge(edge) + f64::MIN_POSITIVE) * SPLIT_COST
            }
            (_, What::Edge(edge)) => frequencies.edge(edge),
        };
        // Weights are not negative: their bits are in the same order as they.
        candidates.push((Reverse(f64::to_bits(weight)), number));
    }
    candidates.sort_unstable();
    let mut in_tree = vec![false; arcs.len()];
    let mut trees = Trees::new(nodes);
    for (_, number) in candidates {
        let arc = arcs[number as usize];
        in_tree[number as usize] = trees.join(arc.from, arc.to);
    }
    in_tree
}

/// Disjoint sets of nodes, as forests of parents with path halving.
struct Trees(Vec<u32>);

impl Trees {
    fn new(nodes: u32) -> Self {
        Self((0..nodes).collect())
    }

    /// Makes one set of those of `a` and `b`; false if they were one before.
    fn join(&mut self, a: u32, b: u32) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a as usize] = b;
        a != b
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.0[node as usize] != node {
            let up = self.0[self.0[node as usize] as usize];
            self.0[node as usize] = up;
            node = up;
        }
        node
    }
}

/// Whether transfers start or arrive at a block.
#[derive(Clone, Copy, Default)]
struct TransferEnds {
    starts: bool,
    arrives: bool,
}

/// Where to count a chord. Block counts are preferred: they need no split.
fn site(flow: &Flow, transfers: &SecondaryMap<Block, TransferEnds>, chord: What) -> Option<Site> {
    match chord {
        What::Block(block) | What::Leave(block) => Some(Site::Block(block)),
        What::Edge(number) => {
            let edge = flow.edge(number);
            if flow.succs(edge.from).len() == 1 && !transfers[edge.from].starts {
                Some(Site::Block(edge.from))
            } else if flow.preds(edge.to).len() == 1
                && edge.to != flow.entry()
                && !transfers[edge.to].arrives
            {
                Some(Site::Block(edge.to))
            } else {
                Some(Site::Edge(number))
            }
        }
        // Never chords: transfers are known, and the enter arc has infinite weight.
        What::Transfer(_) | What::Enter => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequency::estimate;
    use crate::loops::LoopForest;
    use crate::testing::{self, parse};

    fn placed(func: &Function, known: &Known, mode: Counting) -> (Flow, Frequencies, Placement) {
        let flow = Flow::compute(func).unwrap();
        let loops = LoopForest::compute(func, &flow);
        let frequencies = estimate(func, &flow, &loops);
        let placement = place(func, &flow, &frequencies, known, mode);
        (flow, frequencies, placement)
    }

    const DIAMOND: &str = "function %f(i32) {
        block0(v0: i32):
            brif v0, block1, block2
        block1:
            jump block3
        block2:
            jump block3
        block3:
            return
        }";

    #[test]
    fn a_diamond_needs_two_counters() {
        let func = parse(DIAMOND);
        let (_, _, placement) = placed(&func, &Known::default(), Counting::SpanningTree);
        assert_eq!(placement.sites.len(), 2);
        let arms = [1, 2].map(Block::from_u32).map(Site::Block);
        assert!(placement.sites.iter().any(|s| arms.contains(s)));
        let (_, _, every) = placed(&func, &Known::default(), Counting::EveryBlock);
        assert_eq!(every.sites.len(), 4);
    }

    #[test]
    fn what_is_known_is_not_counted_again() {
        let func = parse(DIAMOND);
        let mut known = Known::default();
        known.block_counted.insert(Block::from_u32(0));
        let (_, _, placement) = placed(&func, &known, Counting::SpanningTree);
        assert_eq!(placement.sites.len(), 1);
    }

    #[test]
    fn a_large_table_is_counted_by_its_index() {
        let entries = [
            "block1", "block2", "block1", "block3", "block2", "block1", "block3",
        ];
        let clif = format!(
            "function %f(i32) {{
            block0(v0: i32):
                br_table v0, block3, [{}]
            block1:
                jump block3
            block2:
                return
            block3:
                return
            }}",
            entries.join(", ")
        );
        let (flow, _, placement) = placed(&parse(&clif), &Known::default(), Counting::SpanningTree);
        let targets = placement.sites.iter().map(|site| match *site {
            Site::Table(edge) => flow.edge(edge).to.to_string(),
            other => panic!("{other:?}"),
        });
        let expected = entries.iter().chain(["block3"].iter());
        assert!(targets.eq(expected.map(ToString::to_string)));
    }

    /// The cyclomatic number: arcs - nodes + components, all of one component.
    #[test]
    fn never_more_counters_than_chords() {
        for seed in 1..100 {
            let func = testing::random_cfg(seed, 15);
            let (flow, frequencies, tree) =
                placed(&func, &Known::default(), Counting::SpanningTree);
            let chords = tree.arcs.len() + 1 - tree.nodes as usize;
            match tree.sites.iter().any(|site| matches!(site, Site::Table(_))) {
                // All edges of a table are counted, though one would follow from the others.
                true => assert!(tree.sites.len() >= chords),
                false => assert_eq!(tree.sites.len(), chords),
            }
            let (_, _, every) = placed(&func, &Known::default(), Counting::EveryBlock);
            assert!(every.sites.len() >= flow.rpo().len());
            assert!(
                tree.expected_increments(&frequencies)
                    <= SPLIT_COST * every.expected_increments(&frequencies),
                "seed {seed}"
            );
            let mut unique = tree.sites.clone();
            unique.sort_by_key(|site| format!("{site:?}"));
            unique.dedup();
            assert_eq!(unique.len(), tree.sites.len(), "a site is used twice");
        }
    }
}
