//! Machine code of 32-bit words, little first, and addresses among them.

/// The words, and zeros behind them.
pub(super) fn bytes<const SIZE: usize>(words: &[u32]) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The words, zeros, and at the end an address.
pub(super) fn with_address<const SIZE: usize>(words: &[u32], address: usize) -> [u8; SIZE] {
    let mut bytes = bytes(words);
    let end = SIZE - size_of::<u64>();
    debug_assert!(4 * words.len() <= end);
    bytes[end..].copy_from_slice(&(address as u64).to_le_bytes());
    bytes
}

/// The words of these bytes.
#[cfg(test)]
pub(super) fn of(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap()))
        .collect()
}
