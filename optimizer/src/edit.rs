//! Small edits that passes share.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::{
    ConstantData, Endianness, Function, Inst, InstBuilder, MemFlagsData, Type, Value, immediates,
    types,
};

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
