//! A range of address space that is reserved at once and made accessible from the front, in place.
//!
//! ```text
//!   base ┌──────────────────┬─────────────────────────────────────┐
//!        │ accessible, zero │ reserved: every access is a fault    │
//!        └──────────────────┴─────────────────────────────────────┘
//! ```
//!
//! Invariants: the base never changes; what was made accessible stays so until the range is dropped.
//!
//! Limitations: Unix only; sizes are whole pages of the system.

use std::io;
use std::ptr::NonNull;

/// A reserved range.
#[derive(Debug)]
pub(crate) struct Reservation {
    base: NonNull<u8>,
    reserved: usize,
}

impl Reservation {
    /// Reserves `bytes`, rounded up to pages; nothing is accessible yet.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let reserved = round_up(bytes.max(1)).ok_or_else(too_large)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh private mapping, at an address that the system chooses, touches nothing else.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                reserved,
                libc::PROT_NONE,
                flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(too_large)?;
        Ok(Self { base, reserved })
    }

    /// Where it begins.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Makes the bytes from `from` to `to` accessible: they are zero unless they were accessible before.
    pub fn commit(&self, from: usize, to: usize) -> io::Result<()> {
        let start = from / page_size() * page_size();
        let end = round_up(to)
            .filter(|end| *end <= self.reserved)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if end <= start {
            return Ok(());
        }
        // SAFETY: `start..end` lies inside of the mapping, which is this object's own.
        let done = unsafe {
            let address = self.base().add(start).cast();
            libc::mprotect(address, end - start, libc::PROT_READ | libc::PROT_WRITE)
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's own, and nobody uses it any more: whoever hands out its
        // addresses keeps it.
        unsafe {
            libc::munmap(self.base().cast(), self.reserved);
        }
    }
}

fn round_up(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(page_size())
}

fn page_size() -> usize {
    // SAFETY: asks a number of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_zero_and_keeps_its_place() {
        let range = Reservation::new(1 << 33).unwrap();
        let base = range.base();
        range.commit(0, 65_536).unwrap();
        // SAFETY: the byte is accessible.
        unsafe { base.write(7) };
        range.commit(65_536, 131_072).unwrap();
        assert_eq!(range.base(), base);
        // SAFETY: both bytes are accessible.
        assert_eq!(unsafe { (base.read(), base.add(131_071).read()) }, (7, 0));
    }

    #[test]
    fn more_than_was_reserved_is_refused() {
        let range = Reservation::new(65_536).unwrap();
        assert!(range.commit(0, 65_537).is_err());
        assert!(Reservation::new(usize::MAX).is_err());
    }
}
