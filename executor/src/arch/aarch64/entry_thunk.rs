//! The runtime entry thunk on AArch64.
//!
//! ```text
//!  +0   sub x17, sp, #1, lsl #12     ; and so on, page by page
//!  +4   ldr wzr, [x17]
//!  +16  ldr x17, target
//!  +20  br  x17
//!  +24  .quad target
//! ```

use crate::arch::{PROBED_PAGES, words};

/// Bytes of an entry thunk.
pub(in crate::arch) const SIZE: usize = 32;

/// `sub x17, sp, #pages, lsl #12`.
const fn sub_x17_sp(pages: u32) -> u32 {
    0xd140_03f1 | pages << 10
}

const LDR_WZR_X17: u32 = 0xb940_023f;
/// `ldr x17, .+8`.
const LDR_X17_NEXT: u32 = 0x5800_0051;

/// The bytes of an entry thunk to `target`.
pub(in crate::arch) fn code(target: usize) -> [u8; SIZE] {
    const WORDS: usize = 2 * PROBED_PAGES + 2;
    let mut words = [super::BR_X17; WORDS];
    for (pages, probe) in (1..).zip(words[..2 * PROBED_PAGES].chunks_exact_mut(2)) {
        probe.copy_from_slice(&[sub_x17_sp(pages), LDR_WZR_X17]);
    }
    words[2 * PROBED_PAGES] = LDR_X17_NEXT;
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
                0xd140_07f1,
                0xb940_023f,
                0xd140_0bf1,
                0xb940_023f,
                0x5800_0051,
                0xd61f_0220,
                0x5566_7788,
                0x1122_3344
            ]
        );
    }
}
