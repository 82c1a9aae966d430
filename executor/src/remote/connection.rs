//! The end of the process that makes code: one connection to an executor.
//!
//! Invariants:
//!
//! * Once something is wrong, the connection is *gone*: its sockets are closed, whoever waits is woken, and everything
//!   that is asked for later fails with the same reason.
//! * Requests are answered one after another. They are short; calls have lanes of their own.
//!
//! Not here: calls (`call`), memory (`session`).

use super::answers::{Answers, hold};
use super::lane::Lane;
use super::message::{MAX, MessageError, Reply, Request, VERSION};
use super::process::{Program, Spawned};
use super::socket::{Socket, SocketError};
use crate::ExecutorAddr;
use crate::session::{ExecutorError, GoneCause};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

/// How long a request may take, which compiles and runs nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to an executor.
#[derive(Debug)]
pub struct Connection {
    /// Tells connections apart.
    pub(super) id: u64,
    control: Socket,
    /// Held from request to reply.
    asking: Mutex<()>,
    gone: OnceLock<Gone>,
    lanes: Mutex<Lanes>,
    sessions: Mutex<HashMap<u32, Arc<Answers>>>,
    symbols: Mutex<HashMap<(String, bool), ExecutorAddr>>,
    /// The process that made the connection: its children cannot use it.
    owner: u32,
    /// Dropped after the sockets were closed.
    spawned: Option<Spawned>,
}

/// Why a connection is closed, and how the process ended that was started for it.
type Gone = (GoneCause, Option<ExitStatus>);

#[derive(Debug, Default)]
struct Lanes {
    idle: Vec<Arc<Lane>>,
    all: Vec<Weak<Lane>>,
}

impl Connection {
    /// Starts an executor, which ends with the connection.
    ///
    /// # Errors
    /// [`ExecutorError::Start`], and as [`Connection::over`].
    pub fn spawn(program: &Program) -> Result<Arc<Self>, ExecutorError> {
        let (ours, theirs) =
            Socket::pair().map_err(|errno| ExecutorError::system("socketpair", errno))?;
        let spawned = program.start(theirs)?;
        Self::over(ours, Some(spawned))
    }

    /// Connects to an executor that listens at `path`.
    ///
    /// # Errors
    /// [`ExecutorError::Start`], and as [`Connection::over`].
    pub fn connect(path: &Path) -> Result<Arc<Self>, ExecutorError> {
        let connect = || {
            let flags = SocketFlags::CLOEXEC;
            let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            let socket = rustix::net::socket_with(family, kind, flags, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(socket)
        };
        let socket = connect().map_err(|errno: rustix::io::Errno| ExecutorError::Start {
            program: path.display().to_string(),
            source: Arc::new(errno.into()),
        })?;
        Self::over(socket, None)
    }

    /// A connection over a socket whose other end an executor serves.
    ///
    /// # Errors
    /// [`ExecutorError::Gone`]: it does not answer, or is of another version or architecture.
    pub fn over(control: OwnedFd, spawned: Option<Spawned>) -> Result<Arc<Self>, ExecutorError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let connection = Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            control: Socket::new(control),
            asking: Mutex::default(),
            gone: OnceLock::new(),
            lanes: Mutex::default(),
            sessions: Mutex::default(),
            symbols: Mutex::default(),
            owner: std::process::id(),
            spawned,
        });
        let patient = connection.control.expect_within(PATIENCE);
        patient.map_err(|error| connection.fail(error))?;
        match connection.request(&Request::Hello { version: VERSION }, &[])? {
            Reply::Hello {
                version: VERSION,
                architecture,
            } if architecture == std::env::consts::ARCH => Ok(connection),
            Reply::Hello {
                version,
                architecture,
            } => Err(connection.fail(GoneCause::Incompatible {
                version,
                architecture,
                expected: (VERSION, std::env::consts::ARCH),
            })),
            other => Err(connection.unexpected(other)),
        }
    }

    /// The process that was started, if one was.
    pub fn process_id(&self) -> Option<u32> {
        self.spawned.as_ref().map(Spawned::id)
    }

    /// Closes the connection for a cause, unless it is closed already; says why it is.
    pub(super) fn fail(&self, cause: impl Into<GoneCause>) -> ExecutorError {
        let ended = self.spawned.as_ref().and_then(Spawned::end);
        let (cause, ended) = self.gone.get_or_init(|| (cause.into(), ended)).clone();
        self.control.close();
        let lanes = std::mem::take(&mut *hold(&self.lanes));
        for lane in lanes.all.iter().filter_map(Weak::upgrade) {
            lane.close();
        }
        ExecutorError::Gone { cause, ended }
    }

    /// Closes the connection: the answer is not one to what was asked.
    pub(super) fn unexpected(&self, message: impl std::fmt::Debug) -> ExecutorError {
        let mut said = format!("{message:?}");
        said.truncate(said.floor_char_boundary(200));
        self.fail(GoneCause::Unexpected { message: said })
    }

    /// Closes the connection for an error of a socket, but not where the message could not be sent for its length.
    pub(super) fn broken(&self, error: SocketError, bytes: usize) -> ExecutorError {
        match error {
            SocketError::Message(MessageError::TooLong) if bytes > 0 => {
                ExecutorError::TooLong { bytes, limit: MAX }
            }
            error => self.fail(error),
        }
    }

    /// Fails where the connection is closed, or is another process's.
    pub(super) fn check(&self) -> Result<(), ExecutorError> {
        if self.owner != std::process::id() {
            return Err(ExecutorError::Unsupported {
                what: "using the connection of a parent process",
            });
        }
        match self.gone.get() {
            None => Ok(()),
            Some((cause, ended)) => Err(ExecutorError::Gone {
                cause: cause.clone(),
                ended: *ended,
            }),
        }
    }

    /// Asks the executor for something.
    pub(super) fn request(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Reply, ExecutorError> {
        self.check()?;
        let _asking = hold(&self.asking);
        let sent = match descriptors {
            [] => self.control.send(request),
            descriptors => self.control.send_with(request, descriptors),
        };
        let bytes = match request {
            Request::Symbol { name, .. } => name.len(),
            _ => 0,
        };
        sent.map_err(|error| self.broken(error, bytes))?;
        let reply = self.control.receive();
        match reply.map_err(|error| self.fail(error))? {
            Reply::Refused { reason } => Err(ExecutorError::Refused { reason }),
            reply => Ok(reply),
        }
    }

    /// The address of a symbol of the executor; what was found is remembered.
    pub(super) fn symbol(&self, name: &str, library_call: bool) -> Option<ExecutorAddr> {
        let key = (name.to_string(), library_call);
        if let Some(known) = hold(&self.symbols).get(&key) {
            return Some(*known);
        }
        let name = name.to_string();
        match self.request(&Request::Symbol { name, library_call }, &[]) {
            Ok(Reply::Symbol(found)) => {
                let found = found.filter(|address| address.get() != 0)?;
                hold(&self.symbols).insert(key, found);
                Some(found)
            }
            Ok(other) => {
                self.unexpected(other);
                None
            }
            Err(_) => None,
        }
    }

    /// A lane that nobody uses, or a new one.
    pub(super) fn take_lane(&self) -> Result<Arc<Lane>, ExecutorError> {
        self.check()?;
        if let Some(lane) = hold(&self.lanes).idle.pop() {
            return Ok(lane);
        }
        let (ours, theirs) =
            Socket::pair().map_err(|errno| ExecutorError::system("socketpair", errno))?;
        match self.request(&Request::Lane, &[theirs.as_fd()])? {
            Reply::Done => {}
            other => return Err(self.unexpected(other)),
        }
        let lane = Arc::new(Lane::new(ours));
        let mut lanes = hold(&self.lanes);
        lanes.all.retain(|lane| lane.strong_count() > 0);
        lanes.all.push(Arc::downgrade(&lane));
        drop(lanes);
        // Who closes the others does so after saying so, and may have missed this one.
        self.check()?;
        Ok(lane)
    }

    /// Keeps a lane for the next call.
    pub(super) fn give_back(&self, lane: Arc<Lane>) {
        if self.gone.get().is_none() {
            hold(&self.lanes).idle.push(lane);
        }
    }

    /// Who answers for a session.
    pub(super) fn answers(&self, session: u32) -> Option<Arc<Answers>> {
        hold(&self.sessions).get(&session).map(Arc::clone)
    }

    /// Takes note of a session; `false` if there is one of that number.
    pub(super) fn add_session(&self, session: u32, answers: Arc<Answers>) -> bool {
        use std::collections::hash_map::Entry;
        match hold(&self.sessions).entry(session) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(answers);
                true
            }
        }
    }

    /// Forgets a session, which nothing uses any more.
    pub(super) fn end_session(&self, session: u32) {
        let ended = hold(&self.sessions).remove(&session);
        drop(ended);
        // A connection that is gone has nothing to be told.
        let _ = self.request(&Request::Release { session }, &[]);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.control.close();
            let lanes = std::mem::take(&mut *hold(&self.lanes));
            for lane in lanes.all.iter().filter_map(Weak::upgrade) {
                lane.close();
            }
        } else if let Some(spawned) = self.spawned.take() {
            // It is a parent's.
            std::mem::forget(spawned);
        }
    }
}
