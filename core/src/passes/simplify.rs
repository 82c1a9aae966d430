//! Block parameters that always have the same value are taken out of a definition.
//!
//! # Purpose
//! Front ends that make CLIF in one pass give a loop a parameter for each variable that lives through it, changed or not.
//! Cranelift removes these before it generates code, but not any more once a hook stands beside the loop: the region
//! returns what the loop would have passed on, and that is another value. So they go first. It makes the code of tier 0
//! half as large in functions with many loops and variables, and the interfaces of regions smaller.
//!
//! # Invariants
//! *Same blocks, same instructions*: only parameters go, and arguments. Profiles and source locations stay true.
//!
//! # Not here
//! The pass itself, which is Cranelift's.

use cranelift_codegen::Context;
use cranelift_codegen::entity::{EntitySet, SecondaryMap};
use cranelift_codegen::ir::{Block, BlockArg, BlockCall, Function, Value};
use cranelift_codegen::isa::TargetIsa;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Removes the parameters of blocks that have one value only.
///
/// What is no valid CLIF is left as it is: who compiles it reports that.
pub(crate) fn remove_constant_parameters(func: &mut Function, isa: &dyn TargetIsa) {
    if !may_have_constant_parameters(func) {
        return;
    }
    let mut context = Context::for_function(func.clone());
    let removed = catch_unwind(AssertUnwindSafe(|| {
        context.compute_cfg();
        context.compute_domtree();
        context.remove_constant_phis(isa).is_ok()
    }));
    if let Ok(true) = removed {
        let blocks: Vec<Block> = func.layout.blocks().collect();
        for block in blocks {
            // Cranelift has no unreachable blocks when it runs the pass, and does not see to them.
            if !context.domtree.is_reachable(block) {
                drop_arguments(&mut context.func, func, block);
            }
        }
        *func = context.func;
    }
}

/// Drops what the end of `block` passes for parameters that are gone since `before`.
fn drop_arguments(func: &mut Function, before: &Function, block: Block) {
    let Some(last) = func.layout.last_inst(block) else {
        return;
    };
    let dfg = &mut func.dfg;
    let count = {
        let calls = dfg.insts[last].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
        calls.len()
    };
    for at in 0..count {
        let calls = dfg.insts[last].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
        let to = calls[at].block(&dfg.value_lists);
        let args: Vec<BlockArg> = calls[at].args(&dfg.value_lists).collect();
        let params = before.dfg.block_params(to).iter();
        let kept = args.into_iter().zip(params);
        let kept = kept.filter(|(_, param)| dfg.block_params(to).contains(param));
        let kept: Vec<BlockArg> = kept.map(|(arg, _)| arg).collect();
        let call = BlockCall::new(to, kept, &mut dfg.value_lists);
        let calls =
            dfg.insts[last].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
        calls[at] = call;
    }
}

/// Whether a parameter of a block that is branched to from behind, in the order of the layout, gets one value beside itself:
/// other parameters the front end knew how to avoid. False for functions that are not well formed.
///
/// Where control flow is reducible, that there is no such parameter means that none is constant by way of others either
/// (M. Braun et al., "Simple and Efficient Construction of Static Single Assignment Form", CC 2013, section 4).
fn may_have_constant_parameters(func: &Function) -> bool {
    let dfg = &func.dfg;
    let mut before: EntitySet<Block> = EntitySet::new();
    let mut headers: EntitySet<Block> = EntitySet::new();
    let mut passed: SecondaryMap<Value, Passed> = SecondaryMap::new();
    for block in func.layout.blocks() {
        before.insert(block);
        let last = func.layout.last_inst(block);
        let Some(last) = last.filter(|&last| dfg.insts[last].opcode().is_terminator()) else {
            return false;
        };
        let calls = dfg.insts[last].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
        for call in calls {
            let to = call.block(&dfg.value_lists);
            if !func.layout.is_block_inserted(to) {
                return false;
            }
            if before.contains(to) {
                headers.insert(to);
            }
            let params = dfg.block_params(to).iter();
            for (&param, arg) in params.zip(call.args(&dfg.value_lists)) {
                let arg = arg.as_value().map(|arg| dfg.resolve_aliases(arg));
                passed[param] = match (passed[param], arg) {
                    (passed, Some(arg)) if arg == param => passed,
                    (Passed::Nothing, Some(arg)) => Passed::One(arg),
                    (Passed::One(same), Some(arg)) if arg == same => Passed::One(same),
                    _ => Passed::Several,
                };
            }
        }
    }
    let mut params = headers.iter().flat_map(|block| dfg.block_params(block));
    params.any(|&param| matches!(passed[param], Passed::One(_)))
}

/// What branches pass for a parameter, beside the parameter itself.
#[derive(Clone, Copy, Default)]
enum Passed {
    #[default]
    Nothing,
    One(Value),
    Several,
}

#[cfg(test)]
mod tests;
