//! Starting the program that runs code, and seeing it end.

use crate::session::ExecutorError;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A program that serves as an executor: its standard input is the connection.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

/// The name of the executor's program.
const NAME: &str = "regraft-executor";

/// How long a process may take to end by itself when its connection is closed.
const PATIENCE: Duration = Duration::from_secs(1);

impl Program {
    /// The `regraft-executor` program next to the running program, or else on the path.
    #[must_use]
    pub fn find() -> Self {
        let own = std::env::current_exe().ok();
        let near = own.and_then(|own| Some(own.parent()?.join(NAME)));
        let path = near.filter(|near| near.is_file());
        Self::new(path.unwrap_or_else(|| NAME.into()))
    }

    /// The program at `path`; a name without a slash is looked for on the path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: vec![],
        }
    }

    /// With another argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_os_string());
        self
    }

    /// So that the process, once it has memory, can make no executable memory, open nothing and connect nowhere. It
    /// serves one engine.
    #[must_use]
    pub fn sandboxed(self) -> Self {
        self.arg("--sandbox")
    }

    /// With so many MiB of stack for each thread that runs code.
    #[must_use]
    pub fn stack(self, mebibytes: usize) -> Self {
        self.arg(format!("--stack={mebibytes}"))
    }

    /// Starts it with one end of a connection.
    pub(super) fn start(&self, connection: OwnedFd) -> Result<Spawned, ExecutorError> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).stdin(Stdio::from(connection));
        match command.spawn() {
            Ok(child) => Ok(Spawned {
                id: child.id(),
                child: Mutex::new(child),
            }),
            Err(error) => Err(ExecutorError::Start {
                program: self.path.display().to_string(),
                source: Arc::new(error),
            }),
        }
    }
}

/// A process that was started. Dropping it, when its connection is closed, waits a second for it to end, and then ends it.
#[derive(Debug)]
pub struct Spawned {
    id: u32,
    child: Mutex<Child>,
}

impl Spawned {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, if it has. One that was just killed takes a moment.
    pub(super) fn end(&self) -> Option<ExitStatus> {
        self.ended_within(Duration::from_millis(20))
    }

    fn ended_within(&self, time: Duration) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if start.elapsed() < time => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                _ => return None,
            }
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if self.ended_within(PATIENCE).is_none() {
            let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
