//! Unwind information: how the caller's frame is found from any instruction.
//!
//! What a code generator makes says it of its own code. Stubs and doors, which no code generator made, have few states
//! that repeat; one expression for the whole table says it of each instruction.

use gimli::write::{
    Address, CallFrameInstruction, CommonInformationEntry, DebugFrame, EhFrame, EndianVec,
    Expression, FrameDescriptionEntry, FrameTable, Result,
};
use gimli::{Encoding, Format, NativeEndian};

/// How the callers' frames of one piece of code are found.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What holds for all code of the machine.
    pub common: CommonInformationEntry,
    /// What holds for this one.
    pub own: FrameDescriptionEntry,
}

impl Frame {
    fn table(&self) -> FrameTable {
        let mut table = FrameTable::default();
        let common = table.add_cie(self.common.clone());
        table.add_fde(common, self.own.clone());
        table
    }

    /// As a section `.debug_frame`.
    ///
    /// # Errors
    /// What does not fit into the format.
    pub fn debug_frame(&self) -> Result<Vec<u8>> {
        let mut section = DebugFrame(EndianVec::new(NativeEndian));
        self.table().write_debug_frame(&mut section)?;
        Ok(section.0.into_vec())
    }

    /// As a section `.eh_frame`, with the zero at its end.
    ///
    /// # Errors
    /// What does not fit into the format.
    pub fn eh_frame(&self) -> Result<Vec<u8>> {
        let mut section = EhFrame(EndianVec::new(NativeEndian));
        self.table().write_eh_frame(&mut section)?;
        let mut section = section.0.into_vec();
        section.extend_from_slice(&[0; 4]);
        Ok(section)
    }

    /// For code with a frame pointer; `None` for machines on which no code generator says it in this way.
    pub fn with_pointer(start: usize, len: usize, frame: &PointedFrame<'_>) -> Option<Self> {
        let address = Address::Constant(start as u64);
        let mut own = FrameDescriptionEntry::new(address, u32::try_from(len).ok()?);
        machine::describe_pointer(&mut own, frame)?;
        Some(Self {
            common: machine::common(),
            own,
        })
    }

    /// For code in which the stack pointer is where the caller left it, or, from some offset on in each of a number of
    /// equal pieces, one word below.
    ///
    /// Where return addresses are in a register, they stay there, and the stack pointer stays as well.
    pub fn stubs(start: usize, len: usize, pushes: Pushes) -> Self {
        let mut own = FrameDescriptionEntry::new(
            Address::Constant(start as u64),
            u32::try_from(len).unwrap_or(u32::MAX),
        );
        if let Some(cfa) = machine::canonical_frame(pushes) {
            own.add_instruction(0, CallFrameInstruction::CfaExpression(cfa));
        }
        Self {
            common: machine::common(),
            own,
        }
    }
}

/// A frame with a frame pointer, pushed by the first instruction and set by the second.
#[derive(Clone, Copy, Debug)]
pub struct PointedFrame<'a> {
    /// Registers of the caller, by their DWARF numbers, and where they are, from the frame pointer.
    pub saved: &'a [(u16, i32)],
    /// From which offset on they are there.
    pub saved_at: u32,
    /// Start and end of code that has left the frame and is about to leave the function.
    pub left: &'a [(u32, u32)],
}

/// Where a table of code has a word on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushes {
    /// Nowhere.
    Never,
    /// Everywhere.
    Always,
    /// In each piece of this size, a power of two, which is also what the table is aligned to: from the offset on.
    From {
        /// The size of a piece.
        piece: u8,
        /// The offset.
        offset: u8,
    },
}

fn encoding() -> Encoding {
    Encoding {
        address_size: 8,
        format: Format::Dwarf32,
        version: 1,
    }
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::*;
    use gimli::{Register, X86_64};

    /// The return address is the word below the frame.
    pub fn common() -> CommonInformationEntry {
        let mut common = CommonInformationEntry::new(encoding(), 1, -8, X86_64::RA);
        common.add_instruction(CallFrameInstruction::Cfa(X86_64::RSP, 8));
        common.add_instruction(CallFrameInstruction::Offset(X86_64::RA, -8));
        common
    }

    /// `push rbp` is one byte long, and `mov rbp, rsp` three.
    pub fn describe_pointer(
        own: &mut FrameDescriptionEntry,
        frame: &PointedFrame<'_>,
    ) -> Option<()> {
        const PUSHED: u32 = 1;
        const SET: u32 = 4;
        own.add_instruction(PUSHED, CallFrameInstruction::CfaOffset(16));
        own.add_instruction(PUSHED, CallFrameInstruction::Offset(X86_64::RBP, -16));
        own.add_instruction(SET, CallFrameInstruction::CfaRegister(X86_64::RBP));
        for &(register, place) in frame.saved {
            let place = place.checked_sub(16)?;
            let saved = CallFrameInstruction::Offset(Register(register), place);
            own.add_instruction(frame.saved_at, saved);
        }
        for &(start, end) in frame.left {
            own.add_instruction(start, CallFrameInstruction::RememberState);
            own.add_instruction(start, CallFrameInstruction::Cfa(X86_64::RSP, 8));
            own.add_instruction(start, CallFrameInstruction::Restore(X86_64::RBP));
            for &(register, _) in frame.saved {
                own.add_instruction(start, CallFrameInstruction::Restore(Register(register)));
            }
            own.add_instruction(end, CallFrameInstruction::RestoreState);
        }
        Some(())
    }

    /// rsp + 8, and 8 more where a word was pushed; `None` for the former everywhere.
    pub fn canonical_frame(pushes: Pushes) -> Option<Expression> {
        let mut cfa = Expression::new();
        match pushes {
            Pushes::Never => return None,
            Pushes::Always => cfa.op_breg(X86_64::RSP, 16),
            Pushes::From { piece, offset } => {
                cfa.op_breg(X86_64::RSP, 8);
                let rip: Register = X86_64::RA;
                cfa.op_breg(rip, 0);
                cfa.op_constu(u64::from(piece.saturating_sub(1)));
                cfa.op(gimli::DW_OP_and);
                cfa.op_constu(offset.into());
                cfa.op(gimli::DW_OP_ge);
                cfa.op_constu(3);
                cfa.op(gimli::DW_OP_shl);
                cfa.op(gimli::DW_OP_plus);
            }
        }
        Some(cfa)
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use super::*;
    use gimli::AArch64;

    /// The return address is in the link register.
    pub fn common() -> CommonInformationEntry {
        let mut common = CommonInformationEntry::new(encoding(), 4, -8, AArch64::X30);
        common.add_instruction(CallFrameInstruction::Cfa(AArch64::SP, 0));
        common
    }

    /// Nothing is pushed.
    pub fn canonical_frame(_: Pushes) -> Option<Expression> {
        None
    }

    /// Nobody makes such code.
    pub fn describe_pointer(_: &mut FrameDescriptionEntry, _: &PointedFrame<'_>) -> Option<()> {
        None
    }
}

#[cfg(target_arch = "riscv64")]
mod machine {
    use super::*;
    use gimli::RiscV;

    /// The return address is in its register.
    pub fn common() -> CommonInformationEntry {
        let mut common = CommonInformationEntry::new(encoding(), 4, -8, RiscV::RA);
        common.add_instruction(CallFrameInstruction::Cfa(RiscV::SP, 0));
        common
    }

    /// Nothing is pushed.
    pub fn canonical_frame(_: Pushes) -> Option<Expression> {
        None
    }

    /// Nobody makes such code.
    pub fn describe_pointer(_: &mut FrameDescriptionEntry, _: &PointedFrame<'_>) -> Option<()> {
        None
    }
}
