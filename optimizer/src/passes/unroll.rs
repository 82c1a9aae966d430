//! Loops with few iterations become straight code.
//!
//! ```text
//!   jump H(0)                              jump H1(0)
//!   H(v1): icmp v1 < 3 ; brif B, E         H1: B1: jump H2     v1 is 0
//!   B: … ; jump H(v1 + 1)           ─▶     H2: B2: jump H3     v1 is 1
//!                                          H3: B3: jump H      v1 is 2
//!                                          H: jump E
//! ```
//!
//! A loop is copied once for each time that its test is done, less one; the loop itself is the last of these and is left there. Where there is
//! no room for as many, a round of the loop has some iterations, of which one only has a test: the one at which the last test comes. How often it is done
//! is found by doing the loop's arithmetic: parameters of the header that begin with constants are followed from iteration to iteration, as
//! far as they depend on constants alone. So the number is exact, whatever the test compares and however the variable steps. What the copies' variables
//! are is a constant for the code generator then: addresses, shifts and further tests are folded.
//!
//! Requires: a function that verifies. Ensures: the same instructions run in the same order, less tests.
//!
//! Reference: J. Davidson, S. Jinturkar, "Aggressive loop unrolling in a retargetable, optimizing compiler", CC 1996, section 2 (counting loops);
//! finding the number by running is usual ("constant evolution").
//!
//! The code generator computes what is loaded when it is used at last, so that what iterations load is kept in registers until the round ends: there
//! is a limit for that.
//!
//! Limitations: innermost loops that load, with one back edge and one edge that enters; tests that each iteration does. Loops whose number of iterations is
//! not constant stay as they are: with a test for every copy nothing was gained (benches/README.md).

use crate::account::Fuel;
use crate::copy::{Copies, redirect};
use crate::edit::{join_blocks, jump_to};
use crate::error::OptimizeError;
use crate::evaluate::{constant, local, width};
use crate::interval::Interval;
use crate::policy::Policy;
use cranelift_codegen::ir::{Block, Function, Inst, InstructionData, Opcode, Value, ValueDef};
use regraft_regions::{Flow, LoopForest, LoopId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Instructions that the number of iterations is found by.
const MAX_SLICE: usize = 16;

/// Unrolls loops.
///
/// # Errors
/// [`OptimizeError`] for what is no valid function.
///
/// # Complexity
/// O(instructions × iterations that are followed), within the bounds of the policy.
pub(crate) fn run(
    func: &mut Function,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<(), OptimizeError> {
    let flow = Flow::compute(func)?;
    let loops = LoopForest::compute(func, &flow);
    let mut copies = Copies::default();
    let mut changed: FxHashSet<Block> = FxHashSet::default();
    for l in loops.loops().filter(|&l| loops.children(l).is_empty()) {
        let Some(counted) = counted(func, &flow, &loops, l, policy) else {
            continue;
        };
        // Where a loop that was unrolled leads straight into this one, several edges do now.
        let from = func.layout.inst_block(counted.enters);
        if from.is_some_and(|from| !changed.contains(&from)) && fuel.burn() {
            unroll(func, &flow, &loops, l, &counted, &mut copies);
            changed.extend(loops.blocks(l));
        }
    }
    copies.finish(func)?;
    if !changed.is_empty() {
        join_blocks(func);
    }
    Ok(())
}

/// A loop whose tests are counted.
struct Counted {
    /// How often the test is done.
    tests: u64,
    /// Iterations that one round of the loop is to have: all, or some.
    round: u64,
    test: Block,
    /// The destination of the test that stays in the loop.
    stays: usize,
    /// The branches that enter the loop, and lead back.
    enters: Inst,
    back: Inst,
}

fn counted(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    l: LoopId,
    policy: &Policy,
) -> Option<Counted> {
    let ([enters], [back]) = (&loops.entry_edges(l, flow)[..], loops.back_edges(l)) else {
        return None;
    };
    let (enters, back) = (flow.edge(*enters), flow.edge(*back));
    let header = loops.header(l);
    let blocks = loops.blocks(l);
    if header == flow.entry()
        || func.layout.is_cold(header)
        || blocks.len() > policy.max_loop_blocks
    {
        return None;
    }
    let (mut size, mut loads) = (0, 0);
    for &block in &blocks {
        let (instructions, of_them) = price(func, block)?;
        size += instructions;
        loads += of_them;
    }
    // As many iterations as straight code has room for. Without loads, whose addresses become constants, nothing is gained
    // (benches/README.md).
    if loads == 0 {
        return None;
    }
    let room = (policy.max_unrolled / size.max(1)).min(policy.max_live_loads / loads) as u64;
    // What runs in every iteration, in order.
    let mut always: Vec<Block> = blocks
        .into_iter()
        .filter(|&block| flow.dominates(block, back.from))
        .collect();
    flow.sort_rpo(&mut always);
    let test = always.iter().copied().find_map(|block| {
        let last = func.layout.last_inst(block)?;
        let InstructionData::Brif { blocks, .. } = func.dfg.insts[last] else {
            return None;
        };
        let inside = blocks.map(|call| loops.contains(l, call.block(&func.dfg.value_lists)));
        match inside {
            [true, false] => Some((block, last, 0)),
            [false, true] => Some((block, last, 1)),
            _ => None,
        }
    });
    let (test, branch, stays) = test?;
    let InstructionData::Brif { arg: condition, .. } = func.dfg.insts[branch] else {
        return None;
    };
    let params = func.dfg.block_params(header);
    let mut known = passed(
        func,
        params,
        (enters.inst, enters.index),
        &FxHashMap::default(),
    );
    let slice = slice(func, &always, (header, condition), (back.inst, back.index))?;
    if room < 2 {
        return None;
    }
    for tests in 1..=policy.max_iterations {
        for &(inst, result) in &slice {
            match local(func, inst, &known).filter(|interval| interval.single().is_some()) {
                Some(interval) => known.insert(result, interval),
                None => known.remove(&result),
            };
        }
        let value = known.get(&func.dfg.resolve_aliases(condition))?.single()?;
        if (value != 0) != (stays == 0) {
            return Some(Counted {
                tests,
                round: if tests <= room {
                    tests
                } else {
                    room.min(policy.unrolled_by)
                },
                test,
                stays,
                enters: enters.inst,
                back: back.inst,
            });
        }
        known = passed(func, params, (back.inst, back.index), &known);
    }
    None
}

/// The instructions that a loop's test depends on from iteration to iteration, in order; `None` if these are many, or not all of them in
/// blocks that run in each.
fn slice(
    func: &Function,
    always: &[Block],
    (header, condition): (Block, Value),
    (back, index): (Inst, u32),
) -> Option<Vec<(Inst, Value)>> {
    let dfg = &func.dfg;
    let calls = dfg.insts[back].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    let call = calls.get(index as usize)?;
    let mut needed: FxHashSet<Inst> = FxHashSet::default();
    let mut seen: FxHashSet<Value> = FxHashSet::default();
    let mut pending = vec![condition];
    while let Some(value) = pending.pop() {
        let value = dfg.resolve_aliases(value);
        if !seen.insert(value) {
            continue;
        }
        match dfg.value_def(value) {
            ValueDef::Param(block, nth) if block == header => {
                pending.push(call.args(&dfg.value_lists).nth(nth)?.as_value()?);
            }
            ValueDef::Result(inst, _) if constant(func, value).is_none() => {
                let block = func.layout.inst_block(inst)?;
                // What is computed outside of the loop is no constant, and so is what merges in it.
                if !always.contains(&block) || needed.len() == MAX_SLICE {
                    return None;
                }
                needed.insert(inst);
                pending.extend(dfg.inst_args(inst));
            }
            ValueDef::Result(..) => {}
            _ => return None,
        }
    }
    let mut slice = vec![];
    for &block in always {
        for inst in func.layout.block_insts(block) {
            if needed.contains(&inst) {
                slice.push((inst, *dfg.inst_results(inst).first()?));
            }
        }
    }
    Some(slice)
}

/// The parameters of a block that a branch passes constants for.
fn passed(
    func: &Function,
    params: &[Value],
    (inst, index): (Inst, u32),
    known: &FxHashMap<Value, Interval>,
) -> FxHashMap<Value, Interval> {
    let dfg = &func.dfg;
    let calls = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    let args = calls
        .get(index as usize)
        .map(|call| call.args(&dfg.value_lists));
    let mut passed = FxHashMap::default();
    for (&param, arg) in params.iter().zip(args.into_iter().flatten()) {
        let value = arg.as_value().map(|value| dfg.resolve_aliases(value));
        let (Some(value), Some(bits)) = (value, width(dfg.value_type(param))) else {
            continue;
        };
        let constant = || constant(func, value).map(|constant| Interval::one(bits, constant));
        if let Some(interval) = known.get(&value).copied().or_else(constant) {
            passed.insert(param, interval);
        }
    }
    passed
}

/// What a copy of a block costs, if it may be copied, and how much of that are loads.
fn price(func: &Function, block: Block) -> Option<(usize, usize)> {
    let (mut price, mut loads) = (0, 0);
    for inst in func.layout.block_insts(block) {
        let opcode = func.dfg.insts[inst].opcode();
        // Copies of these would share their tables.
        let shares = matches!(
            opcode,
            Opcode::BrTable | Opcode::TryCall | Opcode::TryCallIndirect
        );
        if shares || func.debug_tags.has(inst) || func.dfg.user_stack_map_entries(inst).is_some() {
            return None;
        }
        let free = matches!(
            opcode,
            Opcode::Iconst | Opcode::StackAddr | Opcode::Jump | Opcode::Uextend
        );
        price += usize::from(!free);
        loads += usize::from(opcode.can_load());
    }
    Some((price, loads))
}

/// Makes a round of several iterations. Of their tests only one can be the last: the others go.
fn unroll(
    func: &mut Function,
    flow: &Flow,
    loops: &LoopForest,
    l: LoopId,
    counted: &Counted,
    copies: &mut Copies,
) {
    let header = loops.header(l);
    let mut blocks = loops.blocks(l);
    flow.sort_rpo(&mut blocks);
    let last_at = (counted.tests - 1) % counted.round + 1;
    // The branch that leads to the next iteration, and the first iteration.
    let (mut from, mut first) = (counted.enters, None);
    for at in 1..counted.round {
        let copied = copies.copy(func, &blocks, header);
        let back = func.layout.inst_block(counted.back);
        let back = back.and_then(|block| copied.get(&block));
        let (Some(&start), Some(&test), Some(&latch)) =
            (copied.get(&header), copied.get(&counted.test), back)
        else {
            return;
        };
        redirect(func, from, header, start);
        first.get_or_insert(start);
        // The copy's own way back leads to its start.
        let Some(last) = func.layout.last_inst(latch) else {
            return;
        };
        redirect(func, last, start, header);
        if at != last_at
            && let Some(branch) = func.layout.last_inst(test)
        {
            jump_to(func, branch, counted.stays);
        }
        // That may have been the same branch.
        from = func.layout.last_inst(latch).unwrap_or(last);
    }
    let complete = counted.tests == counted.round;
    if let Some(first) = first.filter(|_| !complete) {
        redirect(func, counted.back, header, first);
    }
    if (complete || last_at != counted.round)
        && let Some(branch) = func.layout.last_inst(counted.test)
    {
        let to = if complete {
            1 - counted.stays
        } else {
            counted.stays
        };
        jump_to(func, branch, to);
    }
}
