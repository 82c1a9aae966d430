//! Calls, tail calls and returns.
//!
//! Limitation: a tail call passes nothing on the stack, and is made by functions that were passed nothing there.

use super::Lower;
use crate::abi::{AREA, Abi, Passed, Place};
use crate::asm::{Alu, Mem, Reg, Size};
use crate::refusal::Refusal;
use cranelift_codegen::ir::{
    ArgumentExtension, ExternalName, Inst, InstructionData, Opcode, Signature, Value, types,
};

/// Who is called.
enum Callee {
    Name(ExternalName),
    Value(Value),
}

impl Lower<'_> {
    pub(super) fn call(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        if self.func.dfg.user_stack_map_entries(inst).is_some() {
            return Err(Refusal::Opcode(opcode));
        }
        let (callee, signature, args) = self.callee(inst)?;
        let abi = Abi::of(signature)?;
        if args.len() != abi.params.len() {
            return Err(Refusal::Malformed);
        }
        let tail = matches!(opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect);
        if tail && (abi.stack_bytes != 0 || self.abi.stack_bytes != 0) {
            return Err(Refusal::Signature);
        }
        if let Callee::Value(value) = callee {
            self.note_target(inst, value)?;
        }
        let mut passed: Vec<(Value, Passed)> = args.into_iter().zip(abi.params).collect();
        if let Callee::Value(value) = callee {
            // No parameter is passed there.
            let place = Place::Reg(Reg::RAX);
            let extension = ArgumentExtension::None;
            let ty = types::I64;
            let target = Passed {
                place,
                ty,
                extension,
            };
            passed.push((value, target));
        }
        for &(value, _) in &passed {
            self.state.begin_use(value);
        }
        if !tail {
            self.state.spill_live()?;
        }
        self.pass(&passed, Reg::RSP)?;
        let area = match (abi.area_bytes, tail) {
            (0, _) => None,
            (bytes, false) => Some(self.area(bytes)?),
            (_, true) => {
                let passed_on = self.own_area.ok_or(Refusal::Malformed)?;
                self.state.asm.load(AREA, Mem::at(Reg::RBP, passed_on));
                None
            }
        };
        if let Some(area) = area {
            self.state.asm.lea(AREA, Mem::at(Reg::RBP, area));
        }
        let target = match callee {
            Callee::Value(_) => Reg::RAX,
            Callee::Name(name) => {
                let at = self.state.asm.constant64(Reg::R11, 0);
                self.callees.push((at, name));
                Reg::R11
            }
        };
        if tail {
            let left = self.leave();
            self.state.asm.jmp_reg(target);
            self.frame.left.push((left, self.state.asm.here()));
        } else {
            self.state.asm.call_reg(target);
        }
        self.state.forget_all();
        for &(value, _) in &passed {
            self.state.end_use(value);
        }
        if tail {
            return Ok(());
        }
        self.outgoing = self.outgoing.max(abi.stack_bytes);
        if abi.callee_pops && abi.stack_bytes != 0 {
            let popped = i32::try_from(abi.stack_bytes).map_err(|_| Refusal::Size)?;
            let stack = Reg::RSP.into();
            self.state.asm.alu_imm(Size::Q, Alu::Sub, stack, popped);
        }
        let results = self.func.dfg.inst_results(inst);
        for (&result, passed) in results.iter().zip(&abi.results) {
            if let Place::Reg(reg) = passed.place {
                self.state.define(result, reg)?;
            }
        }
        // Now that no register holds a result that has no owner yet.
        for (&result, passed) in results.iter().zip(&abi.results) {
            if let (Place::Stack(offset), Some(area)) = (passed.place, area) {
                let to = self.state.result(result)?;
                self.state.asm.load(to, Mem::at(Reg::RBP, area + offset));
                self.state.define(result, to)?;
                self.state.unlock_all();
            }
        }
        Ok(())
    }

    /// Room in the frame for results of a call; all calls use the same.
    fn area(&mut self, bytes: u32) -> Result<i32, Refusal> {
        match self.call_area {
            Some((offset, size)) if size >= bytes => Ok(offset),
            _ => {
                let offset = self.state.allocate(bytes, 16)?;
                self.call_area = Some((offset, bytes));
                Ok(offset)
            }
        }
    }

    fn callee(&self, inst: Inst) -> Result<(Callee, &Signature, Vec<Value>), Refusal> {
        let dfg = &self.func.dfg;
        let args = dfg.inst_args(inst).iter();
        let mut args: Vec<Value> = args.map(|&arg| dfg.resolve_aliases(arg)).collect();
        let (callee, signature) = match dfg.insts[inst] {
            InstructionData::Call { func_ref, .. } => {
                let callee = dfg.ext_funcs.get(func_ref).ok_or(Refusal::Malformed)?;
                (Callee::Name(callee.name.clone()), callee.signature)
            }
            InstructionData::CallIndirect { sig_ref, .. } if !args.is_empty() => {
                (Callee::Value(args.remove(0)), sig_ref)
            }
            _ => return Err(Refusal::Malformed),
        };
        let signature = dfg.signatures.get(signature).ok_or(Refusal::Malformed)?;
        Ok((callee, signature, args))
    }

    pub(super) fn return_values(&mut self, inst: Inst) -> Result<(), Refusal> {
        let dfg = &self.func.dfg;
        let args = dfg.inst_args(inst).iter();
        let results = self.abi.results.iter().copied();
        if args.len() != results.len() {
            return Err(Refusal::Malformed);
        }
        let passed: Vec<(Value, Passed)> = args
            .map(|&arg| dfg.resolve_aliases(arg))
            .zip(results)
            .collect();
        let mut base = Reg::RSP;
        if let Some(area) = self.own_area {
            base = self.state.scratch(false)?;
            self.state.asm.load(base, Mem::at(Reg::RBP, area));
        }
        for &(value, _) in &passed {
            self.state.begin_use(value);
        }
        self.pass(&passed, base)?;
        let left = self.leave();
        let popped = self.abi.popped()?;
        self.state.asm.ret(popped);
        self.frame.left.push((left, self.state.asm.here()));
        for &(value, _) in &passed {
            self.state.end_use(value);
        }
        Ok(())
    }

    /// The caller's registers and frame; says from where on the frame is the caller's.
    fn leave(&mut self) -> u32 {
        for &(reg, home) in &self.pinned {
            self.state.asm.load(reg, Mem::at(Reg::RBP, home));
        }
        self.state.asm.leave();
        self.state.asm.here()
    }

    /// Puts values where they are passed: in memory from `base` on. Afterwards registers do not hold what the state says.
    fn pass(&mut self, passed: &[(Value, Passed)], base: Reg) -> Result<(), Refusal> {
        for (value, to) in passed {
            let Place::Stack(offset) = to.place else {
                continue;
            };
            self.state.fetch(*value, Reg::R11)?;
            self.extend_passed(to, Reg::R11);
            let place = Mem::at(base, offset);
            self.state.asm.store(place, Reg::R11);
        }
        let mut moves: Vec<(Reg, Reg)> = vec![];
        let mut loads: Vec<(Reg, Value)> = vec![];
        for (value, to) in passed {
            let Place::Reg(reg) = to.place else {
                continue;
            };
            match self.state.info(*value).reg {
                Some(from) => moves.push((reg, from)),
                None => loads.push((reg, *value)),
            }
        }
        self.move_all(moves);
        for (reg, value) in loads {
            self.state.fetch(value, reg)?;
        }
        for (_, to) in passed {
            if let Place::Reg(reg) = to.place {
                self.extend_passed(to, reg);
            }
        }
        Ok(())
    }

    fn extend_passed(&mut self, to: &Passed, reg: Reg) {
        let signed = match to.extension {
            ArgumentExtension::None => return,
            ArgumentExtension::Uext => false,
            ArgumentExtension::Sext => true,
        };
        if to.ty.is_int() && to.ty.bits() < 64 {
            let size = super::size_of(to.ty);
            self.state.asm.extend(size, signed, reg, reg.into());
        }
    }

    /// Moves between registers that happen all at once.
    fn move_all(&mut self, mut moves: Vec<(Reg, Reg)>) {
        moves.retain(|(to, from)| to != from);
        while !moves.is_empty() {
            let free = moves
                .iter()
                .position(|(to, _)| moves.iter().all(|(_, from)| from != to));
            if let Some(index) = free {
                let (to, from) = moves.swap_remove(index);
                self.state.asm.mov(to, from);
                continue;
            }
            // A cycle: one of its values waits elsewhere.
            let (_, from) = moves[0];
            let spare = if from.is_vector() {
                Reg::XMM15
            } else {
                Reg::R11
            };
            self.state.asm.mov(spare, from);
            for (_, source) in &mut moves {
                if *source == from {
                    *source = spare;
                }
            }
        }
    }
}
