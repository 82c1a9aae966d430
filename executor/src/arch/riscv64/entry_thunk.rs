//! The runtime entry thunk on RISC-V.
//!
//! ```text
//!  +0   lui   t6, -1                ; and so on, page by page
//!  +4   add   t6, t6, sp
//!  +8   lw    zero, 0(t6)
//!  +24  auipc t6, 0
//!  +28  ld    t6, 16(t6)
//!  +32  jr    t6
//!  +40  .quad target
//! ```
//!
//! t5 goes through: it is the cell that a lazy stub was called for.

use super::{SP, T6, auipc, jr, ld};
use crate::arch::{PROBED_PAGES, words};

/// Bytes of an entry thunk.
pub(in crate::arch) const SIZE: usize = 48;

/// Where the target's address is.
const QUAD: usize = SIZE - 8;
const JUMP: usize = 3 * PROBED_PAGES;

/// `lui t6, -pages`.
const fn lui_t6(pages: u32) -> u32 {
    pages.wrapping_neg() << 12 | T6 << 7 | 0x37
}

/// `add t6, t6, sp`.
const ADD_T6_SP: u32 = SP << 20 | T6 << 15 | T6 << 7 | 0x33;
/// `lw zero, 0(t6)`, which loads nevertheless.
const LW_ZERO_T6: u32 = T6 << 15 | 2 << 12 | 0x03;

/// The bytes of an entry thunk to `target`.
pub(in crate::arch) fn code(target: usize) -> [u8; SIZE] {
    let mut words = [0; JUMP + 3];
    for (pages, probe) in (1..).zip(words[..JUMP].chunks_exact_mut(3)) {
        probe.copy_from_slice(&[lui_t6(pages), ADD_T6_SP, LW_ZERO_T6]);
    }
    let distance = (QUAD - 4 * JUMP) as i32;
    words[JUMP..].copy_from_slice(&[auipc(T6, 0), ld(T6, distance, T6), jr(T6)]);
    words::with_address(&words, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_what_an_assembler_makes() {
        assert_eq!(
            words::of(&code(0x1122_3344_5566_7788)),
            [
                0xffff_ffb7, // lui t6, 0xfffff
                0x002f_8fb3, // add t6, t6, sp
                0x000f_a003, // lw zero, 0(t6)
                0xffff_efb7, // lui t6, 0xffffe
                0x002f_8fb3,
                0x000f_a003,
                0x0000_0f97, // auipc t6, 0
                0x010f_bf83, // ld t6, 16(t6)
                0x000f_8067, // jr t6
                0,
                0x5566_7788,
                0x1122_3344
            ]
        );
    }
}
