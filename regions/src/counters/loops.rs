//! Counting loops only.
//!
//! # Purpose
//! Whether a loop is worth compiling shows in how often its header runs and how often the loop is entered. Where nobody
//! asks which of its blocks are cold, counters in them are not worth what they cost.
//!
//! # Model
//! A block runs as often per execution of the innermost counted header around it as [`estimate`] says; a block
//! outside of all counted loops, per entry of the function. Edges share their source's count likewise, but for those
//! that enter a counted loop, which are counted, and its back edges, which share the rest of the header's count.
//!
//! # Not here
//! Exact counts (`reconstruct`).

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function};

use super::{Counting, Known, Measured, Placement, Site};
use crate::flow::{Flow, FlowEdge};
use crate::frequency::estimate;
use crate::loops::LoopForest;
use crate::profile::FunctionProfile;

/// A site on each edge that enters a loop whose header is counted.
pub(super) fn place(flow: &Flow, known: &Known) -> Placement {
    let mut headers = Vec::new();
    let mut sites = Vec::new();
    for &block in flow.rpo() {
        if !known.block_counted.contains(block) {
            continue;
        }
        let (back, entering) = arrivals(flow, block);
        if !back.is_empty() {
            headers.push(block);
            sites.extend(entering.into_iter().map(Site::Edge));
        }
    }
    Placement {
        sites,
        mode: Counting::Loops,
        arcs: Vec::new(),
        nodes: 0,
        headers,
    }
}

/// The back edges to a block and the other edges to it.
fn arrivals(flow: &Flow, block: Block) -> (Vec<FlowEdge>, Vec<FlowEdge>) {
    let preds = flow.preds(block).iter().copied();
    preds.partition(|&edge| flow.dominates(block, flow.edge(edge).from))
}

/// A profile from the counts of headers and of entries into their loops.
pub(super) fn reconstruct(
    func: &Function,
    flow: &Flow,
    placement: &Placement,
    measured: &Measured,
) -> FunctionProfile {
    let loops = LoopForest::compute(func, flow);
    let frequencies = estimate(func, flow, &loops);
    let entries = measured.blocks[flow.entry()];
    let mut counted: SecondaryMap<Block, bool> = SecondaryMap::new();
    for &header in &placement.headers {
        counted[header] = true;
    }
    let mut profile = FunctionProfile::new();
    profile.set_entries(entries).set_exact(false);
    for &block in flow.rpo() {
        let headers = loops.around(block).map(|l| loops.header(l));
        let anchor = headers.into_iter().find(|&header| counted[header]);
        let (count, often) = match anchor {
            Some(header) => (measured.blocks[header], frequencies.block(header)),
            None => (entries, 1.0),
        };
        let per_count = |frequency: f64| scaled(count, frequency, often);
        profile.set_block(block, per_count(frequencies.block(block)));
        for edge in flow.succs(block) {
            profile.set_edge(edge, per_count(frequencies.edge(edge)));
        }
    }
    let mut site_counts = measured.sites.iter().copied();
    for &header in &placement.headers {
        let (back, entering) = arrivals(flow, header);
        let mut entered = 0_u64;
        for edge in entering {
            let count = site_counts.next().unwrap_or(0);
            profile.set_edge(edge, count);
            entered = entered.saturating_add(count);
        }
        let again = measured.blocks[header].saturating_sub(entered);
        let all: f64 = back.iter().map(|&edge| frequencies.edge(edge)).sum();
        for edge in back {
            profile.set_edge(edge, scaled(again, frequencies.edge(edge), all));
        }
    }
    profile
}

/// `count × part ÷ whole`; `as` saturates.
fn scaled(count: u64, part: f64, whole: f64) -> u64 {
    if whole > 0.0 {
        (count as f64 * part / whole).round() as u64
    } else {
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequency::estimate;
    use crate::testing::{self, parse};

    const NEST: &str = "function %nest(i32) {
        block0(v0: i32):
            brif v0, block1, block5
        block1:
            jump block2
        block2:
            brif v0, block2, block3
        block3:
            brif v0, block1, block4
        block4:
            return
        block5:
            return
        }";

    fn placed(func: &Function) -> (Flow, LoopForest, Placement) {
        let flow = Flow::compute(func).unwrap();
        let loops = LoopForest::compute(func, &flow);
        let frequencies = estimate(func, &flow, &loops);
        let mut known = Known::default();
        known.block_counted.insert(flow.entry());
        for l in loops.loops() {
            known.block_counted.insert(loops.header(l));
        }
        let placement = super::super::place(func, &flow, &frequencies, &known, Counting::Loops);
        (flow, loops, placement)
    }

    #[test]
    fn entries_of_loops_are_all_that_is_counted() {
        let func = parse(NEST);
        let (flow, loops, placement) = placed(&func);
        let expected: Vec<Site> = loops
            .loops()
            .flat_map(|l| loops.entry_edges(l, &flow))
            .map(Site::Edge)
            .collect();
        assert_eq!(placement.sites, expected);
        assert_eq!(placement.sites.len(), 2);
    }

    #[test]
    fn trips_are_what_was_counted() {
        let func = parse(NEST);
        let (flow, loops, placement) = placed(&func);
        let [b0, b1, b2, b3] = [0, 1, 2, 3].map(Block::from_u32);
        let mut measured = Measured {
            sites: vec![4, 100],
            ..Measured::default()
        };
        measured.blocks[b0] = 4;
        measured.blocks[b1] = 100;
        measured.blocks[b2] = 5_000;
        let profile = super::super::reconstruct(&func, &flow, &placement, &measured);
        assert!(!profile.is_exact());
        assert_eq!(profile.entries(), 4);
        assert_eq!([b1, b2, b3].map(|b| profile.block(b)), [100, 5_000, 100]);
        let entered = |l| profile.edge(loops.entry_edges(l, &flow)[0]);
        let again = |l| profile.edge(loops.back_edges(l)[0]);
        let found: Vec<_> = loops.loops().map(|l| (entered(l), again(l))).collect();
        assert_eq!(found, [(4, 96), (100, 4_900)]);
    }

    #[test]
    fn whatever_was_measured_gives_a_profile() {
        for seed in 1..60 {
            let func = testing::random_cfg(seed, 20);
            let (flow, _, placement) = placed(&func);
            let mut measured = Measured::default();
            for &block in flow.rpo() {
                measured.blocks[block] = u64::MAX >> (seed % 50);
            }
            let profile = super::super::reconstruct(&func, &flow, &placement, &measured);
            assert_eq!(profile.entries(), measured.blocks[flow.entry()]);
        }
    }
}
