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

use crate::account::Fuel;
use crate::copy::{Copies, copied_size, redirect};
use crate::edit::join_blocks;
use crate::error::OptimizeError;
use crate::policy::Policy;
use cranelift_codegen::ir::{Block, Function, Inst, Opcode};
use regraft_regions::{Flow, LoopForest, LoopId};

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
    let mut made: Vec<Block> = vec![];
    let mut copies = Copies::default();
    for l in loops.loops() {
        if is_worth_inverting(func, &flow, &loops, l, policy) && fuel.burn() {
            let header = loops.header(l);
            let copied = copies.copy(func, &[header], header);
            let Some(&copy) = copied.get(&header) else {
                continue;
            };
            let inside = |block| loops.contains(l, block);
            let entering = flow.preds(header).iter().map(|&edge| flow.edge(edge));
            let entering = entering.filter(|edge| !inside(edge.from));
            let mut entering: Vec<Inst> = entering.map(|edge| edge.inst).collect();
            // Copies of headers outside this loop may lead into it.
            entering.extend(
                made.iter()
                    .filter_map(|&block| func.layout.last_inst(block)),
            );
            // Nor does it matter where unreachable blocks lead.
            for inst in entering {
                redirect(func, inst, header, copy);
            }
            made.push(copy);
        }
    }
    copies.finish(func)?;
    if !made.is_empty() {
        join_blocks(func);
    }
    Ok(())
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
    stays != header
        && is(last, Opcode::Brif)
        && loops.back_edges(l).iter().all(jumps_back)
        && copied_size(func, header).is_some_and(|size| size <= policy.max_inverted)
        && func.dfg.block_params(header).len() <= policy.max_params
}
