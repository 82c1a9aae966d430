//! Types, constants and what callees look like.

use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::immediates::{Ieee16, Ieee32, Ieee64, Ieee128};
use cranelift_codegen::ir::{
    ConstantData, FuncRef, InstBuilder, SigRef, Signature, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

/// The types of values, the common ones several times.
pub const TYPES: [Type; 27] = [
    types::I32,
    types::I64,
    types::I8,
    types::I16,
    types::I128,
    types::F64,
    types::F32,
    types::I32,
    types::I64,
    types::I32,
    types::I64,
    types::I8,
    types::I16,
    types::I32,
    types::I64,
    types::F64,
    types::I8X16,
    types::I16X8,
    types::I32X4,
    types::I64X2,
    types::F32X4,
    types::F64X2,
    types::F16,
    types::F128,
    types::I32,
    types::I64,
    types::I128,
];

/// A function that a body may call.
#[derive(Clone, Debug)]
pub struct Callee {
    /// The reference in the caller.
    pub func_ref: FuncRef,
    /// Its signature there.
    pub sig_ref: SigRef,
    /// Its signature.
    pub signature: Signature,
    /// Which parameters are addresses of plain objects.
    pub pointers: Vec<bool>,
}

impl Callee {
    /// Whether `caller` can end in a call to it.
    pub fn suits_tail_call(&self, caller: &Signature) -> bool {
        caller.call_conv == CallConv::Tail
            && self.signature.call_conv == CallConv::Tail
            && self.signature.returns == caller.returns
            // An address may be one of the caller's own frame.
            && !self.pointers.contains(&true)
    }
}

/// Zero of any type.
pub fn zero(builder: &mut FunctionBuilder<'_>, ty: Type) -> Value {
    constant(builder, ty, 0)
}

/// A constant of any type, of these bits.
pub fn constant(builder: &mut FunctionBuilder<'_>, ty: Type, bits: u128) -> Value {
    match ty {
        types::I128 => {
            let low = builder.ins().iconst(types::I64, bits as i64);
            let high = builder.ins().iconst(types::I64, (bits >> 64) as i64);
            builder.ins().iconcat(low, high)
        }
        types::F16 => builder.ins().f16const(Ieee16::with_bits(bits as u16)),
        types::F32 => builder.ins().f32const(Ieee32::with_bits(bits as u32)),
        types::F64 => builder.ins().f64const(Ieee64::with_bits(bits as u64)),
        types::F128 => {
            let data = ConstantData::from(&Ieee128::with_bits(bits).bits().to_le_bytes()[..]);
            let constant = builder.func.dfg.constants.insert(data);
            builder.ins().f128const(constant)
        }
        _ if ty.is_vector() => {
            let data = ConstantData::from(&bits.to_le_bytes()[..]);
            let constant = builder.func.dfg.constants.insert(data);
            builder.ins().vconst(ty, constant)
        }
        _ => {
            let unused = 64 - ty.bits();
            let value = ((bits as u64) << unused) >> unused;
            builder.ins().iconst(ty, value as i64)
        }
    }
}

/// A value of any type, of these bits, as an argument.
pub fn data_value(ty: Type, bits: u128) -> DataValue {
    let bytes = bits.to_le_bytes();
    DataValue::read_from_slice_le(&bytes[..ty.bytes() as usize], ty)
}
