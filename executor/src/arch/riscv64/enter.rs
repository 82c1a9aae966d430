//! Entering generated code and leaving it from a signal handler, on RISC-V Linux.
//!
//! The frame that both sides know:
//!
//! ```text
//!   sp+216  ra                      sp+16   fs0 .. fs11
//!   sp+208  s0                      sp+8    unused
//!   sp+120  s1 .. s11               sp+0    rounding mode
//! ```
//!
//! Limitations: run under an emulator only.

use crate::arch::Entered;

/// Takes the registers from the frame, and returns with what is in a0.
macro_rules! leave {
    () => {
        "
        ld s1, 120(sp)
        ld s2, 128(sp)
        ld s3, 136(sp)
        ld s4, 144(sp)
        ld s5, 152(sp)
        ld s6, 160(sp)
        ld s7, 168(sp)
        ld s8, 176(sp)
        ld s9, 184(sp)
        ld s10, 192(sp)
        ld s11, 200(sp)
        fld fs0, 16(sp)
        fld fs1, 24(sp)
        fld fs2, 32(sp)
        fld fs3, 40(sp)
        fld fs4, 48(sp)
        fld fs5, 56(sp)
        fld fs6, 64(sp)
        fld fs7, 72(sp)
        fld fs8, 80(sp)
        fld fs9, 88(sp)
        fld fs10, 96(sp)
        fld fs11, 104(sp)
        ld s0, 208(sp)
        ld ra, 216(sp)
        addi sp, sp, 224
        .cfi_def_cfa_offset 0
        .cfi_restore ra
        .cfi_restore s0
        .cfi_restore s1
        .cfi_restore s2
        .cfi_restore s3
        .cfi_restore s4
        .cfi_restore s5
        .cfi_restore s6
        .cfi_restore s7
        .cfi_restore s8
        .cfi_restore s9
        .cfi_restore s10
        .cfi_restore s11
        .cfi_restore fs0
        .cfi_restore fs1
        .cfi_restore fs2
        .cfi_restore fs3
        .cfi_restore fs4
        .cfi_restore fs5
        .cfi_restore fs6
        .cfi_restore fs7
        .cfi_restore fs8
        .cfi_restore fs9
        .cfi_restore fs10
        .cfi_restore fs11
        ret"
    };
}

/// Says where the frame and the registers in it are.
macro_rules! frame {
    () => {
        "
        .cfi_def_cfa_offset 224
        .cfi_offset ra, -8
        .cfi_offset s0, -16
        .cfi_offset s1, -104
        .cfi_offset s2, -96
        .cfi_offset s3, -88
        .cfi_offset s4, -80
        .cfi_offset s5, -72
        .cfi_offset s6, -64
        .cfi_offset s7, -56
        .cfi_offset s8, -48
        .cfi_offset s9, -40
        .cfi_offset s10, -32
        .cfi_offset s11, -24
        .cfi_offset fs0, -208
        .cfi_offset fs1, -200
        .cfi_offset fs2, -192
        .cfi_offset fs3, -184
        .cfi_offset fs4, -176
        .cfi_offset fs5, -168
        .cfi_offset fs6, -160
        .cfi_offset fs7, -152
        .cfi_offset fs8, -144
        .cfi_offset fs9, -136
        .cfi_offset fs10, -128
        .cfi_offset fs11, -120"
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
        ".option push",
        ".option arch, +d",
        ".cfi_startproc",
        "addi sp, sp, -224",
        ".cfi_def_cfa_offset 224",
        "sd ra, 216(sp)",
        "sd s0, 208(sp)",
        ".cfi_offset ra, -8",
        ".cfi_offset s0, -16",
        "addi s0, sp, 208",
        "sd s1, 120(sp)",
        "sd s2, 128(sp)",
        "sd s3, 136(sp)",
        "sd s4, 144(sp)",
        "sd s5, 152(sp)",
        "sd s6, 160(sp)",
        "sd s7, 168(sp)",
        "sd s8, 176(sp)",
        "sd s9, 184(sp)",
        "sd s10, 192(sp)",
        "sd s11, 200(sp)",
        "fsd fs0, 16(sp)",
        "fsd fs1, 24(sp)",
        "fsd fs2, 32(sp)",
        "fsd fs3, 40(sp)",
        "fsd fs4, 48(sp)",
        "fsd fs5, 56(sp)",
        "fsd fs6, 64(sp)",
        "fsd fs7, 72(sp)",
        "fsd fs8, 80(sp)",
        "fsd fs9, 88(sp)",
        "fsd fs10, 96(sp)",
        "fsd fs11, 104(sp)",
        frame!(),
        "frrm t1",
        "sd t1, 0(sp)",
        "sd sp, 0(a0)",
        "mv a4, a1",
        "mv a0, a2",
        "mv a1, a3",
        "jalr a4",
        "li a0, 0",
        leave!(),
        ".cfi_endproc",
        ".option pop",
    )
}

/// Returns 1 from [`enter`]. On entry: sp as `enter` stored it.
#[unsafe(naked)]
pub(in crate::arch) unsafe extern "C" fn land() {
    core::arch::naked_asm!(
        ".option push",
        ".option arch, +d",
        ".cfi_startproc",
        frame!(),
        "ld t1, 0(sp)",
        "fsrm t1",
        "li a0, 1",
        leave!(),
        ".cfi_endproc",
        ".option pop",
    )
}

/// Where the kernel has the program counter, in the place of register zero.
const PC: usize = 0;
const RA: usize = 1;
const SP: usize = 2;

/// The program counter and the stack pointer at the signal.
pub(in crate::arch) fn position(context: &libc::ucontext_t) -> (usize, usize) {
    let registers = &context.uc_mcontext.__gregs;
    (registers[PC] as usize, registers[SP] as usize)
}

/// The return address of a function that was entered, and has called nothing.
///
/// # Safety
/// None: it is in a register.
pub(in crate::arch) unsafe fn return_address(context: &libc::ucontext_t, _words: usize) -> usize {
    context.uc_mcontext.__gregs[RA] as usize
}

/// Lets the interrupted thread go on at `pc` with this stack pointer.
pub(in crate::arch) fn resume(context: &mut libc::ucontext_t, pc: usize, sp: usize) {
    let registers = &mut context.uc_mcontext.__gregs;
    registers[PC] = pc as libc::c_ulong;
    registers[SP] = sp as libc::c_ulong;
}
