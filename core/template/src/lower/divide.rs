//! Division, remainders, and the upper half of products: what is done in RAX and RDX.
//!
//! The checks come first, in the order of Cranelift's: zero, then overflow.

use super::{Lower, size_of};
use crate::asm::{Alu, Cond, Reg, Rm, Size};
use crate::refusal::Refusal;
use cranelift_codegen::ir::{Inst, Opcode, TrapCode};

impl Lower<'_> {
    pub(super) fn divide(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        let (a, b, result) = (self.arg(inst, 0)?, self.arg(inst, 1)?, self.result(inst)?);
        let ty = self.ty(result);
        let size = size_of(ty);
        let multiplies = matches!(opcode, Opcode::Umulhi | Opcode::Smulhi);
        if multiplies && size != Size::Q {
            return Err(Refusal::Opcode(opcode));
        }
        let signed = matches!(opcode, Opcode::Sdiv | Opcode::Srem | Opcode::Smulhi);
        self.state.claim(Reg::RAX)?;
        self.state.claim(Reg::RDX)?;
        self.state.fetch(a, Reg::RAX)?;
        let mut second = self.state.use_rm(b)?;
        let narrow = matches!(size, Size::B | Size::W);
        let wide = if size == Size::Q { Size::Q } else { Size::D };
        if narrow {
            let extended = self.state.scratch(false)?;
            let asm = &mut self.state.asm;
            asm.extend(size, signed, extended, second);
            asm.extend(size, signed, Reg::RAX, Reg::RAX.into());
            second = Rm::Reg(extended);
        }
        let lower_half = match opcode {
            Opcode::Umulhi => {
                self.state.asm.unary(wide, 0xf7, 4, second);
                false
            }
            Opcode::Smulhi => {
                self.state.asm.unary(wide, 0xf7, 5, second);
                false
            }
            Opcode::Udiv | Opcode::Urem => {
                self.check_zero(wide, second);
                let zero = Reg::RDX;
                self.state.asm.alu(Size::D, Alu::Xor, zero, zero.into());
                self.state.asm.unary(wide, 0xf7, 6, second);
                opcode == Opcode::Udiv
            }
            Opcode::Sdiv => {
                self.check_zero(wide, second);
                self.check_overflow(wide, ty.bits(), second);
                self.signed(wide, second);
                true
            }
            _ => {
                self.check_zero(wide, second);
                let (divides, done) = (self.state.asm.label(), self.state.asm.label());
                let asm = &mut self.state.asm;
                asm.alu_imm(wide, Alu::Cmp, second, -1);
                asm.jcc(Cond::NE, divides);
                asm.constant(Reg::RDX, 0);
                asm.jmp(done);
                asm.bind(divides);
                self.signed(wide, second);
                self.state.asm.bind(done);
                false
            }
        };
        self.state.used(a);
        self.state.used(b);
        let from = if lower_half { Reg::RAX } else { Reg::RDX };
        self.state.define(result, from)
    }

    fn check_zero(&mut self, size: Size, divisor: Rm) {
        let trap = self.trap_label(TrapCode::INTEGER_DIVISION_BY_ZERO);
        self.state.asm.alu_imm(size, Alu::Cmp, divisor, 0);
        self.state.asm.jcc(Cond::E, trap);
    }

    /// The least number of the type divided by -1.
    fn check_overflow(&mut self, size: Size, bits: u32, divisor: Rm) {
        let trap = self.trap_label(TrapCode::INTEGER_OVERFLOW);
        let asm = &mut self.state.asm;
        let fine = asm.label();
        asm.alu_imm(size, Alu::Cmp, divisor, -1);
        asm.jcc(Cond::NE, fine);
        asm.constant(Reg::R11, i64::MIN >> (64 - bits));
        asm.alu(size, Alu::Cmp, Reg::RAX, Reg::R11.into());
        asm.jcc(Cond::E, trap);
        asm.bind(fine);
    }

    /// `cdq` or `cqo`, then `idiv`.
    fn signed(&mut self, size: Size, divisor: Rm) {
        if size == Size::Q {
            self.state.asm.byte(0x48);
        }
        self.state.asm.byte(0x99);
        self.state.asm.unary(size, 0xf7, 7, divisor);
    }
}
