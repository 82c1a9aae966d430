//! A branch that an edge decides is not taken twice.
//!
//! ```text
//!  A: jump B(0)   C: jump B(v1)        A: jump B'(0)    C: jump B(v1)
//!        ▼          ▼                        ▼               ▼
//!       B(v2): brif v2, D, E     ─▶      B'(v3): jump E    B(v2): brif v2, D, E
//! ```
//!
//! A block that tests what it is passed is copied for the edges that pass a constant with which the test comes out known; the copy leads where
//! that goes. Flags that structured programs leave their loops by cost nothing then, and neither do values of conditions.
//!
//! A loop's header is copied for edges that leave the loop by it, so that nothing enters a loop but at its header; for others only if every
//! edge is decided, as then the header is no header any more.
//!
//! Requires: a function that verifies. Ensures: the same instructions run in the same order, less branches.
//!
//! Reference: F. Mueller, D. Whalley, "Avoiding conditional branches by code replication", PLDI 1995, section 3.
//!
//! Limitations: tests of constants that the edge itself passes; nothing is known of other values. Blocks with calls or stores are not copied.

use crate::account::Fuel;
use crate::copy::{Copies, copied_size};
use crate::edit::{join_blocks, jump_to};
use crate::error::OptimizeError;
use crate::evaluate::{constant, local, width};
use crate::interval::Interval;
use crate::policy::Policy;
use cranelift_codegen::ir::{Block, Function, InstructionData, Opcode, Value};
use regraft_regions::{Edge, Flow, LoopForest};
use rustc_hash::{FxHashMap, FxHashSet};

/// How often it is done: a copy may decide the next test.
const ROUNDS: u32 = 3;
/// Blocks that are copied for an edge: one that tests, and those where paths meet before.
const MAX_BLOCKS: usize = 4;
/// Ways that are looked at; a block where more meet is left alone.
const MAX_WAYS: usize = 64;

/// Threads jumps.
///
/// # Errors
/// [`OptimizeError`] for what is no valid function.
///
/// # Complexity
/// O(instructions + copies × edges)
pub(crate) fn run(
    func: &mut Function,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<(), OptimizeError> {
    for _ in 0..ROUNDS {
        if !round(func, policy, fuel)? {
            break;
        }
    }
    Ok(())
}

/// A way to a block's branch: an edge, and the blocks from there to the branch.
struct Way {
    edge: Edge,
    blocks: Vec<Block>,
    /// How the branch comes out.
    decided: Option<bool>,
}

/// Ways through the same blocks to a branch that they decide in the same way.
struct Decided {
    blocks: Vec<Block>,
    first: bool,
    edges: Vec<Edge>,
}

fn round(func: &mut Function, policy: &Policy, fuel: &mut Fuel) -> Result<bool, OptimizeError> {
    let blocks = func.layout.blocks();
    let candidates: Vec<Block> = blocks
        .filter(|&block| is_candidate(func, block, policy))
        .collect();
    if candidates.is_empty() {
        return Ok(false);
    }
    let flow = Flow::compute(func)?;
    let loops = LoopForest::compute(func, &flow);
    if !loops.irreducible().is_empty() {
        return Ok(false);
    }
    let mut found: Vec<Decided> = vec![];
    // Blocks that are copied or whose branch is changed in this round; what has to do with them waits for the next.
    let mut taken: FxHashSet<Block> = FxHashSet::default();
    for block in candidates {
        if block == flow.entry() || !flow.is_reachable(block) {
            continue;
        }
        let ways = ways(func, &flow, &loops, block, policy);
        let free = |way: &Way| {
            !taken.contains(&way.edge.from) && way.blocks.iter().all(|block| !taken.contains(block))
        };
        let all = ways.iter().all(|way| way.decided.is_some() && free(way));
        let destinations = destinations(func, block);
        let leaves = |way: &Way| {
            let to = way
                .decided
                .and_then(|first| destinations.get(usize::from(!first)));
            loops.loop_of_header(block).is_none_or(|l| {
                loops.contains(l, way.edge.from) && to.is_some_and(|&to| !loops.contains(l, to))
            })
        };
        let before = found.len();
        for way in ways.iter().filter(|way| free(way) && (all || leaves(way))) {
            let Some(first) = way.decided else {
                continue;
            };
            let known = found[before..]
                .iter_mut()
                .find(|decided| decided.first == first && decided.blocks == way.blocks);
            match known {
                Some(decided) => decided.edges.push(way.edge),
                None if fuel.burn() => found.push(Decided {
                    blocks: way.blocks.clone(),
                    first,
                    edges: vec![way.edge],
                }),
                None => {}
            }
        }
        for decided in &found[before..] {
            taken.extend(&decided.blocks);
            taken.extend(decided.edges.iter().map(|edge| edge.from));
        }
    }
    let changed = !found.is_empty();
    let mut copies = Copies::default();
    for decided in found {
        let [start, .., end] = decided.blocks[..] else {
            let [only] = decided.blocks[..] else { continue };
            copy(func, &mut copies, &decided, (only, only));
            continue;
        };
        copy(func, &mut copies, &decided, (start, end));
    }
    copies.finish(func)?;
    if changed {
        join_blocks(func);
    }
    Ok(changed)
}

fn copy(func: &mut Function, copies: &mut Copies, decided: &Decided, (start, end): (Block, Block)) {
    let copied = copies.copy(func, &decided.blocks, end);
    let (Some(&start), Some(&end)) = (copied.get(&start), copied.get(&end)) else {
        return;
    };
    if let Some(branch) = func.layout.last_inst(end) {
        jump_to(func, branch, usize::from(!decided.first));
    }
    for &edge in &decided.edges {
        redirect_edge(func, edge, start);
    }
}

/// The ways to the branch of a block: over its edges, and where a block that leads nowhere else lies in between, over that block's.
fn ways(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    block: Block,
    policy: &Policy,
) -> Vec<Way> {
    let mut ways = vec![];
    let mut pending = vec![vec![block]];
    while let Some(blocks) = pending.pop() {
        let Some(&start) = blocks.first() else {
            continue;
        };
        if ways.len() + pending.len() + flow.preds(start).len() > MAX_WAYS {
            return vec![];
        }
        for &edge in flow.preds(start) {
            let edge = flow.edge(edge);
            let inside = blocks.contains(&edge.from);
            let decided = (!inside).then(|| decide(func, &blocks, edge)).flatten();
            let size = || {
                blocks
                    .iter()
                    .chain([&edge.from])
                    .filter_map(|&block| copied_size(func, block))
                    .sum::<usize>()
            };
            let between = decided.is_none()
                && !inside
                && blocks.len() < MAX_BLOCKS
                && edge.from != flow.entry()
                && loops.loop_of_header(edge.from).is_none()
                && flow.preds(edge.from).len() > 1
                && func.dfg.insts[edge.inst].opcode() == Opcode::Jump
                && copied_size(func, edge.from).is_some()
                && size() <= policy.max_threaded;
            if between {
                let mut longer = vec![edge.from];
                longer.extend(&blocks);
                pending.push(longer);
                continue;
            }
            ways.push(Way {
                edge,
                blocks: blocks.clone(),
                decided,
            });
        }
    }
    ways
}

fn redirect_edge(func: &mut Function, edge: Edge, to: Block) {
    let dfg = &mut func.dfg;
    let calls = dfg.insts[edge.inst]
        .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    if let Some(call) = calls.get_mut(edge.index as usize) {
        call.set_block(to, &mut dfg.value_lists);
    }
}

/// Whether a block tests something that depends on what it is passed, and may be copied.
fn is_candidate(func: &Function, block: Block, policy: &Policy) -> bool {
    let params = func.dfg.block_params(block);
    !params.is_empty()
        && params.len() <= policy.max_params
        && func
            .layout
            .last_inst(block)
            .is_some_and(|last| func.dfg.insts[last].opcode() == Opcode::Brif)
        && copied_size(func, block).is_some_and(|size| size <= policy.max_threaded)
}

fn destinations(func: &Function, block: Block) -> Vec<Block> {
    let last = func.layout.last_inst(block);
    let calls = last.map(|last| {
        func.dfg.insts[last].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables)
    });
    let calls = calls.unwrap_or_default().iter();
    calls
        .map(|call| call.block(&func.dfg.value_lists))
        .collect()
}

/// How the branch at the end of blocks that lead to each other comes out for what enters by an edge.
fn decide(func: &Function, blocks: &[Block], edge: Edge) -> Option<bool> {
    let dfg = &func.dfg;
    // What else ends a block may define values itself (calls with handlers).
    if !matches!(dfg.insts[edge.inst].opcode(), Opcode::Jump | Opcode::Brif) {
        return None;
    }
    let mut known: FxHashMap<Value, Interval> = FxHashMap::default();
    let (mut inst, mut index) = (edge.inst, edge.index as usize);
    for &block in blocks {
        let calls = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
        let call = calls.get(index)?;
        let mut passed = vec![];
        for (&param, arg) in dfg
            .block_params(block)
            .iter()
            .zip(call.args(&dfg.value_lists))
        {
            let value = dfg.resolve_aliases(arg.as_value()?);
            let Some(bits) = width(dfg.value_type(param)) else {
                continue;
            };
            let constant = || constant(func, value).map(|constant| Interval::one(bits, constant));
            passed.push((param, known.get(&value).copied().or_else(constant)));
        }
        for (param, interval) in passed {
            match interval {
                Some(interval) => known.insert(param, interval),
                None => known.remove(&param),
            };
        }
        for inst in func.layout.block_insts(block) {
            if let &[result] = dfg.inst_results(inst)
                && let Some(interval) = local(func, inst, &known)
            {
                known.insert(result, interval);
            }
        }
        (inst, index) = (func.layout.last_inst(block)?, 0);
    }
    let InstructionData::Brif { arg, .. } = dfg.insts[inst] else {
        return None;
    };
    let condition = known.get(&dfg.resolve_aliases(arg))?;
    match condition.single() {
        Some(0) => Some(false),
        _ => (!condition.contains_zero()).then_some(true),
    }
}
