//! Error numbers of WASI.

use crate::error::Error;
use std::io;

/// Why a function of WASI failed.
#[derive(Debug)]
pub(super) enum Fault {
    Number(u16),
    System(io::Error),
}

pub(super) const BADF: Fault = Fault::Number(8);
pub(super) const FAULT: Fault = Fault::Number(21);
pub(super) const ILSEQ: Fault = Fault::Number(25);
pub(super) const INVAL: Fault = Fault::Number(28);
pub(super) const ISDIR: Fault = Fault::Number(31);
pub(super) const NAMETOOLONG: Fault = Fault::Number(37);
pub(super) const NOTDIR: Fault = Fault::Number(54);
pub(super) const NOTSUP: Fault = Fault::Number(58);
pub(super) const OVERFLOW: Fault = Fault::Number(61);
pub(super) const SPIPE: Fault = Fault::Number(70);
const NOTCAPABLE: u16 = 76;
const IO: u16 = 29;

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// An access outside of the program's memory.
impl From<Error> for Fault {
    fn from(_: Error) -> Self {
        FAULT
    }
}

impl Fault {
    /// The number that the program gets.
    pub fn errno(&self) -> u16 {
        match self {
            Self::Number(number) => *number,
            Self::System(error) => system(error),
        }
    }
}

fn system(error: &io::Error) -> u16 {
    let Some(number) = error.raw_os_error() else {
        // How `cap-std` says that a path leads out of its directory.
        return match error.kind() {
            io::ErrorKind::PermissionDenied => NOTCAPABLE,
            io::ErrorKind::NotFound => 44,
            io::ErrorKind::AlreadyExists => 20,
            io::ErrorKind::InvalidInput => 28,
            _ => IO,
        };
    };
    match number {
        libc::E2BIG => 1,
        libc::EACCES => 2,
        libc::EAGAIN => 6,
        libc::EBADF => 8,
        libc::EBUSY => 10,
        libc::EEXIST => 20,
        libc::EFAULT => 21,
        libc::EFBIG => 22,
        libc::EILSEQ => 25,
        libc::EINTR => 27,
        libc::EINVAL => 28,
        libc::EISDIR => 31,
        libc::ELOOP => 32,
        libc::EMFILE => 33,
        libc::EMLINK => 34,
        libc::ENAMETOOLONG => 37,
        libc::ENFILE => 41,
        libc::ENODEV => 43,
        libc::ENOENT => 44,
        libc::ENOMEM => 48,
        libc::ENOSPC => 51,
        libc::ENOSYS => 52,
        libc::ENOTDIR => 54,
        libc::ENOTEMPTY => 55,
        libc::ENOTSUP => 58,
        libc::ENOTTY => 59,
        libc::ENXIO => 60,
        libc::EOVERFLOW => 61,
        libc::EPERM => 63,
        libc::EPIPE => 64,
        libc::ERANGE => 68,
        libc::EROFS => 69,
        libc::ESPIPE => 70,
        libc::ETXTBSY => 74,
        libc::EXDEV => NOTCAPABLE,
        _ => IO,
    }
}
