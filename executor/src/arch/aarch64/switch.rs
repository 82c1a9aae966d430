//! Calling on another stack, and going on in another frame, on AArch64.
//!
//! Limitations: run under an emulator only.

use crate::arch::Entered;

/// See [`crate::arch::on_stack`].
///
/// The frame has a frame pointer, so that stack walks get from the one stack to the other:
///
/// ```text
///   x29+16  fpcr, fpsr
///   x29+0   caller's x29, x30
/// ```
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn on_stack(
    top: *mut u8,
    function: Entered,
    first: usize,
    second: *mut u8,
) {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-32]!",
        ".cfi_def_cfa_offset 32",
        ".cfi_offset x29, -32",
        ".cfi_offset x30, -24",
        "mov x29, sp",
        ".cfi_def_cfa_register x29",
        "mrs x9, fpcr",
        "mrs x10, fpsr",
        "stp x9, x10, [x29, #16]",
        "msr fpcr, xzr",
        "mov sp, x0",
        "mov x9, x1",
        "mov x0, x2",
        "mov x1, x3",
        "blr x9",
        "ldp x9, x10, [x29, #16]",
        "msr fpcr, x9",
        "msr fpsr, x10",
        "mov sp, x29",
        "ldp x29, x30, [sp], #32",
        ".cfi_def_cfa sp, 0",
        ".cfi_restore x29",
        ".cfi_restore x30",
        "ret",
        ".cfi_endproc",
    )
}

/// A return address as it was before it was signed, if it was: `xpaclri`, which does nothing where nothing is signed.
pub(in crate::arch) fn unsigned(return_address: usize) -> usize {
    let plain: usize;
    // SAFETY: a hint, which changes x30 and nothing else.
    unsafe {
        core::arch::asm!(
            "mov x30, {signed}",
            "hint #7",
            "mov {plain}, x30",
            signed = in(reg) return_address,
            plain = lateout(reg) plain,
            out("x30") _,
            options(nomem, nostack, preserves_flags),
        );
    }
    plain
}

/// See [`crate::unwind::resume`]. The payload of an exception is in x0 and x1.
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn resume_at(
    pc: usize,
    sp: usize,
    frame_pointer: usize,
    first: u64,
    second: u64,
) -> ! {
    core::arch::naked_asm!(
        "mov sp, x1",
        "mov x29, x2",
        "mov x9, x0",
        "mov x0, x3",
        "mov x1, x4",
        "br x9",
    )
}
