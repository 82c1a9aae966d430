//! Operations with 128-bit vector results.

use super::body::Body;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value, types,
};

impl Body<'_, '_, '_> {
    pub(super) fn vector_operation(&mut self, ty: Type) -> Value {
        let (a, b) = (self.value(ty), self.value(ty));
        match self.source.below(12) {
            0 => return self.load(ty),
            1 => {
                let lane = self.value(ty.lane_type());
                return self.builder.ins().splat(ty, lane);
            }
            2 => {
                let lane = self.value(ty.lane_type());
                let at = self.source.below(ty.lane_count() as usize) as u8;
                return self.builder.ins().insertlane(a, lane, at);
            }
            3 => {
                let flag = self.condition();
                return self.builder.ins().select(flag, a, b);
            }
            _ => {}
        }
        if ty.lane_type().is_float() {
            self.float_vector(ty, a, b)
        } else {
            self.integer_vector(ty, a, b)
        }
    }

    fn integer_vector(&mut self, ty: Type, a: Value, b: Value) -> Value {
        match self.source.below(12) {
            0 => self.builder.ins().iadd(a, b),
            1 => self.builder.ins().isub(a, b),
            2 => self.builder.ins().band(a, b),
            3 => self.builder.ins().bor(a, b),
            4 => self.builder.ins().bxor(a, b),
            5 => self.builder.ins().bnot(a),
            6 if ty == types::I32X4 || ty == types::I16X8 => self.builder.ins().imul(a, b),
            7 => self.builder.ins().icmp(IntCC::SignedGreaterThan, a, b),
            8 => {
                let mask = self.value(ty);
                self.builder.ins().bitselect(mask, a, b)
            }
            9 if ty == types::I8X16 => {
                let lanes: Vec<u8> = (0..16).map(|_| self.source.below(32) as u8).collect();
                let mask = ConstantData::from(&lanes[..]);
                let mask = self.builder.func.dfg.immediates.push(mask);
                self.builder.ins().shuffle(a, b, mask)
            }
            10 if ty == types::I8X16 || ty == types::I16X8 => self.builder.ins().uadd_sat(a, b),
            _ => self.builder.ins().ineg(a),
        }
    }

    fn float_vector(&mut self, ty: Type, a: Value, b: Value) -> Value {
        let result = match self.source.below(6) {
            0 => self.builder.ins().fadd(a, b),
            1 => self.builder.ins().fsub(a, b),
            2 => self.builder.ins().fmul(a, b),
            3 => self.builder.ins().fdiv(a, b),
            4 => self.builder.ins().sqrt(a),
            _ => return self.builder.ins().fneg(a),
        };
        // Lanes that are not numbers become zero.
        let lanes = if ty == types::F32X4 {
            types::I32X4
        } else {
            types::I64X2
        };
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        let ordered = self.builder.ins().fcmp(FloatCC::Equal, result, result);
        let bits = self.builder.ins().bitcast(lanes, flags, result);
        let bits = self.builder.ins().band(bits, ordered);
        self.builder.ins().bitcast(ty, flags, bits)
    }
}
