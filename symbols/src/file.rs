//! Files that have the process in their names.

use crate::ToolError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that this process writes from its start.
#[derive(Debug)]
pub struct ProcessFile {
    pub file: File,
    pub path: PathBuf,
    pid: u32,
}

impl ProcessFile {
    /// Creates the file, or empties it: what is there was left by a process that had the same number.
    ///
    /// # Errors
    /// [`ToolError::File`]. It may be a link, which is not followed: directories for temporary files are everybody's.
    pub fn create(path: impl Fn(u32) -> PathBuf) -> Result<Self, ToolError> {
        let pid = std::process::id();
        let path = path(pid);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        // Profilers refuse what does not belong to them; others need not read it.
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path, pid }),
            Err(source) => Err(ToolError::File { path, source }),
        }
    }

    /// Whether the process has forked since: the file is its parent's.
    pub fn is_parents(&self) -> bool {
        self.pid != std::process::id()
    }
}

/// Copies what a parent has written.
///
/// # Errors
/// Those of the system.
pub fn copy(from: &Path, mut to: &File) -> io::Result<()> {
    let mut from = File::open(from)?;
    io::copy(&mut from, &mut to).map(drop)
}
