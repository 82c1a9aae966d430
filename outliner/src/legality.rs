//! What a region may contain.
//!
//! Purpose: the one place that decides, instruction by instruction, whether a
//! block can run in another frame than its own. Everything that is not named
//! here can.
//!
//! Not here: the shape of the region (that is `Region::new`), nor whether
//! outlining it is worth while (that is policy, `regraft_regions::formation`).

use crate::error::OutlineError;
use cranelift_codegen::ir::{Block, DebugTag, Function, Inst, Opcode};

/// Checks that every instruction of `blocks` can run in an outlined function.
///
/// # Errors
///
/// The first instruction, in block order, that cannot, as a typed reason.
///
/// # Complexity
///
/// O(instructions of the blocks).
pub fn check_blocks(
    func: &Function,
    blocks: impl IntoIterator<Item = Block>,
) -> Result<(), OutlineError> {
    for block in blocks {
        for inst in func.layout.block_insts(block) {
            check_inst(func, block, inst)?;
        }
    }
    Ok(())
}

fn check_inst(func: &Function, block: Block, inst: Inst) -> Result<(), OutlineError> {
    let opcode = func.dfg.insts[inst].opcode();
    match opcode {
        Opcode::GetFramePointer | Opcode::GetStackPointer | Opcode::GetReturnAddress => {
            return Err(OutlineError::FrameIdentity { block, opcode });
        }
        Opcode::GetExceptionHandlerAddress => return Err(OutlineError::HandlerAddress { block }),
        Opcode::StackSwitch => return Err(OutlineError::StackSwitch { block }),
        _ => {}
    }
    if opcode.is_safepoint()
        && func
            .dfg
            .user_stack_map_entries(inst)
            .is_some_and(|entries| !entries.is_empty())
    {
        return Err(OutlineError::UserStackMap { block, inst });
    }
    let names_slot = |tag: &DebugTag| matches!(tag, DebugTag::StackSlot(_));
    if func.debug_tags.get(inst).iter().any(names_slot) {
        return Err(OutlineError::DebugTagOfSlot { block, inst });
    }
    Ok(())
}
