//! The x86-64 assembler: bytes, labels, and jumps to labels.
//!
//! Only what the templates need, in its longest simple form: a jump has a displacement of 32 bits.
//!
//! Invariants:
//!
//! * A label is bound once; [`Asm::finish`] refuses code with a jump to a label that is not.
//!
//! Not here: which registers hold what (`state`), and the meaning of CLIF (`lower`).
//!
//! Reference: Intel, "64 and IA-32 Architectures Software Developer's Manual", volume 2, chapter 2 (instruction format).

/// A register: 0 to 15 general purpose, 16 to 31 vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg(pub u8);

impl Reg {
    pub const RAX: Self = Self(0);
    pub const RCX: Self = Self(1);
    pub const RDX: Self = Self(2);
    pub const RBX: Self = Self(3);
    pub const RSP: Self = Self(4);
    pub const RBP: Self = Self(5);
    pub const RSI: Self = Self(6);
    pub const RDI: Self = Self(7);
    pub const R8: Self = Self(8);
    pub const R9: Self = Self(9);
    pub const R10: Self = Self(10);
    /// Belongs to the templates: it never holds a value from one instruction to the next.
    pub const R11: Self = Self(11);
    pub const R12: Self = Self(12);
    pub const R13: Self = Self(13);
    pub const R14: Self = Self(14);
    pub const R15: Self = Self(15);
    /// As `R11`, for floating-point numbers.
    pub const XMM15: Self = Self(31);

    pub const fn xmm(number: u8) -> Self {
        Self(16 + number)
    }

    pub const fn is_vector(self) -> bool {
        self.0 >= 16
    }

    pub const fn bit(self) -> u32 {
        1 << self.0
    }

    /// The number that DWARF has for a register that a callee keeps.
    pub fn dwarf(self) -> Option<u16> {
        // Others have another order than the machine's.
        let same = matches!(
            self,
            Self::RBX | Self::R12 | Self::R13 | Self::R14 | Self::R15
        );
        same.then_some(self.0.into())
    }

    /// The number in the instruction's encoding.
    const fn code(self) -> u8 {
        self.0 & 15
    }
}

/// An address: base, an index that is not scaled, displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mem {
    pub base: Reg,
    pub index: Option<Reg>,
    pub disp: i32,
}

impl Mem {
    pub const fn at(base: Reg, disp: i32) -> Self {
        Self {
            base,
            index: None,
            disp,
        }
    }
}

/// The operand that may be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rm {
    Reg(Reg),
    Mem(Mem),
}

impl From<Reg> for Rm {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<Mem> for Rm {
    fn from(mem: Mem) -> Self {
        Self::Mem(mem)
    }
}

/// The size of an integer operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    B,
    W,
    D,
    Q,
}

/// A place in the code that may not be known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(u32);

/// A condition, as jumps, sets and moves encode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cond {
    O = 0,
    NO = 1,
    B = 2,
    AE = 3,
    E = 4,
    NE = 5,
    BE = 6,
    A = 7,
    S = 8,
    NS = 9,
    P = 10,
    NP = 11,
    L = 12,
    GE = 13,
    LE = 14,
    G = 15,
}

impl Cond {
    /// The condition that holds when this one does not.
    pub fn not(self) -> Self {
        match self {
            Self::O => Self::NO,
            Self::NO => Self::O,
            Self::S => Self::NS,
            Self::NS => Self::S,
            Self::B => Self::AE,
            Self::AE => Self::B,
            Self::E => Self::NE,
            Self::NE => Self::E,
            Self::BE => Self::A,
            Self::A => Self::BE,
            Self::P => Self::NP,
            Self::NP => Self::P,
            Self::L => Self::GE,
            Self::GE => Self::L,
            Self::LE => Self::G,
            Self::G => Self::LE,
        }
    }
}

/// Operations of two operands, by their opcode of the form `reg, reg/mem`; the immediate form's number is bits 3 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alu {
    Add = 0x03,
    Or = 0x0b,
    Sbb = 0x1b,
    And = 0x23,
    Sub = 0x2b,
    Xor = 0x33,
    Cmp = 0x3b,
}

const UNBOUND: u32 = u32::MAX;

/// Machine code under construction.
#[derive(Debug, Default)]
pub(crate) struct Asm {
    pub bytes: Vec<u8>,
    labels: Vec<u32>,
    /// Where a displacement of 32 bits is, and the label that it leads to.
    jumps: Vec<(u32, Label)>,
    /// Where an entry of a jump table is, the start of its table, and the label.
    entries: Vec<(u32, u32, Label)>,
}

impl Asm {
    pub fn here(&self) -> u32 {
        // Code of more than 4 GiB is refused by its owner.
        u32::try_from(self.bytes.len()).unwrap_or(UNBOUND)
    }

    pub fn label(&mut self) -> Label {
        let label = Label(u32::try_from(self.labels.len()).unwrap_or(UNBOUND));
        self.labels.push(UNBOUND);
        label
    }

    pub fn bind(&mut self, label: Label) {
        let here = self.here();
        if let Some(place) = self.labels.get_mut(label.0 as usize) {
            *place = here;
        }
    }

    /// Start and end of jump tables, by start.
    pub fn tables(&self) -> Vec<(u32, u32)> {
        let mut tables: Vec<(u32, u32)> = vec![];
        for &(at, start, _) in &self.entries {
            match tables.last_mut() {
                Some(table) if table.0 == start => table.1 = at + 4,
                _ => tables.push((start, at + 4)),
            }
        }
        tables
    }

    /// The code, once every jump leads to a place; `None` if one does not.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        for (at, label) in std::mem::take(&mut self.jumps) {
            let target = self.place(label)?;
            let distance = i64::from(target) - i64::from(at) - 4;
            self.patch(at, i32::try_from(distance).ok()?)?;
        }
        for (at, table, label) in std::mem::take(&mut self.entries) {
            let distance = i64::from(self.place(label)?) - i64::from(table);
            self.patch(at, i32::try_from(distance).ok()?)?;
        }
        Some(self.bytes)
    }

    /// Where a label is, if it is bound.
    pub fn place(&self, label: Label) -> Option<u32> {
        let place = self.labels.get(label.0 as usize).copied();
        place.filter(|&place| place != UNBOUND)
    }

    /// Writes four bytes over what is there.
    pub fn patch(&mut self, at: u32, value: i32) -> Option<()> {
        let at = at as usize;
        let bytes = self.bytes.get_mut(at..at + 4)?;
        bytes.copy_from_slice(&value.to_le_bytes());
        Some(())
    }

    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn imm32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn imm64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Prefix, REX, opcode of up to three bytes, ModRM, SIB, displacement.
    fn op(&mut self, prefix: u8, wide: bool, rex: bool, opcode: u32, reg: u8, rm: Rm) {
        if prefix != 0 {
            self.byte(prefix);
        }
        let (x, b) = match rm {
            Rm::Reg(reg) => (0, reg.code() >> 3),
            Rm::Mem(mem) => (
                mem.index.map_or(0, |index| index.code() >> 3),
                mem.base.code() >> 3,
            ),
        };
        let byte = 0x40 | (u8::from(wide) << 3) | ((reg >> 3) << 2) | (x << 1) | b;
        if rex || byte != 0x40 {
            self.byte(byte);
        }
        if opcode > 0xffff {
            self.byte((opcode >> 16) as u8);
        }
        if opcode > 0xff {
            self.byte((opcode >> 8) as u8);
        }
        self.byte(opcode as u8);
        self.mod_rm(reg & 7, rm);
    }

    fn mod_rm(&mut self, reg: u8, rm: Rm) {
        let reg = reg << 3;
        let mem = match rm {
            Rm::Reg(rm) => return self.byte(0xc0 | reg | (rm.code() & 7)),
            Rm::Mem(mem) => mem,
        };
        let base = mem.base.code() & 7;
        let short = i8::try_from(mem.disp);
        let mode = match short {
            Ok(0) if base != 5 => 0,
            Ok(_) => 0x40,
            Err(_) => 0x80,
        };
        match mem.index {
            Some(index) => {
                self.byte(mode | reg | 4);
                self.byte(((index.code() & 7) << 3) | base);
            }
            None if base == 4 => {
                self.byte(mode | reg | 4);
                self.byte(0x24);
            }
            None => self.byte(mode | reg | base),
        }
        match (mode, short) {
            (0, _) => {}
            (0x40, Ok(disp)) => self.byte(disp.cast_unsigned()),
            _ => self.imm32(mem.disp),
        }
    }

    /// An integer operation whose byte form has an opcode that is one less.
    pub fn int(&mut self, size: Size, opcode: u32, reg: Reg, rm: Rm) {
        let byte_reg = |reg: Reg| size == Size::B && reg.code() >= 4;
        let rex = byte_reg(reg) || matches!(rm, Rm::Reg(reg) if byte_reg(reg));
        self.raw(size, opcode, reg.code(), rm, rex);
    }

    fn raw(&mut self, size: Size, opcode: u32, reg: u8, rm: Rm, rex: bool) {
        let prefix = if size == Size::W { 0x66 } else { 0 };
        let opcode = if size == Size::B { opcode - 1 } else { opcode };
        self.op(prefix, size == Size::Q, rex, opcode, reg, rm);
    }

    /// An operation of one operand, selected by a number within the opcode (`neg`, `not`, `div`, shifts).
    pub fn unary(&mut self, size: Size, opcode: u32, number: u8, rm: Rm) {
        let rex = size == Size::B && matches!(rm, Rm::Reg(reg) if reg.code() >= 4);
        self.raw(size, opcode, number, rm, rex);
    }

    pub fn alu(&mut self, size: Size, op: Alu, reg: Reg, rm: Rm) {
        self.int(size, op as u32, reg, rm);
    }

    pub fn alu_imm(&mut self, size: Size, op: Alu, rm: Rm, imm: i32) {
        let number = (op as u8) >> 3;
        match (size, i8::try_from(imm)) {
            (Size::B, _) => {
                self.unary(size, 0x81, number, rm);
                self.byte(imm as u8);
            }
            (_, Ok(short)) => {
                self.unary(size, 0x83, number, rm);
                self.byte(short.cast_unsigned());
            }
            (Size::W, Err(_)) => {
                self.unary(size, 0x81, number, rm);
                self.bytes.extend_from_slice(&(imm as i16).to_le_bytes());
            }
            _ => {
                self.unary(size, 0x81, number, rm);
                self.imm32(imm);
            }
        }
    }

    /// Shifts zeros in from above.
    pub fn shift_right(&mut self, size: Size, reg: Reg, bits: u8) {
        self.unary(size, 0xc1, 5, reg.into());
        self.byte(bits);
    }

    /// Multiplies by an immediate; of 32 or 64 bits.
    pub fn multiply(&mut self, size: Size, reg: Reg, imm: i32) {
        self.int(size, 0x69, reg, reg.into());
        self.imm32(imm);
    }

    pub fn test(&mut self, size: Size, a: Reg, b: Reg) {
        self.int(size, 0x85, a, b.into());
    }

    /// Copies a register of either class.
    pub fn mov(&mut self, to: Reg, from: Reg) {
        match (to.is_vector(), from.is_vector()) {
            (false, false) => self.int(Size::Q, 0x8b, to, from.into()),
            (true, true) => self.op(0, false, false, 0x0f28, to.code(), from.into()),
            (true, false) => self.op(0x66, true, false, 0x0f6e, to.code(), from.into()),
            (false, true) => self.op(0x66, true, false, 0x0f7e, from.code(), to.into()),
        }
    }

    /// Loads eight bytes into a register of either class.
    pub fn load(&mut self, to: Reg, mem: Mem) {
        match to.is_vector() {
            true => self.op(0xf3, false, false, 0x0f7e, to.code(), mem.into()),
            false => self.int(Size::Q, 0x8b, to, mem.into()),
        }
    }

    /// Stores eight bytes of a register of either class.
    pub fn store(&mut self, mem: Mem, from: Reg) {
        match from.is_vector() {
            true => self.op(0x66, false, false, 0x0fd6, from.code(), mem.into()),
            false => self.int(Size::Q, 0x89, from, mem.into()),
        }
    }

    /// Stores the low bytes of a general-purpose register.
    pub fn store_int(&mut self, size: Size, mem: Mem, from: Reg) {
        self.int(size, 0x89, from, mem.into());
    }

    /// Stores an immediate: all bytes of `size`, sign-extended.
    pub fn store_imm(&mut self, size: Size, mem: Mem, imm: i32) {
        self.unary(size, 0xc7, 0, mem.into());
        match size {
            Size::B => self.byte(imm as u8),
            Size::W => self.bytes.extend_from_slice(&(imm as i16).to_le_bytes()),
            Size::D | Size::Q => self.imm32(imm),
        }
    }

    pub fn lea(&mut self, to: Reg, mem: Mem) {
        self.int(Size::Q, 0x8d, to, mem.into());
    }

    /// The shortest way to a constant that leaves the flags alone.
    pub fn constant(&mut self, to: Reg, value: i64) {
        if let Ok(value) = u32::try_from(value) {
            if to.code() >= 8 {
                self.byte(0x41);
            }
            self.byte(0xb8 | (to.code() & 7));
            self.imm32(value.cast_signed());
        } else if let Ok(value) = i32::try_from(value) {
            self.unary(Size::Q, 0xc7, 0, to.into());
            self.imm32(value);
        } else {
            self.constant64(to, value);
        }
    }

    /// A constant of eight bytes, which are the last of the instruction; returns where they are.
    pub fn constant64(&mut self, to: Reg, value: i64) -> u32 {
        self.byte(0x48 | (to.code() >> 3));
        self.byte(0xb8 | (to.code() & 7));
        let at = self.here();
        self.imm64(value);
        at
    }

    /// Extends the low bytes of a general-purpose operand to 64 bits.
    pub fn extend(&mut self, size: Size, signed: bool, to: Reg, from: Rm) {
        let byte_reg = size == Size::B && matches!(from, Rm::Reg(reg) if reg.code() >= 4);
        match (size, signed) {
            (Size::B, false) => self.op(0, false, byte_reg, 0x0fb6, to.code(), from),
            (Size::B, true) => self.op(0, true, byte_reg, 0x0fbe, to.code(), from),
            (Size::W, false) => self.op(0, false, false, 0x0fb7, to.code(), from),
            (Size::W, true) => self.op(0, true, false, 0x0fbf, to.code(), from),
            (Size::D, false) => self.op(0, false, false, 0x8b, to.code(), from),
            (Size::D, true) => self.op(0, true, false, 0x63, to.code(), from),
            (Size::Q, _) => self.op(0, true, false, 0x8b, to.code(), from),
        }
    }

    pub fn set(&mut self, cond: Cond, to: Reg) {
        let rex = to.code() >= 4;
        self.op(0, false, rex, 0x0f90 | cond as u32, 0, to.into());
    }

    pub fn cmov(&mut self, cond: Cond, to: Reg, from: Rm) {
        self.op(0, true, false, 0x0f40 | cond as u32, to.code(), from);
    }

    /// An SSE operation: mandatory prefix (0 for none), opcode, operands.
    pub fn sse(&mut self, prefix: u8, opcode: u32, reg: Reg, rm: Rm) {
        self.op(prefix, false, false, opcode, reg.code(), rm);
    }

    /// The same with an operand of 64 bits in a general-purpose register.
    pub fn sse_wide(&mut self, prefix: u8, opcode: u32, reg: Reg, rm: Rm) {
        self.op(prefix, true, false, opcode, reg.code(), rm);
    }

    /// An integer operation with a mandatory prefix before REX (`popcnt`, `lzcnt`, `tzcnt`).
    pub fn prefixed(&mut self, prefix: u8, size: Size, opcode: u32, reg: Reg, rm: Rm) {
        self.op(prefix, size == Size::Q, false, opcode, reg.code(), rm);
    }

    /// `bswap`: its register is part of the opcode.
    pub fn bswap(&mut self, size: Size, reg: Reg) {
        let byte = 0x40 | (u8::from(size == Size::Q) << 3) | (reg.code() >> 3);
        if byte != 0x40 {
            self.byte(byte);
        }
        self.byte(0x0f);
        self.byte(0xc8 | (reg.code() & 7));
    }

    pub fn jmp(&mut self, label: Label) {
        self.byte(0xe9);
        self.displacement(label);
    }

    pub fn jcc(&mut self, cond: Cond, label: Label) {
        self.byte(0x0f);
        self.byte(0x80 | cond as u8);
        self.displacement(label);
    }

    /// The address of a label.
    pub fn lea_label(&mut self, to: Reg, label: Label) {
        self.byte(0x48 | ((to.code() >> 3) << 2));
        self.byte(0x8d);
        self.byte(((to.code() & 7) << 3) | 5);
        self.displacement(label);
    }

    /// The four bytes there are the displacement of a jump.
    pub fn jump_at(&mut self, at: u32, label: Label) {
        self.jumps.push((at, label));
    }

    fn displacement(&mut self, label: Label) {
        self.jumps.push((self.here(), label));
        self.imm32(0);
    }

    /// An entry of a jump table: the distance from the table's start.
    pub fn table_entry(&mut self, table: u32, label: Label) {
        self.entries.push((self.here(), table, label));
        self.imm32(0);
    }

    pub fn jmp_reg(&mut self, reg: Reg) {
        self.op(0, false, false, 0xff, 4, reg.into());
    }

    pub fn call_reg(&mut self, reg: Reg) {
        self.op(0, false, false, 0xff, 2, reg.into());
    }

    pub fn ud2(&mut self) {
        self.bytes.extend_from_slice(&[0x0f, 0x0b]);
    }

    pub fn push_rbp(&mut self) {
        self.byte(0x55);
    }

    pub fn leave(&mut self) {
        self.byte(0xc9);
    }

    pub fn ret(&mut self, pop: u16) {
        if pop == 0 {
            return self.byte(0xc3);
        }
        self.byte(0xc2);
        self.bytes.extend_from_slice(&pop.to_le_bytes());
    }
}
