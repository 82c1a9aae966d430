//! Stores that nobody can see go.
//!
//! Two kinds:
//!
//! * stores to a private stack slot of which no byte that they write is ever loaded, and then the slot itself;
//! * in a block, a store whose bytes are all stored again before anybody can look at them: no load that may alias, no call, no
//!   instruction that may trap lies between.
//!
//! Requires: a function that verifies. Ensures: memory has the same contents at every point where somebody can look at it, traps
//! included. A store that may trap stays, unless it goes because the next one would trap alike (same flags, nothing between).
//!
//! Reference: A. Aho and others, "Compilers", 2nd edition, section 9.2.5 (liveness), here without flow for slots, and within
//! blocks for the rest.
//!
//! Limitations: a slot that is loaded somewhere keeps the stores to the same bytes that no path leads on from.

use crate::access::{Accesses, Effect, PlaceId, is_observable, operands};
use crate::account::Fuel;
use crate::address::Address;
use crate::edit::has_slots;
use crate::escape::slots;
use crate::policy::Policy;
use cranelift_codegen::entity::EntitySet;
use cranelift_codegen::ir::{Function, Inst, InstructionData, StackSlot};
use regraft_regions::{Flow, FlowError};
use rustc_hash::FxHashMap;

/// Removes stores.
///
/// # Errors
/// [`FlowError`] for what is no valid function.
///
/// # Complexity
/// O(instructions + stores × loads of their slot)
pub(crate) fn run(func: &mut Function, policy: &Policy, fuel: &mut Fuel) -> Result<(), FlowError> {
    overwritten(func, policy, fuel)?;
    unread(func, policy, fuel)
}

/// Removes stores to private slots that are never loaded.
///
/// # Errors
/// [`FlowError`] for what is no valid function.
pub(crate) fn unread(
    func: &mut Function,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<(), FlowError> {
    if !has_slots(func) {
        return Ok(());
    }
    let flow = Flow::compute(func)?;
    let slots = slots(func);
    if slots.private.is_empty() {
        return Ok(());
    }
    let mut numbering = crate::address::Numbering::compute(func, &flow, policy);
    let mut reads: FxHashMap<StackSlot, Vec<Option<(Address, u32)>>> = FxHashMap::default();
    let mut writes = vec![];
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            let (InstructionData::Load { arg: pointer, .. }
            | InstructionData::Store {
                args: [_, pointer], ..
            }) = func.dfg.insts[inst]
            else {
                continue;
            };
            let Some(slot) = slots.slot(func, pointer) else {
                continue;
            };
            if !slots.private.contains(slot) {
                continue;
            }
            let bytes = operands(func, inst).and_then(|operands| {
                let address = numbering.address(func, operands.pointer, operands.offset)?;
                Some((address, operands.memory.bytes()))
            });
            match func.dfg.insts[inst].opcode().can_store() {
                true => writes.push((inst, slot, bytes)),
                false => reads.entry(slot).or_default().push(bytes),
            }
        }
    }
    for (inst, slot, bytes) in writes {
        let reads = reads.get(&slot).map_or(&[][..], |reads| reads);
        let seen = reads.iter().any(|&read| match (read, bytes) {
            (Some(read), Some(written)) => may_overlap(read, written),
            _ => true,
        });
        if !seen && fuel.burn() {
            func.layout.remove_inst(inst);
        }
    }
    remove_slots(func, &slots.private);
    Ok(())
}

fn may_overlap((one, bytes): (Address, u32), (other, others): (Address, u32)) -> bool {
    one.base != other.base
        || other.offset.wrapping_sub(one.offset).cast_unsigned() < u64::from(bytes)
        || one.offset.wrapping_sub(other.offset).cast_unsigned() < u64::from(others)
}

/// Removes addresses of slots that nobody uses, and the space of private slots whose address nobody takes.
fn remove_slots(func: &mut Function, private: &EntitySet<StackSlot>) {
    let mut used: EntitySet<cranelift_codegen::ir::Value> = EntitySet::new();
    let mut addresses = vec![];
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            for value in func.dfg.inst_values(inst) {
                used.insert(func.dfg.resolve_aliases(value));
            }
            if let InstructionData::StackAddr { stack_slot, .. } = func.dfg.insts[inst] {
                addresses.push((inst, stack_slot));
            }
        }
    }
    let mut kept: EntitySet<StackSlot> = EntitySet::new();
    for (inst, slot) in addresses {
        let results = func.dfg.inst_results(inst);
        if results.iter().any(|&result| used.contains(result)) {
            kept.insert(slot);
        } else {
            func.layout.remove_inst(inst);
        }
    }
    for (slot, data) in func.sized_stack_slots.iter_mut() {
        if private.contains(slot) && !kept.contains(slot) {
            data.size = 0;
            data.align_shift = 0;
        }
    }
}

/// Removes stores that are overwritten in their block before anybody looks.
fn overwritten(func: &mut Function, policy: &Policy, fuel: &mut Fuel) -> Result<(), FlowError> {
    let flow = Flow::compute(func)?;
    let accesses = Accesses::compute(func, &flow, policy);
    let mut dead = vec![];
    for &block in flow.rpo() {
        let mut effects = accesses.effects(block).iter().peekable();
        // Stores that nobody has seen yet.
        let mut unseen: FxHashMap<PlaceId, Inst> = FxHashMap::default();
        for inst in func.layout.block_insts(block) {
            let mut stored = None;
            let mut seen_all = is_observable(func, inst);
            while let Some(&(_, effect)) = effects.next_if(|(at, _)| *at == inst) {
                match effect {
                    Effect::Load(place) => see(&accesses, &mut unseen, place),
                    Effect::Store(place, _) => stored = Some(place),
                    Effect::Changes(_) => seen_all = true,
                    // No place with this leaf has been stored to in this block.
                    Effect::Defines(_) => {}
                }
            }
            if let Some(place) = stored
                && let Some(&earlier) = unseen.get(&place)
                && can_go(func, earlier, inst)
            {
                dead.push(earlier);
                unseen.remove(&place);
            }
            let loads_elsewhere =
                func.dfg.insts[inst].opcode().can_load() && operands(func, inst).is_none();
            if seen_all || loads_elsewhere {
                unseen.clear();
            }
            if let Some(place) = stored {
                unseen.insert(place, inst);
            }
        }
    }
    for inst in dead {
        if fuel.burn() {
            func.layout.remove_inst(inst);
        }
    }
    Ok(())
}

/// Whether a store that the next one overwrites may go: it does not trap, or the next one traps in its place.
fn can_go(func: &Function, earlier: Inst, later: Inst) -> bool {
    match (operands(func, earlier), operands(func, later)) {
        (Some(one), Some(other)) => {
            func.dfg.mem_flags[one.flags].notrap() || one.flags == other.flags
        }
        _ => false,
    }
}

/// A load of a place sees every store that may overlap it or alias it.
fn see(accesses: &Accesses, unseen: &mut FxHashMap<PlaceId, Inst>, place: PlaceId) {
    let Some(read) = accesses.place(place) else {
        unseen.clear();
        return;
    };
    unseen.retain(|&stored, _| {
        let Some(written) = accesses.place(stored) else {
            return false;
        };
        let same_base = written.address.base == read.address.base;
        let apart = same_base
            && !may_overlap(
                (read.address, read.kind.bytes()),
                (written.address, written.kind.bytes()),
            );
        let in_other_slot = match (written.slot, read.slot) {
            (Some(one), Some(other)) => one != other,
            (Some(_), None) => written.private,
            (None, Some(_)) => read.private,
            (None, None) => false,
        };
        apart || in_other_slot
    });
}
