//! Integers: arithmetic, logic, shifts, extensions, bits.
//!
//! The upper bits of a register that holds a narrow value are anything, as in Cranelift.

use super::{Lower, size_of, wide_size};
use crate::asm::{Alu, Cond, Reg, Rm, Size};
use crate::refusal::Refusal;
use cranelift_codegen::ir::{Inst, InstructionData, Opcode, Value};

const ROL: u8 = 0;
const ROR: u8 = 1;
const SHL: u8 = 4;
const SHR: u8 = 5;
const SAR: u8 = 7;

impl Lower<'_> {
    pub(super) fn integer(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        use Opcode as O;
        // Floats have bits, too.
        let args = self.func.dfg.inst_args(inst).iter();
        let mut types = args.map(|&arg| self.func.dfg.value_type(arg));
        if let Some(ty) = types.find(|ty| !ty.is_int()) {
            return Err(Refusal::Type(ty));
        }
        match opcode {
            O::Iadd if self.defer_sum(inst)? => Ok(()),
            O::Iadd => self.arithmetic(inst, Alu::Add),
            O::Isub => self.arithmetic(inst, Alu::Sub),
            O::Band => self.arithmetic(inst, Alu::And),
            O::Bor => self.arithmetic(inst, Alu::Or),
            O::Bxor => self.arithmetic(inst, Alu::Xor),
            O::Imul => self.multiply(inst),
            O::Ishl => self.shift(inst, SHL),
            O::Ushr => self.shift(inst, SHR),
            O::Sshr => self.shift(inst, SAR),
            O::Rotl => self.shift(inst, ROL),
            O::Rotr => self.shift(inst, ROR),
            O::Ineg => self.negate(inst, 3),
            O::Bnot => self.negate(inst, 2),
            O::Iabs => self.absolute(inst),
            O::Smin => self.extreme(inst, Cond::L),
            O::Smax => self.extreme(inst, Cond::G),
            O::Umin => self.extreme(inst, Cond::B),
            O::Umax => self.extreme(inst, Cond::A),
            O::Uextend => self.extend(inst, false),
            O::Sextend => self.extend(inst, true),
            O::Ireduce => self.copy(inst),
            O::Bmask => self.mask(inst),
            O::Bitselect => self.bit_select(inst),
            O::Clz | O::Ctz | O::Popcnt => self.count_bits(inst, opcode),
            O::Bswap => self.swap_bytes(inst),
            O::UaddOverflow => self.overflow(inst, Some(Alu::Add), Cond::B),
            O::SaddOverflow => self.overflow(inst, Some(Alu::Add), Cond::O),
            O::UsubOverflow => self.overflow(inst, Some(Alu::Sub), Cond::B),
            O::SsubOverflow => self.overflow(inst, Some(Alu::Sub), Cond::O),
            O::SmulOverflow => self.overflow(inst, None, Cond::O),
            O::UaddOverflowTrap => self.add_or_trap(inst),
            _ => Err(Refusal::Opcode(opcode)),
        }
    }

    fn arithmetic(&mut self, inst: Inst, op: Alu) -> Result<(), Refusal> {
        let (mut a, mut b) = (self.arg(inst, 0)?, self.arg(inst, 1)?);
        if op != Alu::Sub && self.immediate(a).is_some() && self.immediate(b).is_none() {
            (a, b) = (b, a);
        }
        let result = self.result(inst)?;
        let size = wide_size(self.ty(result));
        let to = self.alu(size, op, a, b, result)?;
        self.state.define(result, to)
    }

    /// Makes `a op b` in a register for the result; the flags are those of the operation.
    fn alu(
        &mut self,
        size: Size,
        op: Alu,
        a: Value,
        b: Value,
        result: Value,
    ) -> Result<Reg, Refusal> {
        let first = self.state.use_reg(a)?;
        let imm = self.immediate(b);
        let second = match imm {
            Some(_) => None,
            None => Some(self.state.use_rm(b)?),
        };
        self.state.used(a);
        let to = self.state.reuse(first, result)?;
        match (imm, second) {
            (Some(imm), _) => self.state.asm.alu_imm(size, op, to.into(), imm),
            (None, Some(second)) => self.state.asm.alu(size, op, to, second),
            (None, None) => return Err(Refusal::Malformed),
        }
        self.state.used(b);
        Ok(to)
    }

    fn multiply(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (mut a, mut b) = (self.arg(inst, 0)?, self.arg(inst, 1)?);
        if self.immediate(a).is_some() {
            (a, b) = (b, a);
        }
        let result = self.result(inst)?;
        let size = wide_size(self.ty(result));
        let to = match self.immediate(b) {
            Some(imm) => {
                let first = self.state.use_rm(a)?;
                let to = self.state.result(result)?;
                self.state.asm.int(size, 0x69, to, first);
                self.state.asm.imm32(imm);
                self.state.used(a);
                to
            }
            None => {
                let first = self.state.use_reg(a)?;
                let second = self.state.use_rm(b)?;
                self.state.used(a);
                let to = self.state.reuse(first, result)?;
                self.state.asm.int(size, 0x0faf, to, second);
                to
            }
        };
        self.state.used(b);
        self.state.define(result, to)
    }

    fn shift(&mut self, inst: Inst, number: u8) -> Result<(), Refusal> {
        let (a, amount) = (self.arg(inst, 0)?, self.arg(inst, 1)?);
        let result = self.result(inst)?;
        let ty = self.ty(result);
        let narrow = ty.bits() < 32;
        // A rotation is of the value's own size; a shift to the right brings in the right bits.
        let rotates = matches!(number, ROL | ROR);
        let size = if rotates { size_of(ty) } else { wide_size(ty) };
        if let Some(imm) = self.immediate(amount) {
            let first = self.state.use_reg(a)?;
            self.state.used(a);
            let to = self.state.reuse(first, result)?;
            self.fill(narrow, number, size_of(ty), to);
            self.state.asm.unary(size, 0xc1, number, to.into());
            self.state.asm.byte((imm as u8) & (ty.bits() - 1) as u8);
            self.state.used(amount);
            return self.state.define(result, to);
        }
        // The amount is in CL, in a register of nobody's where it is masked.
        if self.state.info(amount).reg == Some(Reg::RCX) && !narrow {
            self.state.lock(Reg::RCX);
        } else {
            self.state.claim(Reg::RCX)?;
            self.state.fetch(amount, Reg::RCX)?;
        }
        if narrow {
            let mask = (ty.bits() - 1) as i32;
            let count = Reg::RCX.into();
            self.state.asm.alu_imm(Size::D, Alu::And, count, mask);
        }
        let first = self.state.use_reg(a)?;
        self.state.used(a);
        let to = match first {
            Reg::RCX => {
                let to = self.state.result(result)?;
                self.state.asm.mov(to, first);
                to
            }
            _ => self.state.reuse(first, result)?,
        };
        self.fill(narrow, number, size_of(ty), to);
        self.state.asm.unary(size, 0xd3, number, to.into());
        self.state.used(amount);
        self.state.define(result, to)
    }

    /// The bits above a narrow value that a shift to the right brings in.
    fn fill(&mut self, narrow: bool, number: u8, size: Size, reg: Reg) {
        if narrow && matches!(number, SHR | SAR) {
            self.state.asm.extend(size, number == SAR, reg, reg.into());
        }
    }

    /// `neg` or `not`.
    fn negate(&mut self, inst: Inst, number: u8) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let first = self.state.use_reg(a)?;
        self.state.used(a);
        let to = self.state.reuse(first, result)?;
        let size = wide_size(self.ty(result));
        self.state.asm.unary(size, 0xf7, number, to.into());
        self.state.define(result, to)
    }

    fn absolute(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let first = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        let size = size_of(self.ty(result));
        let asm = &mut self.state.asm;
        asm.extend(size, true, to, first.into());
        asm.mov(Reg::R11, to);
        asm.unary(Size::Q, 0xf7, 3, to.into());
        asm.cmov(Cond::S, to, Reg::R11.into());
        self.state.used(a);
        self.state.define(result, to)
    }

    fn extreme(&mut self, inst: Inst, cond: Cond) -> Result<(), Refusal> {
        let (a, b, result) = (self.arg(inst, 0)?, self.arg(inst, 1)?, self.result(inst)?);
        let first = self.state.use_reg(a)?;
        let second = self.state.use_reg(b)?;
        let to = self.state.result(result)?;
        let asm = &mut self.state.asm;
        asm.alu(
            size_of(self.state.values[a.as_u32() as usize].ty),
            Alu::Cmp,
            first,
            second.into(),
        );
        asm.mov(to, second);
        asm.cmov(cond, to, first.into());
        self.state.used(a);
        self.state.used(b);
        self.state.define(result, to)
    }

    fn extend(&mut self, inst: Inst, signed: bool) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let from = self.state.use_rm(a)?;
        let size = size_of(self.ty(a));
        let to = match from {
            Rm::Reg(reg) => {
                self.state.used(a);
                self.state.reuse_unmoved(reg, result)?
            }
            Rm::Mem(_) => self.state.result(result)?,
        };
        self.state.asm.extend(size, signed, to, from);
        if matches!(from, Rm::Mem(_)) {
            self.state.used(a);
        }
        self.state.define(result, to)
    }

    /// The same bits.
    pub(super) fn copy(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let from = self.state.use_reg(a)?;
        self.state.used(a);
        let to = self.state.reuse(from, result)?;
        self.state.define(result, to)
    }

    /// All ones unless the operand is zero.
    fn mask(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        let size = size_of(self.ty(a));
        let asm = &mut self.state.asm;
        asm.mov(to, from);
        asm.unary(size, 0xf7, 3, to.into());
        asm.alu(Size::Q, Alu::Sbb, to, to.into());
        self.state.used(a);
        self.state.define(result, to)
    }

    /// `((x ^ y) & c) ^ y`.
    fn bit_select(&mut self, inst: Inst) -> Result<(), Refusal> {
        let [c, x, y] = [self.arg(inst, 0)?, self.arg(inst, 1)?, self.arg(inst, 2)?];
        let result = self.result(inst)?;
        if !self.ty(result).is_int() {
            return Err(Refusal::Opcode(Opcode::Bitselect));
        }
        let [c_reg, x_reg, y_reg] = [
            self.state.use_reg(c)?,
            self.state.use_reg(x)?,
            self.state.use_reg(y)?,
        ];
        let to = self.state.result(result)?;
        let asm = &mut self.state.asm;
        asm.mov(to, x_reg);
        asm.alu(Size::Q, Alu::Xor, to, y_reg.into());
        asm.alu(Size::Q, Alu::And, to, c_reg.into());
        asm.alu(Size::Q, Alu::Xor, to, y_reg.into());
        for value in [c, x, y] {
            self.state.used(value);
        }
        self.state.define(result, to)
    }

    fn count_bits(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let ty = self.ty(a);
        let (can, code) = match opcode {
            Opcode::Clz => (self.target.lzcnt, 0x0fbd),
            Opcode::Ctz => (self.target.bmi1, 0x0fbc),
            _ => (self.target.popcnt, 0x0fb8),
        };
        if !can {
            return Err(Refusal::Opcode(opcode));
        }
        let from = self.state.use_reg(a)?;
        let to = self.state.result(result)?;
        let asm = &mut self.state.asm;
        let narrow = ty.bits() < 32;
        let bits = ty.bits() as i32;
        let source = match narrow {
            true => {
                asm.extend(size_of(ty), false, Reg::R11, from.into());
                if opcode == Opcode::Ctz {
                    // No more zeros than the value has bits.
                    asm.alu_imm(Size::D, Alu::Or, Reg::R11.into(), 1 << bits);
                }
                Reg::R11
            }
            false => from,
        };
        asm.prefixed(0xf3, wide_size(ty), code, to, source.into());
        if narrow && opcode == Opcode::Clz {
            asm.alu_imm(Size::D, Alu::Sub, to.into(), 32 - bits);
        }
        self.state.used(a);
        self.state.define(result, to)
    }

    fn swap_bytes(&mut self, inst: Inst) -> Result<(), Refusal> {
        let (a, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let first = self.state.use_reg(a)?;
        self.state.used(a);
        let to = self.state.reuse(first, result)?;
        match size_of(self.ty(result)) {
            Size::W => {
                self.state.asm.unary(Size::W, 0xc1, ROL, to.into());
                self.state.asm.byte(8);
            }
            size => self.state.asm.bswap(size, to),
        }
        self.state.define(result, to)
    }

    /// An operation, and whether it overflowed. No operation is a multiplication.
    fn overflow(&mut self, inst: Inst, op: Option<Alu>, cond: Cond) -> Result<(), Refusal> {
        let (a, b) = (self.arg(inst, 0)?, self.arg(inst, 1)?);
        let results = self.func.dfg.inst_results(inst);
        let &[result, flag] = results else {
            return Err(Refusal::Malformed);
        };
        let size = size_of(self.ty(result));
        let to = match op {
            Some(op) => self.alu(size, op, a, b, result)?,
            None if size == Size::B => return Err(Refusal::Opcode(Opcode::SmulOverflow)),
            None => {
                let first = self.state.use_reg(a)?;
                let second = self.state.use_rm(b)?;
                self.state.used(a);
                let to = self.state.reuse(first, result)?;
                self.state.asm.int(size, 0x0faf, to, second);
                self.state.used(b);
                to
            }
        };
        self.state.asm.set(cond, Reg::R11);
        self.state.define(result, to)?;
        let bit = self.state.result(flag)?;
        self.state.asm.mov(bit, Reg::R11);
        self.state.define(flag, bit)
    }

    fn add_or_trap(&mut self, inst: Inst) -> Result<(), Refusal> {
        let InstructionData::IntAddTrap { code, .. } = self.func.dfg.insts[inst] else {
            return Err(Refusal::Malformed);
        };
        let (a, b, result) = (self.arg(inst, 0)?, self.arg(inst, 1)?, self.result(inst)?);
        let size = size_of(self.ty(result));
        let to = self.alu(size, Alu::Add, a, b, result)?;
        let trap = self.trap_label(code);
        self.state.asm.jcc(Cond::B, trap);
        self.state.define(result, to)
    }
}
