//! Stubs and trampoline for AArch64, AAPCS64.
//!
//! ```text
//!  +0   ldr x16, cell          +12  ldr x16, cell
//!  +4   ldr x17, [x16]         +16  ldr x17, [x16, #8]      ; cell.trampoline
//!  +8   br  x17                +20  br  x17
//!                              +24  .quad cell
//! ```
//!
//! x16 and x17 may change between a caller and a callee (AAPCS64, 6.1.1); Cranelift allocates
//! neither in any calling convention.
//!
//! Limitations: run under an emulator only, which has no instruction caches to be cleaned.

use crate::arch::{STUB_SIZE, TRAMPOLINE_FIELD, words};

pub mod enter;
pub mod entry_thunk;
pub mod switch;

/// Where the lazy stub starts, from the stub.
pub const LAZY_OFFSET: usize = 12;

/// Nothing is pushed.
pub const PUSHED_FROM: Option<usize> = None;

/// `brk #0xdead`.
pub const TRAP: [u8; super::TRAP_SIZE] = 0xd43b_d5a0_u32.to_le_bytes();

/// Four of it are `udf #0`.
pub const FILL: u8 = 0;

const CELL_QUAD: usize = STUB_SIZE - 8;
const BR_X17: u32 = 0xd61f_0220;

/// `ldr x16, .+distance`: a 19-bit count of words.
const fn ldr_x16_literal(distance: usize) -> u32 {
    0x5800_0010 | ((distance / 4) as u32) << 5
}

/// `ldr x17, [x16, #offset]`: a 12-bit count of doublewords.
const fn ldr_x17_x16(offset: usize) -> u32 {
    0xf940_0211 | ((offset / 8) as u32) << 10
}

/// The bytes of a stub; never `None`, because the address of the cell is a literal.
pub fn stub(_executable: usize, cell: usize) -> Option<[u8; STUB_SIZE]> {
    const CODE: [u32; 6] = [
        ldr_x16_literal(CELL_QUAD),
        ldr_x17_x16(0),
        BR_X17,
        ldr_x16_literal(CELL_QUAD - LAZY_OFFSET),
        ldr_x17_x16(TRAMPOLINE_FIELD),
        BR_X17,
    ];
    Some(words::with_address(&CODE, cell))
}

/// Other processors may have fetched ahead; `isb` is for the one that executes it.
pub const BARRIER: super::Barrier = super::Barrier::Always;

/// The code of a function that returns `value`.
pub fn returning(value: u8) -> [u8; super::RETURNING_SIZE] {
    const RET: u32 = 0xd65f_03c0;
    // movz w0, #value
    let movz = 0x5280_0000 | u32::from(value) << 5;
    words::bytes(&[movz, RET])
}

/// Does nothing: the trampoline saves what every processor has.
pub fn prepare() {}

/// Cleans the data cache and invalidates the instruction cache to the point of unification.
///
/// Both by the executable address: data caches are coherent between views of the same page, and an
/// instruction cache may be tagged by virtual address.
///
/// # Errors
/// None.
///
/// # Safety
/// `executable` is readable for `len` bytes.
pub unsafe fn clean_caches(executable: *const u8, len: usize) -> std::io::Result<()> {
    let ctr: usize;
    // SAFETY: CTR_EL0 is readable by programs (Linux emulates it where the hardware forbids it).
    unsafe {
        core::arch::asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags));
    }
    let start = executable.addr();
    let end = start + len;
    let data_line = 4_usize << ((ctr >> 16) & 0xf);
    let inst_line = 4_usize << (ctr & 0xf);
    for line in (start & !(data_line - 1)..end).step_by(data_line) {
        // SAFETY: the line holds a byte of the range, which is readable.
        unsafe { core::arch::asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in (start & !(inst_line - 1)..end).step_by(inst_line) {
        // SAFETY: the line holds a byte of the range, which is readable.
        unsafe { core::arch::asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { core::arch::asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
    Ok(())
}

/// Enters the runtime from a lazy stub. See `trampoline_address`.
///
/// On entry: x16 the cell, x30 the caller's return address, stack arguments from sp on. x19 to x28
/// survive the resolver as AAPCS64 demands; of v8 to v15 only the low halves do, so all vector
/// registers are saved.
///
/// ```text
///   x29      caller's x29, x30          sp+160  q0 .. q31
///   sp+144   x18                        sp+0    x0 .. x15, two places unused
/// ```
#[unsafe(naked)]
pub extern "C" fn trampoline() {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x29, sp",
        ".cfi_def_cfa_register x29",
        "sub sp, sp, #672",
        "stp x0, x1, [sp, #0]",
        "stp x2, x3, [sp, #16]",
        "stp x4, x5, [sp, #32]",
        "stp x6, x7, [sp, #48]",
        "stp x8, x9, [sp, #64]",
        "stp x10, x11, [sp, #80]",
        "stp x12, x13, [sp, #96]",
        "stp x14, x15, [sp, #112]",
        "str x18, [sp, #144]",
        "stp q0, q1, [sp, #160]",
        "stp q2, q3, [sp, #192]",
        "stp q4, q5, [sp, #224]",
        "stp q6, q7, [sp, #256]",
        "stp q8, q9, [sp, #288]",
        "stp q10, q11, [sp, #320]",
        "stp q12, q13, [sp, #352]",
        "stp q14, q15, [sp, #384]",
        "stp q16, q17, [sp, #416]",
        "stp q18, q19, [sp, #448]",
        "stp q20, q21, [sp, #480]",
        "stp q22, q23, [sp, #512]",
        "stp q24, q25, [sp, #544]",
        "stp q26, q27, [sp, #576]",
        "stp q28, q29, [sp, #608]",
        "stp q30, q31, [sp, #640]",
        "mov x0, x16",
        "bl {resolve}",
        "mov x16, x0",
        "ldp q0, q1, [sp, #160]",
        "ldp q2, q3, [sp, #192]",
        "ldp q4, q5, [sp, #224]",
        "ldp q6, q7, [sp, #256]",
        "ldp q8, q9, [sp, #288]",
        "ldp q10, q11, [sp, #320]",
        "ldp q12, q13, [sp, #352]",
        "ldp q14, q15, [sp, #384]",
        "ldp q16, q17, [sp, #416]",
        "ldp q18, q19, [sp, #448]",
        "ldp q20, q21, [sp, #480]",
        "ldp q22, q23, [sp, #512]",
        "ldp q24, q25, [sp, #544]",
        "ldp q26, q27, [sp, #576]",
        "ldp q28, q29, [sp, #608]",
        "ldp q30, q31, [sp, #640]",
        "ldp x0, x1, [sp, #0]",
        "ldp x2, x3, [sp, #16]",
        "ldp x4, x5, [sp, #32]",
        "ldp x6, x7, [sp, #48]",
        "ldp x8, x9, [sp, #64]",
        "ldp x10, x11, [sp, #80]",
        "ldp x12, x13, [sp, #96]",
        "ldp x14, x15, [sp, #112]",
        "ldr x18, [sp, #144]",
        "mov sp, x29",
        "ldp x29, x30, [sp], #16",
        ".cfi_def_cfa sp, 0",
        ".cfi_restore x29",
        ".cfi_restore x30",
        "br x16",
        ".cfi_endproc",
        resolve = sym crate::slots::regraft_resolve,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_what_an_assembler_makes() {
        let bytes = stub(0, 0x1122_3344_5566_7788).unwrap();
        assert_eq!(
            words::of(&bytes),
            [
                0x5800_00d0,
                0xf940_0211,
                0xd61f_0220,
                0x5800_0070,
                0xf940_0611,
                0xd61f_0220,
                0x5566_7788,
                0x1122_3344
            ]
        );
    }
}
