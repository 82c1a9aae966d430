//! Vectors of floats, and conversions between lanes of integers and floats.

use super::Translator;
use super::simd::{binary, unary};
use crate::error::Error;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value, types};
use types::{F32X4, F64X2, I32X4, I64X2};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn simd_float(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match op {
            O::F32x4Eq => self.vector_fcmp(F32X4, FloatCC::Equal)?,
            O::F32x4Ne => self.vector_fcmp(F32X4, FloatCC::NotEqual)?,
            O::F32x4Lt => self.vector_fcmp(F32X4, FloatCC::LessThan)?,
            O::F32x4Gt => self.vector_fcmp(F32X4, FloatCC::GreaterThan)?,
            O::F32x4Le => self.vector_fcmp(F32X4, FloatCC::LessThanOrEqual)?,
            O::F32x4Ge => self.vector_fcmp(F32X4, FloatCC::GreaterThanOrEqual)?,
            O::F64x2Eq => self.vector_fcmp(F64X2, FloatCC::Equal)?,
            O::F64x2Ne => self.vector_fcmp(F64X2, FloatCC::NotEqual)?,
            O::F64x2Lt => self.vector_fcmp(F64X2, FloatCC::LessThan)?,
            O::F64x2Gt => self.vector_fcmp(F64X2, FloatCC::GreaterThan)?,
            O::F64x2Le => self.vector_fcmp(F64X2, FloatCC::LessThanOrEqual)?,
            O::F64x2Ge => self.vector_fcmp(F64X2, FloatCC::GreaterThanOrEqual)?,
            O::F32x4Ceil => unary!(self, ceil, F32X4),
            O::F32x4Floor => unary!(self, floor, F32X4),
            O::F32x4Trunc => unary!(self, trunc, F32X4),
            O::F32x4Nearest => unary!(self, nearest, F32X4),
            O::F32x4Abs => unary!(self, fabs, F32X4),
            O::F32x4Neg => unary!(self, fneg, F32X4),
            O::F32x4Sqrt => unary!(self, sqrt, F32X4),
            O::F32x4Add => binary!(self, fadd, F32X4),
            O::F32x4Sub => binary!(self, fsub, F32X4),
            O::F32x4Mul => binary!(self, fmul, F32X4),
            O::F32x4Div => binary!(self, fdiv, F32X4),
            O::F32x4Min => binary!(self, fmin, F32X4),
            O::F32x4Max => binary!(self, fmax, F32X4),
            O::F32x4PMin => self.pseudo(F32X4, true)?,
            O::F32x4PMax => self.pseudo(F32X4, false)?,
            O::F64x2Ceil => unary!(self, ceil, F64X2),
            O::F64x2Floor => unary!(self, floor, F64X2),
            O::F64x2Trunc => unary!(self, trunc, F64X2),
            O::F64x2Nearest => unary!(self, nearest, F64X2),
            O::F64x2Abs => unary!(self, fabs, F64X2),
            O::F64x2Neg => unary!(self, fneg, F64X2),
            O::F64x2Sqrt => unary!(self, sqrt, F64X2),
            O::F64x2Add => binary!(self, fadd, F64X2),
            O::F64x2Sub => binary!(self, fsub, F64X2),
            O::F64x2Mul => binary!(self, fmul, F64X2),
            O::F64x2Div => binary!(self, fdiv, F64X2),
            O::F64x2Min => binary!(self, fmin, F64X2),
            O::F64x2Max => binary!(self, fmax, F64X2),
            O::F64x2PMin => self.pseudo(F64X2, true)?,
            O::F64x2PMax => self.pseudo(F64X2, false)?,
            _ => return self.vector_conversion(op),
        }
        Ok(true)
    }

    fn vector_conversion(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        let value = match op {
            O::I32x4TruncSatF32x4S => {
                let x = self.pop_vector(F32X4)?;
                self.b.ins().fcvt_to_sint_sat(I32X4, x)
            }
            O::I32x4TruncSatF32x4U => {
                let x = self.pop_vector(F32X4)?;
                self.b.ins().fcvt_to_uint_sat(I32X4, x)
            }
            O::F32x4ConvertI32x4S => {
                let x = self.pop_vector(I32X4)?;
                self.b.ins().fcvt_from_sint(F32X4, x)
            }
            O::F32x4ConvertI32x4U => {
                let x = self.pop_vector(I32X4)?;
                self.b.ins().fcvt_from_uint(F32X4, x)
            }
            O::I32x4TruncSatF64x2SZero => {
                let x = self.pop_vector(F64X2)?;
                let wide = self.b.ins().fcvt_to_sint_sat(I64X2, x);
                let zero = self.vector_zero();
                self.b.ins().snarrow(wide, zero)
            }
            O::I32x4TruncSatF64x2UZero => {
                let x = self.pop_vector(F64X2)?;
                let wide = self.b.ins().fcvt_to_uint_sat(I64X2, x);
                let zero = self.vector_zero();
                self.b.ins().uunarrow(wide, zero)
            }
            O::F64x2ConvertLowI32x4S => {
                let x = self.pop_vector(I32X4)?;
                let wide = self.b.ins().swiden_low(x);
                self.b.ins().fcvt_from_sint(F64X2, wide)
            }
            O::F64x2ConvertLowI32x4U => {
                let x = self.pop_vector(I32X4)?;
                let wide = self.b.ins().uwiden_low(x);
                self.b.ins().fcvt_from_uint(F64X2, wide)
            }
            O::F32x4DemoteF64x2Zero => {
                let x = self.pop_vector(F64X2)?;
                self.b.ins().fvdemote(x)
            }
            O::F64x2PromoteLowF32x4 => {
                let x = self.pop_vector(F32X4)?;
                self.b.ins().fvpromote_low(x)
            }
            _ => return Ok(false),
        };
        self.push(value);
        Ok(true)
    }

    /// A constant of its own type: Cranelift has code for the two conversions to narrow lanes only if their
    /// other operand is one.
    fn vector_zero(&mut self) -> Value {
        let zero = ConstantData::from(&[0; 16][..]);
        let zero = self.b.func.dfg.constants.insert(zero);
        self.b.ins().vconst(I64X2, zero)
    }

    fn vector_fcmp(&mut self, ty: Type, condition: FloatCC) -> Result<(), Error> {
        let (x, y) = self.pop_vectors(ty)?;
        let value = self.b.ins().fcmp(condition, x, y);
        self.push(value);
        Ok(())
    }

    /// The smaller or larger by a plain comparison: the first operand where neither is.
    fn pseudo(&mut self, ty: Type, minimum: bool) -> Result<(), Error> {
        let (x, y) = self.pop_vectors(ty)?;
        let (low, high) = if minimum { (y, x) } else { (x, y) };
        let second = self.b.ins().fcmp(FloatCC::LessThan, low, high);
        let mask = self.cast(second, ty);
        let value = self.b.ins().bitselect(mask, y, x);
        self.push(value);
        Ok(())
    }
}
