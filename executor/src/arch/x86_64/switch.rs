//! Calling on another stack, and going on in another frame, on x86-64.

use crate::arch::Entered;

/// See [`crate::arch::on_stack`].
///
/// The frame has a frame pointer, so that stack walks get from the one stack to the other:
///
/// ```text
///   rbp+8   return address
///   rbp+0   caller's rbp
///   rbp-8   mxcsr            rbp-16  its default, to be loaded
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
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "sub rsp, 16",
        "stmxcsr [rbp - 8]",
        "mov dword ptr [rbp - 16], 0x1f80",
        "ldmxcsr [rbp - 16]",
        "mov rsp, rdi",
        "mov rax, rsi",
        "mov rdi, rdx",
        "mov rsi, rcx",
        "call rax",
        "ldmxcsr [rbp - 8]",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// A return address, which nothing signs.
pub(in crate::arch) fn unsigned(return_address: usize) -> usize {
    return_address
}

/// See [`crate::unwind::resume`]. The payload of an exception is in rax and rdx.
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn resume_at(
    pc: usize,
    sp: usize,
    frame_pointer: usize,
    first: u64,
    second: u64,
) -> ! {
    core::arch::naked_asm!(
        "mov rsp, rsi",
        "mov rbp, rdx",
        "mov rax, rcx",
        "mov rdx, r8",
        "jmp rdi",
    )
}
