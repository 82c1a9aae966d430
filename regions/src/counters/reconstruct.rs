//! From the counters that were placed to all counts.
//!
//! # Phases
//! 1. Give each measured arc its count, and each node its *balance*: what is known to come in minus what is known
//!    to go out.
//! 2. Peel: a node with one unknown arc determines it. Its other end may then become such a node. As the unknown
//!    arcs form a forest, this determines all of them.
//! 3. Clamp negative counts, and note whether there were any, or a node at which flow is not conserved.
//!
//! # Invariants
//! *one unknown*: for each node, `unknown` is the exclusive or of the numbers of its undetermined arcs, so a node
//! of degree one holds the number itself. No adjacency lists are needed.
//!
//! # Not here
//! Reading counters out of memory.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function};

use super::{Arc, Counting, Placement, Source, What, loops};
use crate::flow::Flow;
use crate::profile::FunctionProfile;

/// Counts that were read.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// One count for each of [`Placement::sites`].
    pub sites: Vec<u64>,
    /// Counts of [`Known::block_counted`](super::Known::block_counted).
    pub blocks: SecondaryMap<Block, u64>,
    /// One count for each of [`Known::transfers`](super::Known::transfers).
    pub transfers: Vec<u64>,
}

#[derive(Clone, Copy, Default)]
struct Node {
    balance: i128,
    unknown: u32,
    degree: u32,
}

/// Compute all block and edge counts by flow conservation.
///
/// Counts that are missing from `measured` are taken as 0 and make the result inexact, as do negative counts
/// (clamped at 0) and measurements that contradict each other.
///
/// # Requires
/// `flow` and `placement` belong to `func`.
///
/// # Complexity
/// O(blocks + edges), in 128-bit integers so that no intermediate sum overflows; no recursion.
///
/// # Reference
/// T. Ball, J. R. Larus, "Optimally profiling and tracing programs", TOPLAS 16(4), 1994, section 3.3 (there
/// recursive).
pub fn reconstruct(
    func: &Function,
    flow: &Flow,
    placement: &Placement,
    measured: &Measured,
) -> FunctionProfile {
    if placement.mode == Counting::Loops {
        return loops::reconstruct(func, flow, placement, measured);
    }
    let arcs = &placement.arcs;
    let mut exact = true;
    let mut counts = vec![0i128; arcs.len()];
    let mut nodes = vec![Node::default(); placement.nodes as usize];
    for (number, arc) in (0u32..).zip(arcs) {
        match measurement(arc, measured) {
            Count::Unknown => {
                for end in [arc.from, arc.to] {
                    nodes[end as usize].unknown ^= number;
                    nodes[end as usize].degree += 1;
                }
            }
            Count::Is(count) => {
                settle(&mut nodes, &mut counts, arcs, number, i128::from(count));
            }
            Count::Missing => exact = false,
        }
    }
    peel(&mut nodes, &mut counts, arcs);
    exact &= nodes.iter().all(|node| node.balance == 0);
    exact &= counts.iter().all(|&count| count >= 0);
    tabulate(flow, arcs, &counts, exact)
}

enum Count {
    Unknown,
    Is(u64),
    Missing,
}

/// The measured count of an arc.
fn measurement(arc: &Arc, measured: &Measured) -> Count {
    let count = match (arc.source, arc.what) {
        (Source::Tree, _) => return Count::Unknown,
        (Source::Site(site), _) => measured.sites.get(site as usize).copied(),
        (Source::Known, What::Block(block)) => Some(measured.blocks[block]),
        (Source::Known, What::Transfer(index)) => measured.transfers.get(index as usize).copied(),
        // Only blocks and transfers are ever known.
        (Source::Known, What::Edge(_) | What::Leave(_) | What::Enter) => None,
    };
    count.map_or(Count::Missing, Count::Is)
}

/// Give an arc its count and tell its ends.
fn settle(nodes: &mut [Node], counts: &mut [i128], arcs: &[Arc], number: u32, count: i128) {
    let arc = &arcs[number as usize];
    counts[number as usize] = count;
    nodes[arc.from as usize].balance -= count;
    nodes[arc.to as usize].balance += count;
}

/// Determine the unknown arcs from the leaves of their forest inwards.
fn peel(nodes: &mut [Node], counts: &mut [i128], arcs: &[Arc]) {
    let mut leaves: Vec<u32> = (0u32..)
        .zip(nodes.iter())
        .filter(|(_, node)| node.degree == 1)
        .map(|(number, _)| number)
        .collect();
    while let Some(leaf) = leaves.pop() {
        let Node {
            balance,
            unknown,
            degree,
        } = nodes[leaf as usize];
        // The last arc of a tree makes both its ends leaves; the second has nothing left to do.
        if degree != 1 {
            continue;
        }
        let arc = &arcs[unknown as usize];
        let outgoing = arc.from == leaf;
        settle(
            nodes,
            counts,
            arcs,
            unknown,
            if outgoing { balance } else { -balance },
        );
        for end in [arc.from, arc.to] {
            let node = &mut nodes[end as usize];
            node.unknown ^= unknown;
            node.degree -= 1;
            if node.degree == 1 {
                leaves.push(end);
            }
        }
    }
}

/// Write the counts of blocks and edges into a profile.
fn tabulate(flow: &Flow, arcs: &[Arc], counts: &[i128], exact: bool) -> FunctionProfile {
    let mut profile = FunctionProfile::new();
    profile.set_exact(exact);
    if let Some(&last) = flow.rpo().last() {
        // One allocation instead of many.
        profile.set_block(last, 0);
    }
    for (arc, &count) in arcs.iter().zip(counts) {
        let count = u64::try_from(count.max(0)).unwrap_or(u64::MAX);
        match arc.what {
            What::Block(block) => profile.set_block(block, count),
            What::Edge(edge) => profile.set_edge(edge, count),
            What::Enter => profile.set_entries(count),
            What::Leave(_) | What::Transfer(_) => &mut profile,
        };
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Counting, Known, Site, Transfer, place};
    use crate::frequency::estimate;
    use crate::loops::LoopForest;
    use crate::testing::{self, XorShift};

    /// Counts everything that a few random walks through a function do.
    struct Walker<'a> {
        flow: &'a Flow,
        known: &'a Known,
        truth: FunctionProfile,
        transfers: Vec<u64>,
    }

    impl Walker<'_> {
        /// Walk from the entry; keep the counts if the walk comes to an end.
        fn walk(&mut self, rng: &mut XorShift) {
            let (truth, transfers) = (self.truth.clone(), self.transfers.clone());
            let mut block = self.flow.entry();
            self.truth.set_entries(truth.entries() + 1);
            for _ in 0..400 {
                self.truth.set_block(block, self.truth.block(block) + 1);
                let all = self.known.transfers.iter().enumerate();
                let here: Vec<_> = all.filter(|(_, t)| t.from == block).collect();
                if !here.is_empty() && rng.below(3) == 0 {
                    let (index, transfer) = here[rng.below(here.len())];
                    self.transfers[index] += 1;
                    match transfer.to {
                        Some(to) => block = to,
                        None => return,
                    }
                    continue;
                }
                let succs: Vec<_> = self.flow.succs(block).collect();
                if succs.is_empty() {
                    return;
                }
                let edge = succs[rng.below(succs.len())];
                self.truth.set_edge(edge, self.truth.edge(edge) + 1);
                block = self.flow.edge(edge).to;
            }
            (self.truth, self.transfers) = (truth, transfers);
        }

        fn measured(&self, placement: &Placement) -> Measured {
            let site = |site: &Site| match *site {
                Site::Block(block) => self.truth.block(block),
                Site::Edge(edge) | Site::Table(edge) => self.truth.edge(edge),
            };
            let mut blocks = SecondaryMap::new();
            for block in self.known.block_counted.keys() {
                blocks[block] = self.truth.block(block);
            }
            Measured {
                sites: placement.sites.iter().map(site).collect(),
                blocks,
                transfers: self.transfers.clone(),
            }
        }
    }

    /// Hook about half of the loops, as tier 0 would.
    fn random_known(flow: &Flow, loops: &LoopForest, rng: &mut XorShift) -> Known {
        let mut known = Known::default();
        if rng.below(3) == 0 {
            known.block_counted.insert(flow.entry());
        }
        for l in loops.loops() {
            if rng.below(2) == 0 {
                let from = loops.header(l);
                known.block_counted.insert(from);
                let mut to: Vec<_> = loops
                    .exits(l, flow)
                    .iter()
                    .map(|&e| Some(flow.edge(e).to))
                    .collect();
                to.push(None);
                to.dedup();
                known
                    .transfers
                    .extend(to.into_iter().map(|to| Transfer { from, to }));
            }
        }
        known
    }

    fn check(seed: u64, blocks: usize, each: impl Fn(&Function, &Flow, &Placement, &Walker)) {
        let mut rng = XorShift::new(seed);
        let func = testing::random_cfg(seed, blocks);
        let flow = Flow::compute(&func).unwrap();
        let loops = LoopForest::compute(&func, &flow);
        let frequencies = estimate(&func, &flow, &loops);
        let known = random_known(&flow, &loops, &mut rng);
        let mut walker = Walker {
            flow: &flow,
            known: &known,
            truth: FunctionProfile::new(),
            transfers: vec![0; known.transfers.len()],
        };
        for _ in 0..20 {
            walker.walk(&mut rng);
        }
        for mode in [Counting::SpanningTree, Counting::EveryBlock] {
            let placement = place(&func, &flow, &frequencies, &known, mode);
            each(&func, &flow, &placement, &walker);
        }
    }

    #[test]
    fn reconstruction_finds_what_walks_did() {
        for seed in 1..400 {
            check(
                seed,
                3 + seed as usize % 25,
                |func, flow, placement, walker| {
                    let measured = walker.measured(placement);
                    let profile = reconstruct(func, flow, placement, &measured);
                    assert!(profile.is_exact(), "seed {seed}");
                    assert_eq!(profile, walker.truth, "seed {seed}, {:?}", placement.mode());
                },
            );
        }
    }

    /// Sabotage: the two modes must disagree when any one counter is wrong, or comparing them proves nothing.
    #[test]
    fn one_miscounted_site_shows() {
        for seed in 1..60 {
            check(seed, 12, |func, flow, placement, walker| {
                let right = walker.measured(placement);
                for site in 0..placement.sites.len() {
                    let mut wrong = right.clone();
                    wrong.sites[site] += 1;
                    let profile = reconstruct(func, flow, placement, &wrong);
                    assert_ne!(profile, walker.truth, "seed {seed}, site {site}");
                }
            });
        }
    }

    #[test]
    fn missing_and_absurd_measurements_are_survived() {
        for seed in 1..40 {
            check(seed, 12, |func, flow, placement, walker| {
                let profile = reconstruct(func, flow, placement, &Measured::default());
                assert!(placement.sites.is_empty() || !profile.is_exact());
                let mut absurd = walker.measured(placement);
                absurd.sites.fill(u64::MAX);
                let _ = reconstruct(func, flow, placement, &absurd);
            });
        }
    }
}
