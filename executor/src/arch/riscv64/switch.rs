//! Calling on another stack, on RISC-V.
//!
//! Limitations: run under an emulator only.

use crate::arch::Entered;

/// See [`crate::arch::on_stack`].
///
/// The frame has a frame pointer, as Cranelift's frames have it, so that stack walks get from the one stack to the other:
///
/// ```text
///   s0+8    ra
///   s0+0    caller's s0
///   s0-8    fcsr
/// ```
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn on_stack(
    top: *mut u8,
    function: Entered,
    first: usize,
    second: *mut u8,
) {
    core::arch::naked_asm!(
        ".option push",
        ".option arch, +d",
        ".cfi_startproc",
        "addi sp, sp, -32",
        ".cfi_def_cfa_offset 32",
        "sd ra, 24(sp)",
        "sd s0, 16(sp)",
        ".cfi_offset ra, -8",
        ".cfi_offset s0, -16",
        "addi s0, sp, 16",
        ".cfi_def_cfa s0, 16",
        "frcsr t1",
        "sd t1, 8(sp)",
        "fscsr zero",
        "mv sp, a0",
        "mv a4, a1",
        "mv a0, a2",
        "mv a1, a3",
        "jalr a4",
        "ld t1, -8(s0)",
        "fscsr t1",
        "addi sp, s0, -16",
        ".cfi_def_cfa sp, 32",
        "ld ra, 24(sp)",
        "ld s0, 16(sp)",
        "addi sp, sp, 32",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore ra",
        ".cfi_restore s0",
        "ret",
        ".cfi_endproc",
        ".option pop",
    )
}

/// A return address, which nothing signs.
pub(in crate::arch) fn unsigned(return_address: usize) -> usize {
    return_address
}

/// See [`crate::unwind::resume`]. The payload of an exception is in a0 and a1.
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn resume_at(
    pc: usize,
    sp: usize,
    frame_pointer: usize,
    first: u64,
    second: u64,
) -> ! {
    core::arch::naked_asm!(
        "mv sp, a1",
        "mv s0, a2",
        "mv t1, a0",
        "mv a0, a3",
        "mv a1, a4",
        "jr t1",
    )
}
