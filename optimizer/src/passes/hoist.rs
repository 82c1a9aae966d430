//! Loads of what a loop does not change are done before it.
//!
//! ```text
//!   loop:                        v9 = load v0+8
//!     v1 = load v0+8       ─▶    loop:
//!     …                            v1 = load v0+8      ← `forward` removes it
//! ```
//!
//! A load is put on the edge that enters the loop; that makes its place available in it, so that `forward` removes the loads inside, and
//! where the loop itself stores to the place and nobody else, its value travels in a block parameter instead of through memory (scalar
//! promotion of what is loaded; the stores stay).
//!
//! When is that right? The place is the same address throughout (no leaf of its base is defined in the loop), no instruction of the
//! loop may change it but by a store to exactly that place, and the load may be done earlier: it is done anyway, before anything that can be
//! observed (the header and the blocks that it falls through to), so that a trap comes where the next thing to happen was that trap; or CLIF
//! says that it can be moved (`notrap can_move`), or it is within a stack slot.
//!
//! Requires: a function that verifies. Ensures: the same stores; loads that trap do so in the order they did before.
//!
//! Reference: K. Cooper, J. Lu, "Register promotion in C programs", PLDI 1997, section 3 (places that a loop accesses explicitly only).
//!
//! Limitations: loops that one edge enters. Checks are not hoisted.

use crate::access::{Accesses, Effect, PlaceId, is_observable, operands};
use crate::account::Fuel;
use crate::available::is_invariant;
use crate::policy::Policy;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Block, Function, GlobalValueData, Inst, InstructionData, Opcode, Value, ValueDef,
};
use regraft_outliner::at_edge;
use regraft_regions::{Flow, FlowError, LoopForest, LoopId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Operations that an address may be computed by, to be computed again in front of a loop.
const MAX_DEPTH: u32 = 6;

/// Puts loads in front of loops.
///
/// # Errors
/// [`FlowError`] for what is no valid function.
///
/// # Complexity
/// O(instructions × depth of loops), within the bounds of the policy.
pub(crate) fn run(func: &mut Function, policy: &Policy, fuel: &mut Fuel) -> Result<(), FlowError> {
    let flow = Flow::compute(func)?;
    let loops = LoopForest::compute(func, &flow);
    if loops.is_empty() {
        return Ok(());
    }
    let accesses = Accesses::compute(func, &flow, policy);
    // Per place, the loops that it has been loaded in front of.
    let mut hoisted: FxHashMap<PlaceId, Vec<LoopId>> = FxHashMap::default();
    for l in loops.loops() {
        let ([entering], true) = (
            &loops.entry_edges(l, &flow)[..],
            loops.block_count(l) <= policy.max_loop_blocks,
        ) else {
            continue;
        };
        let blocks = loops.blocks(l);
        let changed = changed_in(&accesses, &blocks);
        let mut done = 0;
        for inst in candidates(func, &flow, &loops, l, &accesses, &changed, &blocks) {
            let Some(place) = place_of(func, &accesses, inst) else {
                continue;
            };
            let outer = hoisted.entry(place).or_default();
            if outer.iter().any(|&outer| loops.encloses(outer, l)) || done == policy.max_hoisted {
                continue;
            }
            let inside = |block| loops.contains(l, block);
            let Some(operands) = operands(func, inst) else {
                continue;
            };
            if !can_compute(func, operands.pointer, &inside, MAX_DEPTH) || !fuel.burn() {
                continue;
            }
            outer.push(l);
            done += 1;
            let mut cursor = at_edge(func, &flow, *entering);
            let mut known = FxHashMap::default();
            let pointer = compute(&mut cursor, operands.pointer, &inside, &mut known);
            copy(&mut cursor, inst, &[(operands.pointer, pointer)]);
        }
    }
    Ok(())
}

fn place_of(func: &Function, accesses: &Accesses, inst: Inst) -> Option<PlaceId> {
    let block = func.layout.inst_block(inst)?;
    let effects = accesses.effects(block).iter();
    effects
        .filter(|(at, _)| *at == inst)
        .find_map(|&(_, effect)| match effect {
            Effect::Load(place) => Some(place),
            _ => None,
        })
}

/// The places that blocks may change otherwise than by storing to just that place.
fn changed_in(accesses: &Accesses, blocks: &[Block]) -> FxHashSet<PlaceId> {
    let mut changed = FxHashSet::default();
    for &block in blocks {
        changed.extend(accesses.changed_at(block));
        for &(_, effect) in accesses.effects(block) {
            match effect {
                Effect::Load(_) => {}
                Effect::Store(place, change) => {
                    let others = accesses.changed_by(change).iter();
                    changed.extend(others.filter(|&&other| other != place));
                }
                Effect::Changes(change) | Effect::Defines(change) => {
                    changed.extend(accesses.changed_by(change));
                }
            }
        }
    }
    changed
}

/// The loads that may be done before the loop, in the order in which they are to be done.
fn candidates(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    l: LoopId,
    accesses: &Accesses,
    changed: &FxHashSet<PlaceId>,
    blocks: &[Block],
) -> Vec<Inst> {
    let inside = |block| loops.contains(l, block);
    let stays = |place: &PlaceId| {
        accesses.place(*place).is_some_and(|of| {
            !of.private
                && !changed.contains(place)
                && is_invariant(func, accesses, of.address.base, inside)
        })
    };
    let mut found = vec![];
    let mut seen: FxHashSet<PlaceId> = FxHashSet::default();
    // The blocks that run whenever the loop is entered, up to what can be observed.
    let mut block = loops.header(l);
    let mut stored: FxHashSet<PlaceId> = FxHashSet::default();
    'path: loop {
        let mut effects = accesses.effects(block).iter().peekable();
        for inst in func.layout.block_insts(block) {
            let mut moves = false;
            while let Some(&(_, effect)) = effects.next_if(|(at, _)| *at == inst) {
                match effect {
                    Effect::Load(place) if stays(&place) && !stored.contains(&place) => {
                        moves = true;
                        if seen.insert(place) {
                            found.push(inst);
                        }
                    }
                    Effect::Store(place, _) => {
                        stored.insert(place);
                    }
                    _ => {}
                }
            }
            if !moves && is_observable(func, inst) {
                break 'path;
            }
        }
        let mut succs = flow.succs(block);
        let (Some(edge), None) = (succs.next(), succs.next()) else {
            break;
        };
        let to = flow.edge(edge).to;
        if flow.preds(to).len() != 1 || !inside(to) {
            break;
        }
        block = to;
    }
    // Those that may be done anywhere, if they are done in each iteration.
    for &block in blocks {
        let always = loops
            .latches(l)
            .iter()
            .all(|&latch| flow.dominates(block, latch));
        if !always {
            continue;
        }
        for &(inst, effect) in accesses.effects(block) {
            if let Effect::Load(place) = effect
                && stays(&place)
                && can_move(func, accesses, inst, place)
                && seen.insert(place)
            {
                found.push(inst);
            }
        }
    }
    found
}

/// Whether a load may be done anywhere where its address is known.
fn can_move(func: &Function, accesses: &Accesses, inst: Inst, place: PlaceId) -> bool {
    let Some(flags) = func.dfg.insts[inst].memflags_data(&func.dfg) else {
        return false;
    };
    let in_slot = accesses.place(place).is_some_and(|place| {
        let within = |slot| {
            let size = func.sized_stack_slots[slot].size;
            let end = place
                .address
                .offset
                .checked_add(i64::from(place.kind.bytes()));
            place.address.offset >= 0 && end.is_some_and(|end| end <= i64::from(size))
        };
        accesses.numbering.terms(place.address.base).len() == 1 && place.slot.is_some_and(within)
    });
    in_slot || flags.notrap() && flags.can_move()
}

/// Whether a value is there before the loop, or can be computed there.
fn can_compute(func: &Function, value: Value, inside: &impl Fn(Block) -> bool, depth: u32) -> bool {
    let value = func.dfg.resolve_aliases(value);
    let inst = match func.dfg.value_def(value) {
        ValueDef::Param(block, _) => return !inside(block),
        ValueDef::Union(..) => return false,
        ValueDef::Result(inst, _) => inst,
    };
    match func.layout.inst_block(inst) {
        None => return false,
        Some(block) if !inside(block) => return true,
        Some(_) => {}
    }
    let pure = match func.dfg.insts[inst] {
        InstructionData::Binary { opcode, .. } => matches!(
            opcode,
            Opcode::Iadd | Opcode::Isub | Opcode::Imul | Opcode::Ishl | Opcode::Band
        ),
        InstructionData::Unary { opcode, .. } => {
            matches!(opcode, Opcode::Uextend | Opcode::Sextend | Opcode::Ireduce)
        }
        InstructionData::UnaryImm { .. } | InstructionData::StackAddr { .. } => true,
        InstructionData::UnaryGlobalValue { global_value, .. } => matches!(
            func.global_values[global_value],
            GlobalValueData::VMContext | GlobalValueData::Symbol { .. }
        ),
        InstructionData::Load {
            opcode: Opcode::Load,
            flags,
            ..
        } => {
            let flags = func.dfg.mem_flags[flags];
            flags.readonly() && flags.notrap() && flags.can_move()
        }
        _ => false,
    };
    let mut args = func.dfg.inst_args(inst).iter();
    pure && depth > 0 && args.all(|&arg| can_compute(func, arg, inside, depth - 1))
}

/// Computes a value at the cursor, where `can_compute` says so.
fn compute(
    cursor: &mut FuncCursor<'_>,
    value: Value,
    inside: &impl Fn(Block) -> bool,
    known: &mut FxHashMap<Value, Value>,
) -> Value {
    let value = cursor.func.dfg.resolve_aliases(value);
    if let Some(&known) = known.get(&value) {
        return known;
    }
    let inst = match cursor.func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => inst,
        _ => return value,
    };
    let here = cursor.func.layout.inst_block(inst);
    if here.is_none_or(|block| !inside(block)) {
        return value;
    }
    let args = cursor.func.dfg.inst_args(inst).to_vec();
    let args: Vec<_> = args
        .into_iter()
        .map(|arg| (arg, compute(cursor, arg, inside, known)))
        .collect();
    let copy = copy(cursor, inst, &args);
    let result = cursor.func.dfg.inst_results(copy).first().copied();
    let result = result.unwrap_or(value);
    known.insert(value, result);
    result
}

/// Copies an instruction to the cursor, with other operands.
fn copy(cursor: &mut FuncCursor<'_>, inst: Inst, args: &[(Value, Value)]) -> Inst {
    let copy = cursor.func.dfg.clone_inst(inst);
    cursor.func.dfg.map_inst_values(copy, |value| {
        let new = args.iter().find(|(old, _)| *old == value);
        new.map_or(value, |&(_, new)| new)
    });
    let location = cursor.func.srcloc(inst);
    cursor.set_srcloc(location);
    cursor.insert_inst(copy);
    copy
}
