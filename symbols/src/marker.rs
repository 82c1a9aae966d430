//! What profilers go by, besides files: a mapping that they see, the clock that they use, the numbers of threads.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

/// The first page of a file, mapped as executable: a profiler records that, and reads the file later.
#[derive(Debug)]
pub struct Marker(NonNull<libc::c_void>);

/// Less than any page.
const LEN: usize = 1;

// SAFETY: nobody reads or writes through the address; it is only given back.
unsafe impl Send for Marker {}

impl Marker {
    /// Maps the page.
    ///
    /// # Errors
    /// What the system says, for a file system without code (`noexec`) for one.
    pub fn new(file: &File) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let fd = file.as_raw_fd();
        // SAFETY: without MAP_FIXED, a new range that overlaps nothing is chosen.
        let page =
            unsafe { libc::mmap(ptr::null_mut(), LEN, protection, libc::MAP_PRIVATE, fd, 0) };
        match NonNull::new(page) {
            Some(page) if page.as_ptr() != libc::MAP_FAILED => Ok(Self(page)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody has the address.
        unsafe { libc::munmap(self.0.as_ptr(), LEN) };
    }
}

/// The time of the monotonic clock.
pub fn monotonic() -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is there to be written; every system has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time
}

/// The number of the thread.
pub fn thread() -> libc::pid_t {
    // SAFETY: it takes nothing and returns a number.
    unsafe { libc::gettid() }
}
