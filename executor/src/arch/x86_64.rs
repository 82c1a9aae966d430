//! Stubs and trampoline for x86-64, System V.
//!
//! ```text
//!  +0   ff 25 disp32       jmp  [rip + cell.entry]
//!  +6   cc cc
//!  +8   .quad cell
//!  +16  ff 35 disp32       push [rip - 14]              ; the quad above
//!  +22  ff 25 disp32       jmp  [rip + cell.trampoline] ; the lazy entry thunk
//!  +28  cc cc cc cc
//! ```
//!
//! The lazy stub pushes data, it does not call: no return address is left without a return, so the
//! return stack buffer and a shadow stack stay matched.

use crate::arch::{CELL_SIZE, STUB_SIZE, TRAMPOLINE_FIELD};

pub mod enter;
pub mod entry_thunk;
pub mod switch;

/// Where the lazy stub starts, from the stub.
pub const LAZY_OFFSET: usize = 16;

/// Behind the `push` of the lazy stub.
pub const PUSHED_FROM: Option<usize> = Some(LAZY_OFFSET + RIP_INST);

/// `ud2`, then `int3` up to the size.
pub const TRAP: [u8; super::TRAP_SIZE] = [0x0f, 0x0b, 0xcc, 0xcc];

/// `int3`.
pub const FILL: u8 = 0xcc;

const CELL_QUAD: usize = 8;
const JMP_RIP: [u8; 2] = [0xff, 0x25];
const PUSH_RIP: [u8; 2] = [0xff, 0x35];
/// Length of either instruction: opcode, ModRM, displacement.
const RIP_INST: usize = 6;

/// The bytes of a stub at `executable`; `None` when `cell` is out of reach.
pub fn stub(executable: usize, cell: usize) -> Option<[u8; STUB_SIZE]> {
    let mut bytes = [FILL; STUB_SIZE];
    let mut put = |at: usize, opcode: [u8; 2], target: usize| {
        let next = executable.checked_add(at + RIP_INST)?;
        let disp = i32::try_from(target.wrapping_sub(next).cast_signed()).ok()?;
        bytes[at..at + 2].copy_from_slice(&opcode);
        bytes[at + 2..at + RIP_INST].copy_from_slice(&disp.to_le_bytes());
        Some(())
    };
    cell.checked_add(CELL_SIZE)?;
    put(0, JMP_RIP, cell)?;
    put(LAZY_OFFSET, PUSH_RIP, executable.checked_add(CELL_QUAD)?)?;
    put(LAZY_OFFSET + RIP_INST, JMP_RIP, cell + TRAMPOLINE_FIELD)?;
    bytes[CELL_QUAD..CELL_QUAD + 8].copy_from_slice(&(cell as u64).to_le_bytes());
    Some(bytes)
}

/// Caches are coherent; what a processor has fetched already is not.
pub const BARRIER: super::Barrier = super::Barrier::WhereReused;

/// The code of a function that returns `value`.
pub fn returning(value: u8) -> [u8; super::RETURNING_SIZE] {
    // mov eax, value; ret
    [0xb8, value, 0, 0, 0, 0xc3, FILL, FILL]
}

/// Does nothing: instruction fetch is coherent with stores, through any view of the page.
///
/// # Errors
/// None.
///
/// # Safety
/// None.
pub unsafe fn clean_caches(_executable: *const u8, _len: usize) -> std::io::Result<()> {
    Ok(())
}

/// Does nothing: the trampoline saves what every processor has.
pub fn prepare() {}

/// Enters the runtime from a lazy stub. See `trampoline_address`.
///
/// On entry: `[rsp]` the cell, `[rsp+8]` the caller's return address, stack arguments above. The
/// frame, once built, looks like any frame with a frame pointer, so that stack walks get through it:
///
/// ```text
///   rbp+8   return address
///   rbp+0   caller's rbp        (was the cell)
///   rbp-8   rax  rcx  rdx  rsi  rdi  r8  r9  r10  r11
///   rbp-80  the resolved address
///   rsp     xmm0 .. xmm15, at a multiple of 16
/// ```
///
/// rbx, rbp and r12 to r15 survive the resolver as System V demands. No register is left to hold
/// the target of the last jump, so it is read from below the stack pointer, where the 128 bytes of
/// the red zone are safe from signal handlers.
#[unsafe(naked)]
pub extern "C" fn trampoline() {
    core::arch::naked_asm!(
        ".cfi_startproc",
        // The cell is on the stack, above it the return address.
        ".cfi_def_cfa_offset 16",
        "push rax",
        ".cfi_def_cfa_offset 24",
        "mov rax, [rsp + 8]",
        "mov [rsp + 8], rbp",
        ".cfi_offset rbp, -16",
        "lea rbp, [rsp + 8]",
        ".cfi_def_cfa rbp, 16",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "sub rsp, 264",
        "and rsp, -16",
        "movaps [rsp + 0], xmm0",
        "movaps [rsp + 16], xmm1",
        "movaps [rsp + 32], xmm2",
        "movaps [rsp + 48], xmm3",
        "movaps [rsp + 64], xmm4",
        "movaps [rsp + 80], xmm5",
        "movaps [rsp + 96], xmm6",
        "movaps [rsp + 112], xmm7",
        "movaps [rsp + 128], xmm8",
        "movaps [rsp + 144], xmm9",
        "movaps [rsp + 160], xmm10",
        "movaps [rsp + 176], xmm11",
        "movaps [rsp + 192], xmm12",
        "movaps [rsp + 208], xmm13",
        "movaps [rsp + 224], xmm14",
        "movaps [rsp + 240], xmm15",
        "mov rdi, rax",
        "cld",
        "call {resolve}",
        "mov [rbp - 80], rax",
        "movaps xmm0, [rsp + 0]",
        "movaps xmm1, [rsp + 16]",
        "movaps xmm2, [rsp + 32]",
        "movaps xmm3, [rsp + 48]",
        "movaps xmm4, [rsp + 64]",
        "movaps xmm5, [rsp + 80]",
        "movaps xmm6, [rsp + 96]",
        "movaps xmm7, [rsp + 112]",
        "movaps xmm8, [rsp + 128]",
        "movaps xmm9, [rsp + 144]",
        "movaps xmm10, [rsp + 160]",
        "movaps xmm11, [rsp + 176]",
        "movaps xmm12, [rsp + 192]",
        "movaps xmm13, [rsp + 208]",
        "movaps xmm14, [rsp + 224]",
        "movaps xmm15, [rsp + 240]",
        "mov rax, [rbp - 8]",
        "mov rcx, [rbp - 16]",
        "mov rdx, [rbp - 24]",
        "mov rsi, [rbp - 32]",
        "mov rdi, [rbp - 40]",
        "mov r8, [rbp - 48]",
        "mov r9, [rbp - 56]",
        "mov r10, [rbp - 64]",
        "mov r11, [rbp - 72]",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "jmp [rsp - 88]",
        ".cfi_endproc",
        resolve = sym crate::slots::regraft_resolve,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displacements_are_relative_to_the_next_instruction() {
        let bytes = stub(0x10_0000, 0x8_0000).unwrap();
        assert_eq!(bytes[..2], JMP_RIP);
        let disp = |at: usize| i32::from_le_bytes(bytes[at + 2..at + 6].try_into().unwrap());
        assert_eq!(0x10_0000 + 6 + disp(0), 0x8_0000);
        assert_eq!(16 + 6 + disp(16), 8);
        assert_eq!(0x10_0000 + 28 + disp(22), 0x8_0008);
        assert_eq!(bytes[8..16], 0x8_0000_u64.to_le_bytes());
    }

    #[test]
    fn a_cell_out_of_reach_is_refused() {
        assert!(stub(1 << 40, 1 << 20).is_none());
        assert!(stub(1 << 20, 1 << 40).is_none());
        assert!(stub(1 << 20, usize::MAX - 7).is_none());
    }
}
