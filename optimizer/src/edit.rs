//! Small edits that passes share.

use crate::error::OptimizeError;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Block, BlockArg, ConstantData, Endianness, Function, Inst, InstBuilder, MemFlagsData,
    SourceLoc, Type, Value, immediates, types,
};
use regraft_outliner::OutlineError;

/// Whether a function has a stack slot that takes room: those that were promoted take none.
pub(crate) fn has_slots(func: &Function) -> bool {
    func.sized_stack_slots.values().any(|slot| slot.size > 0)
}

/// Converts a value into another type of the same kind, by moving bits.
pub(crate) fn convert(cursor: &mut FuncCursor<'_>, value: Value, ty: Type) -> Value {
    if cursor.func.dfg.value_type(value) == ty {
        return value;
    }
    let flags = MemFlagsData::new().with_endianness(Endianness::Little);
    cursor.ins().bitcast(ty, flags, value)
}

/// Inserts a zero of type `ty` at the cursor.
pub(crate) fn zero(cursor: &mut FuncCursor<'_>, ty: Type) -> Value {
    match ty {
        types::I128 => {
            let half = cursor.ins().iconst(types::I64, 0);
            cursor.ins().iconcat(half, half)
        }
        types::F16 => cursor.ins().f16const(immediates::Ieee16::with_bits(0)),
        types::F32 => cursor.ins().f32const(immediates::Ieee32::with_bits(0)),
        types::F64 => cursor.ins().f64const(immediates::Ieee64::with_bits(0)),
        types::F128 => {
            let zero = ConstantData::from([0_u8; 16].as_slice());
            let zero = cursor.func.dfg.constants.insert(zero);
            cursor.ins().f128const(zero)
        }
        ty if ty.is_vector() => {
            let zero = ConstantData::from(vec![0_u8; ty.bytes() as usize]);
            let zero = cursor.func.dfg.constants.insert(zero);
            cursor.ins().vconst(ty, zero)
        }
        ty => cursor.ins().iconst(ty, 0),
    }
}

/// Appends an argument to the `index`th destination of a branch.
pub(crate) fn append_argument(func: &mut Function, inst: Inst, index: u32, value: Value) {
    let dfg = &mut func.dfg;
    let calls =
        dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    if let Some(call) = calls.get_mut(index as usize) {
        call.append_argument(value, &mut dfg.value_lists);
    }
}

/// Makes `old`, a result of an instruction that goes, another name of `new`.
///
/// # Requires
/// The types are the same, and `new` is there wherever `old` is used.
pub(crate) fn replace(func: &mut Function, inst: Inst, old: Value, new: Value) {
    func.dfg.detach_inst_results(inst);
    func.dfg.change_to_alias(old, new);
    func.layout.remove_inst(inst);
}

/// Takes a call out of its block, which ends there now; returns the block, and one with what comes after, whose parameters are
/// what the call returned.
///
/// # Errors
/// [`OptimizeError`] for a call that ends its block.
pub(crate) fn lift_call(func: &mut Function, call: Inst) -> Result<(Block, Block), OptimizeError> {
    let malformed = OutlineError::Malformed("a call at the end of a block");
    let next = func.layout.next_inst(call);
    let block = func.layout.inst_block(call);
    let (next, block) = next.zip(block).ok_or(malformed)?;
    let rest = func.dfg.make_block();
    func.layout.split_block(rest, next);
    let results = func.dfg.inst_results(call).to_vec();
    func.dfg.detach_inst_results(call);
    for result in results {
        let ty = func.dfg.value_type(result);
        let param = func.dfg.append_block_param(rest, ty);
        func.dfg.change_to_alias(result, param);
    }
    func.layout.remove_inst(call);
    Ok((block, rest))
}

/// Puts a call that was lifted into a cold block of its own, which leads to `rest`.
pub(crate) fn call_aside(
    func: &mut Function,
    call: Inst,
    rest: Block,
    location: SourceLoc,
) -> Block {
    let aside = func.dfg.make_block();
    func.layout.insert_block(aside, rest);
    func.layout.set_cold(aside);
    func.layout.append_inst(call, aside);
    func.dfg.make_inst_results(call, types::INVALID);
    let results = func.dfg.inst_results(call).iter();
    let results: Vec<BlockArg> = results.map(|&result| result.into()).collect();
    at_end(func, aside, location).ins().jump(rest, &results);
    aside
}

/// A cursor at the end of a block, with a source location if there is one.
pub(crate) fn at_end(func: &mut Function, block: Block, location: SourceLoc) -> FuncCursor<'_> {
    let mut cursor = FuncCursor::new(func);
    if !location.is_default() {
        cursor.set_srcloc(location);
    }
    cursor.goto_bottom(block);
    cursor
}
