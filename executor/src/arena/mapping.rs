//! Address space, and the file behind code memory: every system call of [`super::Arena`].

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{self, NonNull};

use super::ArenaError;

/// The size of a page of memory.
pub fn page_size() -> usize {
    // SAFETY: `sysconf` has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size)
        .ok()
        .filter(|size| size.is_power_of_two())
        .unwrap_or(4096)
}

/// A sparse, unnamed file of `len` bytes: the pages of code memory.
pub fn code_file(len: usize) -> Result<File, ArenaError> {
    sparse_file(c"regraft-code", len, 0)
}

/// A sparse, unnamed file of `len` bytes, whose size and use can be sealed.
#[cfg(feature = "remote")]
pub fn memory_file(name: &CStr, len: usize) -> Result<File, ArenaError> {
    sparse_file(name, len, libc::MFD_ALLOW_SEALING)
}

fn sparse_file(name: &CStr, len: usize, flags: libc::c_uint) -> Result<File, ArenaError> {
    /// Since Linux 6.3; older kernels refuse it with `EINVAL`, and some settings with `EACCES`.
    const MFD_EXEC: libc::c_uint = 0x10;
    let create = |flags: libc::c_uint| {
        // SAFETY: the name is a C string.
        unsafe { libc::memfd_create(name.as_ptr(), flags) }
    };
    let mut fd = create(flags | libc::MFD_CLOEXEC | MFD_EXEC);
    if fd < 0 {
        fd = create(flags | libc::MFD_CLOEXEC);
    }
    if fd < 0 {
        return Err(system("memfd_create"));
    }
    // SAFETY: the descriptor was just made, and nobody else owns it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len as u64)
        .map_err(|source| ArenaError::System {
            action: "ftruncate",
            source,
        })?;
    Ok(file)
}

fn system(action: &'static str) -> ArenaError {
    ArenaError::System {
        action,
        source: io::Error::last_os_error(),
    }
}

/// A range of addresses that is unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    pub base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; the type hands out addresses only.
unsafe impl Send for Mapping {}
// SAFETY: as above; through `&Mapping` nothing is written but page tables, by `map`: in `Arena::new`, in the child
// of a fork, before it has other threads, and where pages are replaced by the same.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes of address space that nobody can access.
    pub fn reserve(len: usize) -> Result<Self, ArenaError> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: without MAP_FIXED, a new range that overlaps nothing is chosen.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { base, len }),
            _ => Err(system("mmap (reserve)")),
        }
    }

    /// Gives the whole reservation zeroes that can be mapped again.
    pub fn map_shared(&self) -> Result<(), ArenaError> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let base = self.base.as_ptr().cast();
        // SAFETY: MAP_FIXED replaces pages of this reservation only, which nothing refers to yet.
        let mapped = unsafe { libc::mmap(base, self.len, protection, flags, -1, 0) };
        match mapped == libc::MAP_FAILED {
            true => Err(system("mmap (shared)")),
            false => Ok(()),
        }
    }

    /// Shows in a part of the reservation what another one has from [`Self::map_shared`].
    pub fn map_again(
        &self,
        start: usize,
        other: &Self,
        protection: libc::c_int,
    ) -> Result<(), ArenaError> {
        debug_assert!(start + other.len <= self.len);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let from: *mut libc::c_void = other.base.as_ptr().cast();
        // SAFETY: the part is in this reservation, and nothing refers to it yet; an old size of 0 leaves the other
        // mapping as it is, and makes a second one of its pages.
        unsafe {
            let at: *mut libc::c_void = self.base.as_ptr().add(start).cast();
            if libc::mremap(from, 0, other.len, flags, at) == libc::MAP_FAILED {
                return Err(system("mremap"));
            }
            match libc::mprotect(at, other.len, protection) {
                0 => Ok(()),
                _ => Err(system("mprotect")),
            }
        }
    }

    /// Gives a part of the reservation its contents: those of a file from an offset on, or zeroes.
    pub fn map(
        &self,
        start: usize,
        len: usize,
        protection: libc::c_int,
        file: Option<(&File, libc::off_t)>,
    ) -> Result<(), ArenaError> {
        let kind = match file {
            Some(_) => libc::MAP_SHARED,
            None => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        };
        self.map_as(kind, start, len, protection, file)
    }

    /// Gives all of the reservation the contents of a file, which stays as it is: what is written is this process's own.
    #[cfg(feature = "remote")]
    pub fn map_private(&self, file: &File) -> Result<(), ArenaError> {
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        self.map_as(libc::MAP_PRIVATE, 0, self.len, rw, Some((file, 0)))
    }

    fn map_as(
        &self,
        kind: libc::c_int,
        start: usize,
        len: usize,
        protection: libc::c_int,
        file: Option<(&File, libc::off_t)>,
    ) -> Result<(), ArenaError> {
        debug_assert!(start + len <= self.len);
        let flags = kind | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let (fd, offset) = file.map_or((-1, 0), |(file, offset)| (file.as_raw_fd(), offset));
        // SAFETY: MAP_FIXED replaces pages of this reservation only, which nothing refers to yet, or by pages with the
        // same contents.
        let mapped = unsafe {
            let at = self.base.add(start).as_ptr().cast();
            libc::mmap(at, len, protection, flags, fd, offset)
        };
        if mapped == libc::MAP_FAILED {
            return Err(system("mmap"));
        }
        Ok(())
    }
}

#[cfg(feature = "remote")]
impl Mapping {
    /// Changes what may be done with the first bytes, whole pages.
    pub fn protect(&self, len: usize, protection: libc::c_int) -> Result<(), ArenaError> {
        debug_assert!(len <= self.len);
        // SAFETY: the pages are of this reservation; who accesses them bears a fault.
        match unsafe { libc::mprotect(self.base.as_ptr().cast(), len, protection) } {
            0 => Ok(()),
            _ => Err(system("mprotect")),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was reserved by `reserve` and is owned by this value. That no code of it
        // runs any more is the contract of whoever drops the last `Arc<Arena>`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
