//! Generated code made known to the tools that people have: profilers, debuggers, the system's unwinder.
//!
//! ```text
//!               ┌─▶ perf map   /tmp/perf-PID.map      a name for each range of addresses
//!   Code ─ show ┼─▶ jitdump    DIR/jit-PID.dump       names, bytes, lines, each with the time since when
//!   (a version) ├─▶ image ──▶ gdb                     symbols, lines, unwind information; taken back
//!               └─▶ frames ─▶ unwinder                unwind information; taken back
//! ```
//!
//! A front end says what it has in memory ([`Symbols::show`]) after the code is complete and before it runs, and drops
//! what it gets for it ([`Shown`]) before the memory can be given again.
//!
//! Invariants:
//!
//! * Addresses are those at which code runs.
//! * A tool that cannot be served costs the others nothing: after the engine was made, failures are logged, and
//!   the tool gets nothing more.
//! * Files have the process in their names; a child of `fork` opens its own with the next code that it makes.
//!
//! Limitations: there is one perf map and one jitdump for a process, in the directory of the first who asked. A perf
//! map says nothing about time: where memory was given again, the name may be that of the code before or after. In a
//! child of `fork`, a jitdump has only what was compiled there.
//!
//! Not here: which code there is, its names and its lines; `unsafe` outside of `gdb`, `unwinder` and `marker`.

#![cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]

mod file;
mod jitdump;
mod marker;
mod perf_map;

#[cfg(feature = "debug")]
mod dwarf;
#[cfg(feature = "debug")]
pub mod frames;
#[cfg(feature = "debug")]
mod gdb;
#[cfg(feature = "debug")]
mod image;
#[cfg(feature = "debug")]
mod unwinder;

#[cfg(feature = "debug")]
pub use gimli;

use std::io;
use std::path::{Path, PathBuf};

/// What a profiler is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Perf {
    /// Names, in `/tmp/perf-PID.map`: read by `perf report` and others as it is.
    Map,
    /// Names, machine code and lines, each with its time, in `jit-PID.dump`: for `perf record -k mono`, then
    /// `perf inject --jit`. Code memory that was given again is told apart.
    Jitdump,
}

/// Which tools are served; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// The profiler.
    pub perf: Option<Perf>,
    /// A debugger that knows GDB's interface for compilers at run time. Needs the feature `debug`.
    pub debugger: bool,
    /// The unwinder of the system's runtime library, for backtraces and crash handlers. Needs the feature `debug`, and
    /// the GNU C library.
    pub unwinder: bool,
    /// Where files go whose place is not fixed; by default that of temporary files.
    pub directory: Option<PathBuf>,
}

impl Tools {
    /// Whether any tool is served.
    pub fn any(&self) -> bool {
        self.perf.is_some() || self.debugger || self.unwinder
    }

    /// The directory.
    pub fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(std::env::temp_dir)
    }
}

/// Why a tool cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// A file that it reads cannot be written.
    #[error("{} cannot be written", path.display())]
    File {
        /// Its name.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The code runs in another process, and tools are told of this one.
    #[error(
        "profilers, debuggers and unwinders of this process are not told of code that runs in another"
    )]
    Elsewhere,
    /// This build does not know it.
    #[error(
        "the {tool} is not served in this build (feature `debug`, Linux with the GNU C library)"
    )]
    NotBuilt {
        /// Which tool.
        tool: &'static str,
    },
}

/// Code that is complete, in the place where it runs.
#[derive(Debug)]
pub struct Code<'a> {
    /// What tools call it. Control characters do not get through.
    pub name: &'a str,
    /// The address of its first byte.
    pub start: usize,
    /// Machine code and constants.
    pub bytes: &'a [u8],
    /// The text that it was made from.
    pub source: Option<Source<'a>>,
    /// How the caller's frame is found.
    #[cfg(feature = "debug")]
    pub frame: Option<&'a frames::Frame>,
}

/// Where the text of code is.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file, by its absolute path.
    pub file: &'a Path,
    /// The line where it starts, from 1.
    pub line: u32,
    /// Which lines the instructions are from, by offset.
    pub rows: &'a [Row],
}

/// From here to the next row, code is of this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Bytes from the start of the code.
    pub offset: u32,
    /// The line, from 1; 0 for code that is of no line.
    pub line: u32,
}

/// Serves the tools that were asked for.
#[derive(Clone, Debug)]
pub struct Symbols {
    tools: Tools,
}

impl Symbols {
    /// Opens what the tools read; `None` where none is to be served.
    ///
    /// # Errors
    /// [`ToolError`].
    pub fn new(tools: &Tools) -> Result<Option<Self>, ToolError> {
        match tools.perf {
            Some(Perf::Map) => perf_map::open()?,
            Some(Perf::Jitdump) => jitdump::open(&tools.directory())?,
            None => {}
        }
        let built = cfg!(feature = "debug");
        if tools.debugger && !built {
            return Err(ToolError::NotBuilt { tool: "debugger" });
        }
        if tools.unwinder && !(built && cfg!(target_env = "gnu")) {
            return Err(ToolError::NotBuilt { tool: "unwinder" });
        }
        Ok(tools.any().then(|| Self {
            tools: tools.clone(),
        }))
    }

    /// What is served.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Whether somebody reads lines.
    pub fn wants_lines(&self) -> bool {
        self.tools.debugger || self.tools.perf == Some(Perf::Jitdump)
    }

    /// Whether somebody unwinds.
    pub fn wants_frames(&self) -> bool {
        self.tools.debugger || self.tools.unwinder
    }

    /// Whether somebody reads machine code.
    pub fn wants_bytes(&self) -> bool {
        self.tools.perf == Some(Perf::Jitdump)
    }

    /// Makes code known, until what is returned is dropped. `len` is its length, also where its bytes are not wanted.
    pub fn show(&self, code: &Code<'_>, len: usize) -> Shown {
        let name = printable(code.name);
        match self.tools.perf {
            Some(Perf::Map) => perf_map::add(code.start, len, &name, code.source),
            Some(Perf::Jitdump) => jitdump::add(&name, code),
            None => {}
        }
        Shown::new(self, code, len, &name)
    }
}

/// A name without characters that mean something to the formats that it goes into.
fn printable(name: &str) -> String {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    name.chars().map(printable).collect()
}

/// Code that debugger and unwinder know of, until this is dropped.
#[derive(Debug, Default)]
pub struct Shown {
    #[cfg(feature = "debug")]
    _image: Option<gdb::Registered>,
    #[cfg(feature = "debug")]
    _frames: Option<unwinder::Registered>,
}

impl Shown {
    #[cfg(not(feature = "debug"))]
    fn new(_: &Symbols, _: &Code<'_>, _: usize, _: &str) -> Self {
        Self::default()
    }

    #[cfg(feature = "debug")]
    fn new(symbols: &Symbols, code: &Code<'_>, len: usize, name: &str) -> Self {
        let failed = |tool: &str, error: &dyn std::error::Error| {
            tracing::warn!(name, %error, "code is not shown to the {tool}");
        };
        let image = symbols
            .tools
            .debugger
            .then(|| image::write(code, len, name));
        let image = image.and_then(|image| {
            let image = image.inspect_err(|error| failed("debugger", error)).ok()?;
            Some(gdb::register(image.into()))
        });
        let frame = code.frame.filter(|_| symbols.tools.unwinder);
        let frames = frame.and_then(|frame| {
            let section = frame.eh_frame();
            let section = section
                .inspect_err(|error| failed("unwinder", error))
                .ok()?;
            Some(unwinder::register(section.into()))
        });
        Self {
            _image: image,
            _frames: frames,
        }
    }
}
