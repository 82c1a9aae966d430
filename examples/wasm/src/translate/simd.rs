//! 128-bit vectors.

use super::Translator;
use crate::error::Error;
use cranelift_codegen::ir::{
    ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value, types,
};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn simd(&mut self, _op: &Operator<'_>) -> Result<bool, Error> {
        Ok(false)
    }

    /// A vector's bits as another vector type.
    pub(super) fn cast(&mut self, value: Value, ty: Type) -> Value {
        if self.ty(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, value)
    }

    pub(super) fn vector_constant(&mut self, bytes: [u8; 16]) -> Value {
        let constant = ConstantData::from(&bytes[..]);
        let constant = self.b.func.dfg.constants.insert(constant);
        self.b.ins().vconst(types::I8X16, constant)
    }
}
