//! Which register holds which value, and where values are when none does.
//!
//! Invariants:
//!
//! * A register that is locked is an operand of the instruction in hand: nothing else is put there.
//! * A global value's home holds it from its definition on. A local value's home holds it if it is `stored`.
//! * A pinned value is in its register, and nowhere else.
//! * At the start of a block registers hold nothing but pinned values, unless its only predecessor is the block before,
//!   and then nothing but global ones.

use crate::asm::{Asm, Mem, Reg, Rm};
use crate::refusal::Refusal;
use crate::survey::{Origin, ValueInfo};
use cranelift_codegen::ir::{Function, Inst, StackSlot, TrapCode, Value};

/// Registers that hold values between calls; in the order in which they are taken.
const INTS: [Reg; 8] = [
    Reg::RAX,
    Reg::RCX,
    Reg::RDX,
    Reg::RSI,
    Reg::RDI,
    Reg::R8,
    Reg::R9,
    Reg::R10,
];
const FLOATS: u8 = 15;

/// Frames beyond this are refused.
const MAX_FRAME: i32 = 1 << 20;

/// The state of code generation.
#[derive(Debug)]
pub(crate) struct State {
    pub asm: Asm,
    pub values: Vec<ValueInfo>,
    /// By register number.
    owners: [Option<Value>; 32],
    /// Registers that are operands of the instruction in hand.
    locked: u32,
    /// Where to look for a victim next.
    hand: usize,
    /// Bytes of the frame below the frame pointer.
    frame: i32,
    /// Homes of local values that are free again.
    free_homes: Vec<i32>,
    pub traps: Vec<(u32, TrapCode)>,
    /// Where eight bytes want the address that an instruction names.
    pub symbols: Vec<(u32, Inst)>,
    /// Offsets of stack slots from the frame pointer.
    slots: Vec<i32>,
}

impl State {
    pub fn new(values: Vec<ValueInfo>) -> Self {
        Self {
            asm: Asm::default(),
            values,
            owners: [None; 32],
            locked: 0,
            hand: 0,
            frame: 0,
            free_homes: vec![],
            traps: vec![],
            symbols: vec![],
            slots: vec![],
        }
    }

    /// Gives every stack slot of the function its place in the frame.
    pub fn place_slots(&mut self, func: &Function) -> Result<(), Refusal> {
        for data in func.sized_stack_slots.values() {
            let align = 1u32.checked_shl(u32::from(data.align_shift));
            let align = align.ok_or(Refusal::StackSlot)?.max(8);
            let offset = self.allocate(data.size, align)?;
            self.slots.push(offset);
        }
        Ok(())
    }

    /// An address in a stack slot.
    pub fn slot(&self, slot: StackSlot, offset: i32) -> Result<Mem, Refusal> {
        let start = self.slots.get(slot.as_u32() as usize);
        let start = start.ok_or(Refusal::Malformed)?;
        let disp = start.checked_add(offset).ok_or(Refusal::Size)?;
        Ok(Mem::at(Reg::RBP, disp))
    }

    /// Offsets of stack slots from the frame pointer, by number.
    pub fn slots(&self) -> &[i32] {
        &self.slots
    }

    pub fn info(&self, value: Value) -> &ValueInfo {
        &self.values[value.as_u32() as usize]
    }

    pub fn info_mut(&mut self, value: Value) -> &mut ValueInfo {
        &mut self.values[value.as_u32() as usize]
    }

    /// Bytes of the frame below the frame pointer.
    pub fn frame_size(&self) -> i32 {
        self.frame
    }

    /// Takes room in the frame; returns its offset from the frame pointer.
    pub fn allocate(&mut self, size: u32, align: u32) -> Result<i32, Refusal> {
        let size = i32::try_from(size).map_err(|_| Refusal::Size)?;
        let align = i32::try_from(align.max(1)).map_err(|_| Refusal::StackSlot)?;
        if align > 16 {
            return Err(Refusal::StackSlot);
        }
        let end = self.frame.checked_add(size).ok_or(Refusal::Size)?;
        // The frame pointer is a multiple of 16.
        self.frame = (end + align - 1) / align * align;
        if self.frame > MAX_FRAME {
            return Err(Refusal::Size);
        }
        Ok(-self.frame)
    }

    /// The home of a value, which it gets now if it has none.
    pub fn home(&mut self, value: Value) -> Result<Mem, Refusal> {
        if self.info(value).home == 0 {
            let free = match self.info(value).global {
                true => None,
                false => self.free_homes.pop(),
            };
            let home = match free {
                Some(home) => home,
                None => self.allocate(8, 8)?,
            };
            self.info_mut(value).home = home;
        }
        Ok(Mem::at(Reg::RBP, self.info(value).home))
    }

    /// Eight bytes of the frame for a moment.
    pub fn spare_home(&mut self) -> Result<Mem, Refusal> {
        let home = match self.free_homes.pop() {
            Some(home) => home,
            None => self.allocate(8, 8)?,
        };
        Ok(Mem::at(Reg::RBP, home))
    }

    pub fn give_back_home(&mut self, home: Mem) {
        self.free_homes.push(home.disp);
    }

    /// Copies eight bytes of the frame to where a parameter of a block lives.
    pub fn pass_memory(&mut self, from: Mem, to: Value) -> Result<(), Refusal> {
        let info = *self.info(to);
        if let (true, Some(reg)) = (info.pinned, info.reg) {
            self.asm.load(reg, from);
            return Ok(());
        }
        let home = self.home(to)?;
        self.asm.load(Reg::R11, from);
        self.asm.store(home, Reg::R11);
        Ok(())
    }

    pub fn lock(&mut self, reg: Reg) {
        self.locked |= reg.bit();
    }

    /// The end of an instruction.
    pub fn unlock_all(&mut self) {
        self.locked = 0;
    }

    pub fn is_locked(&self, reg: Reg) -> bool {
        self.locked & reg.bit() != 0
    }

    /// A register that holds nothing, locked.
    pub fn scratch(&mut self, vector: bool) -> Result<Reg, Refusal> {
        let reg = self.pick(vector)?;
        self.evict(reg)?;
        self.lock(reg);
        Ok(reg)
    }

    fn pick(&mut self, vector: bool) -> Result<Reg, Refusal> {
        let count = if vector { FLOATS as usize } else { INTS.len() };
        let nth = |index: usize| match vector {
            true => Reg::xmm(index as u8),
            false => INTS[index],
        };
        let mut victim: Option<(Reg, bool)> = None;
        for step in 0..count {
            let index = (self.hand + step) % count;
            let reg = nth(index);
            if self.is_locked(reg) {
                continue;
            }
            match self.owners[reg.0 as usize] {
                None => return Ok(reg),
                Some(owner) => {
                    let info = self.info(owner);
                    let cheap = info.global || info.stored || info.origin != Origin::Frame;
                    if victim.is_none_or(|(_, best)| cheap && !best) {
                        victim = Some((reg, cheap));
                    }
                }
            }
        }
        self.hand = (self.hand + 1) % count;
        victim.map(|(reg, _)| reg).ok_or(Refusal::Size)
    }

    /// Makes a register hold nothing; what it held is stored if that is needed.
    pub fn evict(&mut self, reg: Reg) -> Result<(), Refusal> {
        let Some(owner) = self.owners[reg.0 as usize] else {
            return Ok(());
        };
        if self.only_in_register(owner) {
            let home = self.home(owner)?;
            self.asm.store(home, reg);
            self.info_mut(owner).stored = true;
        }
        self.forget(reg);
        Ok(())
    }

    /// Makes a certain register hold nothing, and locks it.
    pub fn claim(&mut self, reg: Reg) -> Result<(), Refusal> {
        self.evict(reg)?;
        self.lock(reg);
        Ok(())
    }

    fn forget(&mut self, reg: Reg) {
        if let Some(owner) = self.owners[reg.0 as usize].take() {
            self.info_mut(owner).reg = None;
        }
    }

    /// Registers hold nothing any more but pinned values; what is local is over.
    pub fn forget_all(&mut self) {
        for number in 0..32 {
            self.forget(Reg(number));
        }
    }

    /// The value is not what a register holds.
    pub fn forget_value(&mut self, value: Value) {
        let info = self.info(value);
        if let (Some(reg), false) = (info.reg, info.pinned) {
            self.forget(reg);
        }
    }

    /// A register that holds the value, locked; it is not to be changed.
    pub fn use_reg(&mut self, value: Value) -> Result<Reg, Refusal> {
        if let Some(reg) = self.info(value).reg {
            self.lock(reg);
            return Ok(reg);
        }
        let reg = self.scratch(self.info(value).ty.is_float())?;
        self.fetch(value, reg)?;
        self.own(value, reg);
        Ok(reg)
    }

    /// The value as an operand that may be in memory: in a register if it is needed once more.
    pub fn use_rm(&mut self, value: Value) -> Result<Rm, Refusal> {
        let info = *self.info(value);
        if info.reg.is_none() && info.origin == Origin::Frame && info.uses <= 1 {
            return Ok(self.home(value)?.into());
        }
        Ok(self.use_reg(value)?.into())
    }

    /// Copies the value into a register that holds nothing, whatever its class; changes nothing else, nor flags.
    pub fn fetch(&mut self, value: Value, to: Reg) -> Result<(), Refusal> {
        let info = *self.info(value);
        if let Some(reg) = info.reg {
            if reg != to {
                self.asm.mov(to, reg);
            }
            return Ok(());
        }
        match info.origin {
            Origin::Frame => {
                let home = self.home(value)?;
                self.asm.load(to, home);
            }
            Origin::Int(value) => self.constant(to, value),
            Origin::Float(bits) => self.constant(to, bits.cast_signed()),
            Origin::Symbol(inst) => {
                let at = self.asm.constant64(gpr(to), 0);
                self.symbols.push((at, inst));
                if to.is_vector() {
                    self.asm.mov(to, Reg::R11);
                }
            }
            Origin::Slot(slot, offset) => {
                let mem = self.slot(slot, offset)?;
                self.asm.lea(gpr(to), mem);
                if to.is_vector() {
                    self.asm.mov(to, Reg::R11);
                }
            }
        }
        Ok(())
    }

    fn constant(&mut self, to: Reg, value: i64) {
        if to.is_vector() {
            self.asm.constant(Reg::R11, value);
            self.asm.mov(to, Reg::R11);
        } else {
            self.asm.constant(to, value);
        }
    }

    /// The register holds the value from now on.
    pub fn own(&mut self, value: Value, reg: Reg) {
        if self.info(value).pinned {
            return;
        }
        self.forget_value(value);
        self.forget(reg);
        self.owners[reg.0 as usize] = Some(value);
        self.info_mut(value).reg = Some(reg);
    }

    /// One use of the value is over.
    pub fn used(&mut self, value: Value) {
        self.begin_use(value);
        self.end_use(value);
    }

    /// One use less is to come.
    pub fn begin_use(&mut self, value: Value) {
        let info = self.info_mut(value);
        info.uses = info.uses.saturating_sub(1);
    }

    /// Gives back what a value occupied that is not used any more.
    pub fn end_use(&mut self, value: Value) {
        let info = self.info_mut(value);
        if info.uses > 0 || info.global || info.pinned {
            return;
        }
        let (reg, home) = (info.reg, std::mem::take(&mut info.home));
        if home != 0 {
            self.free_homes.push(home);
        }
        if let Some(reg) = reg {
            self.forget(reg);
        }
    }

    /// Stores every value that only a register holds and that is still needed; registers keep what they hold.
    pub fn spill_live(&mut self) -> Result<(), Refusal> {
        for number in 0..32 {
            let Some(owner) = self.owners[number] else {
                continue;
            };
            if self.only_in_register(owner) {
                let home = self.home(owner)?;
                self.asm.store(home, Reg(number as u8));
                self.info_mut(owner).stored = true;
            }
        }
        Ok(())
    }

    fn only_in_register(&self, value: Value) -> bool {
        let info = self.info(value);
        !info.global && !info.stored && info.origin == Origin::Frame && info.uses > 0
    }

    /// A register for a result that is made from a copy of the value in `source`: with that copy in it, and locked. It is
    /// `source` itself where that is not needed any more: to be called once the use is over.
    pub fn reuse(&mut self, source: Reg, result: Value) -> Result<Reg, Refusal> {
        let to = self.reuse_unmoved(source, result)?;
        if to != source {
            self.asm.mov(to, source);
        }
        Ok(to)
    }

    /// The same, without the copy.
    pub fn reuse_unmoved(&mut self, source: Reg, result: Value) -> Result<Reg, Refusal> {
        let info = *self.info(result);
        let fits = info.ty.is_float() == source.is_vector();
        let free = is_handed_out(source) && self.owners[source.0 as usize].is_none();
        if !info.pinned && fits && free {
            self.lock(source);
            return Ok(source);
        }
        self.result(result)
    }

    /// A register for a result, locked: none of the operands'.
    pub fn result(&mut self, result: Value) -> Result<Reg, Refusal> {
        let info = *self.info(result);
        match (info.pinned, info.reg) {
            (true, Some(reg)) => Ok(reg),
            _ => self.scratch(info.ty.is_float()),
        }
    }

    /// The result is in the register: it is stored if it is global.
    pub fn define(&mut self, result: Value, reg: Reg) -> Result<(), Refusal> {
        let info = *self.info(result);
        if info.pinned {
            if let Some(own) = info.reg.filter(|&own| own != reg) {
                self.asm.mov(own, reg);
            }
            return Ok(());
        }
        if info.uses == 0 && !info.global {
            return Ok(());
        }
        if info.global {
            let home = self.home(result)?;
            self.asm.store(home, reg);
        }
        self.own(result, reg);
        Ok(())
    }

    /// Copies a value to where a parameter of a block lives; changes no register that holds a value, nor flags.
    pub fn pass(&mut self, from: Value, to: Value) -> Result<(), Refusal> {
        let info = *self.info(to);
        if let (true, Some(reg)) = (info.pinned, info.reg) {
            return self.fetch(from, reg);
        }
        let home = self.home(to)?;
        match (self.info(from).reg, self.info(from).origin) {
            (Some(reg), _) => self.asm.store(home, reg),
            (None, Origin::Int(value)) if i32::try_from(value).is_ok() => {
                self.asm.store_imm(crate::asm::Size::Q, home, value as i32);
            }
            _ => {
                self.fetch(from, Reg::R11)?;
                self.asm.store(home, Reg::R11);
            }
        }
        Ok(())
    }

    /// The instruction that comes next may trap.
    pub fn trap_here(&mut self, code: Option<TrapCode>) {
        if let Some(code) = code {
            self.traps.push((self.asm.here(), code));
        }
    }
}

/// The register itself, or the scratch register on the way to a vector register.
fn gpr(reg: Reg) -> Reg {
    if reg.is_vector() { Reg::R11 } else { reg }
}

/// Whether the register holds values that come and go.
fn is_handed_out(reg: Reg) -> bool {
    INTS.contains(&reg) || reg.is_vector() && reg != Reg::XMM15
}
