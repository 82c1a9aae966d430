//! From a function to its code: blocks in order, instructions in order, a template for each.
//!
//! ```text
//!   entry:   push rbp; mov rbp, rsp; sub rsp, FRAME      frame pointer ▶ return address, stack parameters above
//!            save what is pinned                                          homes and stack slots below
//!   blocks   …                                            stack pointer ▶ stack parameters of calls
//!   traps    one `ud2` for each check that can fail
//! ```
//!
//! Not here: what templates share about registers (`state`).

use self::probe::Plan;
use crate::abi::{Abi, Place};
use crate::asm::{Label, Mem, Reg, Size};
use crate::probes::{FrameMap, Probes};
use crate::refusal::Refusal;
use crate::state::State;
use crate::survey::{BlockInfo, Origin, Survey};
use crate::target::Target;
use cranelift_codegen::ir::{
    Block, ExternalName, Function, GlobalValueData, Inst, InstructionData, Opcode, SourceLoc,
    TrapCode, Type, UserExternalName, Value, types,
};

mod call;
mod control;
mod convert;
mod divide;
mod float;
mod integer;
mod memory;
mod probe;

/// Machine code of a function, and what is open in it.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Instructions and jump tables.
    pub bytes: Vec<u8>,
    /// Instructions that may trap, by offset.
    pub traps: Vec<(u32, TrapCode)>,
    /// Start, end and location, by start, where there is a location.
    pub locations: Vec<(u32, u32, SourceLoc)>,
    /// Where addresses are to be written.
    pub symbols: Vec<SymbolRef>,
    /// How the caller's frame is found.
    pub frame: Frame,
    /// Start and end of jump tables, by start: distances of 32 bits from the start.
    pub tables: Vec<(u32, u32)>,
    /// Where values are at the probes, if there are any.
    pub map: Option<FrameMap>,
}

/// The frame of a function: `push rbp` is its first instruction, and `mov rbp, rsp` its second.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Registers of the caller, by the numbers that DWARF has for them, and where they are kept, from the frame pointer.
    pub saved: Vec<(u16, i32)>,
    /// From which offset on they are there.
    pub saved_at: u32,
    /// Start and end of code after the frame was left: a return, or a jump to what is called last.
    pub left: Vec<(u32, u32)>,
}

/// Eight bytes of code that want an address.
#[derive(Clone, Debug)]
pub struct SymbolRef {
    /// Where they are.
    pub offset: u32,
    /// Whose address.
    pub name: SymbolName,
    /// What is added to it.
    pub addend: i64,
}

/// Something that has an address.
#[derive(Clone, Debug)]
pub enum SymbolName {
    /// A name of the function's.
    Source(ExternalName),
    /// A name of the probes'.
    Probe(UserExternalName),
}

/// The code of a function, with probes where they are wanted.
///
/// # Requires
///
/// A function that the verifier accepts.
///
/// # Errors
///
/// [`Refusal`]: there is no code then, and nothing is wrong with the function.
///
/// # Complexity
///
/// O(values + instructions + block arguments).
pub fn compile(func: &Function, target: &Target, probes: Option<&Probes>) -> Result<Code, Refusal> {
    if func.stack_limit.is_some() || !func.dynamic_stack_slots.is_empty() {
        return Err(Refusal::StackSlot);
    }
    if func.dfg.num_values() > MAX_VALUES {
        return Err(Refusal::Size);
    }
    let abi = Abi::of(&func.signature)?;
    let Survey {
        values,
        mut blocks,
        order,
        pinned,
    } = Survey::of(func)?;
    let probes = probes.map(|probes| Plan::new(probes, &mut blocks));
    let probes = probes.transpose()?;
    let mut state = State::new(values);
    let labels = (0..blocks.len()).map(|_| state.asm.label()).collect();
    let mut lower = Lower {
        func,
        target,
        abi,
        state,
        blocks,
        labels,
        pinned: pinned.into_iter().map(|reg| (reg, 0)).collect(),
        outgoing: 0,
        call_area: None,
        own_area: None,
        deferred: None,
        inherits: None,
        next: None,
        traps: vec![],
        locations: vec![],
        here: SourceLoc::default(),
        callees: vec![],
        frame: Frame::default(),
        probes,
        own_symbols: vec![],
    };
    let frame = lower.prologue()?;
    for (index, &block) in order.iter().enumerate() {
        lower.next = order.get(index + 1).copied();
        lower.block(block)?;
    }
    lower.finish(frame)
}

/// More values take too much memory.
const MAX_VALUES: usize = 1 << 22;

/// Code is smaller than this.
const MAX_CODE: u32 = 1 << 28;

struct Lower<'a> {
    func: &'a Function,
    target: &'a Target,
    abi: Abi,
    state: State,
    blocks: Vec<BlockInfo>,
    labels: Vec<Label>,
    /// Registers that values are pinned to, and where the caller's are kept.
    pinned: Vec<(Reg, i32)>,
    /// Bytes below the frame for parameters of calls.
    outgoing: u32,
    /// Where in the frame calls return what does not fit registers, and how many bytes.
    call_area: Option<(i32, u32)>,
    /// Where in the frame the address is kept at which this function does.
    own_area: Option<i32>,
    /// A comparison or a sum that only the next instruction wants, made with that.
    deferred: Option<Inst>,
    /// The block, if it comes next, that may go on with what registers hold.
    inherits: Option<Block>,
    /// The block that comes next.
    next: Option<Block>,
    /// Checks that fail: where they go, why, and where that is in the source.
    traps: Vec<(Label, TrapCode, SourceLoc)>,
    locations: Vec<(u32, u32, SourceLoc)>,
    here: SourceLoc,
    /// Where the addresses of callees go.
    callees: Vec<(u32, ExternalName)>,
    frame: Frame,
    /// What is counted, and where other code takes over.
    probes: Option<Plan<'a>>,
    /// Where the addresses go of what probes name.
    own_symbols: Vec<(u32, UserExternalName)>,
}

/// The prologue's instruction that takes the frame.
struct FramePatch {
    /// Where its immediate is.
    immediate: u32,
    /// The instruction after it.
    resume: Label,
}

impl Lower<'_> {
    fn prologue(&mut self) -> Result<FramePatch, Refusal> {
        let asm = &mut self.state.asm;
        asm.push_rbp();
        asm.mov(Reg::RBP, Reg::RSP);
        // `sub rsp, imm32`: the frame's size is known at the end.
        asm.bytes.extend_from_slice(&[0x48, 0x81, 0xec]);
        let immediate = asm.here();
        asm.imm32(0);
        let resume = asm.label();
        asm.bind(resume);
        for index in 0..self.pinned.len() {
            let home = self.state.allocate(8, 8)?;
            self.pinned[index].1 = home;
            let reg = self.pinned[index].0;
            self.state.asm.store(Mem::at(Reg::RBP, home), reg);
            self.frame.saved.extend(reg.dwarf().map(|reg| (reg, home)));
        }
        self.frame.saved_at = self.state.asm.here();
        if self.hands_over() {
            self.state.house_pinned()?;
        }
        self.state.place_slots(self.func)?;
        self.count_call()?;
        Ok(FramePatch { immediate, resume })
    }

    /// What is passed is where values are.
    fn parameters(&mut self, entry: Block) -> Result<(), Refusal> {
        let params = self.func.dfg.block_params(entry);
        if params.len() != self.abi.params.len() {
            return Err(Refusal::Malformed);
        }
        if self.abi.area_bytes != 0 {
            let home = self.state.allocate(8, 8)?;
            self.state
                .asm
                .store(Mem::at(Reg::RBP, home), crate::abi::AREA);
            self.own_area = Some(home);
        }
        for (&param, place) in params.iter().zip(self.abi.params.clone()) {
            match place.place {
                Place::Reg(reg) => self.state.define(param, reg)?,
                Place::Stack(offset) => {
                    // Above the caller's frame pointer and the return address.
                    let home = offset.checked_add(16).ok_or(Refusal::Size)?;
                    let info = *self.state.info(param);
                    match (info.pinned, info.reg) {
                        (true, Some(reg)) => {
                            self.state.asm.load(reg, Mem::at(Reg::RBP, home));
                        }
                        _ => {
                            let info = self.state.info_mut(param);
                            info.home = home;
                            info.stored = true;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, block: Block) -> Result<(), Refusal> {
        if self.inherits.take() == Some(block) {
            for &param in self.func.dfg.block_params(block) {
                self.state.forget_value(param);
            }
        } else {
            self.state.forget_all();
        }
        let label = self.label(block);
        self.state.asm.bind(label);
        if self.func.layout.entry_block() == Some(block) {
            self.parameters(block)?;
        }
        self.count_block(block);
        for inst in self.func.layout.block_insts(block) {
            let location = self.func.srcloc(inst);
            let start = self.state.asm.here();
            self.here = location;
            self.inst(inst)?;
            self.state.unlock_all();
            self.locate(start, location);
        }
        if self.state.asm.here() > MAX_CODE {
            return Err(Refusal::Size);
        }
        Ok(())
    }

    /// What was made since `start` has this location.
    fn locate(&mut self, start: u32, location: SourceLoc) {
        let end = self.state.asm.here();
        if location.is_default() || start == end {
            return;
        }
        match self.locations.last_mut() {
            Some((_, last, same)) if *same == location && *last == start => *last = end,
            _ => self.locations.push((start, end, location)),
        }
    }

    fn finish(mut self, frame: FramePatch) -> Result<Code, Refusal> {
        let map = self.finish_probes()?;
        for (label, code, location) in std::mem::take(&mut self.traps) {
            let start = self.state.asm.here();
            self.state.asm.bind(label);
            self.state.trap_here(Some(code));
            self.state.asm.ud2();
            self.locate(start, location);
        }
        let size = u32::try_from(self.state.frame_size()).map_err(|_| Refusal::Size)?;
        let size = size.checked_add(self.outgoing).ok_or(Refusal::Size)?;
        let size = i32::try_from(size.next_multiple_of(16)).map_err(|_| Refusal::Size)?;
        let asm = &mut self.state.asm;
        let probed = self.target.probe_from;
        if probed != 0 && size.unsigned_abs() >= probed {
            // The prologue's instruction becomes a jump to where the stack is touched page by page.
            let probe = asm.label();
            let at = frame.immediate as usize - 3;
            asm.bytes[at..at + 7].copy_from_slice(&[0xe9, 0, 0, 0, 0, 0x66, 0x90]);
            asm.jump_at(frame.immediate - 2, probe);
            asm.bind(probe);
            asm.lea(Reg::R11, Mem::at(Reg::RSP, -size));
            let again = asm.label();
            asm.bind(again);
            let page = i32::try_from(probed).map_err(|_| Refusal::Size)?;
            asm.alu_imm(Size::Q, crate::asm::Alu::Sub, Reg::RSP.into(), page);
            asm.store_int(Size::D, Mem::at(Reg::RSP, 0), Reg::RSP);
            // As long as a whole page is left.
            asm.lea(Reg::RAX, Mem::at(Reg::RSP, -page));
            asm.alu(Size::Q, crate::asm::Alu::Cmp, Reg::RAX, Reg::R11.into());
            asm.jcc(crate::asm::Cond::AE, again);
            asm.mov(Reg::RSP, Reg::R11);
            asm.jmp(frame.resume);
        } else {
            asm.patch(frame.immediate, size).ok_or(Refusal::Size)?;
        }
        let mut symbols = vec![];
        for (offset, inst) in std::mem::take(&mut self.state.symbols) {
            let (name, addend) = self.symbol(inst)?;
            symbols.push(SymbolRef {
                offset,
                name: SymbolName::Source(name),
                addend,
            });
        }
        let callees = std::mem::take(&mut self.callees);
        let own_symbols = std::mem::take(&mut self.own_symbols);
        let callees = callees
            .into_iter()
            .map(|(offset, name)| (offset, SymbolName::Source(name)));
        let own = own_symbols
            .into_iter()
            .map(|(offset, name)| (offset, SymbolName::Probe(name)));
        symbols.extend(callees.chain(own).map(|(offset, name)| SymbolRef {
            offset,
            name,
            addend: 0,
        }));
        Ok(Code {
            tables: self.state.asm.tables(),
            bytes: self.state.asm.finish().ok_or(Refusal::Size)?,
            traps: self.state.traps,
            locations: self.locations,
            symbols,
            frame: self.frame,
            map,
        })
    }

    /// What an instruction names, and what is added to its address.
    fn symbol(&self, inst: Inst) -> Result<(ExternalName, i64), Refusal> {
        match self.func.dfg.insts[inst] {
            InstructionData::FuncAddr { func_ref, .. } => {
                let callee = self.func.dfg.ext_funcs.get(func_ref);
                Ok((callee.ok_or(Refusal::Malformed)?.name.clone(), 0))
            }
            InstructionData::UnaryGlobalValue { global_value, .. } => {
                match self.func.global_values.get(global_value) {
                    Some(GlobalValueData::Symbol {
                        name,
                        offset,
                        tls: false,
                        ..
                    }) => Ok((name.clone(), offset.bits())),
                    _ => Err(Refusal::Opcode(Opcode::SymbolValue)),
                }
            }
            _ => Err(Refusal::Malformed),
        }
    }

    fn label(&self, block: Block) -> Label {
        self.labels[block.as_u32() as usize]
    }

    /// The instruction's operand, without aliases.
    fn arg(&self, inst: Inst, index: usize) -> Result<Value, Refusal> {
        let args = self.func.dfg.inst_args(inst);
        let arg = args.get(index).ok_or(Refusal::Malformed)?;
        Ok(self.func.dfg.resolve_aliases(*arg))
    }

    fn result(&self, inst: Inst) -> Result<Value, Refusal> {
        let results = self.func.dfg.inst_results(inst);
        results.first().copied().ok_or(Refusal::Malformed)
    }

    fn ty(&self, value: Value) -> Type {
        self.state.info(value).ty
    }

    /// The constant, if the value is one that fits an immediate.
    fn immediate(&self, value: Value) -> Option<i32> {
        match self.state.info(value).origin {
            Origin::Int(value) => i32::try_from(value).ok(),
            _ => None,
        }
    }

    /// A place to jump to where a check fails.
    fn trap_label(&mut self, code: TrapCode) -> Label {
        let label = self.state.asm.label();
        self.traps.push((label, code, self.here));
        label
    }

    fn inst(&mut self, inst: Inst) -> Result<(), Refusal> {
        use Opcode as O;
        let opcode = self.func.dfg.insts[inst].opcode();
        match opcode {
            O::Nop | O::SequencePoint => Ok(()),
            // Made where they are used.
            O::Iconst | O::F32const | O::F64const | O::FuncAddr | O::StackAddr => Ok(()),
            O::SymbolValue => self.symbol(inst).map(|_| ()),
            O::Jump | O::Brif | O::BrTable | O::Return | O::Trap | O::Trapz | O::Trapnz => {
                self.control(inst, opcode)
            }
            O::Call | O::CallIndirect | O::ReturnCall | O::ReturnCallIndirect => {
                self.call(inst, opcode)
            }
            O::Icmp | O::Fcmp => self.compare(inst),
            O::Select | O::SelectSpectreGuard => self.select(inst),
            O::Udiv | O::Sdiv | O::Urem | O::Srem | O::Umulhi | O::Smulhi => {
                self.divide(inst, opcode)
            }
            O::Fadd
            | O::Fsub
            | O::Fmul
            | O::Fdiv
            | O::Sqrt
            | O::Fneg
            | O::Fabs
            | O::Fcopysign
            | O::Fmin
            | O::Fmax
            | O::Ceil
            | O::Floor
            | O::Trunc
            | O::Nearest => self.float(inst, opcode),
            O::Fpromote
            | O::Fdemote
            | O::FcvtFromSint
            | O::FcvtFromUint
            | O::FcvtToSint
            | O::FcvtToUint
            | O::FcvtToSintSat
            | O::FcvtToUintSat
            | O::Bitcast => self.convert(inst, opcode),
            _ if opcode.can_load() || opcode.can_store() || opcode == O::Fence => {
                self.memory(inst, opcode)
            }
            _ => self.integer(inst, opcode),
        }
    }
}

/// The size of an operation on values of the type.
fn size_of(ty: Type) -> Size {
    match ty {
        types::I8 => Size::B,
        types::I16 => Size::W,
        types::I32 | types::F32 => Size::D,
        _ => Size::Q,
    }
}

/// The size of an operation whose upper bits do not matter.
fn wide_size(ty: Type) -> Size {
    match size_of(ty) {
        Size::Q => Size::Q,
        _ => Size::D,
    }
}
