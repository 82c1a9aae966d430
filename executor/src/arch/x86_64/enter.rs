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
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
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
        "ret",
    )
}

/// Returns 1 from [`enter`]. On entry: rsp as `enter` stored it.
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn land() {
    core::arch::naked_asm!(
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "mov eax, 1",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
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
