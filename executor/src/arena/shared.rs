//! Memory of an arena whose code runs in another process: two files, which both processes map.
//!
//! ```text
//!             process that makes code        process that runs it
//!   code      rw-, anywhere                  r-x, behind data          never writable there
//!   data      rw-, anywhere                  rw-
//! ```
//!
//! Invariants:
//!
//! * Neither file can change its size once the other process has it, so that no access to mapped memory fails.
//! * The kernel lets nobody map or write code but through the view that existed before it was given away.
//! * A child of a fork writes to neither file.
//!
//! Limitations: Linux 5.1 for the second invariant; before, it depends on the other process. The third holds for children
//! that the C library's `fork` has made.

use super::mapping::{Mapping, memory_file};
use super::{Arena, ArenaConfig, ArenaError, Elsewhere, Sizes};
use crate::ExecutorAddr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

const RW: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;
const RX: libc::c_int = libc::PROT_READ | libc::PROT_EXEC;

/// The views of the process that makes code, until it is known where the other one has its own.
#[derive(Debug)]
pub struct Shared {
    sizes: Sizes,
    data: Mapping,
    writable: Mapping,
    files: [File; 2],
}

/// Descriptors of code and data, and their sizes.
#[derive(Debug)]
pub struct Files {
    pub code: OwnedFd,
    pub data: OwnedFd,
    pub code_bytes: usize,
    pub data_bytes: usize,
}

impl Shared {
    /// Makes and maps the files.
    pub fn new(config: ArenaConfig) -> Result<Self, ArenaError> {
        let sizes = Sizes::of(config)?;
        let [code, data] = [(sizes.code, c"regraft-code"), (sizes.data, c"regraft-data")];
        let [code, data] = [memory_file(code.1, code.0)?, memory_file(data.1, data.0)?];
        let mapped = |file: &File, len: usize| {
            let view = Mapping::reserve(len)?;
            view.map(0, len, RW, Some((file, 0)))?;
            Ok::<_, ArenaError>(view)
        };
        let shared = Self {
            sizes,
            writable: mapped(&code, sizes.code)?,
            data: mapped(&data, sizes.data)?,
            files: [code, data],
        };
        let [code, data] = &shared.files;
        let size = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        seal(data, size | libc::F_SEAL_SEAL)?;
        seal(code, size)?;
        // Refused by an old kernel: then the other process could map it to be written.
        let _ = seal(code, libc::F_SEAL_FUTURE_WRITE);
        seal(code, libc::F_SEAL_SEAL)?;
        Ok(shared)
    }

    /// The files of code and data, to be given to the other process.
    pub fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.files[0].as_fd(), self.files[1].as_fd()]
    }

    /// Bytes of code and of data.
    pub fn sizes(&self) -> [usize; 2] {
        [self.sizes.code, self.sizes.data]
    }

    /// The arena, when the other process has mapped data and code at `start`.
    pub fn arena(
        self,
        start: ExecutorAddr,
        elsewhere: Arc<dyn Elsewhere>,
    ) -> Result<Arc<Arena>, ArenaError> {
        let elsewhere = Some(elsewhere);
        let (data, writable) = (self.data, self.writable);
        let arena = Arena::over(data, writable, start.get(), elsewhere, self.sizes)?;
        let shared = Some(self.files);
        Arena { shared, ..arena }.registered()
    }
}

pub(super) fn seal(file: &File, seals: libc::c_int) -> Result<(), ArenaError> {
    // SAFETY: the call takes a descriptor and a number.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(ArenaError::System {
            action: "fcntl (seal)",
            source: std::io::Error::last_os_error(),
        }),
    }
}

/// The views of the process that runs code.
#[derive(Debug)]
pub struct Foreign {
    near: Mapping,
    data_bytes: usize,
    code_bytes: usize,
}

impl Foreign {
    /// Maps data and, behind it, code that can be executed.
    pub fn map(files: Files) -> Result<Self, ArenaError> {
        let config = ArenaConfig {
            code_bytes: files.code_bytes,
            data_bytes: files.data_bytes,
        };
        let Sizes { code, data } = Sizes::of(config)?;
        let [code_file, data_file] = [File::from(files.code), File::from(files.data)];
        for (file, len) in [(&code_file, code), (&data_file, data)] {
            let unusable = |source| ArenaError::System {
                action: "fstat (a file of the engine)",
                source,
            };
            let length = file.metadata().map_err(unusable)?.len();
            if length < len as u64 || !keeps_its_size(file) {
                let reason = "the file is too short, or can be cut";
                return Err(unusable(std::io::Error::other(reason)));
            }
        }
        let near = Mapping::reserve(data + code)?;
        near.map(0, data, RW, Some((&data_file, 0)))?;
        near.map(data, code, RX, Some((&code_file, 0)))?;
        Ok(Self {
            near,
            data_bytes: data,
            code_bytes: code,
        })
    }

    /// Where data memory starts.
    pub fn start(&self) -> ExecutorAddr {
        ExecutorAddr::new(self.near.base.as_ptr().expose_provenance())
    }

    /// The addresses of code.
    pub fn code(&self) -> std::ops::Range<usize> {
        let start = self.start().get() + self.data_bytes;
        start..start + self.code_bytes
    }
}

pub(super) fn keeps_its_size(file: &File) -> bool {
    // SAFETY: the call takes a descriptor.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}
