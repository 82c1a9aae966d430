//! Scalar numbers.
//!
//! CLIF's operations have WebAssembly's semantics where it matters: shift counts wrap, divisions and
//! conversions trap, `nearest` rounds to even.

use super::Translator;
use crate::error::Error;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use types::{F32, F64, I8, I16, I32, I64};
use wasmparser::Operator;

/// Calls an instruction that takes one value.
macro_rules! unary {
    ($self:ident, $inst:ident) => {{
        let x = $self.pop()?;
        let value = $self.b.ins().$inst(x);
        $self.push(value);
    }};
}

/// Calls an instruction that takes a type and one value.
macro_rules! convert {
    ($self:ident, $inst:ident, $ty:expr) => {{
        let x = $self.pop()?;
        let value = $self.b.ins().$inst($ty, x);
        $self.push(value);
    }};
}

/// Calls an instruction that takes two values.
macro_rules! binary {
    ($self:ident, $inst:ident) => {{
        let (x, y) = $self.pop2()?;
        let value = $self.b.ins().$inst(x, y);
        $self.push(value);
    }};
}

impl Translator<'_> {
    pub(super) fn numeric(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match op {
            O::I32Const { value } => {
                let value = self.b.ins().iconst(I32, i64::from(value.cast_unsigned()));
                self.push(value);
            }
            O::I64Const { value } => {
                let value = self.b.ins().iconst(I64, *value);
                self.push(value);
            }
            O::F32Const { value } => {
                let value = Ieee32::with_bits(value.bits());
                let value = self.b.ins().f32const(value);
                self.push(value);
            }
            O::F64Const { value } => {
                let value = Ieee64::with_bits(value.bits());
                let value = self.b.ins().f64const(value);
                self.push(value);
            }
            O::I32Clz | O::I64Clz => unary!(self, clz),
            O::I32Ctz | O::I64Ctz => unary!(self, ctz),
            O::I32Popcnt | O::I64Popcnt => unary!(self, popcnt),
            O::I32Add | O::I64Add => binary!(self, iadd),
            O::I32Sub | O::I64Sub => binary!(self, isub),
            O::I32Mul | O::I64Mul => binary!(self, imul),
            O::I32DivS | O::I64DivS => binary!(self, sdiv),
            O::I32DivU | O::I64DivU => binary!(self, udiv),
            O::I32RemS | O::I64RemS => binary!(self, srem),
            O::I32RemU | O::I64RemU => binary!(self, urem),
            O::I32And | O::I64And => binary!(self, band),
            O::I32Or | O::I64Or => binary!(self, bor),
            O::I32Xor | O::I64Xor => binary!(self, bxor),
            O::I32Shl | O::I64Shl => binary!(self, ishl),
            O::I32ShrS | O::I64ShrS => binary!(self, sshr),
            O::I32ShrU | O::I64ShrU => binary!(self, ushr),
            O::I32Rotl | O::I64Rotl => binary!(self, rotl),
            O::I32Rotr | O::I64Rotr => binary!(self, rotr),
            O::F32Abs | O::F64Abs => unary!(self, fabs),
            O::F32Neg | O::F64Neg => unary!(self, fneg),
            O::F32Ceil | O::F64Ceil => unary!(self, ceil),
            O::F32Floor | O::F64Floor => unary!(self, floor),
            O::F32Trunc | O::F64Trunc => unary!(self, trunc),
            O::F32Nearest | O::F64Nearest => unary!(self, nearest),
            O::F32Sqrt | O::F64Sqrt => unary!(self, sqrt),
            O::F32Add | O::F64Add => binary!(self, fadd),
            O::F32Sub | O::F64Sub => binary!(self, fsub),
            O::F32Mul | O::F64Mul => binary!(self, fmul),
            O::F32Div | O::F64Div => binary!(self, fdiv),
            O::F32Min | O::F64Min => binary!(self, fmin),
            O::F32Max | O::F64Max => binary!(self, fmax),
            O::F32Copysign | O::F64Copysign => binary!(self, fcopysign),
            _ => return self.comparison(op),
        }
        Ok(true)
    }

    fn comparison(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match op {
            O::I32Eqz | O::I64Eqz => {
                let x = self.pop()?;
                let x = self.condition(x);
                let value = self.b.ins().icmp_imm_u(IntCC::Equal, x, 0);
                self.push_bool(value);
            }
            O::RefIsNull => {
                let x = self.pop()?;
                let value = self.b.ins().icmp_imm_u(IntCC::Equal, x, 0);
                self.push_bool(value);
            }
            O::I32Eq | O::I64Eq => self.icmp(IntCC::Equal)?,
            O::I32Ne | O::I64Ne => self.icmp(IntCC::NotEqual)?,
            O::I32LtS | O::I64LtS => self.icmp(IntCC::SignedLessThan)?,
            O::I32LtU | O::I64LtU => self.icmp(IntCC::UnsignedLessThan)?,
            O::I32GtS | O::I64GtS => self.icmp(IntCC::SignedGreaterThan)?,
            O::I32GtU | O::I64GtU => self.icmp(IntCC::UnsignedGreaterThan)?,
            O::I32LeS | O::I64LeS => self.icmp(IntCC::SignedLessThanOrEqual)?,
            O::I32LeU | O::I64LeU => self.icmp(IntCC::UnsignedLessThanOrEqual)?,
            O::I32GeS | O::I64GeS => self.icmp(IntCC::SignedGreaterThanOrEqual)?,
            O::I32GeU | O::I64GeU => self.icmp(IntCC::UnsignedGreaterThanOrEqual)?,
            O::F32Eq | O::F64Eq => self.fcmp(FloatCC::Equal)?,
            O::F32Ne | O::F64Ne => self.fcmp(FloatCC::NotEqual)?,
            O::F32Lt | O::F64Lt => self.fcmp(FloatCC::LessThan)?,
            O::F32Gt | O::F64Gt => self.fcmp(FloatCC::GreaterThan)?,
            O::F32Le | O::F64Le => self.fcmp(FloatCC::LessThanOrEqual)?,
            O::F32Ge | O::F64Ge => self.fcmp(FloatCC::GreaterThanOrEqual)?,
            _ => return self.conversion(op),
        }
        Ok(true)
    }

    fn conversion(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match op {
            O::I32WrapI64 => convert!(self, ireduce, I32),
            O::I64ExtendI32S => convert!(self, sextend, I64),
            O::I64ExtendI32U => convert!(self, uextend, I64),
            O::I32TruncF32S | O::I32TruncF64S => convert!(self, fcvt_to_sint, I32),
            O::I32TruncF32U | O::I32TruncF64U => convert!(self, fcvt_to_uint, I32),
            O::I64TruncF32S | O::I64TruncF64S => convert!(self, fcvt_to_sint, I64),
            O::I64TruncF32U | O::I64TruncF64U => convert!(self, fcvt_to_uint, I64),
            O::I32TruncSatF32S | O::I32TruncSatF64S => convert!(self, fcvt_to_sint_sat, I32),
            O::I32TruncSatF32U | O::I32TruncSatF64U => convert!(self, fcvt_to_uint_sat, I32),
            O::I64TruncSatF32S | O::I64TruncSatF64S => convert!(self, fcvt_to_sint_sat, I64),
            O::I64TruncSatF32U | O::I64TruncSatF64U => convert!(self, fcvt_to_uint_sat, I64),
            O::F32ConvertI32S | O::F32ConvertI64S => convert!(self, fcvt_from_sint, F32),
            O::F32ConvertI32U | O::F32ConvertI64U => convert!(self, fcvt_from_uint, F32),
            O::F64ConvertI32S | O::F64ConvertI64S => convert!(self, fcvt_from_sint, F64),
            O::F64ConvertI32U | O::F64ConvertI64U => convert!(self, fcvt_from_uint, F64),
            O::F32DemoteF64 => convert!(self, fdemote, F32),
            O::F64PromoteF32 => convert!(self, fpromote, F64),
            O::I32ReinterpretF32 => self.reinterpret(I32)?,
            O::I64ReinterpretF64 => self.reinterpret(I64)?,
            O::F32ReinterpretI32 => self.reinterpret(F32)?,
            O::F64ReinterpretI64 => self.reinterpret(F64)?,
            O::I32Extend8S => self.extend(I8, I32)?,
            O::I32Extend16S => self.extend(I16, I32)?,
            O::I64Extend8S => self.extend(I8, I64)?,
            O::I64Extend16S => self.extend(I16, I64)?,
            O::I64Extend32S => self.extend(I32, I64)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn icmp(&mut self, condition: IntCC) -> Result<(), Error> {
        let (x, y) = self.pop2()?;
        let value = self.b.ins().icmp(condition, x, y);
        self.push_bool(value);
        Ok(())
    }

    fn fcmp(&mut self, condition: FloatCC) -> Result<(), Error> {
        let (x, y) = self.pop2()?;
        let value = self.b.ins().fcmp(condition, x, y);
        self.push_bool(value);
        Ok(())
    }

    /// Pushes the result of a comparison.
    pub(super) fn push_bool(&mut self, value: Value) {
        let value = self.b.ins().uextend(I32, value);
        self.push(value);
    }

    fn reinterpret(&mut self, ty: Type) -> Result<(), Error> {
        let x = self.pop()?;
        let value = self.b.ins().bitcast(ty, MemFlagsData::new(), x);
        self.push(value);
        Ok(())
    }

    fn extend(&mut self, from: Type, to: Type) -> Result<(), Error> {
        let x = self.pop()?;
        let narrow = self.b.ins().ireduce(from, x);
        let value = self.b.ins().sextend(to, narrow);
        self.push(value);
        Ok(())
    }
}
