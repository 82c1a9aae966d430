//! The runtime entry thunk on AArch64.
//!
//! ```text
//!  +0   sub x17, sp, #1, lsl #12     ; and so on, page by page
//!  +4   ldr wzr, [x17]
//!  +16  ldr x17, target
//!  +20  br  x17
//!  +24  .quad target
//! ```

use crate::arch::PROBED_PAGES;

/// Bytes of a entry thunk.
pub(in crate::arch) const SIZE: usize = 32;

/// `sub x17, sp, #pages, lsl #12`.
const fn sub_x17_sp(pages: u32) -> u32 {
    0xd140_03f1 | pages << 10
}

const LDR_WZR_X17: u32 = 0xb940_023f;
/// `ldr x17, .+8`.
const LDR_X17_NEXT: u32 = 0x5800_0051;

/// The bytes of a entry thunk to `target`.
pub(in crate::arch) fn code(target: usize) -> [u8; SIZE] {
    const WORDS: usize = 2 * PROBED_PAGES + 2;
    let mut words = [super::BR_X17; WORDS];
    for (pages, probe) in (1..).zip(words[..2 * PROBED_PAGES].chunks_exact_mut(2)) {
        probe.copy_from_slice(&[sub_x17_sp(pages), LDR_WZR_X17]);
    }
    words[2 * PROBED_PAGES] = LDR_X17_NEXT;
    let mut bytes = [super::FILL; SIZE];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes[4 * WORDS..].copy_from_slice(&(target as u64).to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_what_an_assembler_makes() {
        let bytes = code(0x1122_3344_5566_7788);
        let words = bytes.chunks_exact(4);
        let words: Vec<u32> = words
            .map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap()))
            .collect();
        assert_eq!(
            words,
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
