//! The runtime entry thunk on x86-64.
//!
//! ```text
//!  +0   85 84 24 disp32    test [rsp - 4096], eax       ; and so on, page by page
//!  +14  ff 25 00 00 00 00  jmp  [rip]
//!  +20  .quad target
//! ```

use crate::arch::PROBED_PAGES;

/// Bytes of an entry thunk.
pub(in crate::arch) const SIZE: usize = 32;

/// The bytes of an entry thunk to `target`.
pub(in crate::arch) fn code(target: usize) -> [u8; SIZE] {
    const PROBE: [u8; 3] = [0x85, 0x84, 0x24];
    const PROBE_SIZE: usize = 7;
    const JUMP: [u8; 6] = [0xff, 0x25, 0, 0, 0, 0];
    let mut bytes = [super::FILL; SIZE];
    let mut below = 0_i32;
    for probe in bytes[..PROBED_PAGES * PROBE_SIZE].chunks_exact_mut(PROBE_SIZE) {
        below -= 4096;
        probe[..3].copy_from_slice(&PROBE);
        probe[3..].copy_from_slice(&below.to_le_bytes());
    }
    let (_, jump) = bytes.split_at_mut(PROBED_PAGES * PROBE_SIZE);
    jump[..6].copy_from_slice(&JUMP);
    jump[6..14].copy_from_slice(&(target as u64).to_le_bytes());
    bytes
}
