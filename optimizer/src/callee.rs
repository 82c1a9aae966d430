//! What inlining needs to know of the functions that a function calls.
//!
//! Not here: the pass (`passes::inline`); where callees come from, which the caller of the pass knows.

use cranelift_codegen::entity::EntityRef;
use cranelift_codegen::ir::{
    ArgumentPurpose, FuncRef, Function, GlobalValueData, Inst, Opcode, Type, UserExternalName,
};
use std::sync::Arc;

/// A word in memory that says whether a function still is what it was: 0 as long as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The name of the word, as a symbol.
    pub name: UserExternalName,
    /// The type of an address.
    pub pointer: Type,
}

/// A function whose copy may take the place of calls.
#[derive(Clone, Debug)]
pub struct Callee {
    /// The function. Its external names mean in the caller what they mean in it.
    pub body: Arc<Function>,
    /// What is looked at before each copy, where the function may be replaced by another.
    pub guard: Option<Guard>,
}

/// The functions that a function calls.
pub trait Callees {
    /// The instructions of the function that `callee` of `caller` names, if a copy of it may take the place of a call:
    /// it [can be copied](can_be_copied), and its signature is that of the reference.
    fn size(&mut self, caller: &Function, callee: FuncRef) -> Option<usize>;

    /// That function.
    fn find(&mut self, caller: &Function, callee: FuncRef) -> Option<Callee>;

    /// The function that an indirect call of `caller` reaches most of the time, declared there with the call's signature.
    fn target(&mut self, caller: &mut Function, call: Inst) -> Option<FuncRef> {
        let _ = (caller, call);
        None
    }
}

/// Nothing is known of any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unknown;

impl Callees for Unknown {
    fn size(&mut self, _: &Function, _: FuncRef) -> Option<usize> {
        None
    }

    fn find(&mut self, _: &Function, _: FuncRef) -> Option<Callee> {
        None
    }
}

/// The bytes of stack slots that a function may have of which a copy is made: a frame is as large as that of its
/// largest copy, also while nothing of the copy runs. Some functions have a large frame for a purpose: to touch the stack.
const MAX_SLOT_BYTES: u32 = 256;

/// The instructions of a function, if copies of it may take the place of calls; `None` for one to which it matters that it has
/// a frame of its own, or whose parameters are not what a call passes.
///
/// # Complexity
/// O(instructions)
pub fn can_be_copied(func: &Function) -> Option<usize> {
    let params = func.signature.params.iter();
    let mut purposes = params
        .chain(&func.signature.returns)
        .map(|param| param.purpose);
    let plain = purposes.all(|purpose| {
        matches!(
            purpose,
            ArgumentPurpose::Normal | ArgumentPurpose::VMContext
        )
    });
    let slots = func.sized_stack_slots.values();
    let bytes = slots.fold(0_u32, |sum, slot| sum.saturating_add(slot.size));
    let keyed = func
        .sized_stack_slots
        .values()
        .any(|slot| slot.key.is_some());
    let mut globals = func.global_values.values();
    if !plain
        || keyed
        || bytes > MAX_SLOT_BYTES
        || !func.dynamic_stack_slots.is_empty()
        || !func.dfg.dynamic_types.is_empty()
        || func.stack_limit.is_some()
        || !func.debug_tags.is_empty()
        || globals.any(|global| matches!(global, GlobalValueData::VMContext))
    {
        return None;
    }
    let mut count = 0;
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            let opcode = func.dfg.insts[inst].opcode();
            if needs_frame(opcode) || func.dfg.user_stack_map_entries(inst).is_some() {
                return None;
            }
            count += 1;
        }
    }
    (count > 0).then_some(count)
}

/// Whether an instruction means its own frame, or leaves it for good.
fn needs_frame(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::GetFramePointer
            | Opcode::GetStackPointer
            | Opcode::GetReturnAddress
            | Opcode::GetExceptionHandlerAddress
            | Opcode::StackSwitch
            | Opcode::SequencePoint
            | Opcode::ReturnCall
            | Opcode::ReturnCallIndirect
            | Opcode::TryCall
            | Opcode::TryCallIndirect
    )
}

/// Whether a reference is to what `body` is: then its parameters are what a call passes.
pub fn fits(caller: &Function, callee: FuncRef, body: &Function) -> bool {
    let data = caller.dfg.ext_funcs.get(callee);
    let signature = data.and_then(|data| {
        let known = data.signature.index() < caller.dfg.signatures.len();
        (known && !data.patchable).then(|| &caller.dfg.signatures[data.signature])
    });
    signature == Some(&body.signature)
}
