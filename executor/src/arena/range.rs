//! A range of addresses for a program's data, of which both processes see what is accessible.
//!
//! ```text
//!   process that makes code        a file ═══ rw-, anywhere
//!   process that runs it           a file ═══ rw- from the start on, the rest and what is behind: no access
//! ```
//!
//! Invariants:
//!
//! * The file cannot change its size once the other process has it, so that no access to what is mapped fails.
//! * In the process that runs code, what is not accessible is a fault, also behind the end of the file.

use super::ArenaError;
use super::mapping::{Mapping, memory_file, page_size};
use super::shared::{keeps_its_size, seal};
use crate::ExecutorAddr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The most that can be reserved for one range.
const MAX_RANGE: usize = 1 << 40;

const RW: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

/// The view of the process that makes code.
#[derive(Debug)]
pub struct SharedRange {
    view: Mapping,
    file: File,
    bytes: usize,
}

impl SharedRange {
    /// Makes and maps a file of `bytes`, all zero.
    pub fn new(bytes: usize) -> Result<Self, ArenaError> {
        let page = page_size();
        let bytes = bytes.max(1).checked_next_multiple_of(page);
        let bytes = bytes.filter(|bytes| *bytes <= MAX_RANGE);
        let bytes = bytes.ok_or_else(too_large)?;
        let file = memory_file(c"regraft-range", bytes)?;
        let view = Mapping::reserve(bytes)?;
        view.map(0, bytes, RW, Some((&file, 0)))?;
        seal(
            &file,
            libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL,
        )?;
        Ok(Self { view, file, bytes })
    }

    /// The file, to be given to the other process.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Its length, whole pages.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// Copies bytes out; `None` where they are not all in it. What the other process writes meanwhile is seen in pieces.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        let (head, words, tail) = self.cells(offset, bytes.len())?;
        let (first, rest) = bytes.split_at_mut(head.len());
        let (middle, last) = rest.split_at_mut(words.len() * size_of::<u64>());
        for (byte, cell) in first.iter_mut().zip(head).chain(last.iter_mut().zip(tail)) {
            *byte = cell.load(Ordering::Relaxed);
        }
        for (bytes, cell) in middle.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = cell.load(Ordering::Relaxed).to_ne_bytes();
        }
        Some(())
    }

    /// Copies bytes in; `None`, and nothing is copied, where there is no room for them.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        let (head, words, tail) = self.cells(offset, bytes.len())?;
        let (first, rest) = bytes.split_at(head.len());
        let (middle, last) = rest.split_at(words.len() * size_of::<u64>());
        for (byte, cell) in first.iter().zip(head).chain(last.iter().zip(tail)) {
            cell.store(*byte, Ordering::Relaxed);
        }
        for (bytes, cell) in middle.as_chunks().0.iter().zip(words) {
            cell.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        Some(())
    }

    /// The bytes at an offset: some, then words, then some.
    fn cells(&self, offset: usize, len: usize) -> Option<(&[AtomicU8], &[AtomicU64], &[AtomicU8])> {
        let end = offset.checked_add(len)?;
        if end > self.bytes {
            return None;
        }
        // SAFETY: the bytes lie in the mapping (checked above), which is there as long as this. Rust code accesses it
        // atomically only.
        let cells: &[AtomicU8] =
            unsafe { std::slice::from_raw_parts(self.view.base.as_ptr().add(offset).cast(), len) };
        // SAFETY: eight aligned bytes can be taken for a word: both are atomic cells without invalid values. No cell is
        // accessed in both ways at a time by this process.
        Some(unsafe { cells.align_to::<AtomicU64>() })
    }
}

/// The view of the process that runs code.
#[derive(Debug)]
pub struct ForeignRange {
    view: Mapping,
    bytes: usize,
}

impl ForeignRange {
    /// Reserves `reserved` bytes of addresses, with the file at their start; nothing is accessible yet.
    pub fn map(file: OwnedFd, bytes: usize, reserved: usize) -> Result<Self, ArenaError> {
        let file = File::from(file);
        let unusable = |source| ArenaError::System {
            action: "fstat (a file of the engine)",
            source,
        };
        let fits = bytes <= reserved && reserved <= MAX_RANGE && reserved > 0;
        if !fits || !bytes.is_multiple_of(page_size()) {
            return Err(too_large());
        }
        let length = file.metadata().map_err(unusable)?.len();
        if length < bytes as u64 || !keeps_its_size(&file) {
            let reason = "the file is too short, or can be cut";
            return Err(unusable(std::io::Error::other(reason)));
        }
        let view = Mapping::reserve(reserved)?;
        if bytes > 0 {
            view.map(0, bytes, libc::PROT_NONE, Some((&file, 0)))?;
        }
        Ok(Self { view, bytes })
    }

    /// Where it starts.
    pub fn start(&self) -> ExecutorAddr {
        ExecutorAddr::new(self.view.base.as_ptr().expose_provenance())
    }

    /// Makes the first bytes accessible, rounded up to pages.
    pub fn commit(&self, bytes: usize) -> Result<(), ArenaError> {
        let bytes = bytes.checked_next_multiple_of(page_size());
        let bytes = bytes.filter(|bytes| *bytes <= self.bytes);
        self.view.protect(bytes.ok_or_else(too_large)?, RW)
    }
}

fn too_large() -> ArenaError {
    ArenaError::System {
        action: "reserving a range",
        source: std::io::Error::from(std::io::ErrorKind::OutOfMemory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_views_show_the_same_bytes_at_any_alignment() {
        let shared = SharedRange::new(3 * 4096).unwrap();
        let file = shared.file().try_clone_to_owned().unwrap();
        let foreign = ForeignRange::map(file, shared.size(), 1 << 30).unwrap();
        foreign.commit(4096).unwrap();
        let bytes: Vec<u8> = (1..=100).collect();
        for offset in 0..17 {
            shared.write(offset, &bytes).unwrap();
            let mut seen = vec![0; bytes.len()];
            shared.read(offset, &mut seen).unwrap();
            assert_eq!(seen, bytes);
            let at = foreign.start().get() + offset;
            // SAFETY: the bytes are mapped and accessible.
            let there = unsafe {
                std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(at), 100)
            };
            assert_eq!(there, bytes);
        }
        assert_eq!(shared.write(3 * 4096 - 99, &bytes), None);
        assert_eq!(shared.read(usize::MAX, &mut [0]), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(SharedRange::new(usize::MAX).is_err());
        let shared = SharedRange::new(4096).unwrap();
        let file = || shared.file().try_clone_to_owned().unwrap();
        for (bytes, reserved) in [(8192, 8192), (4096, 0), (4096, usize::MAX), (1, 4096)] {
            assert!(ForeignRange::map(file(), bytes, reserved).is_err());
        }
        let foreign = ForeignRange::map(file(), 4096, 8192).unwrap();
        assert!(foreign.commit(4097).is_err());
        assert!(foreign.commit(usize::MAX).is_err());
    }
}
