//! Loops that test at their top test at their bottom.
//!
//! ```text
//!        ▼                          ▼
//!   ┌─▶ H: test ──▶ E              H': test ──▶ E      (a copy of H)
//!   │    ▼                          ▼
//!   │   B                      ┌─▶ B
//!   └────┘                     │    ▼
//!                              └── H: test ──▶ E
//! ```
//!
//! The edges that enter the loop go to a copy of its header. One jump less is executed in each iteration, and `B` is the new header: it
//! runs whenever the loop is entered, so that what it loads can be loaded before the loop (`hoist`).
//!
//! Requires: a function that verifies. Ensures: the same instructions run in the same order.
//!
//! Reference: S. Muchnick, "Advanced compiler design and implementation", section 18.5.
//!
//! Limitations: headers that end in `brif` with one destination in the loop and one outside, all of whose back edges are jumps; no calls
//! in the header.

use crate::access::is_barrier;
use crate::account::Fuel;
use crate::error::OptimizeError;
use crate::policy::Policy;
use cranelift_codegen::ir::{Block, Function, Inst, Opcode, Value};
use regraft_outliner::ssa::{Variable, repair};
use regraft_regions::{Flow, LoopForest, LoopId};
use rustc_hash::FxHashMap;

/// Inverts loops.
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
    let flow = Flow::compute(func)?;
    let loops = LoopForest::compute(func, &flow);
    let mut copies = vec![];
    let mut variables = vec![];
    for l in loops.loops() {
        if is_worth_inverting(func, &flow, &loops, l, policy) && fuel.burn() {
            let header = loops.header(l);
            let copy = copy_block(func, header, &mut variables);
            let inside = |block| loops.contains(l, block);
            let entering = flow.preds(header).iter().map(|&edge| flow.edge(edge));
            let entering = entering.filter(|edge| !inside(edge.from));
            let mut entering: Vec<Inst> = entering.map(|edge| edge.inst).collect();
            // Copies of headers outside this loop may lead into it.
            entering.extend(
                copies
                    .iter()
                    .filter_map(|&block| func.layout.last_inst(block)),
            );
            // Nor does it matter where unreachable blocks lead.
            for inst in entering {
                redirect(func, inst, header, copy);
            }
            copies.push(copy);
        }
    }
    Ok(repair(func, &variables)?)
}

fn is_worth_inverting(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    l: LoopId,
    policy: &Policy,
) -> bool {
    let header = loops.header(l);
    if header == flow.entry() || func.layout.is_cold(header) {
        return false;
    }
    let Some(last) = func.layout.last_inst(header) else {
        return false;
    };
    let mut succs = flow.succs(header);
    let (Some(one), Some(other), None) = (succs.next(), succs.next(), succs.next()) else {
        return false;
    };
    let (one, other) = (flow.edge(one).to, flow.edge(other).to);
    let stays = match (loops.contains(l, one), loops.contains(l, other)) {
        (true, false) => one,
        (false, true) => other,
        _ => return false,
    };
    let is = |inst, opcode| func.dfg.insts[inst].opcode() == opcode;
    let jumps_back = |&edge: &_| is(flow.edge(edge).inst, Opcode::Jump);
    let mut count = 0;
    let can_copy = func.layout.block_insts(header).all(|inst| {
        count += 1;
        !is_barrier(func.dfg.insts[inst].opcode()) && !func.debug_tags.has(inst)
    });
    stays != header
        && is(last, Opcode::Brif)
        && loops.back_edges(l).iter().all(jumps_back)
        && can_copy
        && count <= policy.max_inverted
        && func.dfg.block_params(header).len() <= policy.max_params
}

/// Copies a block; its values and their copies are definitions of the same variables.
fn copy_block(func: &mut Function, block: Block, variables: &mut Vec<Variable>) -> Block {
    let copy = func.dfg.make_block();
    func.layout.insert_block(copy, block);
    let mut copied: FxHashMap<Value, Value> = FxHashMap::default();
    let mut define = |func: &Function, old: Value, new: Value| {
        copied.insert(old, new);
        variables.push(Variable {
            ty: func.dfg.value_type(old),
            names: vec![old],
            definitions: vec![(block, old), (copy, new)],
        });
    };
    for param in func.dfg.block_params(block).to_vec() {
        let ty = func.dfg.value_type(param);
        let new = func.dfg.append_block_param(copy, ty);
        define(func, param, new);
    }
    let insts: Vec<Inst> = func.layout.block_insts(block).collect();
    let mut new_insts = vec![];
    for inst in insts {
        let new = func.dfg.clone_inst(inst);
        func.layout.append_inst(new, copy);
        let location = func.srcloc(inst);
        func.set_srcloc(new, location);
        let pairs = func.dfg.inst_results(inst).iter().copied();
        let pairs: Vec<_> = pairs
            .zip(func.dfg.inst_results(new).iter().copied())
            .collect();
        for (old, new) in pairs {
            define(func, old, new);
        }
        new_insts.push(new);
    }
    for inst in new_insts {
        let values: Vec<Value> = func.dfg.inst_values(inst).collect();
        let resolved: FxHashMap<Value, Value> = values
            .into_iter()
            .map(|value| (value, func.dfg.resolve_aliases(value)))
            .collect();
        func.dfg.map_inst_values(inst, |value| {
            let value = resolved.get(&value).copied().unwrap_or(value);
            copied.get(&value).copied().unwrap_or(value)
        });
    }
    copy
}

/// Sends every destination `from` of a branch to `to`.
fn redirect(func: &mut Function, inst: Inst, from: Block, to: Block) {
    let dfg = &mut func.dfg;
    let calls =
        dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    for call in calls {
        if call.block(&dfg.value_lists) == from {
            call.set_block(to, &mut dfg.value_lists);
        }
    }
}
