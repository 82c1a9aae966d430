//! Which stack slots are *private*: nobody but loads and stores of this function gets to see their addresses.
//!
//! No call, and no address that comes from elsewhere, reads or writes a private slot; and when the function returns, or traps, nobody
//! looks at it any more. An access at an address that is the sum of a private slot and a variable is an access within
//! that slot: CLIF leaves no other meaning to it.
//!
//! Limitations: an address that passes through a block parameter, a `select` or a comparison has escaped, and so have all slots
//! of a function with debug tags, slots with a key (the embedder finds them in the frame) and slots named in stack maps.

use cranelift_codegen::entity::{EntitySet, SecondaryMap};
use cranelift_codegen::ir::{Function, InstructionData, Opcode, StackSlot, Value};
use cranelift_codegen::packed_option::PackedOption;

/// What is known of a function's slots.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The private ones.
    pub private: EntitySet<StackSlot>,
    derived: SecondaryMap<Value, PackedOption<StackSlot>>,
}

impl Slots {
    /// The slot that an address lies in, if it is the sum of one slot's and of what is no slot's.
    pub fn slot(&self, func: &Function, address: Value) -> Option<StackSlot> {
        self.derived[func.dfg.resolve_aliases(address)].expand()
    }
}

/// Finds the private slots of a function.
///
/// # Complexity
/// O(instructions)
///
/// # Reference
/// J.-D. Choi and others, "Escape analysis for Java", OOPSLA 1999, for the term; this is its simplest form.
pub(crate) fn slots(func: &Function) -> Slots {
    let mut private = EntitySet::new();
    for (slot, data) in func.sized_stack_slots.iter() {
        if data.key.is_none() && func.debug_tags.is_empty() {
            private.insert(slot);
        }
    }
    // The slot whose address, plus something, a value is. Blocks need not come in the order of dominance, so that a second look
    // may find more.
    let mut derived: SecondaryMap<Value, PackedOption<StackSlot>> = SecondaryMap::new();
    if func.sized_stack_slots.is_empty() {
        return Slots { private, derived };
    }
    while derive(func, &mut derived, &mut private) {}
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            let of = |value: Value| derived[func.dfg.resolve_aliases(value)].expand();
            match func.dfg.insts[inst] {
                InstructionData::Load { .. } => {}
                InstructionData::Store { args, .. } => {
                    of(args[0]).map(|slot| private.remove(slot));
                }
                InstructionData::Binary {
                    opcode: Opcode::Iadd | Opcode::Isub,
                    ..
                } => {}
                _ => {
                    for value in func.dfg.inst_values(inst) {
                        of(value).map(|slot| private.remove(slot));
                    }
                }
            }
            for entry in func.dfg.user_stack_map_entries(inst).unwrap_or_default() {
                private.remove(entry.slot);
            }
        }
    }
    Slots { private, derived }
}

/// Takes one look at all instructions; says whether it found anything new.
fn derive(
    func: &Function,
    derived: &mut SecondaryMap<Value, PackedOption<StackSlot>>,
    private: &mut EntitySet<StackSlot>,
) -> bool {
    let mut changed = false;
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            let of = |value: Value| derived[func.dfg.resolve_aliases(value)].expand();
            let slot = match func.dfg.insts[inst] {
                InstructionData::StackAddr { stack_slot, .. } => Some(stack_slot),
                InstructionData::Binary { opcode, args } => match (of(args[0]), of(args[1])) {
                    (None, None) => None,
                    (Some(slot), None) if matches!(opcode, Opcode::Iadd | Opcode::Isub) => {
                        Some(slot)
                    }
                    (None, Some(slot)) if opcode == Opcode::Iadd => Some(slot),
                    (one, two) => {
                        for slot in one.into_iter().chain(two) {
                            private.remove(slot);
                        }
                        None
                    }
                },
                _ => None,
            };
            let (Some(slot), Some(&result)) = (slot, func.dfg.inst_results(inst).first()) else {
                continue;
            };
            if derived[result].expand() != Some(slot) {
                derived[result] = Some(slot).into();
                changed = true;
            }
        }
    }
    changed
}
