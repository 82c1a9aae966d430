//! Entering generated code and leaving it from a signal handler, on x86-64 Linux.
//!
//! The frame that both sides know:
//!
//! ```text
//!   rsp+56  return address          rsp+24  r13
//!   rsp+48  rbp                     rsp+16  r14
//!   rsp+40  rbx                     rsp+8   r15
//!   rsp+32  r12                     rsp+0   mxcsr, x87 control word
//! ```

use crate::arch::Entered;

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
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_offset r13, -40",
        "push r14",
        ".cfi_offset r14, -48",
        "push r15",
        ".cfi_offset r15, -56",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov [rdi], rsp",
        "mov rax, rsi",
        "mov rdi, rdx",
        "mov rsi, rcx",
        "call rax",
        "xor eax, eax",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// Returns 1 from [`enter`]. On entry: rsp as `enter` stored it.
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn land() {
    core::arch::naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa rsp, 64",
        ".cfi_offset rbp, -16",
        ".cfi_offset rbx, -24",
        ".cfi_offset r12, -32",
        ".cfi_offset r13, -40",
        ".cfi_offset r14, -48",
        ".cfi_offset r15, -56",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "mov eax, 1",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "pop r15",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r15",
        "pop r14",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r14",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "ret",
        ".cfi_endproc",
    )
}

const REG_RSP: usize = libc::REG_RSP as usize;
const REG_RIP: usize = libc::REG_RIP as usize;
const REG_EFL: usize = libc::REG_EFL as usize;

/// The direction flag, clear between functions.
const DIRECTION: libc::greg_t = 1 << 10;

/// The program counter and the stack pointer at the signal.
pub(in crate::arch) fn position(context: &libc::ucontext_t) -> (usize, usize) {
    let registers = &context.uc_mcontext.gregs;
    let [pc, sp] = [REG_RIP, REG_RSP].map(|register| registers[register].cast_unsigned() as usize);
    (pc, sp)
}

/// The return address of a function that was entered, and has pushed `words`.
///
/// # Safety
/// The stack pointer of the context points to such a frame.
pub(in crate::arch) unsafe fn return_address(context: &libc::ucontext_t, words: usize) -> usize {
    let (_, sp) = position(context);
    let at = sp.wrapping_add(words * size_of::<usize>());
    // SAFETY: the caller's contract.
    unsafe { std::ptr::with_exposed_provenance::<usize>(at).read() }
}

/// Lets the interrupted thread go on at `pc` with this stack pointer.
pub(in crate::arch) fn resume(context: &mut libc::ucontext_t, pc: usize, sp: usize) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[REG_RIP] = (pc as u64).cast_signed();
    registers[REG_RSP] = (sp as u64).cast_signed();
    registers[REG_EFL] &= !DIRECTION;
}
