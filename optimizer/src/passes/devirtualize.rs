//! Indirect calls become direct ones where they reach what they usually do.
//!
//! ```text
//!   …                               …
//!   v2 = call_indirect v0(v1)       v3 = func_addr f
//!   …                         ─▶    brif v0 == v3, direct, other
//!                                 direct: v4 = call f(v1) ─▶ rest(v4)
//!                                 other:  v5 = call_indirect v0(v1) ─▶ rest(v5)     (cold)
//!                                 rest(v2): …
//! ```
//!
//! Requires: a function that verifies. Ensures: whatever the guess, the same function is called: the one at the address.
//!
//! Reference: U. Hölzle and D. Ungar, "Optimizing dynamically-dispatched calls with run-time type feedback", PLDI 1994.
//!
//! Limitations: one guess for each call; only functions of which a copy can be made are worth one.
//!
//! Not here: which function is the usual one ([`Callees::target`]), the copy (`inline`).

use crate::account::Fuel;
use crate::callee::Callees;
use crate::edit::{at_end, call_aside, lift_call};
use crate::error::OptimizeError;
use crate::policy::Policy;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, FuncRef, Function, Inst, InstBuilder, Opcode};

/// Devirtualizes.
///
/// # Errors
/// [`OptimizeError`] for what is no valid function.
///
/// # Complexity
/// O(instructions)
pub(crate) fn run(
    func: &mut Function,
    callees: &mut dyn Callees,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<(), OptimizeError> {
    let mut calls = vec![];
    for block in func.layout.blocks() {
        if func.layout.is_cold(block) {
            continue;
        }
        for inst in func.layout.block_insts(block) {
            if func.dfg.insts[inst].opcode() == Opcode::CallIndirect
                && !func.debug_tags.has(inst)
                && func.dfg.user_stack_map_entries(inst).is_none()
            {
                calls.push(inst);
            }
        }
    }
    for call in calls {
        let Some(callee) = callees.target(func, call) else {
            continue;
        };
        let size = callees.size(func, callee);
        if size.is_none_or(|size| size > policy.max_inlined) {
            continue;
        }
        if !fuel.burn() {
            break;
        }
        guess(func, call, callee)?;
    }
    Ok(())
}

fn guess(func: &mut Function, call: Inst, callee: FuncRef) -> Result<(), OptimizeError> {
    let args = func.dfg.inst_args(call).to_vec();
    let location = func.srcloc(call);
    let (block, rest) = lift_call(func, call)?;
    let direct = func.dfg.make_block();
    func.layout.insert_block(direct, rest);
    let other = call_aside(func, call, rest, location);
    let Some((&target, args)) = args.split_first() else {
        return Ok(());
    };
    let mut cursor = at_end(func, direct, location);
    let copy = cursor.ins().call(callee, args);
    let results = cursor.func.dfg.inst_results(copy).iter();
    let results: Vec<BlockArg> = results.map(|&result| result.into()).collect();
    cursor.ins().jump(rest, &results);
    let pointer = func.dfg.value_type(target);
    let mut cursor = at_end(func, block, location);
    let expected = cursor.ins().func_addr(pointer, callee);
    let same = cursor.ins().icmp(IntCC::Equal, target, expected);
    cursor.ins().brif(same, direct, &[], other, &[]);
    Ok(())
}
