//! Addresses of the process that runs code.

use std::fmt;

/// An address in the process that runs code: a number to whoever makes code, and never a pointer there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "remote", derive(serde::Serialize, serde::Deserialize))]
pub struct ExecutorAddr(u64);

impl ExecutorAddr {
    /// The address with this number.
    #[must_use]
    pub fn new(address: usize) -> Self {
        // On every supported target, addresses have 64 bits.
        Self(address as u64)
    }

    /// The number, for code that is made.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ExecutorAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
