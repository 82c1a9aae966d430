//! The jitdump: names, machine code and lines, each with the time since when they hold.
//!
//! ```text
//!   header                    "JiTD", version 1, machine, process, time
//!   2 debug information       address, rows: address, line, file       before the code that it is about
//!   0 code                    process, thread, address, size, number, name, bytes
//! ```
//!
//! Layout: tools/perf/Documentation/jitdump-specification.txt of the Linux kernel, version 1. Times are those of the
//! monotonic clock, so that samples are to be taken by it (`perf record -k mono`). A profiler finds the file by a page of it
//! that is mapped as executable ([`crate::marker`]).
//!
//! Not here: code that was freed. The format has no word for it: what comes later at an address takes its place.

use crate::file::ProcessFile;
use crate::marker::Marker;
use crate::{Code, Source, ToolError};
use regraft_executor::locks::lock;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const MAGIC: u32 = 0x4a69_5444;
const VERSION: u32 = 1;
const HEADER_SIZE: u32 = 40;
const CODE_LOAD: u32 = 0;
const CODE_DEBUG_INFO: u32 = 2;
/// `e_machine` of an ELF file.
pub const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else {
    243
};

static DUMP: Mutex<Option<Dump>> = Mutex::new(None);

#[derive(Debug)]
struct Dump {
    directory: PathBuf,
    file: ProcessFile,
    /// Pieces of code so far.
    number: u64,
    /// What is written at once for the newest of them: memory that is used again.
    records: Records,
    _marker: Marker,
}

/// Creates the file, unless this process has it already.
///
/// # Errors
/// [`ToolError::File`]; also for a directory whose file system allows no code in memory (`noexec`).
pub fn open(directory: &Path) -> Result<(), ToolError> {
    let mut dump = lock(&DUMP);
    if dump.as_ref().is_none_or(|dump| dump.file.is_parents()) {
        *dump = Some(Dump::create(directory)?);
    }
    Ok(())
}

/// Adds a piece of code.
pub fn add(name: &str, code: &Code<'_>) {
    let mut dump = lock(&DUMP);
    let Some(open) = dump.as_mut() else {
        return;
    };
    if let Err(error) = open.add(name, code) {
        tracing::warn!(%error, "the jitdump ends here");
        *dump = None;
    }
}

impl Dump {
    fn create(directory: &Path) -> Result<Self, ToolError> {
        let file = ProcessFile::create(|pid| directory.join(format!("jit-{pid}.dump")))?;
        let failed = |source| ToolError::File {
            path: file.path.clone(),
            source,
        };
        let mut header = Records::default();
        for word in [MAGIC, VERSION, HEADER_SIZE, MACHINE.into(), 0] {
            header.u32(word);
        }
        header.u32(std::process::id()).u64(now()).u64(0);
        (&file.file).write_all(&header.0).map_err(failed)?;
        let marker = Marker::new(&file.file).map_err(failed)?;
        Ok(Self {
            directory: directory.to_path_buf(),
            file,
            number: 0,
            records: Records::default(),
            _marker: marker,
        })
    }

    fn add(&mut self, name: &str, code: &Code<'_>) -> io::Result<()> {
        if self.file.is_parents() {
            *self = Self::create(&self.directory).map_err(io::Error::other)?;
        }
        let records = &mut self.records;
        records.0.clear();
        if let Some(source) = code.source.filter(|source| !source.rows.is_empty()) {
            records.add(CODE_DEBUG_INFO, |record| lines(record, code.start, source));
        }
        let (start, number) = (code.start as u64, self.number);
        records.add(CODE_LOAD, |record| {
            record.u32(std::process::id()).u32(thread());
            record.u64(start).u64(start).u64(code.bytes.len() as u64);
            record.u64(number).text(name.as_bytes());
            record.0.extend_from_slice(code.bytes);
        });
        self.number += 1;
        (&self.file.file).write_all(&records.0)
    }
}

/// The rows of a piece of code.
fn lines(record: &mut Records, start: usize, source: Source<'_>) {
    record.u64(start as u64).u64(source.rows.len() as u64);
    // The format's abbreviation for the file of the row before is not known to all that read it (perf 6.1).
    let mut file = Records::default();
    file.text(source.file.as_os_str().as_bytes());
    record.0.reserve(source.rows.len() * (16 + file.0.len()));
    for row in source.rows {
        record.u64(start as u64 + u64::from(row.offset));
        record.u32(row.line).u32(0);
        record.0.extend_from_slice(&file.0);
    }
}

/// What is written at once, in the order of bytes of the machine.
#[derive(Debug, Default)]
struct Records(Vec<u8>);

impl Records {
    fn u32(&mut self, word: u32) -> &mut Self {
        self.0.extend_from_slice(&word.to_ne_bytes());
        self
    }

    fn u64(&mut self, word: u64) -> &mut Self {
        self.0.extend_from_slice(&word.to_ne_bytes());
        self
    }

    /// Bytes of which none is zero, and a zero.
    fn text(&mut self, text: &[u8]) -> &mut Self {
        self.0.extend(text.iter().filter(|&&byte| byte != 0));
        self.0.push(0);
        self
    }

    /// A record: its kind, its size and the time, then what `fill` adds.
    fn add(&mut self, kind: u32, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.u32(kind).u32(0).u64(now());
        fill(self);
        let size = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        let place = start + size_of_val(&kind);
        self.0[place..][..size_of_val(&size)].copy_from_slice(&size.to_ne_bytes());
    }
}

/// Nanoseconds of the monotonic clock.
fn now() -> u64 {
    let time = crate::marker::monotonic();
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn thread() -> u32 {
    u32::try_from(crate::marker::thread()).unwrap_or(0)
}
