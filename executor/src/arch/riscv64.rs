//! Stubs and trampoline for RISC-V with 64 bits, LP64D.
//!
//! ```text
//!  +0   auipc t5, hi(cell)         +16  auipc t5, hi(cell)
//!  +4   ld    t5, lo(cell)(t5)     +20  addi  t5, t5, lo(cell)
//!  +8   jr    t5                   +24  ld    t6, 8(t5)        ; cell.trampoline
//!  +12  unused                     +28  jr    t6
//! ```
//!
//! t5 and t6 are temporary in every calling convention, hold no argument, and are what Cranelift keeps for itself between
//! register allocation and code: no value of a function is ever in them.
//!
//! What an assembler accepts in a naked function does not follow from the target's features, hence the `.option arch`.
//!
//! Limitations: run under an emulator only, which has no instruction caches to be cleaned.

use crate::arch::{STUB_SIZE, TRAMPOLINE_FIELD, words};
use std::sync::atomic::{AtomicU8, Ordering};

pub mod enter;
pub mod entry_thunk;
pub mod switch;

/// Where the lazy stub starts, from the stub.
pub const LAZY_OFFSET: usize = 16;

/// Nothing is pushed.
pub const PUSHED_FROM: Option<usize> = None;

/// Twice the instruction that is defined to be illegal (`c.unimp`).
pub const TRAP: [u8; super::TRAP_SIZE] = [0; super::TRAP_SIZE];

/// Two of it are that instruction.
pub const FILL: u8 = 0;

const SP: u32 = 2;
const A0: u32 = 10;
const T5: u32 = 30;
const T6: u32 = 31;

/// `auipc rd, upper`, where `upper` is what is added: its low twelve bits are not.
const fn auipc(rd: u32, upper: i32) -> u32 {
    upper.cast_unsigned() & 0xffff_f000 | rd << 7 | 0x17
}

/// `ld rd, offset(base)`: a signed offset of twelve bits.
const fn ld(rd: u32, offset: i32, base: u32) -> u32 {
    offset.cast_unsigned() << 20 | base << 15 | 3 << 12 | rd << 7 | 0x03
}

/// `addi rd, rs, value`: a signed value of twelve bits.
const fn addi(rd: u32, rs: u32, value: i32) -> u32 {
    value.cast_unsigned() << 20 | rs << 15 | rd << 7 | 0x13
}

/// `jr rs`.
const fn jr(rs: u32) -> u32 {
    rs << 15 | 0x67
}

/// Upper and lower part of a distance: the lower, of twelve bits, is added with its sign. `None` when that cannot be.
fn split(distance: isize) -> Option<(i32, i32)> {
    let upper = i32::try_from(distance.checked_add(0x800)? & !0xfff).ok()?;
    let lower = i32::try_from(distance.checked_sub(upper as isize)?).ok()?;
    Some((upper, lower))
}

/// The bytes of a stub at `executable`; `None` when `cell` is out of reach.
pub fn stub(executable: usize, cell: usize) -> Option<[u8; STUB_SIZE]> {
    let distance = |from: usize| {
        let at = executable.checked_add(from)?;
        split(cell.wrapping_sub(at).cast_signed())
    };
    let (upper, lower) = distance(0)?;
    let (lazy_upper, lazy_lower) = distance(LAZY_OFFSET)?;
    Some(words::bytes(&[
        auipc(T5, upper),
        ld(T5, lower, T5),
        jr(T5),
        0,
        auipc(T5, lazy_upper),
        addi(T5, T5, lazy_lower),
        ld(T6, TRAMPOLINE_FIELD as i32, T5),
        jr(T6),
    ]))
}

/// The system has every processor do it when it cleans caches.
pub const BARRIER: super::Barrier = super::Barrier::Never;

/// The code of a function that returns `value`.
pub fn returning(value: u8) -> [u8; super::RETURNING_SIZE] {
    words::bytes(&[addi(A0, 0, value.into()), jr(1)])
}

/// Has every processor that runs a thread of this process forget the instructions that it fetched.
///
/// Only the system can: `fence.i` is about the processor that executes it.
///
/// # Errors
/// The system has no such call, or does not permit it.
///
/// # Safety
/// None.
pub unsafe fn clean_caches(executable: *const u8, len: usize) -> std::io::Result<()> {
    const RISCV_FLUSH_ICACHE: libc::c_long = 259;
    /// Not `SYS_RISCV_FLUSH_ICACHE_LOCAL`, which is for the calling thread.
    const ALL_THREADS: usize = 0;
    let start = executable.addr();
    // SAFETY: the call takes numbers, and changes nothing that the process can see.
    match unsafe { libc::syscall(RISCV_FLUSH_ICACHE, start, start + len, ALL_THREADS) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether the trampoline saves vector registers: 1 if the processor has any.
static HAS_VECTORS: AtomicU8 = AtomicU8::new(0);

/// Tells the trampoline what the processor has.
pub fn prepare() {
    const V: libc::c_ulong = 1 << (b'v' - b'a');
    // SAFETY: it has no preconditions.
    let vectors = unsafe { libc::getauxval(libc::AT_HWCAP) } & V != 0;
    HAS_VECTORS.store(vectors.into(), Ordering::Relaxed);
}

/// 16 bytes of every vector register, with this instruction, to or from where the stack pointer points.
macro_rules! vectors {
    ($inst:literal) => {
        concat!(
            ".option push\n.option arch, +v\n",
            "mv t0, sp\n",
            "vsetivli zero, 16, e8, m1, ta, ma\n",
            vectors!($inst, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31),
            ".option pop"
        )
    };
    ($inst:literal, $($number:literal)*) => {
        concat!($($inst, " v", $number, ", (t0)\naddi t0, t0, 16\n"),*)
    };
}
/// Enters the runtime from a lazy stub. See `trampoline_address`.
///
/// On entry: t5 the cell, ra the caller's return address, stack arguments from sp on. s0 to s11 and fs0 to fs11
/// survive the resolver as LP64D demands, no vector register does. The frame begins as Cranelift's do:
///
/// ```text
///   s0+8     ra                              sp+576   t0 .. t4
///   s0+0     caller's s0                     sp+512   a0 .. a7
///   sp+616   ft0 .. ft11, fa0 .. fa7         sp+0     v0 .. v31, 16 bytes of each
/// ```
#[unsafe(naked)]
pub extern "C" fn trampoline() {
    core::arch::naked_asm!(
        ".option push",
        ".option arch, +d",
        ".cfi_startproc",
        "addi sp, sp, -16",
        ".cfi_def_cfa_offset 16",
        "sd ra, 8(sp)",
        "sd s0, 0(sp)",
        ".cfi_offset ra, -8",
        ".cfi_offset s0, -16",
        "mv s0, sp",
        ".cfi_def_cfa s0, 16",
        "addi sp, sp, -784",
        "sd a0, 512(sp)",
        "sd a1, 520(sp)",
        "sd a2, 528(sp)",
        "sd a3, 536(sp)",
        "sd a4, 544(sp)",
        "sd a5, 552(sp)",
        "sd a6, 560(sp)",
        "sd a7, 568(sp)",
        "sd t0, 576(sp)",
        "sd t1, 584(sp)",
        "sd t2, 592(sp)",
        "sd t3, 600(sp)",
        "sd t4, 608(sp)",
        "fsd ft0, 616(sp)",
        "fsd ft1, 624(sp)",
        "fsd ft2, 632(sp)",
        "fsd ft3, 640(sp)",
        "fsd ft4, 648(sp)",
        "fsd ft5, 656(sp)",
        "fsd ft6, 664(sp)",
        "fsd ft7, 672(sp)",
        "fsd ft8, 680(sp)",
        "fsd ft9, 688(sp)",
        "fsd ft10, 696(sp)",
        "fsd ft11, 704(sp)",
        "fsd fa0, 712(sp)",
        "fsd fa1, 720(sp)",
        "fsd fa2, 728(sp)",
        "fsd fa3, 736(sp)",
        "fsd fa4, 744(sp)",
        "fsd fa5, 752(sp)",
        "fsd fa6, 760(sp)",
        "fsd fa7, 768(sp)",
        "mv a0, t5",
        "lla t0, {has_vectors}",
        "lbu t0, 0(t0)",
        "beqz t0, 2f",
        vectors!("vse8.v"),
        "2:",
        "call {resolve}",
        "mv t5, a0",
        "lla t0, {has_vectors}",
        "lbu t0, 0(t0)",
        "beqz t0, 2f",
        vectors!("vle8.v"),
        "2:",
        "fld ft0, 616(sp)",
        "fld ft1, 624(sp)",
        "fld ft2, 632(sp)",
        "fld ft3, 640(sp)",
        "fld ft4, 648(sp)",
        "fld ft5, 656(sp)",
        "fld ft6, 664(sp)",
        "fld ft7, 672(sp)",
        "fld ft8, 680(sp)",
        "fld ft9, 688(sp)",
        "fld ft10, 696(sp)",
        "fld ft11, 704(sp)",
        "fld fa0, 712(sp)",
        "fld fa1, 720(sp)",
        "fld fa2, 728(sp)",
        "fld fa3, 736(sp)",
        "fld fa4, 744(sp)",
        "fld fa5, 752(sp)",
        "fld fa6, 760(sp)",
        "fld fa7, 768(sp)",
        "ld a0, 512(sp)",
        "ld a1, 520(sp)",
        "ld a2, 528(sp)",
        "ld a3, 536(sp)",
        "ld a4, 544(sp)",
        "ld a5, 552(sp)",
        "ld a6, 560(sp)",
        "ld a7, 568(sp)",
        "ld t0, 576(sp)",
        "ld t1, 584(sp)",
        "ld t2, 592(sp)",
        "ld t3, 600(sp)",
        "ld t4, 608(sp)",
        "mv sp, s0",
        ".cfi_def_cfa sp, 16",
        "ld ra, 8(sp)",
        "ld s0, 0(sp)",
        "addi sp, sp, 16",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore ra",
        ".cfi_restore s0",
        "jr t5",
        ".cfi_endproc",
        ".option pop",
        has_vectors = sym HAS_VECTORS,
        resolve = sym crate::slots::regraft_resolve,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_what_an_assembler_makes() {
        let bytes = stub(0x10_0000, 0x20_0ff8).unwrap();
        assert_eq!(
            words::of(&bytes),
            [
                0x0010_1f17, // auipc t5, 0x101
                0xff8f_3f03, // ld t5, -8(t5)
                0x000f_0067, // jr t5
                0,
                0x0010_1f17, // auipc t5, 0x101
                0xfe8f_0f13, // addi t5, t5, -24
                0x008f_3f83, // ld t6, 8(t5)
                0x000f_8067, // jr t6
            ]
        );
        assert_eq!(words::of(&returning(200)), [0x0c80_0513, 0x0000_8067]);
    }

    #[test]
    fn a_cell_out_of_reach_is_refused() {
        assert!(stub(1 << 40, 1 << 20).is_none());
        assert!(stub(1 << 20, 1 << 40).is_none());
        assert!(stub(1 << 20, usize::MAX - 7).is_some(), "it is behind");
        for (distance, fits) in [
            (0x7fff_f7ff, true),
            (0x7fff_f800, false),
            (-0x8000_0800, true),
            (-0x8000_0801, false),
        ] {
            let parts = split(distance);
            assert_eq!(parts.is_some(), fits, "{distance:#x}");
            if let Some((upper, lower)) = parts {
                assert_eq!(upper as isize + lower as isize, distance);
                assert!((-0x800..0x800).contains(&lower));
            }
        }
    }
}
