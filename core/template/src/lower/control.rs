//! Branches, comparisons, selections, traps.
//!
//! A comparison whose only use is the instruction behind it is made there, so that its flags need not become a value.

use super::{Lower, size_of};
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::probes::Edge;
use crate::refusal::Refusal;
use cranelift_codegen::ir::condcodes::{CondCode, FloatCC, IntCC};
use cranelift_codegen::ir::{BlockArg, BlockCall, Inst, InstructionData, Opcode, Value, types};

/// What flags say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    One(Cond),
    Both(Cond, Cond),
    Either(Cond, Cond),
}

impl Lower<'_> {
    pub(super) fn control(&mut self, inst: Inst, opcode: Opcode) -> Result<(), Refusal> {
        match self.func.dfg.insts[inst] {
            InstructionData::Jump { destination, .. } => {
                self.edge(Edge { inst, index: 0 }, &destination)?;
                self.jump_unless_next(&destination);
                self.may_inherit(&[destination]);
                Ok(())
            }
            InstructionData::Brif { blocks, .. } => {
                let condition = self.arg(inst, 0)?;
                self.branch(inst, condition, &blocks[0], &blocks[1])?;
                self.may_inherit(&blocks);
                Ok(())
            }
            InstructionData::BranchTable { .. } => self.branch_table(inst),
            InstructionData::Trap { code, .. } => {
                self.state.trap_here(Some(code));
                self.state.asm.ud2();
                Ok(())
            }
            InstructionData::CondTrap { code, .. } => {
                let condition = self.arg(inst, 0)?;
                let test = self.test(condition)?;
                let trap = self.trap_label(code);
                match opcode {
                    Opcode::Trapz => self.branch_false(test, trap),
                    _ => self.branch_true(test, trap),
                }
                Ok(())
            }
            _ if opcode == Opcode::Return => self.return_values(inst),
            _ => Err(Refusal::Opcode(opcode)),
        }
    }

    /// The block that comes next goes on with what registers hold, if it is only reached from here.
    fn may_inherit(&mut self, targets: &[BlockCall]) {
        let Some(next) = self.next else {
            return;
        };
        let pool = &self.func.dfg.value_lists;
        let reached = targets.iter().any(|target| target.block(pool) == next);
        if reached && self.blocks[next.as_u32() as usize].preds == 1 {
            self.inherits = Some(next);
        }
    }

    fn target(&self, call: &BlockCall) -> Label {
        self.label(call.block(&self.func.dfg.value_lists))
    }

    fn is_next(&self, call: &BlockCall) -> bool {
        self.next == Some(call.block(&self.func.dfg.value_lists))
    }

    fn jump_unless_next(&mut self, call: &BlockCall) {
        if !self.is_next(call) {
            let target = self.target(call);
            self.state.asm.jmp(target);
        }
    }

    /// Whether something is to be done on an edge.
    fn has_code(&self, edge: Edge, call: &BlockCall) -> bool {
        call.len(&self.func.dfg.value_lists) != 0 || self.has_steps(edge)
    }

    /// Counts an edge, and copies its arguments to the parameters of its block; changes no register that holds a value.
    ///
    /// All copies happen at once, so to speak: an argument that is itself a parameter of that block is read before it
    /// is written, by way of the frame where there are several.
    fn edge(&mut self, edge: Edge, call: &BlockCall) -> Result<(), Refusal> {
        self.take_steps(edge);
        let pool = &self.func.dfg.value_lists;
        let params = self.func.dfg.block_params(call.block(pool));
        let mut copies: Vec<(Value, Value)> = vec![];
        for (&param, arg) in params.iter().zip(call.args(pool)) {
            let BlockArg::Value(arg) = arg else {
                return Err(Refusal::Opcode(Opcode::TryCall));
            };
            let arg = self.func.dfg.resolve_aliases(arg);
            copies.push((param, arg));
        }
        for &(_, arg) in &copies {
            self.state.begin_use(arg);
        }
        let moved = |&(param, arg): &(Value, Value)| param != arg;
        let hazard = |&(_, arg): &(Value, Value)| params.contains(&arg);
        let mut early: Vec<_> = copies
            .iter()
            .copied()
            .filter(moved)
            .filter(hazard)
            .collect();
        if let [(param, arg)] = early[..] {
            self.state.pass(arg, param)?;
        }
        if early.len() < 2 {
            early.clear();
        }
        let mut kept = vec![];
        for &(_, arg) in &early {
            let home = self.state.spare_home()?;
            self.state.fetch(arg, Reg::R11)?;
            self.state.asm.store(home, Reg::R11);
            kept.push(home);
        }
        for copy in copies.iter().filter(|copy| moved(copy) && !hazard(copy)) {
            self.state.pass(copy.1, copy.0)?;
        }
        for (&(param, _), home) in early.iter().zip(kept) {
            self.state.pass_memory(home, param)?;
            self.state.give_back_home(home);
        }
        for &(_, arg) in &copies {
            self.state.end_use(arg);
        }
        Ok(())
    }

    fn branch(
        &mut self,
        inst: Inst,
        condition: Value,
        then: &BlockCall,
        otherwise: &BlockCall,
    ) -> Result<(), Refusal> {
        let test = self.test(condition)?;
        let (taken, not) = (Edge { inst, index: 0 }, Edge { inst, index: 1 });
        let otherwise_is_plain = !self.has_code(not, otherwise);
        let falls_through = self.is_next(then) && otherwise_is_plain;
        if !self.has_code(taken, then) && !falls_through {
            let target = self.target(then);
            self.branch_true(test, target);
            self.edge(not, otherwise)?;
            self.jump_unless_next(otherwise);
        } else if otherwise_is_plain {
            let target = self.target(otherwise);
            self.branch_false(test, target);
            self.edge(taken, then)?;
            self.jump_unless_next(then);
        } else {
            let not_taken = self.state.asm.label();
            self.branch_false(test, not_taken);
            self.edge(taken, then)?;
            let target = self.target(then);
            self.state.asm.jmp(target);
            self.state.asm.bind(not_taken);
            self.edge(not, otherwise)?;
            self.jump_unless_next(otherwise);
        }
        Ok(())
    }

    pub(super) fn branch_true(&mut self, test: Test, target: Label) {
        let asm = &mut self.state.asm;
        match test {
            Test::One(cond) => asm.jcc(cond, target),
            Test::Either(a, b) => {
                asm.jcc(a, target);
                asm.jcc(b, target);
            }
            Test::Both(a, b) => {
                let not = asm.label();
                asm.jcc(a.not(), not);
                asm.jcc(b, target);
                asm.bind(not);
            }
        }
    }

    pub(super) fn branch_false(&mut self, test: Test, target: Label) {
        let opposite = match test {
            Test::One(cond) => Test::One(cond.not()),
            Test::Both(a, b) => Test::Either(a.not(), b.not()),
            Test::Either(a, b) => Test::Both(a.not(), b.not()),
        };
        self.branch_true(opposite, target);
    }

    fn branch_table(&mut self, inst: Inst) -> Result<(), Refusal> {
        let InstructionData::BranchTable { table, .. } = self.func.dfg.insts[inst] else {
            return Err(Refusal::Malformed);
        };
        let table = self.func.dfg.jump_tables.get(table);
        let table = table.ok_or(Refusal::Malformed)?;
        let entries = i32::try_from(table.as_slice().len()).map_err(|_| Refusal::Size)?;
        let index = self.arg(inst, 0)?;
        let reg = self.state.use_reg(index)?;
        let base = self.state.scratch(false)?;
        let asm = &mut self.state.asm;
        let default = asm.label();
        asm.alu_imm(Size::D, Alu::Cmp, reg.into(), entries);
        asm.jcc(Cond::AE, default);
        asm.extend(Size::D, false, Reg::R11, reg.into());
        asm.unary(Size::Q, 0xc1, 4, Reg::R11.into());
        asm.byte(2);
        let start = asm.label();
        asm.lea_label(base, start);
        let entry = crate::asm::Mem {
            base,
            index: Some(Reg::R11),
            disp: 0,
        };
        asm.extend(Size::D, true, Reg::R11, entry.into());
        asm.alu(Size::Q, Alu::Add, Reg::R11, base.into());
        asm.jmp_reg(Reg::R11);
        asm.bind(start);
        let place = asm.here();
        let edge = |index| Edge { inst, index };
        let mut edges = vec![(default, edge(0), table.default_block())];
        for (index, &entry) in (1..).zip(table.as_slice()) {
            let label = match self.has_code(edge(index), &entry) {
                true => {
                    let label = self.state.asm.label();
                    edges.push((label, edge(index), entry));
                    label
                }
                false => self.target(&entry),
            };
            self.state.asm.table_entry(place, label);
        }
        self.state.used(index);
        for (label, edge, call) in edges {
            self.state.asm.bind(label);
            self.edge(edge, &call)?;
            let target = self.target(&call);
            self.state.asm.jmp(target);
        }
        Ok(())
    }

    /// Makes the comparison, unless the next instruction does.
    pub(super) fn compare(&mut self, inst: Inst) -> Result<(), Refusal> {
        let result = self.result(inst)?;
        if self.state.info(result).uses == 1 && self.next_tests(inst, result) {
            self.deferred = Some(inst);
            return Ok(());
        }
        let test = self.flags(inst)?;
        let to = self.state.result(result)?;
        self.set(test, to);
        self.state.define(result, to)
    }

    /// A register becomes 1 or 0, in its low byte.
    fn set(&mut self, test: Test, to: Reg) {
        let asm = &mut self.state.asm;
        let (a, second) = match test {
            Test::One(cond) => (cond, None),
            Test::Both(a, b) => (a, Some((b, Alu::And))),
            Test::Either(a, b) => (a, Some((b, Alu::Or))),
        };
        if let Some((b, op)) = second {
            asm.set(a, Reg::R11);
            asm.set(b, to);
            asm.alu(Size::B, op, to, Reg::R11.into());
        } else {
            asm.set(a, to);
        }
    }

    /// Whether the next instruction asks whether the value is zero, and nothing else of it.
    fn next_tests(&self, inst: Inst, value: Value) -> bool {
        let Some(next) = self.func.layout.next_inst(inst) else {
            return false;
        };
        let asks = matches!(
            self.func.dfg.insts[next].opcode(),
            Opcode::Brif
                | Opcode::Trapz
                | Opcode::Trapnz
                | Opcode::Select
                | Opcode::SelectSpectreGuard
        );
        asks && self.arg(next, 0) == Ok(value)
    }

    /// Sets flags by whether the value is not zero. Its use is over.
    pub(super) fn test(&mut self, value: Value) -> Result<Test, Refusal> {
        if let Some(inst) = self.deferred.take() {
            self.state.used(value);
            return self.flags(inst);
        }
        let reg = self.state.use_reg(value)?;
        let size = size_of(self.ty(value));
        self.state.asm.test(size, reg, reg);
        self.state.used(value);
        Ok(Test::One(Cond::NE))
    }

    /// Makes a comparison.
    fn flags(&mut self, inst: Inst) -> Result<Test, Refusal> {
        match self.func.dfg.insts[inst] {
            InstructionData::IntCompare { cond, .. } => self.int_flags(inst, cond),
            InstructionData::FloatCompare { cond, .. } => self.float_flags(inst, cond),
            _ => Err(Refusal::Malformed),
        }
    }

    fn int_flags(&mut self, inst: Inst, cond: IntCC) -> Result<Test, Refusal> {
        let (mut a, mut b, mut cond) = (self.arg(inst, 0)?, self.arg(inst, 1)?, cond);
        if self.immediate(a).is_some() && self.immediate(b).is_none() {
            (a, b, cond) = (b, a, cond.swap_args());
        }
        let size = size_of(self.ty(a));
        match self.immediate(b) {
            Some(imm) => {
                let a = self.state.use_rm(a)?;
                self.state.asm.alu_imm(size, Alu::Cmp, a, imm);
            }
            None => {
                let a = self.state.use_reg(a)?;
                let b = self.state.use_rm(b)?;
                self.state.asm.alu(size, Alu::Cmp, a, b);
            }
        }
        self.state.used(a);
        self.state.used(b);
        Ok(Test::One(condition(cond)))
    }

    fn float_flags(&mut self, inst: Inst, cond: FloatCC) -> Result<Test, Refusal> {
        use FloatCC as F;
        let (a, b) = (self.arg(inst, 0)?, self.arg(inst, 1)?);
        let prefix = if self.ty(a) == types::F64 { 0x66 } else { 0 };
        // Flags of `ucomis x, y`: below is unordered or less, above is greater.
        let (swap, test) = match cond {
            F::Ordered => (false, Test::One(Cond::NP)),
            F::Unordered => (false, Test::One(Cond::P)),
            F::Equal => (false, Test::Both(Cond::NP, Cond::E)),
            F::NotEqual => (false, Test::Either(Cond::P, Cond::NE)),
            F::OrderedNotEqual => (false, Test::One(Cond::NE)),
            F::UnorderedOrEqual => (false, Test::One(Cond::E)),
            F::GreaterThan => (false, Test::One(Cond::A)),
            F::GreaterThanOrEqual => (false, Test::One(Cond::AE)),
            F::LessThan => (true, Test::One(Cond::A)),
            F::LessThanOrEqual => (true, Test::One(Cond::AE)),
            F::UnorderedOrLessThan => (false, Test::One(Cond::B)),
            F::UnorderedOrLessThanOrEqual => (false, Test::One(Cond::BE)),
            F::UnorderedOrGreaterThan => (true, Test::One(Cond::B)),
            F::UnorderedOrGreaterThanOrEqual => (true, Test::One(Cond::BE)),
        };
        let (x, y) = if swap { (b, a) } else { (a, b) };
        let reg = self.state.use_reg(x)?;
        let rm = self.state.use_rm(y)?;
        self.state.asm.sse(prefix, 0x0f2e, reg, rm);
        self.state.used(a);
        self.state.used(b);
        Ok(test)
    }

    pub(super) fn select(&mut self, inst: Inst) -> Result<(), Refusal> {
        let [condition, x, y] = [self.arg(inst, 0)?, self.arg(inst, 1)?, self.arg(inst, 2)?];
        let result = self.result(inst)?;
        let test = self.test(condition)?;
        // From here to the last move nothing changes flags: constants, loads, stores and moves do not.
        let x_reg = self.state.use_reg(x)?;
        let y_reg = self.state.use_reg(y)?;
        let to = self.state.result(result)?;
        let asm = &mut self.state.asm;
        match test {
            Test::One(cond) if !to.is_vector() => {
                asm.mov(to, y_reg);
                asm.cmov(cond, to, x_reg.into());
            }
            _ => {
                asm.mov(to, x_reg);
                let done = asm.label();
                self.branch_true(test, done);
                self.state.asm.mov(to, y_reg);
                self.state.asm.bind(done);
            }
        }
        self.state.used(x);
        self.state.used(y);
        self.state.define(result, to)
    }
}

/// The condition after `cmp`.
pub(super) fn condition(cond: IntCC) -> Cond {
    match cond {
        IntCC::Equal => Cond::E,
        IntCC::NotEqual => Cond::NE,
        IntCC::SignedLessThan => Cond::L,
        IntCC::SignedGreaterThanOrEqual => Cond::GE,
        IntCC::SignedGreaterThan => Cond::G,
        IntCC::SignedLessThanOrEqual => Cond::LE,
        IntCC::UnsignedLessThan => Cond::B,
        IntCC::UnsignedGreaterThanOrEqual => Cond::AE,
        IntCC::UnsignedGreaterThan => Cond::A,
        IntCC::UnsignedLessThanOrEqual => Cond::BE,
    }
}
