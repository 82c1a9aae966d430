//! 128-bit vectors: constants, lanes, bits, integers.
//!
//! An operation takes its operands as the vector type that it means; the conversion is a `bitcast`, which
//! costs nothing in registers.
//!
//! Not here: floats and conversions between lane types ([`super::simd_float`]), memory
//! ([`super::simd_memory`]).

use super::Translator;
use super::simd_ops::{Shape, lanes};
use crate::error::Error;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value, types,
};
use types::{I8, I8X16, I16, I16X8, I32, I32X4, I64, I64X2};
use wasmparser::Operator;

/// Calls an instruction on one vector of this type.
macro_rules! unary {
    ($self:ident, $inst:ident, $ty:expr) => {{
        let x = $self.pop_vector($ty)?;
        let value = $self.b.ins().$inst(x);
        $self.push(value);
    }};
}
/// Calls an instruction on two vectors of this type.
macro_rules! binary {
    ($self:ident, $inst:ident, $ty:expr) => {{
        let (x, y) = $self.pop_vectors($ty)?;
        let value = $self.b.ins().$inst(x, y);
        $self.push(value);
    }};
}
pub(super) use {binary, unary};

impl Translator<'_> {
    pub(super) fn simd(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match op {
            O::V128Const { value } => {
                let value = self.vector_constant(*value.bytes());
                self.push(value);
            }
            O::I8x16Shuffle { lanes } => {
                let (x, y) = self.pop_vectors(I8X16)?;
                let mask = ConstantData::from(&lanes[..]);
                let mask = self.b.func.dfg.immediates.push(mask);
                let value = self.b.ins().shuffle(x, y, mask);
                self.push(value);
            }
            O::I8x16Swizzle => binary!(self, swizzle, I8X16),
            O::V128Not => unary!(self, bnot, I8X16),
            O::V128And => binary!(self, band, I8X16),
            O::V128Or => binary!(self, bor, I8X16),
            O::V128Xor => binary!(self, bxor, I8X16),
            O::V128AndNot => {
                let (x, y) = self.pop_vectors(I8X16)?;
                let y = self.b.ins().bnot(y);
                let value = self.b.ins().band(x, y);
                self.push(value);
            }
            O::V128Bitselect => {
                let mask = self.pop_vector(I8X16)?;
                let (x, y) = self.pop_vectors(I8X16)?;
                let value = self.b.ins().bitselect(mask, x, y);
                self.push(value);
            }
            O::V128AnyTrue => {
                let x = self.pop_vector(I8X16)?;
                let value = self.b.ins().vany_true(x);
                self.push_bool(value);
            }
            O::I8x16Splat => self.splat(I8X16, I8)?,
            O::I16x8Splat => self.splat(I16X8, I16)?,
            O::I32x4Splat => self.splat(I32X4, I32)?,
            O::I64x2Splat => self.splat(I64X2, I64)?,
            O::F32x4Splat => self.splat(types::F32X4, types::F32)?,
            O::F64x2Splat => self.splat(types::F64X2, types::F64)?,
            _ => return Ok(self.lane(op)? || self.integer(op)? || self.simd_float(op)?),
        }
        Ok(true)
    }

    fn splat(&mut self, ty: Type, lane: Type) -> Result<(), Error> {
        let x = self.pop()?;
        let x = self.narrow(x, lane);
        let value = self.b.ins().splat(ty, x);
        self.push(value);
        Ok(())
    }

    /// A scalar as a lane, which can be narrower.
    fn narrow(&mut self, x: Value, lane: Type) -> Value {
        if self.ty(x) == lane {
            x
        } else {
            self.b.ins().ireduce(lane, x)
        }
    }

    fn lane(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match *op {
            O::I8x16ExtractLaneS { lane } => self.extract(I8X16, lane, Some(true))?,
            O::I8x16ExtractLaneU { lane } => self.extract(I8X16, lane, Some(false))?,
            O::I16x8ExtractLaneS { lane } => self.extract(I16X8, lane, Some(true))?,
            O::I16x8ExtractLaneU { lane } => self.extract(I16X8, lane, Some(false))?,
            O::I32x4ExtractLane { lane } => self.extract(I32X4, lane, None)?,
            O::I64x2ExtractLane { lane } => self.extract(I64X2, lane, None)?,
            O::F32x4ExtractLane { lane } => self.extract(types::F32X4, lane, None)?,
            O::F64x2ExtractLane { lane } => self.extract(types::F64X2, lane, None)?,
            O::I8x16ReplaceLane { lane } => self.replace(I8X16, lane)?,
            O::I16x8ReplaceLane { lane } => self.replace(I16X8, lane)?,
            O::I32x4ReplaceLane { lane } => self.replace(I32X4, lane)?,
            O::I64x2ReplaceLane { lane } => self.replace(I64X2, lane)?,
            O::F32x4ReplaceLane { lane } => self.replace(types::F32X4, lane)?,
            O::F64x2ReplaceLane { lane } => self.replace(types::F64X2, lane)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extract(&mut self, ty: Type, lane: u8, signed: Option<bool>) -> Result<(), Error> {
        let x = self.pop_vector(ty)?;
        let value = self.b.ins().extractlane(x, lane);
        let value = match signed {
            Some(true) => self.b.ins().sextend(I32, value),
            Some(false) => self.b.ins().uextend(I32, value),
            None => value,
        };
        self.push(value);
        Ok(())
    }

    fn replace(&mut self, ty: Type, lane: u8) -> Result<(), Error> {
        let value = self.pop()?;
        let value = self.narrow(value, ty.lane_type());
        let x = self.pop_vector(ty)?;
        let value = self.b.ins().insertlane(x, value, lane);
        self.push(value);
        Ok(())
    }

    fn integer(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        let Some((ty, shape)) = lanes(op) else {
            return Ok(false);
        };
        match shape {
            Shape::Compare(condition) => self.compare(ty, condition)?,
            Shape::Abs => unary!(self, iabs, ty),
            Shape::Neg => unary!(self, ineg, ty),
            Shape::Popcnt => unary!(self, popcnt, ty),
            Shape::AllTrue => {
                let x = self.pop_vector(ty)?;
                let value = self.b.ins().vall_true(x);
                self.push_bool(value);
            }
            Shape::Bitmask => {
                let x = self.pop_vector(ty)?;
                let value = self.b.ins().vhigh_bits(I32, x);
                self.push(value);
            }
            Shape::Shl => self.shift(ty, |b, x, by| b.ins().ishl(x, by))?,
            Shape::ShrS => self.shift(ty, |b, x, by| b.ins().sshr(x, by))?,
            Shape::ShrU => self.shift(ty, |b, x, by| b.ins().ushr(x, by))?,
            Shape::Add => binary!(self, iadd, ty),
            Shape::AddSatS => binary!(self, sadd_sat, ty),
            Shape::AddSatU => binary!(self, uadd_sat, ty),
            Shape::Sub => binary!(self, isub, ty),
            Shape::SubSatS => binary!(self, ssub_sat, ty),
            Shape::SubSatU => binary!(self, usub_sat, ty),
            Shape::Mul => binary!(self, imul, ty),
            Shape::MinS => binary!(self, smin, ty),
            Shape::MinU => binary!(self, umin, ty),
            Shape::MaxS => binary!(self, smax, ty),
            Shape::MaxU => binary!(self, umax, ty),
            Shape::Average => binary!(self, avg_round, ty),
            Shape::Q15 => binary!(self, sqmul_round_sat, ty),
            Shape::NarrowS => binary!(self, snarrow, ty),
            Shape::NarrowU => binary!(self, unarrow, ty),
            Shape::LowS => unary!(self, swiden_low, ty),
            Shape::LowU => unary!(self, uwiden_low, ty),
            Shape::HighS => unary!(self, swiden_high, ty),
            Shape::HighU => unary!(self, uwiden_high, ty),
            Shape::PairsS => self.pairs(ty, true)?,
            Shape::PairsU => self.pairs(ty, false)?,
            Shape::MulLowS => self.extmul(ty, |b, x| b.ins().swiden_low(x))?,
            Shape::MulLowU => self.extmul(ty, |b, x| b.ins().uwiden_low(x))?,
            Shape::MulHighS => self.extmul(ty, |b, x| b.ins().swiden_high(x))?,
            Shape::MulHighU => self.extmul(ty, |b, x| b.ins().uwiden_high(x))?,
            Shape::Dot => self.dot()?,
        }
        Ok(true)
    }

    fn compare(&mut self, ty: Type, condition: IntCC) -> Result<(), Error> {
        let (x, y) = self.pop_vectors(ty)?;
        let value = self.b.ins().icmp(condition, x, y);
        self.push(value);
        Ok(())
    }

    /// Shifts lanes; the count wraps at the width of a lane, in CLIF as in WebAssembly.
    fn shift(
        &mut self,
        ty: Type,
        shift: impl Fn(&mut cranelift_frontend::FunctionBuilder<'_>, Value, Value) -> Value,
    ) -> Result<(), Error> {
        let by = self.pop()?;
        let x = self.pop_vector(ty)?;
        let value = shift(&mut self.b, x, by);
        self.push(value);
        Ok(())
    }

    /// Adds pairs of neighbours, widened.
    fn pairs(&mut self, ty: Type, signed: bool) -> Result<(), Error> {
        let x = self.pop_vector(ty)?;
        let (low, high) = if signed {
            (self.b.ins().swiden_low(x), self.b.ins().swiden_high(x))
        } else {
            (self.b.ins().uwiden_low(x), self.b.ins().uwiden_high(x))
        };
        let value = self.b.ins().iadd_pairwise(low, high);
        self.push(value);
        Ok(())
    }

    /// Multiplies halves, widened.
    fn extmul(
        &mut self,
        ty: Type,
        widen: impl Fn(&mut cranelift_frontend::FunctionBuilder<'_>, Value) -> Value,
    ) -> Result<(), Error> {
        let (x, y) = self.pop_vectors(ty)?;
        let (x, y) = (widen(&mut self.b, x), widen(&mut self.b, y));
        let value = self.b.ins().imul(x, y);
        self.push(value);
        Ok(())
    }

    /// Sums of products of neighbours.
    fn dot(&mut self) -> Result<(), Error> {
        let (x, y) = self.pop_vectors(I16X8)?;
        let (low_x, low_y) = (self.b.ins().swiden_low(x), self.b.ins().swiden_low(y));
        let low = self.b.ins().imul(low_x, low_y);
        let (high_x, high_y) = (self.b.ins().swiden_high(x), self.b.ins().swiden_high(y));
        let high = self.b.ins().imul(high_x, high_y);
        let value = self.b.ins().iadd_pairwise(low, high);
        self.push(value);
        Ok(())
    }

    /// Pops a vector as this type.
    pub(super) fn pop_vector(&mut self, ty: Type) -> Result<Value, Error> {
        let value = self.pop()?;
        Ok(self.cast(value, ty))
    }

    /// Pops two vectors as this type.
    pub(super) fn pop_vectors(&mut self, ty: Type) -> Result<(Value, Value), Error> {
        let (x, y) = self.pop2()?;
        Ok((self.cast(x, ty), self.cast(y, ty)))
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
        self.b.ins().vconst(I8X16, constant)
    }
}
