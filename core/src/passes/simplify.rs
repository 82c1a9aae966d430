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
use cranelift_codegen::entity::packed_option::PackedOption;
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

/// How many times [`may_have_constant_parameters`] goes over the parameters before it leaves the answer to the pass itself.
const ROUNDS: usize = 8;

/// Whether a parameter of a block that is branched to from behind, in the order of the layout, always has one value:
/// other constant parameters the front end knew how to avoid. Also true where it would take long to tell; false for
/// functions that are not well formed.
///
/// Where control flow is reducible, that there is no such parameter means that none is constant by way of others either
/// (M. Braun et al., "Simple and Efficient Construction of Static Single Assignment Form", CC 2013, section 4).
fn may_have_constant_parameters(func: &Function) -> bool {
    let Some(mut passed) = passed(func) else {
        return false;
    };
    if passed.headers.is_empty() {
        return false;
    }
    passed.pairs.sort_unstable_by_key(|&(param, _)| param);
    let mut same_as: SecondaryMap<Value, PackedOption<Value>> = SecondaryMap::new();
    for _ in 0..ROUNDS {
        let mut changed = false;
        for pairs in passed.pairs.chunk_by(|(one, _), (other, _)| one == other) {
            let param = pairs[0].0;
            if same_as[param].is_some() {
                continue;
            }
            if let Some(value) = only_value(pairs, &mut same_as) {
                if passed.headers.contains(param) {
                    return true;
                }
                same_as[param] = PackedOption::from(value);
                changed = true;
            }
        }
        if !changed {
            return false;
        }
    }
    true
}

/// What the branches of a function pass.
struct Passed {
    /// Each parameter with what each branch passes for it, in no order: a value, aliases resolved, or what a call returns or throws.
    pairs: Vec<(Value, Option<Value>)>,
    /// The parameters of blocks that are branched to from behind.
    headers: EntitySet<Value>,
}

/// What the branches of `func` pass, if it is well formed as far as that needs.
fn passed(func: &Function) -> Option<Passed> {
    let dfg = &func.dfg;
    let mut before: EntitySet<Block> = EntitySet::new();
    let mut headers: EntitySet<Value> = EntitySet::new();
    let mut pairs = Vec::new();
    for block in func.layout.blocks() {
        before.insert(block);
        let last = func.layout.last_inst(block)?;
        if !dfg.insts[last].opcode().is_terminator() {
            return None;
        }
        let calls = dfg.insts[last].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
        for call in calls {
            let to = call.block(&dfg.value_lists);
            if !func.layout.is_block_inserted(to) {
                return None;
            }
            for (&param, arg) in dfg.block_params(to).iter().zip(call.args(&dfg.value_lists)) {
                if before.contains(to) {
                    headers.insert(param);
                }
                let arg = arg.as_value().map(|arg| dfg.resolve_aliases(arg));
                pairs.push((param, arg));
            }
        }
    }
    Some(Passed { pairs, headers })
}

/// The one value that `pairs` pass for their parameter, beside the parameter itself, if it is one. `same_as` says which
/// parameters are known to be another value; chains in it are made shorter.
fn only_value(
    pairs: &[(Value, Option<Value>)],
    same_as: &mut SecondaryMap<Value, PackedOption<Value>>,
) -> Option<Value> {
    let mut only = None;
    for &(param, arg) in pairs {
        let mut arg = arg?;
        while let Some(next) = same_as[arg].expand() {
            if let Some(after) = same_as[next].expand() {
                same_as[arg] = after.into();
            }
            arg = next;
        }
        if arg == param {
            continue;
        }
        if only.is_some_and(|only| only != arg) {
            return None;
        }
        only = Some(arg);
    }
    only
}

#[cfg(test)]
mod tests;
