//! Counting, and handing over to other code at loop headers.
//!
//! Counters are reached by the scratch register, so that values stay where they are: an increment is two instructions.

use super::Lower;
use crate::abi::{AREA, Place};
use crate::asm::{Alu, Cond, Label, Mem, Reg, Size};
use crate::probes::{Copies, Countdown, Edge, FrameMap, Leave, Leaving, Probes, Site};
use crate::refusal::Refusal;
use crate::state::State;
use crate::survey::{BlockInfo, Origin};
use cranelift_codegen::ir::{Block, Inst, UserExternalName, Value};

/// Where the address of the frame is passed, and that of a cell.
const ARGUMENT: Reg = Reg::RDI;

/// Where an address to go on at is returned.
const RESUME: Reg = Reg::RAX;

/// What is done on an edge.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A counter is incremented.
    Count(i32),
    /// A countdown is kept.
    Mark { from: i32, to: i32 },
}

/// A countdown whose code for the case below zero is still to come.
#[derive(Clone, Copy, Debug)]
struct Below {
    probe: Label,
    resume: Label,
}

/// The probes of a function by where they go.
pub(super) struct Plan<'a> {
    probes: &'a Probes,
    /// By edge.
    steps: Vec<(Edge, Step)>,
    /// By number of the block: its counter, and the position of its loop.
    blocks: Vec<(Option<i32>, Option<u32>)>,
    calls: Option<Below>,
    loops: Vec<Option<Below>>,
    /// Where in the frame the address of the activation's copy of the counters is, if there are several.
    base: Option<Mem>,
}

impl<'a> Plan<'a> {
    pub fn new(probes: &'a Probes, blocks: &mut [BlockInfo]) -> Result<Self, Refusal> {
        let mut plan = Self {
            probes,
            steps: vec![],
            blocks: vec![(None, None); blocks.len()],
            calls: None,
            loops: vec![None; probes.loops.len()],
            base: None,
        };
        let of = |block: Block| block.as_u32() as usize;
        for &(site, offset) in &probes.sites {
            match site {
                Site::Block(block) => {
                    let known = plan.blocks.get_mut(of(block));
                    known.ok_or(Refusal::Malformed)?.0 = Some(offset);
                }
                Site::Edge(edge) => plan.steps.push((edge, Step::Count(offset))),
            }
        }
        for (number, probe) in (0..).zip(&probes.loops) {
            let known = plan.blocks.get_mut(of(probe.header));
            known.ok_or(Refusal::Malformed)?.1 = Some(number);
            let (from, to) = (probe.countdown.offset, probe.mark);
            let arrivals = probe.arrivals.iter();
            plan.steps
                .extend(arrivals.map(|&edge| (edge, Step::Mark { from, to })));
            for leave in &probe.exits {
                if let Leave::Block(block) = leave {
                    // Control comes from elsewhere as well, with nothing in registers.
                    let info = blocks.get_mut(of(*block)).ok_or(Refusal::Malformed)?;
                    info.preds = info.preds.saturating_add(2);
                }
            }
        }
        plan.steps.sort_by_key(|step| step.0);
        Ok(plan)
    }
}

impl State {
    /// Gives every pinned value a home, where it is while other code runs in the function's place.
    pub(super) fn house_pinned(&mut self) -> Result<(), Refusal> {
        for index in 0..self.values.len() {
            if self.values[index].pinned {
                self.values[index].home = self.allocate(8, 8)?;
            }
        }
        Ok(())
    }

    /// The registers that values are pinned to, and the homes of those; looks at every value.
    fn pinned(&self) -> Vec<(Reg, Mem)> {
        let pinned = self.values.iter().filter(|info| info.pinned);
        let housed = pinned.filter_map(|info| Some((info.reg?, Mem::at(Reg::RBP, info.home))));
        housed.collect()
    }
}

impl Lower<'_> {
    /// At the start of the function, where parameters still are where they were passed.
    pub(super) fn count_call(&mut self) -> Result<(), Refusal> {
        let Some(probes) = self.probes.as_ref().map(|plan| plan.probes) else {
            return Ok(());
        };
        if let Some(copies) = probes.copies {
            self.choose_copy(copies)?;
        }
        let below = self.count_down(probes.calls.offset);
        if let Some(plan) = &mut self.probes {
            plan.calls = Some(below);
        }
        Ok(())
    }

    /// Picks the activation's copy of the counters, by no register but the scratch register.
    fn choose_copy(&mut self, copies: Copies) -> Result<(), Refusal> {
        let base = Mem::at(Reg::RBP, self.state.allocate(8, 8)?);
        let asm = &mut self.state.asm;
        let scratch = Reg::R11;
        asm.mov(scratch, Reg::RSP);
        asm.shift_right(Size::Q, scratch, copies.granule);
        asm.multiply(Size::D, scratch, copies.spread);
        asm.shift_right(Size::D, scratch, 32 - copies.bits);
        asm.multiply(Size::Q, scratch, copies.stride);
        asm.store(base, scratch);
        self.counters();
        let asm = &mut self.state.asm;
        asm.alu(Size::Q, Alu::Add, scratch, base.into());
        asm.store(base, scratch);
        if let Some(plan) = &mut self.probes {
            plan.base = Some(base);
        }
        Ok(())
    }

    /// At the start of a block, whose values are where they belong.
    pub(super) fn count_block(&mut self, block: Block) {
        let known = self.probes.as_ref().map(|plan| {
            let (site, number) = plan.blocks[block.as_u32() as usize];
            let countdown = |n: u32| (n, plan.probes.loops[n as usize].countdown.offset);
            (site, number.map(countdown))
        });
        let Some((site, header)) = known else {
            return;
        };
        if let Some((number, offset)) = header {
            let below = self.count_down(offset);
            if let Some(plan) = &mut self.probes {
                plan.loops[number as usize] = Some(below);
            }
        }
        if let Some(offset) = site {
            self.step_counter(Alu::Add, offset);
        }
    }

    /// Whether other code can run in the function's place.
    pub(super) fn hands_over(&self) -> bool {
        let plan = self.probes.as_ref();
        plan.is_some_and(|plan| !plan.probes.loops.is_empty())
    }

    /// Whether something is done on an edge beside passing arguments.
    pub(super) fn has_steps(&self, edge: Edge) -> bool {
        let Some(plan) = &self.probes else {
            return false;
        };
        plan.steps
            .binary_search_by_key(&edge, |step| step.0)
            .is_ok()
    }

    /// Does what is done on an edge; changes no register that holds a value.
    pub(super) fn take_steps(&mut self, edge: Edge) {
        let Some(plan) = &self.probes else {
            return;
        };
        let first = plan.steps.partition_point(|step| step.0 < edge);
        let same = plan.steps[first..].iter().take_while(|step| step.0 == edge);
        let steps: Vec<Step> = same.map(|step| step.1).collect();
        for step in steps {
            match step {
                Step::Count(offset) => self.step_counter(Alu::Add, offset),
                Step::Mark { from, to } => {
                    self.counters();
                    let asm = &mut self.state.asm;
                    asm.load(Reg::XMM15, Mem::at(Reg::R11, from));
                    asm.store(Mem::at(Reg::R11, to), Reg::XMM15);
                }
            }
        }
    }

    /// In front of an indirect call: notes whom it calls.
    pub(super) fn note_target(&mut self, call: Inst, target: Value) -> Result<(), Refusal> {
        let probes = self.probes.as_ref().map(|plan| plan.probes);
        let noted = probes.and_then(|probes| {
            let found = probes
                .targets
                .binary_search_by_key(&call, |probe| probe.call);
            found.ok().map(|at| probes.targets[at])
        });
        let Some(probe) = noted else {
            return Ok(());
        };
        let reg = self.state.use_reg(target)?;
        let (candidate, lead) = (
            Mem::at(Reg::R11, probe.target),
            Mem::at(Reg::R11, probe.lead),
        );
        self.counters();
        let asm = &mut self.state.asm;
        let (other, done) = (asm.label(), asm.label());
        asm.alu(Size::Q, Alu::Cmp, reg, candidate.into());
        asm.jcc(Cond::NE, other);
        asm.alu_imm(Size::Q, Alu::Add, lead.into(), 1);
        asm.jmp(done);
        asm.bind(other);
        asm.alu_imm(Size::Q, Alu::Sub, lead.into(), 1);
        asm.jcc(Cond::NS, done);
        asm.store(candidate, reg);
        asm.store_imm(Size::Q, lead, 1);
        asm.bind(done);
        Ok(())
    }

    /// The scratch register becomes the address of the activation's counters; of the first copy as long as none is picked.
    fn counters(&mut self) {
        if let Some(base) = self.probes.as_ref().and_then(|plan| plan.base) {
            self.state.asm.load(Reg::R11, base);
            return;
        }
        let at = self.state.asm.constant64(Reg::R11, 0);
        if let Some(plan) = &self.probes {
            self.own_symbols.push((at, plan.probes.counters.clone()));
        }
    }

    fn step_counter(&mut self, op: Alu, offset: i32) {
        self.counters();
        let counter = Mem::at(Reg::R11, offset);
        self.state.asm.alu_imm(Size::Q, op, counter.into(), 1);
    }

    fn count_down(&mut self, offset: i32) -> Below {
        self.step_counter(Alu::Sub, offset);
        let asm = &mut self.state.asm;
        let (probe, resume) = (asm.label(), asm.label());
        asm.jcc(Cond::S, probe);
        asm.bind(resume);
        Below { probe, resume }
    }

    /// The code for counters below zero, and where control comes back to; at the end of the function.
    pub(super) fn finish_probes(&mut self) -> Result<Option<FrameMap>, Refusal> {
        let Some(plan) = &self.probes else {
            return Ok(None);
        };
        let (probes, calls, loops) = (plan.probes, plan.calls, plan.loops.clone());
        if let Some(below) = calls {
            self.tell_of_calls(below, &probes.calls)?;
        }
        if !self.hands_over() {
            return Ok(Some(FrameMap::default()));
        }
        let pinned = self.state.pinned();
        for (probe, below) in probes.loops.iter().zip(loops) {
            if let Some(below) = below {
                let start = self.state.asm.here();
                self.hand_over(below, probe.successor, &probe.countdown, &pinned);
                let first = self.func.layout.first_inst(probe.header);
                let location = first.map(|inst| self.func.srcloc(inst));
                self.locate(start, location.unwrap_or_default());
            }
        }
        let exits = probes.loops.iter().flat_map(|probe| &probe.exits);
        let (mut blocks, mut leaving) = (vec![], vec![]);
        for exit in exits {
            match *exit {
                Leave::Block(block) => blocks.push(block),
                Leave::Inst(inst) => leaving.push(inst),
            }
        }
        blocks.sort_unstable();
        blocks.dedup();
        leaving.sort_unstable();
        leaving.dedup();
        let leaving: Result<Vec<Leaving>, Refusal> = leaving
            .into_iter()
            .map(|inst| self.leave_at(inst))
            .collect();
        let leaving = leaving?.into();
        let mut starts = Vec::with_capacity(blocks.len());
        for block in blocks {
            let start = self.state.asm.place(self.label(block));
            starts.push((block, start.ok_or(Refusal::Malformed)?));
        }
        let homes = self
            .state
            .values
            .iter()
            .enumerate()
            .filter_map(|(value, info)| {
                let kept = info.global || info.pinned;
                let housed = kept && info.home != 0 && info.origin == Origin::Frame;
                housed.then(|| (Value::from_u32(value as u32), info.home))
            });
        Ok(Some(FrameMap {
            homes: homes.collect(),
            slots: self.state.slots().into(),
            blocks: starts.into(),
            leaving,
        }))
    }

    /// Calls the runtime; registers that hold parameters are as before.
    fn tell_of_calls(&mut self, below: Below, calls: &Countdown) -> Result<(), Refusal> {
        let mut passed: Vec<Reg> = vec![];
        if self.abi.area_bytes != 0 {
            passed.push(AREA);
        }
        passed.extend(
            self.abi
                .params
                .iter()
                .filter_map(|param| match param.place {
                    Place::Reg(reg) => Some(reg),
                    Place::Stack(_) => None,
                }),
        );
        let mut kept = vec![];
        for reg in passed {
            kept.push((reg, Mem::at(Reg::RBP, self.state.allocate(8, 8)?)));
        }
        self.state.asm.bind(below.probe);
        for &(reg, home) in &kept {
            self.state.asm.store(home, reg);
        }
        self.tell(&calls.cell);
        for &(reg, home) in &kept {
            self.state.asm.load(reg, home);
        }
        self.state.asm.jmp(below.resume);
        Ok(())
    }

    fn tell(&mut self, cell: &UserExternalName) {
        let asm = &mut self.state.asm;
        let at = asm.constant64(ARGUMENT, 0);
        self.own_symbols.push((at, cell.clone()));
        let at = asm.constant64(Reg::R11, 0);
        if let Some(plan) = &self.probes {
            self.own_symbols.push((at, plan.probes.runtime.clone()));
        }
        asm.call_reg(Reg::R11);
    }

    fn hand_over(
        &mut self,
        below: Below,
        successor: i32,
        countdown: &Countdown,
        pinned: &[(Reg, Mem)],
    ) {
        let nobody = self.state.asm.label();
        self.state.asm.bind(below.probe);
        self.counters();
        let asm = &mut self.state.asm;
        asm.load(Reg::R11, Mem::at(Reg::R11, successor));
        asm.test(Size::Q, Reg::R11, Reg::R11);
        asm.jcc(Cond::E, nobody);
        for &(reg, home) in pinned {
            asm.store(home, reg);
        }
        asm.mov(ARGUMENT, Reg::RBP);
        asm.call_reg(Reg::R11);
        for &(reg, home) in pinned {
            asm.load(reg, home);
        }
        asm.jmp_reg(RESUME);
        asm.bind(nobody);
        self.tell(&countdown.cell);
        self.state.asm.jmp(below.resume);
    }

    /// A return or tail call once more, whose arguments are in the frame.
    fn leave_at(&mut self, inst: Inst) -> Result<Leaving, Refusal> {
        let opcode = self.func.dfg.insts[inst].opcode();
        if !opcode.is_return() {
            return Err(Refusal::Malformed);
        }
        self.state.forget_all();
        let values = self.func.dfg.inst_args(inst).iter();
        let values: Vec<Value> = values
            .map(|&value| self.func.dfg.resolve_aliases(value))
            .collect();
        let mut args = vec![];
        for &value in &values {
            let info = *self.state.info(value);
            args.push(match info.origin {
                Origin::Frame if info.pinned => Some(info.home),
                Origin::Frame => {
                    let home = self.state.home(value)?.disp;
                    let info = self.state.info_mut(value);
                    info.stored = true;
                    // It is used once more.
                    info.uses = info.uses.saturating_add(1);
                    Some(home)
                }
                _ => None,
            });
        }
        let offset = self.state.asm.here();
        let location = self.func.srcloc(inst);
        self.here = location;
        self.inst(inst)?;
        self.state.unlock_all();
        self.locate(offset, location);
        Ok(Leaving {
            inst,
            offset,
            args: args.into(),
        })
    }
}
