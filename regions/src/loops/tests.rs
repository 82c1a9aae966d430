//! Loops against their definitions, against Cranelift's analysis, and at size.

use std::collections::HashSet;

use cranelift_codegen::loop_analysis::LoopAnalysis;

use super::*;
use crate::testing::{self, parse};

fn analysed(func: &Function) -> (Flow, LoopForest) {
    let flow = Flow::compute(func).unwrap();
    let loops = LoopForest::compute(func, &flow);
    (flow, loops)
}

/// The body of the natural loop at `header` by definition; empty if there is no back edge.
fn body(flow: &Flow, header: Block) -> HashSet<Block> {
    let latches: HashSet<Block> = flow
        .preds(header)
        .iter()
        .map(|&e| flow.edge(e).from)
        .filter(|&from| flow.dominates(header, from))
        .collect();
    let mut body: HashSet<Block> = flow
        .rpo()
        .iter()
        .copied()
        .filter(|&b| !testing::reachable(flow, b, |x| x != header).is_disjoint(&latches))
        .collect();
    if !latches.is_empty() {
        body.insert(header);
    }
    body
}

#[test]
fn loops_match_their_definition() {
    for seed in 1..150 {
        let func = testing::random_cfg(seed, 4 + seed as usize % 16);
        let (flow, loops) = analysed(&func);
        let all_exits = loops.exits_of_all(&flow);
        for &header in flow.rpo() {
            let body = body(&flow, header);
            let Some(l) = loops.loop_of_header(header) else {
                assert!(body.is_empty(), "seed {seed}: no loop at {header}");
                continue;
            };
            let blocks = loops.blocks(l);
            assert_eq!(blocks.iter().copied().collect::<HashSet<_>>(), body);
            assert_eq!(blocks.len(), loops.block_count(l));
            assert!(blocks.is_sorted_by_key(|&b| flow.rpo_number(b)));
            for block in func.layout.blocks() {
                assert_eq!(loops.contains(l, block), body.contains(&block));
            }
            // The parent is the smallest other loop that holds the header.
            let around = loops
                .loops()
                .filter(|&other| other != l && loops.contains(other, header))
                .min_by_key(|&other| loops.block_count(other));
            assert_eq!(loops.parent(l), around);
            assert!(around.is_none_or(|outer| outer < l && loops.children(outer).contains(&l)));
            assert_eq!(
                loops.depth(l),
                around.map_or(0, |outer| loops.depth(outer)) + 1
            );
            assert_eq!(loops.exits(l, &flow), all_exits[l]);
            for exit in loops.exits(l, &flow) {
                let edge = flow.edge(exit);
                assert!(body.contains(&edge.from) && !body.contains(&edge.to));
            }
            let back_edges = loops.back_edges(l).iter().map(|&e| flow.edge(e));
            assert!(back_edges.clone().all(|e| e.to == header));
            let sources: HashSet<Block> = back_edges.map(|e| e.from).collect();
            assert_eq!(sources.len(), loops.latches(l).len());
            assert!(loops.latches(l).iter().all(|b| sources.contains(b)));
        }
    }
}

#[test]
fn irreducible_cycles_match_their_definition() {
    let mut found = 0;
    for seed in 1..150 {
        let func = testing::random_cfg(seed, 12);
        let (flow, loops) = analysed(&func);
        // Reachability in one step or more, without back edges.
        let reach = |from: Block| {
            let mut seen = HashSet::new();
            let mut work = vec![from];
            while let Some(block) = work.pop() {
                for edge in flow.succs(block).map(|e| flow.edge(e)) {
                    if !flow.dominates(edge.to, edge.from) && seen.insert(edge.to) {
                        work.push(edge.to);
                    }
                }
            }
            seen
        };
        let reached: Vec<(Block, HashSet<Block>)> =
            flow.rpo().iter().map(|&b| (b, reach(b))).collect();
        let mut expected: Vec<Vec<Block>> = Vec::new();
        for (block, from_block) in &reached {
            let cycle: Vec<Block> = reached
                .iter()
                .filter(|(b, from_b)| from_block.contains(b) && from_b.contains(block))
                .map(|&(b, _)| b)
                .collect();
            if !cycle.is_empty() && !expected.contains(&cycle) {
                expected.push(cycle);
            }
        }
        let actual: Vec<Vec<Block>> = loops
            .irreducible()
            .iter()
            .map(|cycle| cycle.blocks.clone())
            .collect();
        assert_eq!(actual, expected, "seed {seed}");
        found += actual.len();
    }
    assert!(found > 20, "the generator makes too few irreducible cycles");
}

/// Cranelift's analysis agrees where every block is reachable.
#[test]
fn cranelift_finds_the_same_loops() {
    let mut compared = 0;
    for seed in 1..1500 {
        let func = testing::random_cfg(seed, 4 + seed as usize % 6);
        let (flow, loops) = analysed(&func);
        if flow.rpo().len() < func.layout.blocks().count() {
            continue;
        }
        let mut theirs = LoopAnalysis::new();
        theirs.compute(&func, flow.cfg(), flow.domtree());
        assert_eq!(theirs.loops().len(), loops.len());
        for block in func.layout.blocks() {
            let their_header = theirs.innermost_loop(block).map(|l| theirs.loop_header(l));
            let our_header = loops.innermost(block).map(|l| loops.header(l));
            assert_eq!(their_header, our_header, "seed {seed}");
            let depth = our_header.map_or(0, |h| loops.depth(loops.loop_of_header(h).unwrap()));
            assert_eq!(theirs.loop_level(block).level(), depth as usize);
        }
        compared += loops.len();
    }
    assert!(compared > 100);
}

#[test]
fn preheaders_have_one_way_on() {
    let func = parse(
        "function %f(i32) {
        block0(v0: i32):
            jump block1
        block1:
            brif v0, block1, block2
        block2:
            brif v0, block3, block4
        block3:
            brif v0, block3, block4
        block4:
            return
        }",
    );
    let (flow, loops) = analysed(&func);
    let preheaders: Vec<_> = loops.loops().map(|l| loops.preheader(l, &flow)).collect();
    assert_eq!(preheaders, [Some(Block::from_u32(0)), None]);
}

#[test]
fn a_nest_of_fifty_thousand_loops() {
    let depth = 50_000;
    let func = testing::deep_nest(depth);
    let (flow, loops) = analysed(&func);
    assert_eq!(loops.len(), depth);
    assert!(loops.irreducible().is_empty());
    let innermost = loops.loops().next_back().unwrap();
    assert_eq!(loops.depth(innermost), depth as u32);
    assert_eq!(loops.height(innermost), 1);
    assert_eq!(loops.block_count(innermost), 2);
    let outermost = loops.loops().next().unwrap();
    assert_eq!(loops.blocks(outermost).len(), 2 * depth);
    assert_eq!(loops.height(outermost), depth as u32);
    assert!(loops.encloses(outermost, innermost));
    let all_exits = loops.exits_of_all(&flow);
    assert!(loops.loops().all(|l| all_exits[l].len() == 1));
}
