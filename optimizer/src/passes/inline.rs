//! Copies of functions take the place of calls.
//!
//! ```text
//!   …                        …
//!   v2 = call f(v1)          brif [guard of f], call, copy
//!   …                ─▶    copy: the blocks of f, v1 for its parameter ─▶ rest(result)
//!                          call: v3 = call f(v1) ─▶ rest(v3)            (cold)
//!                          rest(v2): …
//! ```
//!
//! The guard is read by an atomic load before every copy, as a function can be replaced between any two calls, by this thread or
//! another: nothing moves it, and no two become one.
//!
//! Copies are made by rounds: calls in what was copied are looked at in the next, so that rounds bound how deep recursion
//! is unrolled. The most frequent calls come first, until the function has grown as far as it may.
//!
//! Requires: a function that verifies; callees that [can be copied](crate::can_be_copied). Ensures: the same calls have the
//! same effects, in the same order; a copy is run only while its guard is 0. The stack may overflow at another depth of calls.
//!
//! Reference: the budget by frequency is the usual one, as in M. Arnold and others, "A comparative study of static and
//! profile-based heuristics for inlining", Dynamo 2000, section 3.
//!
//! Limitations: `call` only, no tail calls and none with handlers. Frequencies are estimates, in which what the profile
//! called cold does not exist any more.
//!
//! Not here: which functions those are ([`Callees`]).

use crate::account::Fuel;
use crate::callee::{Callee, Callees};
use crate::edit::{at_end, call_aside, lift_call};
use crate::error::OptimizeError;
use crate::policy::Policy;
use cranelift_codegen::ir::{
    Block, BlockArg, ExternalName, FuncRef, Function, GlobalValue, GlobalValueData, Inst,
    InstBuilder, InstructionData, MemFlagsData, Opcode, UserExternalName, Value, types,
};
use regraft_outliner::{OutlineError, Remap, Target};
use regraft_regions::{Flow, LoopForest, estimate};
use rustc_hash::{FxHashMap, FxHashSet};

/// What a call costs besides what it calls, in instructions: about so many leave with it.
const CALL_COST: usize = 4;

/// Inlines.
///
/// # Errors
/// [`OptimizeError`] for what is no valid function.
///
/// # Complexity
/// O(instructions after it), times the rounds.
pub(crate) fn run(
    func: &mut Function,
    callees: &mut dyn Callees,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<(), OptimizeError> {
    let calls = |func: &Function| {
        let mut refs = func.dfg.ext_funcs.keys();
        refs.any(|callee| !matches!(func.dfg.ext_funcs[callee].name, ExternalName::LibCall(_)))
    };
    if !calls(func) {
        return Ok(());
    }
    let mut instructions = 0;
    for block in func.layout.blocks() {
        instructions += func.layout.block_insts(block).count();
    }
    let limit = instructions.saturating_mul(policy.max_growth) / 100;
    let limit = limit.max(policy.min_grown);
    // Calls that copies stand beside.
    let mut kept = FxHashSet::default();
    let mut guards = FxHashMap::default();
    for _ in 0..policy.max_inline_depth {
        let mut found = false;
        for site in sites(func, callees, policy, &kept)? {
            let grown = instructions.saturating_add(site.size);
            if grown > limit {
                continue;
            }
            let Some(callee) = callees.find(func, site.callee) else {
                continue;
            };
            if !fuel.burn() {
                return Ok(());
            }
            copy_in(func, site.inst, &callee, &mut guards)?;
            kept.insert(site.inst);
            instructions = grown;
            found = true;
        }
        if !found {
            break;
        }
    }
    Ok(())
}

/// A call that a copy may take the place of.
struct Site {
    inst: Inst,
    callee: FuncRef,
    size: usize,
    /// Executions for each of the function.
    frequency: f64,
}

/// The calls that copies pay for, most frequent first.
fn sites(
    func: &Function,
    callees: &mut dyn Callees,
    policy: &Policy,
    kept: &FxHashSet<Inst>,
) -> Result<Vec<Site>, OptimizeError> {
    let mut sites = vec![];
    let mut sizes: FxHashMap<FuncRef, Option<usize>> = FxHashMap::default();
    for block in func.layout.blocks() {
        if func.layout.is_cold(block) {
            continue;
        }
        for inst in func.layout.block_insts(block) {
            let InstructionData::Call {
                opcode: Opcode::Call,
                func_ref: callee,
                ..
            } = func.dfg.insts[inst]
            else {
                continue;
            };
            if kept.contains(&inst)
                || func.debug_tags.has(inst)
                || func.dfg.user_stack_map_entries(inst).is_some()
            {
                continue;
            }
            let size = sizes.entry(callee);
            let size = *size.or_insert_with(|| callees.size(func, callee));
            if let Some(size) = size.filter(|&size| size <= policy.max_inlined) {
                sites.push((inst, block, callee, size));
            }
        }
    }
    if sites.is_empty() {
        return Ok(vec![]);
    }
    let flow = Flow::compute(func)?;
    let loops = LoopForest::compute(func, &flow);
    let frequencies = estimate(func, &flow, &loops);
    let reachable = sites.into_iter().filter(|site| flow.is_reachable(site.1));
    let sites = reachable.map(|(inst, block, callee, size)| Site {
        inst,
        callee,
        size,
        frequency: frequencies.block(block),
    });
    let mut sites: Vec<Site> = sites
        .filter(|site| {
            let share = site.frequency.min(1.0);
            site.size <= CALL_COST || site.size as f64 <= policy.max_inlined as f64 * share
        })
        .collect();
    sites.sort_by(|one, other| other.frequency.total_cmp(&one.frequency));
    Ok(sites)
}

/// Puts a copy of `callee` in the place of `call`, or beside it, if there is a guard.
fn copy_in(
    func: &mut Function,
    call: Inst,
    callee: &Callee,
    guards: &mut FxHashMap<UserExternalName, GlobalValue>,
) -> Result<(), OptimizeError> {
    let args = func.dfg.inst_args(call).to_vec();
    let location = func.srcloc(call);
    let (block, rest) = lift_call(func, call)?;
    let copy = copy_blocks(func, &callee.body, &args, rest)?;
    let Some(guard) = &callee.guard else {
        at_end(func, block, location).ins().jump(copy, &[]);
        return Ok(());
    };

    let slow = call_aside(func, call, rest, location);
    let symbol = match guards.get(&guard.name) {
        Some(&symbol) => symbol,
        None => {
            let name = func.declare_imported_user_function(guard.name.clone());
            let symbol = func.create_global_value(GlobalValueData::Symbol {
                name: ExternalName::user(name),
                offset: 0.into(),
                colocated: false,
                tls: false,
            });
            guards.insert(guard.name.clone(), symbol);
            symbol
        }
    };
    let mut cursor = at_end(func, block, location);
    let address = cursor.ins().symbol_value(guard.pointer, symbol);
    let flags = MemFlagsData::trusted();
    let replaced = cursor.ins().atomic_load(types::I64, flags, address);
    cursor.ins().brif(replaced, slow, &[], copy, &[]);
    Ok(())
}

/// Copies the blocks of `source` in front of `rest`, where its returns lead; returns the first. Its parameters are `args`.
fn copy_blocks(
    func: &mut Function,
    source: &Function,
    args: &[Value],
    rest: Block,
) -> Result<Block, OptimizeError> {
    let flow = Flow::compute(source)?;
    let mut remap = Remap::new(source, func)?;
    for (slot, data) in source.sized_stack_slots.iter() {
        let copy = remap.target.create_sized_stack_slot(data.clone());
        remap.slots.insert(slot, copy);
    }
    let mut copies: FxHashMap<Block, Block> = FxHashMap::default();
    for &block in flow.rpo() {
        let copy = remap.target.dfg.make_block();
        remap.target.layout.insert_block(copy, rest);
        if source.layout.is_cold(block) {
            remap.target.layout.set_cold(copy);
        }
        let params = source.dfg.block_params(block);
        if block == flow.entry() {
            let pairs = params.iter().copied().zip(args.iter().copied());
            remap.values.extend(pairs);
        } else {
            for &param in params {
                let ty = source.dfg.value_type(param);
                let value = remap.target.dfg.append_block_param(copy, ty);
                remap.values.insert(param, value);
            }
        }
        copies.insert(block, copy);
    }
    let missing = OutlineError::Malformed("an edge that leads nowhere");
    for &block in flow.rpo() {
        let into = *copies.get(&block).ok_or_else(|| missing.clone())?;
        for inst in source.layout.block_insts(block) {
            let data = &source.dfg.insts[inst];
            if data.opcode() == Opcode::Return {
                let values = source.dfg.inst_args(inst).iter();
                let values = values.map(|&value| remap.value(block, value).map(BlockArg::from));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                let location = source.srcloc(inst);
                at_end(remap.target, into, location)
                    .ins()
                    .jump(rest, &values);
                continue;
            }
            remap.targets.clear();
            let (tables, handlers) = (&source.dfg.jump_tables, &source.dfg.exception_tables);
            for destination in data.branch_destination(tables, handlers) {
                let to = destination.block(&source.dfg.value_lists);
                let copy = copies.get(&to).ok_or_else(|| missing.clone())?;
                remap.targets.push_back(Target::Copy(*copy));
            }
            remap.copy_inst(block, inst, into)?;
        }
    }
    let entry = copies.get(&flow.entry()).copied();
    Ok(entry.ok_or(missing)?)
}
