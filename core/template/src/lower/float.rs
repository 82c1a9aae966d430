//! Floats: arithmetic, signs, extremes, rounding.

use super::Lower;
use crate::asm::{Cond, Reg};
use crate::refusal::Refusal;
use cranelift_codegen::ir::{Inst, Opcode, Type, types};

const ADD: u32 = 0x0f58;
const AND: u32 = 0x0f54;
const AND_NOT: u32 = 0x0f55;
const OR: u32 = 0x0f56;
const XOR: u32 = 0x0f57;

impl Lower<'_> {
    pub(super) fn float(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        match opcode {
            Opcode::Fadd => self.float_binary(inst, ADD),
            Opcode::Fmul => self.float_binary(inst, 0x0f59),
            Opcode::Fsub => self.float_binary(inst, 0x0f5c),
            Opcode::Fdiv => self.float_binary(inst, 0x0f5e),
            Opcode::Sqrt => self.float_unary(inst, 0x0f51, None),
            Opcode::Nearest => self.float_unary(inst, 0, Some(8)),
            Opcode::Floor => self.float_unary(inst, 0, Some(9)),
            Opcode::Ceil => self.float_unary(inst, 0, Some(10)),
            Opcode::Trunc => self.float_unary(inst, 0, Some(11)),
            Opcode::Fneg | Opcode::Fabs => self.sign(inst, opcode),
            Opcode::Fcopysign => self.copy_sign(inst),
            Opcode::Fmin => self.float_extreme(inst, OR, 0x0f5d),
            Opcode::Fmax => self.float_extreme(inst, AND, 0x0f5f),
            _ => Err(Refusal::Opcode(opcode)),
        }
    }

    fn float_binary(&mut self, inst: Inst, code: u32) -> Result<(), Refusal> {
        let (a, b, result) = (self.arg(inst, 0)?, self.arg(inst, 1)?, self.result(inst)?);
        let first = self.state.use_reg(a)?;
        let second = self.state.use_rm(b)?;
        self.state.used(a);
        let to = self.state.reuse(first, result)?;
        self.state
            .asm
            .sse(scalar(self.ty(result)), code, to, second);
        self.state.used(b);
        self.state.define(result, to)
    }

    /// A square root, or a rounding of the given mode.
    fn float_unary(&mut self, inst: Inst, code: u32, mode: Option<u8>) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let ty = self.ty(result);
        if mode.is_some() && !self.target.sse41 {
            return Err(Refusal::Opcode(Opcode::Nearest));
        }
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        match mode {
            Some(mode) => {
                let code = if ty == types::F64 { 0x0f3a0b } else { 0x0f3a0a };
                self.state.asm.sse(0x66, code, to, from.into());
                self.state.asm.byte(mode);
            }
            None => self.state.asm.sse(scalar(ty), code, to, from.into()),
        }
        self.state.used(a);
        self.state.define(result, to)
    }

    fn sign(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let sign = sign_bit(self.ty(result));
        let (mask, code) = match opcode {
            Opcode::Fneg => (sign, XOR),
            _ => (!sign, AND),
        };
        let first = self.state.use_reg(a)?;
        self.state.used(a);
        let to = self.state.reuse(first, result)?;
        self.float_constant(mask);
        self.state.asm.sse(0, code, to, Reg::XMM15.into());
        self.state.define(result, to)
    }

    fn copy_sign(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, b, result) = (self.arg(inst, 0)?, self.arg(inst, 1)?, self.result(inst)?);
        let first = self.state.use_reg(a)?;
        let second = self.state.use_reg(b)?;
        let to = self.state.result(result)?;
        let spare = self.state.scratch(true)?;
        self.float_constant(sign_bit(self.ty(result)));
        let asm = &mut self.state.asm;
        asm.mov(spare, Reg::XMM15);
        asm.mov(to, Reg::XMM15);
        asm.sse(0, AND_NOT, to, first.into());
        asm.sse(0, AND, spare, second.into());
        asm.sse(0, OR, to, spare.into());
        self.state.used(a);
        self.state.used(b);
        self.state.define(result, to)
    }

    /// Puts bits into the scratch register.
    pub(super) fn float_constant(&mut self, bits: i64) {
        self.state.asm.constant(Reg::R11, bits);
        self.state.asm.mov(Reg::XMM15, Reg::R11);
    }

    /// `fmin` and `fmax`: a NaN if there is one; of two zeros, by `equal`, the negative or the positive one.
    fn float_extreme(&mut self, inst: Inst, equal: u32, code: u32) -> Result<(), Refusal> {
        let (a, b, result) = (self.arg(inst, 0)?, self.arg(inst, 1)?, self.result(inst)?);
        let ty = self.ty(result);
        let first = self.state.use_reg(a)?;
        let second = self.state.use_reg(b)?;
        let to = self.state.result(result)?;
        let asm = &mut self.state.asm;
        let (unordered, different, done) = (asm.label(), asm.label(), asm.label());
        asm.mov(to, first);
        asm.sse(packed(ty), 0x0f2e, to, second.into());
        asm.jcc(Cond::P, unordered);
        asm.jcc(Cond::NE, different);
        asm.sse(0, equal, to, second.into());
        asm.jmp(done);
        asm.bind(unordered);
        asm.sse(scalar(ty), ADD, to, second.into());
        asm.jmp(done);
        asm.bind(different);
        asm.sse(scalar(ty), code, to, second.into());
        asm.bind(done);
        self.state.used(a);
        self.state.used(b);
        self.state.define(result, to)
    }
}

/// The prefix of a scalar operation.
pub(super) fn scalar(ty: Type) -> u8 {
    if ty == types::F64 { 0xf2 } else { 0xf3 }
}

/// The prefix of a comparison.
pub(super) fn packed(ty: Type) -> u8 {
    if ty == types::F64 { 0x66 } else { 0 }
}

fn sign_bit(ty: Type) -> i64 {
    if ty == types::F64 { i64::MIN } else { 1 << 31 }
}
