//! The border between the process that makes code and the process that runs it.
//!
//! ```text
//!   makes code: regraft                            runs code: the executor
//!   Session ──── reserve ────────────────────────▶ maps what is shared
//!     arena, slots: stores to shared memory ═════▶ code, cells, counters
//!     barrier, symbol, enter ────────────────────▶ asked of it
//!     Runtime ◀─── resolve, hot, host functions ── generated code asks
//! ```
//!
//! An [`Executor`](crate::Executor) is a process that runs code; a [`Session`] is one engine's part of it, with memory of its own. What
//! happens often (writing code, publishing a word, reading a counter) are accesses to memory that both see, through
//! [`Arena`] and [`SlotTable`], and no part of the trait. What remains is rare, or is a call.
//!
//! Invariants:
//!
//! * Every address that code is made with is one of the executor: [`ExecutorAddr`], or a number that came from one.
//! * What an executor answers is used as a number in code that *it* runs; never as an address or an index here.
//!
//! Limitations: both processes are on one machine, because memory is shared. An executor elsewhere needs a session whose
//! arena sends what is written to it, and counters that are fetched.
//!
//! Not here: how another process is asked (`remote`).

use crate::address::ExecutorAddr;
use crate::arena::{Arena, ArenaError};
use crate::samples::{Sampled, Wanted};
use crate::slots::{Runtime, SlotError, SlotTable};
use crate::trap::{Fault, call_safely};
use crate::{arch::Entered, symbols};
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Why an executor could not be had, or does not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The executor ended, was killed, or sent what it must not send; the connection is closed. A new executor can be had.
    #[error("the executor is gone: {cause}{}", ending(*ended))]
    Gone {
        /// What was noticed first.
        cause: GoneCause,
        /// How its process ended, if it was started here and has.
        ended: Option<ExitStatus>,
    },
    /// The executor did not do what it was asked for, and goes on.
    #[error("the executor refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// A program for the executor could not be started, or nobody listens.
    #[error("no executor at {program}: {source}")]
    Start {
        /// The program or the socket.
        program: String,
        /// What the system answered.
        #[source]
        source: Arc<io::Error>,
    },
    /// A call has more arguments or results than fit into a message.
    #[error("{bytes} bytes of arguments or results do not fit into a message of {limit}")]
    TooLong {
        /// Bytes of values.
        bytes: usize,
        /// The most there can be.
        limit: usize,
    },
    /// The operating system refused.
    #[error("{action} failed for the executor: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it answered.
        #[source]
        source: Arc<io::Error>,
    },
    /// There is no memory that both processes could share.
    #[error(transparent)]
    Memory(Arc<ArenaError>),
    /// An executor of this kind cannot do it.
    #[error("{what} is not possible with this executor")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
}

/// What was noticed of an executor that is gone.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoneCause {
    /// It has closed the connection, or has died.
    #[error("the connection was closed")]
    Closed,
    /// It has not answered for so long that it is not waited for any more.
    #[error("there was no answer in time")]
    Late,
    /// It sent what is no message.
    #[error("{message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
    },
    /// It sent a message that is not due.
    #[error("it sent what is not due: {message}")]
    Unexpected {
        /// The message, or how it begins.
        message: String,
    },
    /// It is of another version, or of another architecture.
    #[error("it is of version {version} on {architecture:?}, not {} on {:?}", expected.0, expected.1)]
    Incompatible {
        /// The version of the protocol that it speaks.
        version: u32,
        /// Its architecture.
        architecture: String,
        /// What it should be.
        expected: (u32, &'static str),
    },
    /// The operating system failed to send or receive.
    #[error("{0}")]
    System(Arc<io::Error>),
}

/// How a process ended, behind what was noticed.
fn ending(ended: Option<ExitStatus>) -> String {
    ended.map_or_else(String::new, |ended| format!(" ({ended})"))
}

impl ExecutorError {
    /// The operating system's answer to something.
    pub(crate) fn system(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System {
            action,
            source: Arc::new(source.into()),
        }
    }
}

/// Why a call did not return.
#[derive(Clone, Debug)]
pub enum EnterError {
    /// Generated code trapped.
    Fault(Fault),
    /// The executor does not answer any more, or cannot be asked.
    Executor(ExecutorError),
}

/// What an engine has of an executor. See the module's page.
pub trait Session: fmt::Debug + Send + Sync {
    /// Whether code runs in this process.
    fn is_here(&self) -> bool;

    /// Code memory and data memory.
    fn arena(&self) -> &Arc<Arena>;

    /// Makes the table of slots, whose generated code asks `runtime`. Once, before anything else is allocated.
    ///
    /// # Errors
    /// As [`SlotTable::new`].
    fn slots(&self, runtime: Box<dyn Runtime>) -> Result<SlotTable, SlotError>;

    /// The address of a symbol of the executor.
    fn symbol(&self, name: &str) -> Option<ExecutorAddr>;

    /// The address of a function that code generators call, by its name ([`symbols::library_call`]).
    fn library_call(&self, name: &str) -> Option<ExecutorAddr>;

    /// Calls `function(first, values)` on a thread of the executor: `values` is what generated code finds at its second
    /// argument, and what it left there is in `values` afterwards. What it asks for meanwhile is done on the calling
    /// thread.
    ///
    /// # Errors
    /// [`EnterError`]; `values` are as they were, or anything.
    ///
    /// # Safety
    /// `function` is code of this session that takes these arguments, and running it is sound: in this process, it can do
    /// anything.
    unsafe fn enter(
        &self,
        function: ExecutorAddr,
        first: ExecutorAddr,
        values: &mut [u128],
    ) -> Result<(), EnterError>;

    /// Reserves addresses for a program's data, of which the first `most` bytes can become accessible: for memory that grows
    /// in place, and whose end is a fault.
    ///
    /// # Errors
    /// [`ExecutorError::Unsupported`] where code runs here, which can map memory directly.
    fn range(&self, reserved: usize, most: usize) -> Result<Box<dyn DataRange>, ExecutorError>;

    /// Sends samples of this session's code to `engine` as long as what it returns exists: of threads that are called in it, at
    /// most one for each `interval` of processor time.
    ///
    /// # Errors
    /// [`ExecutorError`].
    fn sample(
        &self,
        interval: Duration,
        engine: Weak<dyn Sampled>,
    ) -> Result<Box<dyn Sampling>, ExecutorError>;

    /// Makes `function` callable by generated code, through [`HostEntry`].
    ///
    /// # Errors
    /// [`ExecutorError::Unsupported`] where code runs here and can call functions directly.
    fn host_function(&self, function: Arc<HostFunction>) -> Result<HostEntry, ExecutorError>;
}

/// Addresses for a program's data in another process, given back when this is dropped: nobody may use them then.
pub trait DataRange: fmt::Debug + Send + Sync {
    /// Where they start.
    fn address(&self) -> ExecutorAddr;

    /// Makes the first bytes accessible, rounded up to pages. What was accessible stays so.
    ///
    /// # Errors
    /// [`ExecutorError`].
    fn commit(&self, bytes: usize) -> Result<(), ExecutorError>;

    /// Copies bytes out; `None` where they are not all of those that can become accessible.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()>;

    /// Copies bytes in; `None`, and nothing is copied, as above.
    fn write(&self, offset: usize, bytes: &[u8]) -> Option<()>;
}

/// What a session samples for: samples end when it is dropped.
pub trait Sampling: fmt::Debug + Send + Sync {}

impl Sampling for Wanted {}

/// A function of the process that makes code, called with the values of arguments, 16 bytes each, and room for results.
/// `false` makes the call a trap.
pub type HostFunction = dyn Fn(&mut [u128]) -> bool + Send + Sync;

/// How generated code calls a host function of another process: `entry(session, function, values, count)`, which returns 0 (a
/// 32-bit number) unless the call is to trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// A function of the executor, with its convention.
    pub entry: ExecutorAddr,
    /// Its first argument, of 32 bits.
    pub session: u32,
    /// Its second argument, of 32 bits.
    pub function: u32,
}

/// The session of code that runs in the process that makes it.
#[derive(Debug)]
pub struct Here(Arc<Arena>);

impl Here {
    /// A session with this memory.
    #[must_use]
    pub fn over(arena: Arc<Arena>) -> Self {
        Self(arena)
    }
}

impl Session for Here {
    fn is_here(&self) -> bool {
        true
    }

    fn arena(&self) -> &Arc<Arena> {
        &self.0
    }

    fn slots(&self, runtime: Box<dyn Runtime>) -> Result<SlotTable, SlotError> {
        SlotTable::new(Arc::clone(&self.0), runtime)
    }

    fn symbol(&self, name: &str) -> Option<ExecutorAddr> {
        symbols::symbol(name).map(ExecutorAddr::new)
    }

    fn library_call(&self, name: &str) -> Option<ExecutorAddr> {
        symbols::library_call(name).map(ExecutorAddr::new)
    }

    unsafe fn enter(
        &self,
        function: ExecutorAddr,
        first: ExecutorAddr,
        values: &mut [u128],
    ) -> Result<(), EnterError> {
        let function = std::ptr::with_exposed_provenance::<()>(function.get());
        // SAFETY: the caller's contract.
        let function = unsafe { std::mem::transmute::<*const (), Entered>(function) };
        // SAFETY: as above.
        unsafe { call_safely(function, first.get(), values.as_mut_ptr().cast()) }
            .map_err(EnterError::Fault)
    }

    /// Threads start to be sampled by themselves ([`samples::start`](crate::samples::start)).
    fn sample(
        &self,
        _: Duration,
        engine: Weak<dyn Sampled>,
    ) -> Result<Box<dyn Sampling>, ExecutorError> {
        let start = self.0.executable(0).addr();
        let wanted = Wanted::register(start, engine);
        let wanted = wanted
            .map_err(|error| ExecutorError::system("starting a thread for samples", error))?;
        Ok(Box::new(wanted))
    }

    fn range(&self, _: usize, _: usize) -> Result<Box<dyn DataRange>, ExecutorError> {
        Err(ExecutorError::Unsupported {
            what: "reserving a range of another process",
        })
    }

    fn host_function(&self, _: Arc<HostFunction>) -> Result<HostEntry, ExecutorError> {
        Err(ExecutorError::Unsupported {
            what: "forwarding a host function",
        })
    }
}
