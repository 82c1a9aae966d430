//! Executors, as a client chooses them.

use crate::arena::{Arena, ArenaConfig, ArenaError, ArenaTools};
use crate::session::{ExecutorError, Here, Session};
use std::sync::Arc;

/// A process that runs generated code: this one, one that was started for it, or one that was there.
///
/// Cloning gives another handle of the same process. A process that was started ends with the last handle and the last
/// engine.
#[derive(Clone, Debug, Default)]
pub struct Executor(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Here,
    #[cfg(feature = "remote")]
    Process(Arc<crate::remote::Connection>),
}

/// Why an engine got no part of an executor.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The executor's fault.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// There is no memory for it.
    #[error(transparent)]
    Arena(#[from] ArenaError),
}

impl Executor {
    /// This process: what is called runs on the calling thread.
    #[must_use]
    pub fn in_process() -> Self {
        Self(Kind::Here)
    }

    /// Starts the `regraft-executor` program that lies next to the running program, or else is on the path.
    ///
    /// # Errors
    /// [`ExecutorError`].
    #[cfg(feature = "remote")]
    pub fn spawn() -> Result<Self, ExecutorError> {
        Self::spawn_program(&crate::remote::Program::find())
    }

    /// Starts a certain program.
    ///
    /// # Errors
    /// [`ExecutorError`].
    #[cfg(feature = "remote")]
    pub fn spawn_program(program: &crate::remote::Program) -> Result<Self, ExecutorError> {
        crate::remote::Connection::spawn(program)
            .map(Kind::Process)
            .map(Self)
    }

    /// Connects to an executor that was started with `--listen PATH`.
    ///
    /// # Errors
    /// [`ExecutorError`].
    #[cfg(feature = "remote")]
    pub fn connect(path: &std::path::Path) -> Result<Self, ExecutorError> {
        crate::remote::Connection::connect(path)
            .map(Kind::Process)
            .map(Self)
    }

    /// Connects to an executor at the other end of a socket of packets (`SOCK_SEQPACKET`), which
    /// [`serve`](crate::remote::serve::serve) serves.
    ///
    /// # Errors
    /// [`ExecutorError`].
    #[cfg(feature = "remote")]
    pub fn over(socket: std::os::fd::OwnedFd) -> Result<Self, ExecutorError> {
        crate::remote::Connection::over(socket, None)
            .map(Kind::Process)
            .map(Self)
    }

    /// Whether code runs in this process.
    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self.0, Kind::Here)
    }

    /// The process that was started, if one was.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        match &self.0 {
            Kind::Here => None,
            #[cfg(feature = "remote")]
            Kind::Process(connection) => connection.process_id(),
        }
    }

    /// A part of the executor, with memory of its own, which tools that look at this process know if code runs here.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn session(
        &self,
        config: ArenaConfig,
        tools: ArenaTools,
    ) -> Result<Arc<dyn Session>, SessionError> {
        Ok(match &self.0 {
            Kind::Here => Arc::new(Here::over(Arena::for_tools(config, tools)?)),
            #[cfg(feature = "remote")]
            Kind::Process(connection) => Arc::new(crate::remote::Remote::new(connection, config)?),
        })
    }
}
