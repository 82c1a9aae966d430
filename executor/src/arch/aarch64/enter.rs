//! Entering generated code and leaving it from a signal handler, on AArch64 Linux.
//!
//! The frame that both sides know:
//!
//! ```text
//!   sp+160  fpcr, unused            sp+16   x19 .. x28
//!   sp+96   d8 .. d15               sp+0    x29, x30
//! ```
//!
//! Limitations: run under an emulator only.

use crate::arch::Entered;

/// Takes the registers from the frame, and returns with what is in x0.
macro_rules! leave {
    () => {
        "
        ldp x19, x20, [sp, #16]
        ldp x21, x22, [sp, #32]
        ldp x23, x24, [sp, #48]
        ldp x25, x26, [sp, #64]
        ldp x27, x28, [sp, #80]
        ldp d8, d9, [sp, #96]
        ldp d10, d11, [sp, #112]
        ldp d12, d13, [sp, #128]
        ldp d14, d15, [sp, #144]
        ldp x29, x30, [sp], #176
        .cfi_def_cfa sp, 0
        .cfi_restore x29
        .cfi_restore x30
        .cfi_restore x19
        .cfi_restore x20
        .cfi_restore x21
        .cfi_restore x22
        .cfi_restore x23
        .cfi_restore x24
        .cfi_restore x25
        .cfi_restore x26
        .cfi_restore x27
        .cfi_restore x28
        .cfi_restore 72
        .cfi_restore 73
        .cfi_restore 74
        .cfi_restore 75
        .cfi_restore 76
        .cfi_restore 77
        .cfi_restore 78
        .cfi_restore 79
        ret"
    };
}

/// Says where the frame and the registers in it are; 72 to 79 are d8 to d15.
macro_rules! frame {
    () => {
        "
        .cfi_def_cfa_offset 176
        .cfi_offset x29, -176
        .cfi_offset x30, -168
        .cfi_offset x19, -160
        .cfi_offset x20, -152
        .cfi_offset x21, -144
        .cfi_offset x22, -136
        .cfi_offset x23, -128
        .cfi_offset x24, -120
        .cfi_offset x25, -112
        .cfi_offset x26, -104
        .cfi_offset x27, -96
        .cfi_offset x28, -88
        .cfi_offset 72, -80
        .cfi_offset 73, -72
        .cfi_offset 74, -64
        .cfi_offset 75, -56
        .cfi_offset 76, -48
        .cfi_offset 77, -40
        .cfi_offset 78, -32
        .cfi_offset 79, -24"
    };
}

/// See [`crate::arch::enter`].
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn enter(
    sp: *mut usize,
    function: Entered,
    first: usize,
    second: *mut u8,
) -> usize {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-176]!",
        ".cfi_def_cfa_offset 176",
        ".cfi_offset x29, -176",
        ".cfi_offset x30, -168",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        frame!(),
        "mrs x9, fpcr",
        "str x9, [sp, #160]",
        "mov x9, sp",
        "str x9, [x0]",
        "mov x9, x1",
        "mov x0, x2",
        "mov x1, x3",
        "blr x9",
        "mov x0, #0",
        leave!(),
        ".cfi_endproc",
    )
}

/// Returns 1 from [`enter`]. On entry: sp as `enter` stored it.
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn land() {
    core::arch::naked_asm!(
        ".cfi_startproc",
        frame!(),
        "ldr x9, [sp, #160]",
        "msr fpcr, x9",
        "mov x0, #1",
        leave!(),
        ".cfi_endproc",
    )
}

/// The kind of the last branch, in the processor state: a landing is no branch.
const BRANCH_TYPE: u64 = 0b11 << 10;

/// The program counter and the stack pointer at the signal.
pub(in crate::arch) fn position(context: &libc::ucontext_t) -> (usize, usize) {
    let machine = &context.uc_mcontext;
    (machine.pc as usize, machine.sp as usize)
}

/// The return address of a function that was entered, and has called nothing.
///
/// # Safety
/// None: it is in the link register.
pub(in crate::arch) unsafe fn return_address(context: &libc::ucontext_t, _words: usize) -> usize {
    context.uc_mcontext.regs[30] as usize
}

/// Lets the interrupted thread go on at `pc` with this stack pointer.
pub(in crate::arch) fn resume(context: &mut libc::ucontext_t, pc: usize, sp: usize) {
    let machine = &mut context.uc_mcontext;
    machine.pc = pc as u64;
    machine.sp = sp as u64;
    machine.pstate &= !BRANCH_TYPE;
}
