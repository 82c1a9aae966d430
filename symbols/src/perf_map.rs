//! The perf map: a line of text for each piece of code.
//!
//! ```text
//!   7f0a3c001240 1c8 sum.tier1.region.block1 (sum-3.clif:7)
//! ```
//!
//! perf looks for the file in `/tmp` and nowhere else; it is to belong to whoever runs perf. A child of `fork` starts
//! with what its parent had.

use crate::file::{self, ProcessFile};
use crate::{Source, ToolError};
use regraft_executor::locks::lock;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

static MAP: Mutex<Option<ProcessFile>> = Mutex::new(None);

fn path(pid: u32) -> PathBuf {
    format!("/tmp/perf-{pid}.map").into()
}

/// Creates the file, unless this process has it already.
///
/// # Errors
/// [`ToolError::File`].
pub fn open() -> Result<(), ToolError> {
    let mut map = lock(&MAP);
    if map.as_ref().is_none_or(ProcessFile::is_parents) {
        *map = Some(ProcessFile::create(path)?);
    }
    Ok(())
}

/// Adds a line.
pub fn add(start: usize, len: usize, name: &str, source: Option<Source<'_>>) {
    let mut map = lock(&MAP);
    let Some(file) = map.as_mut() else {
        return;
    };
    let mut line = format!("{start:x} {len:x} {name}");
    if let Some(Source { file, line: at, .. }) = source {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        // Writing to a string does not fail.
        let _ = write!(line, " ({}:{at})", crate::printable(&file));
    }
    line.push('\n');
    if let Err(error) = append(file, &line) {
        tracing::warn!(%error, "the perf map ends here");
        *map = None;
    }
}

fn append(file: &mut ProcessFile, line: &str) -> io::Result<()> {
    if file.is_parents() {
        let parents = std::mem::replace(file, ProcessFile::create(path).map_err(io::Error::other)?);
        file::copy(&parents.path, &file.file)?;
    }
    file.file.write_all(line.as_bytes())
}
