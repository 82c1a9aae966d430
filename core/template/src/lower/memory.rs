//! Loads and stores.
//!
//! A sum whose only use is as the address of the next instruction is made there, by the addressing mode.

use super::{Lower, size_of};
use crate::asm::{Mem, Size};
use crate::refusal::Refusal;
use crate::survey::Origin;
use cranelift_codegen::ir::{
    Endianness, Inst, InstructionData, MemFlags, Opcode, TrapCode, Type, Value, types,
};

impl Lower<'_> {
    pub(super) fn memory(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        match self.func.dfg.insts[inst] {
            InstructionData::Load { flags, offset, .. } => {
                let trap = self.trap_of(flags)?;
                self.load(inst, opcode, offset.into(), trap)
            }
            InstructionData::LoadNoOffset { flags, .. } if opcode == Opcode::AtomicLoad => {
                let trap = self.trap_of(flags)?;
                self.load(inst, Opcode::Load, 0, trap)
            }
            InstructionData::Store { flags, offset, .. } => {
                let trap = self.trap_of(flags)?;
                self.store(inst, opcode, offset.into(), trap)
            }
            InstructionData::StoreNoOffset { flags, .. } if opcode == Opcode::AtomicStore => {
                let trap = self.trap_of(flags)?;
                self.store(inst, Opcode::Store, 0, trap)?;
                self.fence();
                Ok(())
            }
            _ if opcode == Opcode::Fence => {
                self.fence();
                Ok(())
            }
            _ => Err(Refusal::Opcode(opcode)),
        }
    }

    /// `mfence`
    fn fence(&mut self) {
        self.state.asm.bytes.extend_from_slice(&[0x0f, 0xae, 0xf0]);
    }

    fn trap_of(&self, flags: MemFlags) -> Result<Option<TrapCode>, Refusal> {
        let flags = self.func.dfg.mem_flags[flags];
        if flags.endianness(Endianness::Little) != Endianness::Little {
            return Err(Refusal::Opcode(Opcode::Load));
        }
        Ok(flags.trap_code())
    }

    /// Leaves a sum to the next instruction, if that takes it as its address and nothing else does.
    pub(super) fn defer_sum(&mut self, inst: Inst) -> Result<bool, Refusal> {
        let sum = self.result(inst)?;
        let Some(next) = self.func.layout.next_inst(inst) else {
            return Ok(false);
        };
        let position = match self.func.dfg.insts[next] {
            InstructionData::Load { .. } => 0,
            InstructionData::Store { .. } => 1,
            _ => return Ok(false),
        };
        let takes = self.arg(next, position)? == sum && self.state.info(sum).uses == 1;
        let terms = [self.arg(inst, 0)?, self.arg(inst, 1)?];
        let constant = terms.iter().any(|&term| self.immediate(term).is_some());
        if !takes || constant || self.ty(sum) != types::I64 {
            return Ok(false);
        }
        self.deferred = Some(inst);
        Ok(true)
    }

    /// An address as an operand, and the values that it is made of; their registers are locked.
    fn address(&mut self, value: Value, offset: i32) -> Result<(Mem, [Option<Value>; 3]), Refusal> {
        if let Some(sum) = self.deferred.take() {
            let [a, b] = [self.arg(sum, 0)?, self.arg(sum, 1)?];
            let base = self.state.use_reg(a)?;
            let index = Some(self.state.use_reg(b)?);
            let disp = offset;
            let mem = Mem { base, index, disp };
            return Ok((mem, [Some(value), Some(a), Some(b)]));
        }
        let mem = self.plain_address(value, offset)?;
        Ok((mem, [Some(value), None, None]))
    }

    fn plain_address(&mut self, value: Value, offset: i32) -> Result<Mem, Refusal> {
        if let (None, Origin::Slot(slot, inner)) =
            (self.state.info(value).reg, self.state.info(value).origin)
        {
            let sum = inner.checked_add(offset).ok_or(Refusal::Size)?;
            return self.state.slot(slot, sum);
        }
        let base = self.state.use_reg(value)?;
        Ok(Mem::at(base, offset))
    }

    fn load(
        &mut self,
        inst: Inst,
        opcode: Opcode,
        offset: i32,
        trap: Option<TrapCode>,
    ) -> Result<(), Refusal> {
        let (address, result) = (self.arg(inst, 0)?, self.result(inst)?);
        let ty = self.ty(result);
        let (size, signed) = match opcode {
            Opcode::Load => (size_of(ty), false),
            Opcode::Uload8 => (Size::B, false),
            Opcode::Sload8 => (Size::B, true),
            Opcode::Uload16 => (Size::W, false),
            Opcode::Sload16 => (Size::W, true),
            Opcode::Uload32 => (Size::D, false),
            Opcode::Sload32 => (Size::D, true),
            _ => return Err(Refusal::Opcode(opcode)),
        };
        let (from, parts) = self.address(address, offset)?;
        for part in parts.into_iter().flatten() {
            self.state.used(part);
        }
        let to = match ty.is_float() {
            true => self.state.result(result)?,
            // The address may be where the result goes.
            false => self.state.reuse_unmoved(from.base, result)?,
        };
        self.state.trap_here(trap);
        match ty {
            types::F32 => self.state.asm.sse(0xf3, 0x0f10, to, from.into()),
            types::F64 => self.state.asm.load(to, from),
            _ => self.state.asm.extend(size, signed, to, from.into()),
        }
        self.state.define(result, to)
    }

    fn store(
        &mut self,
        inst: Inst,
        opcode: Opcode,
        offset: i32,
        trap: Option<TrapCode>,
    ) -> Result<(), Refusal> {
        let (value, address) = (self.arg(inst, 0)?, self.arg(inst, 1)?);
        let ty: Type = self.ty(value);
        let size = match opcode {
            Opcode::Store => size_of(ty),
            Opcode::Istore8 => Size::B,
            Opcode::Istore16 => Size::W,
            Opcode::Istore32 => Size::D,
            _ => return Err(Refusal::Opcode(opcode)),
        };
        let (to, parts) = self.address(address, offset)?;
        match self.immediate(value) {
            Some(imm) if self.state.info(value).reg.is_none() => {
                self.state.trap_here(trap);
                self.state.asm.store_imm(size, to, imm);
            }
            _ => {
                let from = self.state.use_reg(value)?;
                self.state.trap_here(trap);
                match ty {
                    types::F32 => self.state.asm.sse(0xf3, 0x0f11, from, to.into()),
                    types::F64 => self.state.asm.store(to, from),
                    _ => self.state.asm.store_int(size, to, from),
                }
            }
        }
        self.state.used(value);
        for part in parts.into_iter().flatten() {
            self.state.used(part);
        }
        Ok(())
    }
}
