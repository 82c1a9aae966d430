//! A zero of any type, for results that an exit does not use.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value, immediates, types};

/// Inserts a zero of type `ty` at `cursor`.
pub(crate) fn insert_zero(cursor: &mut FuncCursor<'_>, ty: Type) -> Value {
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
