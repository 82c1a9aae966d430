//! Random legal regions.
//!
//! Whatever a profile could say, and more: any subset of a loop may be hot, and any set of blocks with one
//! entry may be a scope.

use super::source::Source;
use cranelift_codegen::ir::{Block, Function};
use regraft_regions::{Flow, LoopForest, Region};
use std::collections::HashSet;

/// Draws a region of `func`, with whatever hot blocks; `None` where the draw was not legal.
pub fn random_region(
    source: &mut Source<'_>,
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
) -> Option<Region> {
    let ids: Vec<_> = loops.loops().collect();
    let (entry, scope) = match source.below(8) {
        0..=4 if !ids.is_empty() => {
            let id = source.pick(&ids);
            (loops.header(id), loops.blocks(id).to_vec())
        }
        0..=6 => single_entry_set(source, flow),
        _ => (flow.entry(), flow.rpo().to_vec()),
    };
    if source.percent(30) {
        return Region::new(func, flow, entry, scope.clone(), scope).ok();
    }
    let cold = source.pick(&[10, 30, 60]);
    let cold: HashSet<Block> = scope
        .iter()
        .copied()
        .filter(|_| source.percent(cold))
        .collect();
    Region::pruned(func, flow, entry, &scope, |block| !cold.contains(&block)).ok()
}

/// Part of a dominated subtree, closed under predecessors.
fn single_entry_set(source: &mut Source<'_>, flow: &Flow) -> (Block, Vec<Block>) {
    let entry = source.pick(flow.rpo());
    let dominated = flow.rpo().iter().copied();
    let dominated = dominated.filter(|&block| flow.domtree().block_dominates(entry, block));
    let dropped = source.pick(&[0, 15, 40]);
    let mut set: HashSet<Block> = dominated.filter(|_| !source.percent(dropped)).collect();
    set.insert(entry);
    loop {
        let closed = |block: Block| {
            let mut preds = flow.preds(block).iter().map(|&edge| flow.edge(edge).from);
            block == entry || preds.all(|pred| set.contains(&pred))
        };
        let open: Vec<Block> = set
            .iter()
            .copied()
            .filter(|&block| !closed(block))
            .collect();
        if open.is_empty() {
            break;
        }
        open.iter().for_each(|block| {
            set.remove(block);
        });
    }
    // A cycle may be left that the entry does not reach any more.
    let mut reached = vec![entry];
    let mut seen = HashSet::from([entry]);
    while let Some(block) = reached.pop() {
        for edge in flow.succs(block) {
            let to = flow.edge(edge).to;
            if set.contains(&to) && seen.insert(to) {
                reached.push(to);
            }
        }
    }
    let scope = flow
        .rpo()
        .iter()
        .copied()
        .filter(|block| seen.contains(block));
    (entry, scope.collect())
}
