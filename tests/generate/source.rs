//! Where random decisions come from: a string of bytes.
//!
//! Every decision reads some bytes, so a fuzzer that mutates bytes mutates programs, and a minimiser that
//! drops bytes shrinks them. When the bytes are used up, every answer is the first choice, `false` or zero:
//! generators put what is plain and finite there.

use arbitrary::Unstructured;

/// A string of decisions.
#[derive(Debug)]
pub struct Source<'a> {
    bytes: Unstructured<'a>,
}

impl<'a> Source<'a> {
    /// Decides by these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        let bytes = Unstructured::new(bytes);
        Self { bytes }
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n < 2 {
            return 0;
        }
        let drawn: Result<u32, _> = self.bytes.int_in_range(0..=n as u32 - 1);
        drawn.unwrap_or(0) as usize
    }

    /// A number of the range.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in this many cases of a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }

    /// One of the choices, of which there must be some.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// 64 bits, often of a value where arithmetic has corners.
    pub fn bits(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(8) as u64,
            1 => !(self.below(8) as u64),
            2 => 1 << self.below(64),
            3 => (1 << self.below(64)) - 1,
            4 => self.below(256) as u64,
            _ => self.bytes.arbitrary().unwrap_or(0),
        }
    }

    /// Bytes for a value of any type.
    pub fn wide(&mut self) -> u128 {
        u128::from(self.bits()) | u128::from(self.bits()) << 64
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }
}

/// `length` bytes that look random, the same for the same seed (Marsaglia's xorshift64*).
pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
