//! Conversions between integers and floats, between floats, and of bits.
//!
//! Converting to an integer: `cvtt` gives the least integer of its size for whatever it cannot represent; the checks
//! come after it, and only then.

use super::float::{packed, scalar};
use super::{Lower, size_of};
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::refusal::Refusal;
use cranelift_codegen::ir::{Inst, Opcode, TrapCode, Type, types};

/// To an integer, towards zero.
const TRUNCATE: u32 = 0x0f2c;
const FROM_INT: u32 = 0x0f2a;
const COMPARE: u32 = 0x0f2e;

impl Lower<'_> {
    pub(super) fn convert(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        match opcode {
            Opcode::Fpromote | Opcode::Fdemote => self.between_floats(inst),
            Opcode::FcvtFromSint => self.signed_to_float(inst),
            Opcode::FcvtFromUint => self.unsigned_to_float(inst),
            Opcode::FcvtToSint => self.float_to_signed(inst, false),
            Opcode::FcvtToSintSat => self.float_to_signed(inst, true),
            Opcode::FcvtToUint => self.float_to_unsigned(inst, false),
            Opcode::FcvtToUintSat => self.float_to_unsigned(inst, true),
            Opcode::Bitcast => self.bitcast(inst),
            _ => Err(Refusal::Opcode(opcode)),
        }
    }

    fn bitcast(&mut self, inst: Inst) -> Result<(), Refusal> {
        self.copy(inst)
    }

    fn between_floats(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        let prefix = scalar(self.ty(a));
        self.state.asm.sse(prefix, 0x0f5a, to, from.into());
        self.state.used(a);
        self.state.define(result, to)
    }

    fn signed_to_float(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        let (size, prefix) = (size_of(self.ty(a)), scalar(self.ty(result)));
        let asm = &mut self.state.asm;
        asm.sse(0, 0x0f57, to, to.into());
        asm.extend(size, true, Reg::R11, from.into());
        asm.sse_wide(prefix, FROM_INT, to, Reg::R11.into());
        self.state.used(a);
        self.state.define(result, to)
    }

    fn unsigned_to_float(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        let spare = self.state.scratch(false)?;
        let (size, prefix) = (size_of(self.ty(a)), scalar(self.ty(result)));
        let asm = &mut self.state.asm;
        asm.sse(0, 0x0f57, to, to.into());
        asm.extend(size, false, Reg::R11, from.into());
        let (large, done) = (asm.label(), asm.label());
        if size == Size::Q {
            asm.test(Size::Q, Reg::R11, Reg::R11);
            asm.jcc(Cond::S, large);
        }
        asm.sse_wide(prefix, FROM_INT, to, Reg::R11.into());
        if size == Size::Q {
            // Half of it, with the lowest bit kept for the rounding, twice.
            asm.jmp(done);
            asm.bind(large);
            asm.mov(spare, Reg::R11);
            asm.unary(Size::Q, 0xd1, 5, spare.into());
            asm.alu_imm(Size::Q, Alu::And, Reg::R11.into(), 1);
            asm.alu(Size::Q, Alu::Or, Reg::R11, spare.into());
            asm.sse_wide(prefix, FROM_INT, to, Reg::R11.into());
            asm.sse(prefix, 0x0f58, to, to.into());
            asm.bind(done);
        }
        self.state.used(a);
        self.state.define(result, to)
    }

    fn float_to_signed(&mut self, inst: Inst, saturates: bool) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let (from_ty, ty) = (self.ty(a), self.ty(result));
        let size = int_size(ty)?;
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        let done = self.state.asm.label();
        self.truncate(size, from_ty, to, from);
        // Only the least integer less one overflows.
        self.state.asm.alu_imm(size, Alu::Cmp, to.into(), 1);
        let fine = self.state.asm.label();
        self.state.asm.jcc(Cond::O.not(), fine);
        let asm = &mut self.state.asm;
        asm.sse(packed(from_ty), COMPARE, from, from.into());
        if saturates {
            let number = asm.label();
            asm.jcc(Cond::NP, number);
            asm.constant(to, 0);
            asm.jmp(done);
            asm.bind(number);
            asm.sse(0, 0x0f57, Reg::XMM15, Reg::XMM15.into());
            asm.sse(packed(from_ty), COMPARE, from, Reg::XMM15.into());
            asm.jcc(Cond::B, done);
            asm.constant(to, i64::MAX >> (64 - ty.bits()));
        } else {
            let invalid = self.trap_label(TrapCode::BAD_CONVERSION_TO_INTEGER);
            let overflow = self.trap_label(TrapCode::INTEGER_OVERFLOW);
            self.state.asm.jcc(Cond::P, invalid);
            let (bound, included) = lower_bound(from_ty, ty);
            self.float_constant(bound);
            let asm = &mut self.state.asm;
            asm.sse(packed(from_ty), COMPARE, from, Reg::XMM15.into());
            asm.jcc(if included { Cond::B } else { Cond::BE }, overflow);
            asm.sse(0, 0x0f57, Reg::XMM15, Reg::XMM15.into());
            asm.sse(packed(from_ty), COMPARE, from, Reg::XMM15.into());
            asm.jcc(Cond::AE, overflow);
        }
        self.state.asm.bind(fine);
        self.state.asm.bind(done);
        self.state.used(a);
        self.state.define(result, to)
    }

    fn float_to_unsigned(&mut self, inst: Inst, saturates: bool) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let (from_ty, ty) = (self.ty(a), self.ty(result));
        let size = int_size(ty)?;
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        // Nothing is spilled behind the first branch.
        let copy = self.state.scratch(true)?;
        let asm = &mut self.state.asm;
        let (done, too_large, zero) = (asm.label(), asm.label(), asm.label());
        if saturates {
            asm.sse(0, 0x0f57, Reg::XMM15, Reg::XMM15.into());
            asm.sse(packed(from_ty), COMPARE, from, Reg::XMM15.into());
            // Not greater than zero, or not a number.
            asm.jcc(Cond::BE, zero);
        } else {
            asm.sse(packed(from_ty), COMPARE, from, from.into());
            let invalid = self.trap_label(TrapCode::BAD_CONVERSION_TO_INTEGER);
            self.state.asm.jcc(Cond::P, invalid);
        }
        let overflow: Label = match saturates {
            true => too_large,
            false => self.trap_label(TrapCode::INTEGER_OVERFLOW),
        };
        if size == Size::D {
            self.truncate(Size::Q, from_ty, to, from);
            let asm = &mut self.state.asm;
            asm.extend(Size::D, false, Reg::R11, to.into());
            asm.alu(Size::Q, Alu::Cmp, Reg::R11, to.into());
            asm.jcc(Cond::NE, overflow);
        } else {
            self.float_constant(two_to_63(from_ty));
            let asm = &mut self.state.asm;
            let large = asm.label();
            asm.sse(packed(from_ty), COMPARE, from, Reg::XMM15.into());
            asm.jcc(Cond::AE, large);
            self.truncate(Size::Q, from_ty, to, from);
            let asm = &mut self.state.asm;
            asm.test(Size::Q, to, to);
            asm.jcc(Cond::S, overflow);
            asm.jmp(done);
            asm.bind(large);
            // What is left of it above 2^63, then the bit.
            self.state.asm.mov(copy, from);
            let spare = Reg::XMM15.into();
            self.state.asm.sse(scalar(from_ty), 0x0f5c, copy, spare);
            self.truncate(Size::Q, from_ty, to, copy);
            let asm = &mut self.state.asm;
            asm.test(Size::Q, to, to);
            asm.jcc(Cond::S, overflow);
            asm.constant(Reg::R11, i64::MIN);
            asm.alu(Size::Q, Alu::Or, to, Reg::R11.into());
        }
        if saturates {
            let asm = &mut self.state.asm;
            asm.jmp(done);
            asm.bind(too_large);
            asm.constant(to, -1);
            asm.jmp(done);
            asm.bind(zero);
            asm.constant(to, 0);
        }
        self.state.asm.bind(done);
        self.state.used(a);
        self.state.define(result, to)
    }

    fn truncate(&mut self, size: Size, ty: Type, to: Reg, from: Reg) {
        let asm = &mut self.state.asm;
        match size {
            Size::Q => asm.sse_wide(scalar(ty), TRUNCATE, to, from.into()),
            _ => asm.sse(scalar(ty), TRUNCATE, to, from.into()),
        }
    }
}

/// The size of the result; narrow ones have no template.
fn int_size(ty: Type) -> Result<Size, Refusal> {
    match ty {
        types::I32 => Ok(Size::D),
        types::I64 => Ok(Size::Q),
        _ => Err(Refusal::Type(ty)),
    }
}

/// The bits of the least float that is converted to the least integer, and whether that is converted itself.
fn lower_bound(from: Type, to: Type) -> (i64, bool) {
    match (from, to) {
        (types::F64, types::I32) => ((-2_147_483_649.0_f64).to_bits().cast_signed(), false),
        (types::F64, _) => (
            (-9_223_372_036_854_775_808.0_f64).to_bits().cast_signed(),
            true,
        ),
        (_, types::I32) => (i64::from((-2_147_483_648.0_f32).to_bits()), true),
        _ => (
            i64::from((-9_223_372_036_854_775_808.0_f32).to_bits()),
            true,
        ),
    }
}

fn two_to_63(ty: Type) -> i64 {
    match ty {
        types::F64 => 9_223_372_036_854_775_808.0_f64.to_bits().cast_signed(),
        _ => i64::from(9_223_372_036_854_775_808.0_f32.to_bits()),
    }
}
