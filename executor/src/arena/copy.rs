//! Code memory in the child of a fork: a copy of the parent's, at the same addresses.

use super::mapping::{Mapping, code_file, page_size};
use super::{Arena, ArenaError};
use crate::fork::Copied;
use crate::locks::lock;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, Ordering};

/// Says whether code memory belongs to the calling process: a byte that is 1, and 0 in a child of that process.
#[derive(Debug)]
pub struct Mark(Mapping);

impl Mark {
    pub fn new() -> Result<Self, ArenaError> {
        let page = page_size();
        let mapping = Mapping::reserve(page)?;
        mapping.map(0, page, libc::PROT_READ | libc::PROT_WRITE, None)?;
        // SAFETY: the page is the mapping's. Before Linux 4.14 it is refused: then the mark depends on `adopt`.
        unsafe { libc::madvise(mapping.base.as_ptr().cast(), page, libc::MADV_WIPEONFORK) };
        let mark = Self(mapping);
        mark.set(true);
        Ok(mark)
    }

    fn byte(&self) -> &AtomicU8 {
        // SAFETY: the first byte of the page, which is accessed atomically only and mapped as long as `self` exists.
        unsafe { AtomicU8::from_ptr(self.0.base.as_ptr()) }
    }

    fn set(&self, ours: bool) {
        self.byte().store(ours.into(), Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.byte().load(Ordering::Relaxed) != 0
    }
}

impl Copied for Arena {
    /// # Complexity
    /// O(bytes up to the highest that was ever given).
    fn copy(&self) -> io::Result<File> {
        if !self.mark.is_set() || self.shared.is_some() {
            return Err(io::Error::other("the memory is another process's"));
        }
        let file = code_file(self.code_bytes).map_err(io::Error::other)?;
        let touched = lock(&self.code).touched();
        let mut copied = 0;
        while copied < touched {
            let (from, rest) = (self.writable(copied), touched - copied);
            let at = libc::off_t::try_from(copied).map_err(io::Error::other)?;
            // SAFETY: the kernel reads bytes of the writable view, which are mapped. Other threads may be writing to
            // blocks that nothing leads to yet; what it gets of those does not matter.
            let written = unsafe { libc::pwrite(file.as_raw_fd(), from.cast(), rest, at) };
            copied += match usize::try_from(written) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => 0,
                    error => return Err(error),
                },
            };
        }
        Ok(file)
    }

    unsafe fn adopt(&self, copy: io::Result<File>) {
        self.part();
        let mapped = copy.is_ok_and(|file| self.map_code(file).is_ok());
        self.mark.set(mapped);
    }

    fn part(&self) {
        #[cfg(feature = "remote")]
        if let Some([code, data]) = &self.shared {
            let parted = [(&self.writable, code), (&self.near, data)];
            if parted
                .iter()
                .any(|(view, file)| view.map_private(file).is_err())
            {
                std::process::abort();
            }
        }
    }
}
