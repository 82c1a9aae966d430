//! Operations with scalar results.
//!
//! No operation traps: divisors are small positive numbers. The result of a floating-point operation that
//! is not a number is replaced by one certain NaN, as compilers are free in what bits it has.

use super::body::Body;
use super::values::constant;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};

const WORDS: [Type; 4] = [types::I8, types::I16, types::I32, types::I64];
const FLOATS: [Type; 2] = [types::F32, types::F64];

impl Body<'_, '_, '_> {
    /// Draws an operation with a result of the type.
    pub(super) fn operation(&mut self, ty: Type) -> Value {
        match ty {
            _ if ty.is_vector() => self.vector_operation(ty),
            types::I128 => self.wide_operation(),
            types::F16 | types::F128 => self.opaque_float(ty),
            _ if ty.is_float() => self.float_operation(ty),
            _ => self.integer_operation(ty),
        }
    }

    fn integer_operation(&mut self, ty: Type) -> Value {
        let choice = self.source.below(40);
        if let 28.. = choice {
            return self.integer_from_others(ty, choice - 28);
        }
        let (a, b) = (self.value(ty), self.value(ty));
        match choice {
            0 | 1 => self.builder.ins().iadd(a, b),
            2 | 3 => self.builder.ins().isub(a, b),
            4 => self.builder.ins().imul(a, b),
            5 => self.builder.ins().band(a, b),
            6 => self.builder.ins().bor(a, b),
            7 | 8 => self.builder.ins().bxor(a, b),
            9 => self.builder.ins().ishl(a, b),
            10 => self.builder.ins().ushr(a, b),
            11 => self.builder.ins().sshr(a, b),
            12 => self.builder.ins().rotl(a, b),
            13 => self.builder.ins().rotr(a, b),
            14 => self.builder.ins().smin(a, b),
            15 => self.builder.ins().umax(a, b),
            16 => self.builder.ins().bnot(a),
            17 => self.builder.ins().ineg(a),
            18 => self.builder.ins().popcnt(a),
            19 => self.builder.ins().clz(a),
            20 => self.builder.ins().ctz(a),
            21 => {
                let divisor = self.divisor(b, ty);
                match self.source.below(4) {
                    0 => self.builder.ins().udiv(a, divisor),
                    1 => self.builder.ins().urem(a, divisor),
                    2 => self.builder.ins().sdiv(a, divisor),
                    _ => self.builder.ins().srem(a, divisor),
                }
            }
            22 => {
                let flag = self.condition();
                self.builder.ins().select(flag, a, b)
            }
            23 => {
                let (sum, carry) = self.builder.ins().uadd_overflow(a, b);
                self.pool.push((carry, types::I8));
                sum
            }
            24 => self.builder.ins().bitrev(a),
            25 if ty != types::I8 => self.builder.ins().bswap(a),
            26 => self.builder.ins().iabs(a),
            _ => self.builder.ins().iadd(a, b),
        }
    }

    fn divisor(&mut self, value: Value, ty: Type) -> Value {
        let seven = self.builder.ins().iconst(ty, 7);
        let one = self.builder.ins().iconst(ty, 1);
        let small = self.builder.ins().band(value, seven);
        self.builder.ins().bor(small, one)
    }

    fn integer_from_others(&mut self, ty: Type, choice: usize) -> Value {
        let own = self.palette.clone();
        let own = |types: &[Type]| own.iter().copied().find(|ty| types.contains(ty));
        let (mut word, mut float) = (self.source.pick(&WORDS), self.source.pick(&FLOATS));
        if self.source.percent(60) {
            word = own(&WORDS).unwrap_or(word);
            float = own(&FLOATS).unwrap_or(float);
        }
        match choice {
            0 | 1 => {
                let value = self.value(word);
                if word.bits() < ty.bits() {
                    match self.source.below(2) {
                        0 => self.builder.ins().uextend(ty, value),
                        _ => self.builder.ins().sextend(ty, value),
                    }
                } else if word.bits() > ty.bits() {
                    self.builder.ins().ireduce(ty, value)
                } else {
                    value
                }
            }
            2 => {
                let value = self.value(types::I128);
                self.builder.ins().ireduce(ty, value)
            }
            3 if ty == types::I64 => {
                let value = self.value(types::I128);
                let (low, high) = self.builder.ins().isplit(value);
                self.pool.push((high, types::I64));
                low
            }
            4 if ty.bits() >= 32 => {
                let value = self.value(float);
                match self.source.below(2) {
                    0 => self.builder.ins().fcvt_to_sint_sat(ty, value),
                    _ => self.builder.ins().fcvt_to_uint_sat(ty, value),
                }
            }
            5 => {
                let from = match ty {
                    types::I16 => types::F16,
                    types::I32 => types::F32,
                    types::I64 => types::F64,
                    _ => return self.comparison(word, float),
                };
                let value = self.value(from);
                self.builder.ins().bitcast(ty, MemFlagsData::new(), value)
            }
            6 => {
                let from = Type::int(ty.bits() as u16).and_then(|lane| lane.by(128 / ty.bits()));
                let Some(from) = from else {
                    return self.value(ty);
                };
                let value = self.value(from);
                let lane = self.source.below(from.lane_count() as usize) as u8;
                self.builder.ins().extractlane(value, lane)
            }
            7 if ty == types::I8 => self.comparison(word, float),
            8 if ty == types::I8 => {
                let (a, b) = (self.value(types::I128), self.value(types::I128));
                self.builder.ins().icmp(IntCC::SignedLessThan, a, b)
            }
            9 if ty == types::I8 => {
                let value = self.value(types::I32X4);
                self.builder.ins().vany_true(value)
            }
            10 => {
                let value = self.value(word);
                self.builder.ins().bmask(ty, value)
            }
            _ => self.load(ty),
        }
    }

    fn comparison(&mut self, word: Type, float: Type) -> Value {
        let flag = if self.source.percent(50) {
            let (a, b) = (self.value(float), self.value(float));
            let code =
                self.source
                    .pick(&[FloatCC::LessThan, FloatCC::Unordered, FloatCC::NotEqual]);
            self.builder.ins().fcmp(code, a, b)
        } else {
            let (a, b) = (self.value(word), self.value(word));
            let code = self.source.pick(&[
                IntCC::SignedLessThanOrEqual,
                IntCC::UnsignedGreaterThan,
                IntCC::Equal,
            ]);
            self.builder.ins().icmp(code, a, b)
        };
        self.pool.push((flag, types::I8));
        flag
    }

    fn wide_operation(&mut self) -> Value {
        let ty = types::I128;
        let (a, b) = (self.value(ty), self.value(ty));
        match self.source.below(16) {
            0 => self.builder.ins().iadd(a, b),
            1 => self.builder.ins().isub(a, b),
            2 => self.builder.ins().imul(a, b),
            3 => self.builder.ins().band(a, b),
            4 => self.builder.ins().bor(a, b),
            5 => self.builder.ins().bxor(a, b),
            6 => self.builder.ins().bnot(a),
            7 => {
                let amount = self.value(types::I32);
                match self.source.below(3) {
                    0 => self.builder.ins().ishl(a, amount),
                    1 => self.builder.ins().ushr(a, amount),
                    _ => self.builder.ins().sshr(a, amount),
                }
            }
            8 => {
                let flag = self.condition();
                self.builder.ins().select(flag, a, b)
            }
            9 | 10 => {
                let (low, high) = (self.value(types::I64), self.value(types::I64));
                self.builder.ins().iconcat(low, high)
            }
            11 => {
                let word = self.source.pick(&WORDS);
                let value = self.value(word);
                match self.source.below(2) {
                    0 => self.builder.ins().uextend(ty, value),
                    _ => self.builder.ins().sextend(ty, value),
                }
            }
            12 => self.builder.ins().clz(a),
            13 => self.builder.ins().popcnt(a),
            14 => self.builder.ins().bswap(a),
            _ => self.load(ty),
        }
    }

    fn float_operation(&mut self, ty: Type) -> Value {
        let (a, b) = (self.value(ty), self.value(ty));
        let result = match self.source.below(18) {
            0 | 1 => self.builder.ins().fadd(a, b),
            2 => self.builder.ins().fsub(a, b),
            3 | 4 => self.builder.ins().fmul(a, b),
            5 => self.builder.ins().fdiv(a, b),
            6 => self.builder.ins().sqrt(a),
            7 => self.builder.ins().fmin(a, b),
            8 => self.builder.ins().fmax(a, b),
            9 => self.builder.ins().floor(a),
            10 => self.builder.ins().nearest(a),
            11 => {
                let word = self.source.pick(&[types::I32, types::I64]);
                let value = self.value(word);
                match self.source.below(2) {
                    0 => self.builder.ins().fcvt_from_sint(ty, value),
                    _ => self.builder.ins().fcvt_from_uint(ty, value),
                }
            }
            12 if ty == types::F32 => {
                let value = self.value(types::F64);
                self.builder.ins().fdemote(ty, value)
            }
            12 => {
                let value = self.value(types::F32);
                self.builder.ins().fpromote(ty, value)
            }
            // From here on, bits are moved only.
            13 => return self.builder.ins().fneg(a),
            14 => return self.builder.ins().fcopysign(a, b),
            15 => {
                let flag = self.condition();
                return self.builder.ins().select(flag, a, b);
            }
            16 => {
                let from = if ty == types::F32 {
                    types::I32
                } else {
                    types::I64
                };
                let value = self.value(from);
                return self.builder.ins().bitcast(ty, MemFlagsData::new(), value);
            }
            _ => return self.load(ty),
        };
        let nan = match ty {
            types::F32 => 0x7fc0_0000,
            _ => 0x7ff8_0000_0000_0000,
        };
        let nan = constant(&mut self.builder, ty, nan);
        let unordered = self.builder.ins().fcmp(FloatCC::Unordered, result, result);
        self.builder.ins().select(unordered, nan, result)
    }

    /// For types without arithmetic on most targets: moved, chosen, and seen as integers.
    fn opaque_float(&mut self, ty: Type) -> Value {
        match self.source.below(4) {
            0 => self.constant(ty),
            1 => {
                let from = if ty == types::F16 {
                    types::I16
                } else {
                    types::I128
                };
                let value = self.value(from);
                self.builder.ins().bitcast(ty, MemFlagsData::new(), value)
            }
            2 => {
                let (a, b) = (self.value(ty), self.value(ty));
                let flag = self.condition();
                self.builder.ins().select(flag, a, b)
            }
            _ => self.load(ty),
        }
    }
}
