//! Where runs of a program leave what later runs start with.
//!
//! Not here: what they leave (`units::kept`), and when it is used (`pipeline::keep`, `define`).

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

/// SHA-256 of some parts: what a program, or a definition of a function, is known by from run to run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; Digest::SIZE]);

impl Digest {
    /// Bytes of a digest.
    pub const SIZE: usize = 32;

    /// The digest of the parts, which are told apart: `["ab", "c"]` is not `["a", "bc"]`.
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            let part = part.as_ref();
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The digest that stands for a part of this one's whole, by number: cheaper than a digest of its own for each of many.
    #[must_use]
    pub fn numbered(mut self, number: u32) -> Self {
        if let Some(last) = self.0.last_chunk_mut() {
            *last = number.to_be_bytes();
        }
        self
    }

    /// The digest of a value, by what it says of itself to a [`Hasher`]: the same for one program, not for another.
    pub(crate) fn of_value(value: &impl Hash) -> Self {
        let mut hash = AllBytes(Sha256::new());
        value.hash(&mut hash);
        Self(hash.0.finalize().into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// Both ends of it, for what need not be safe from forgers.
    pub(crate) fn short(&self) -> u64 {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        let last = self.0.last_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(first) ^ u64::from_be_bytes(last)
    }
}

/// Takes the bytes that are hashed.
struct AllBytes(Sha256);

impl Hasher for AllBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks.
    fn finish(&self) -> u64 {
        0
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A folder where runs of a program leave a profile, and machine code, for later runs
/// ([`Engine::save_warm_start`](crate::Engine::save_warm_start)).
///
/// What is found there is never trusted further than this: the machine code of a function is used if it has the digest that
/// was written with it, and was made of the same definition, with the same settings, by the same program and versions.
/// Whoever can write to the folder decides what runs: it belongs to the user alone. Files that others may write are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmStart {
    /// The folder; it is made when something is saved.
    pub directory: PathBuf,
    /// What the program is known by: nothing of other programs is read. Where regraft is in a shared library, whose file is not
    /// that of the executable, its build belongs into it.
    pub program: Digest,
    /// Whether machine code is kept, and used; else there is only the profile.
    pub code: bool,
    /// For how long at the most functions are compiled when a warm start is saved, as of which there is no code to keep
    /// yet; by default for as long as the engine has been there, or a second.
    pub spend: Option<Duration>,
}

impl WarmStart {
    /// A warm start of this program, with machine code.
    pub fn new(directory: impl Into<PathBuf>, program: Digest) -> Self {
        Self {
            directory: directory.into(),
            program,
            code: true,
            spend: None,
        }
    }

    /// Sets [`code`](field@WarmStart::code).
    #[must_use]
    pub fn code(mut self, code: bool) -> Self {
        self.code = code;
        self
    }

    /// Sets [`spend`](field@WarmStart::spend).
    #[must_use]
    pub fn spend(mut self, spend: Option<Duration>) -> Self {
        self.spend = spend;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(Digest::of(["ab", "c"]), Digest::of(["a", "bc"]));
        assert_ne!(Digest::of(["a"]), Digest::of(["a", ""]));
        assert_eq!(Digest::of(["a", "b"]), Digest::of([b"a", b"b"]));
        let [one, two] = [1, 2].map(|number| Digest::of(["a"]).numbered(number));
        assert!(one != two && one.short() != two.short());
    }
}
