//! The end of the process that runs code.
//!
//! ```text
//!   serve ─ Reserve ─▶ sessions: memory, range of code, who answers
//!         ─ Lane ────▶ a thread (`lane`)
//!         ─ closed ──▶ waits for calls under way, and returns
//! ```
//!
//! Invariants:
//!
//! * A request that cannot be decoded, or is not due, ends the connection with an error.
//! * When the process that makes code is gone, what was published runs on; what was not is a trap, and nobody waits.
//!
//! Limitations: a call that is still running when the [patience](Options::patience) is over is ended with the process, if whoever
//! has called [`serve`] ends that.
//!
//! Not here: what a program may do (`sandbox`), its arguments (`regraft-executor`).

mod lane;
mod samples;

use self::samples::Sampler;
use super::message::{Reply, Request, Reserved, VERSION};
use super::socket::{Socket, SocketError};
use crate::arena::{Files, Foreign, ForeignRange};
use crate::locks::lock;
use crate::ranges::{self, CodeRange};
use crate::slots::{Answerer, EntryPoints};
use crate::{ExecutorAddr, arch, symbols};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// How an executor serves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long calls may go on when the connection is closed.
    pub patience: Duration,
    /// The stack of each thread that runs code.
    pub stack: usize,
    /// Done once memory is mapped, and before any code runs; no more memory is mapped then.
    pub confine: Option<fn() -> Result<(), String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            stack: STACK,
            confine: None,
        }
    }
}

/// What the main thread of a program usually has.
pub const STACK: usize = 8 << 20;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The other process sent what it must not send.
    #[error("the connection to the engine was ended: {reason}")]
    Protocol {
        /// What was wrong.
        reason: String,
    },
    /// The other process speaks another version.
    #[error("the engine is of version {theirs}, not {VERSION}")]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// The memory or the sandbox could not be had.
    #[error("the executor could not confine itself: {reason}")]
    Confine {
        /// Why.
        reason: String,
    },
    /// Calls went on for longer than there was patience.
    #[error("{calls} calls were still running when the engine had been gone for {patience:?}")]
    Running {
        /// How many.
        calls: usize,
        /// For how long they were waited for.
        patience: Duration,
    },
}

/// The most threads that run code at a time, and the most sessions.
const MAX_LANES: usize = 4096;
const MAX_SESSIONS: usize = 1024;
/// The most ranges of a session.
const MAX_RANGES: usize = 1 << 16;

/// Memory that code runs in, and who answers it.
#[derive(Debug)]
struct Served {
    /// Gone before the memory.
    sampler: OnceLock<Sampler>,
    memory: Foreign,
    /// Forgotten before the memory is unmapped: fields are dropped in order.
    _range: ranges::Registration,
    answerer: Answerer,
    ranges: Mutex<Ranges>,
}

/// Addresses that a session has for data.
#[derive(Debug, Default)]
struct Ranges {
    next: u32,
    mapped: HashMap<u32, ForeignRange>,
}

/// What all threads of an executor share.
#[derive(Debug, Default)]
struct Shared {
    sessions: Mutex<HashMap<u32, Arc<Served>>>,
    lanes: Mutex<Lanes>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Lanes {
    running: usize,
    sockets: Vec<Weak<Socket>>,
}

impl Shared {
    fn session(&self, number: u32) -> Option<Arc<Served>> {
        lock(&self.sessions).get(&number).map(Arc::clone)
    }
}

/// Serves whoever is at the other end of a connection, until it is closed.
///
/// # Errors
/// [`ServeError`].
pub fn serve(control: OwnedFd, options: &Options) -> Result<(), ServeError> {
    let shared = Arc::new(Shared::default());
    let control = Socket::new(control);
    let served = requests(&control, &shared, options);
    control.close();
    let lanes = std::mem::take(&mut lanes_of(&shared).sockets);
    if served.is_err() {
        for lane in lanes.iter().filter_map(Weak::upgrade) {
            lane.close();
        }
    }
    served?;
    let (waited, _) = {
        let running = |lanes: &mut Lanes| lanes.running > 0;
        let guard = lanes_of(&shared);
        let waited = shared
            .ended
            .wait_timeout_while(guard, options.patience, running);
        waited.unwrap_or_else(PoisonError::into_inner)
    };
    match waited.running {
        0 => Ok(()),
        calls => Err(ServeError::Running {
            calls,
            patience: options.patience,
        }),
    }
}

fn lanes_of(shared: &Shared) -> std::sync::MutexGuard<'_, Lanes> {
    shared.lanes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests until there are no more.
fn requests(control: &Socket, shared: &Arc<Shared>, options: &Options) -> Result<(), ServeError> {
    let protocol = |error: &dyn ToString| ServeError::Protocol {
        reason: error.to_string(),
    };
    let mut greeted = false;
    let mut confined = false;
    let mut next = 0;
    loop {
        let (request, descriptors) = match control.receive_with::<Request>() {
            Ok(received) => received,
            Err(SocketError::Closed) => return Ok(()),
            Err(error) => return Err(protocol(&error)),
        };
        let reply = match (request, descriptors) {
            (Request::Hello { version }, none) if !greeted && none.is_empty() => {
                greeted = version == VERSION;
                Reply::Hello {
                    version: VERSION,
                    architecture: std::env::consts::ARCH.to_string(),
                }
            }
            (_, _) if !greeted => return Err(protocol(&"a request before the greeting")),
            (Request::Reserve { .. }, files) if confined => refuse_files(files),
            (Request::Reserve { code, data }, files) => {
                let files = <[OwnedFd; 2]>::try_from(files).map_err(|files| {
                    protocol(&SocketError::Descriptors {
                        expected: 2,
                        got: files.len(),
                    })
                })?;
                let reply = match reserve(shared, next, code, data, files) {
                    Ok(reserved) => Reply::Reserved(reserved),
                    Err(reason) => Reply::Refused { reason },
                };
                if matches!(reply, Reply::Reserved(_)) {
                    next += 1;
                    if let Some(confine) = options.confine {
                        confine().map_err(|reason| ServeError::Confine { reason })?;
                        confined = true;
                    }
                }
                reply
            }
            (
                Request::Range {
                    session,
                    bytes,
                    reserved,
                },
                files,
            ) => {
                let files = <[OwnedFd; 1]>::try_from(files).map_err(|files| {
                    protocol(&SocketError::Descriptors {
                        expected: 1,
                        got: files.len(),
                    })
                })?;
                let [file] = files;
                match range(shared, session, bytes, reserved, file) {
                    Ok(reply) => reply,
                    Err(reason) => Reply::Refused { reason },
                }
            }
            (Request::Sample { session, interval }, sockets) => {
                let sockets = <[OwnedFd; 1]>::try_from(sockets).map_err(|sockets| {
                    protocol(&SocketError::Descriptors {
                        expected: 1,
                        got: sockets.len(),
                    })
                })?;
                let [socket] = sockets;
                match sample(shared, session, interval, socket) {
                    Ok(()) => Reply::Done,
                    Err(reason) => Reply::Refused { reason },
                }
            }
            (Request::Lane, sockets) => {
                let socket = <[OwnedFd; 1]>::try_from(sockets).map_err(|sockets| {
                    protocol(&SocketError::Descriptors {
                        expected: 1,
                        got: sockets.len(),
                    })
                })?;
                let [socket] = socket;
                match lane::start(shared, socket, options.stack) {
                    Ok(()) => Reply::Done,
                    Err(reason) => Reply::Refused { reason },
                }
            }
            (request, none) if none.is_empty() => answer(shared, &request),
            (_, descriptors) => {
                return Err(protocol(&SocketError::Descriptors {
                    expected: 0,
                    got: descriptors.len(),
                }));
            }
        };
        match control.send(&reply) {
            Ok(()) => {}
            Err(SocketError::Closed) => return Ok(()),
            Err(error) => return Err(protocol(&error)),
        }
        if !greeted {
            // The other side has read which version this is, and closes the connection.
            return Err(protocol(&"the engine is of another version"));
        }
    }
}

fn refuse_files(_: Vec<OwnedFd>) -> Reply {
    Reply::Refused {
        reason: "a confined executor serves one engine".to_string(),
    }
}

/// Answers what needs no descriptors.
fn answer(shared: &Shared, request: &Request) -> Reply {
    match request {
        Request::Symbol { name, library_call } => {
            let found = match library_call {
                true => symbols::library_call(name),
                false => symbols::symbol(name),
            };
            Reply::Symbol(found.map(ExecutorAddr::new))
        }
        Request::Commit {
            session,
            range,
            bytes,
        } => match commit(shared, *session, *range, *bytes) {
            Ok(()) => Reply::Done,
            Err(reason) => Reply::Refused { reason },
        },
        Request::Unmap { session, range } => {
            if let Some(served) = shared.session(*session) {
                let unmapped = lock(&served.ranges).mapped.remove(range);
                drop(unmapped);
            }
            Reply::Done
        }
        Request::Release { session } => {
            let released = lock(&shared.sessions).remove(session);
            drop(released);
            Reply::Done
        }
        Request::Barrier {
            session,
            start,
            len,
            reused,
        } => {
            let refused = |reason: &dyn ToString| Reply::Refused {
                reason: reason.to_string(),
            };
            let Some(served) = shared.session(*session) else {
                return refused(&"no such session");
            };
            let code = served.memory.code();
            let len = usize::try_from(*len).unwrap_or(usize::MAX);
            let end = start.get().checked_add(len);
            if start.get() < code.start || end.is_none_or(|end| end > code.end) {
                return refused(&"a barrier outside of code memory");
            }
            let start = std::ptr::with_exposed_provenance(start.get());
            // SAFETY: the bytes lie in code memory, which is mapped as long as the session.
            match unsafe { arch::synchronize(start, len, *reused) } {
                Ok(()) => Reply::Done,
                Err(error) => refused(&error),
            }
        }
        Request::Hello { .. }
        | Request::Reserve { .. }
        | Request::Range { .. }
        | Request::Sample { .. }
        | Request::Lane => Reply::Refused {
            reason: "a request that is not due".to_string(),
        },
    }
}

/// Maps the memory of a session and makes it known.
fn reserve(
    shared: &Arc<Shared>,
    number: u32,
    code: u64,
    data: u64,
    [code_file, data_file]: [OwnedFd; 2],
) -> Result<Reserved, String> {
    if lock(&shared.sessions).len() >= MAX_SESSIONS {
        return Err(format!("there are {MAX_SESSIONS} sessions"));
    }
    let size = |bytes| usize::try_from(bytes).map_err(|_| "too much memory".to_string());
    let files = Files {
        code: code_file,
        data: data_file,
        code_bytes: size(code)?,
        data_bytes: size(data)?,
    };
    let memory = Foreign::map(files).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })?;
    let code = memory.code();
    // The first that the other process writes to code memory.
    let runtime = code.start;
    let trap = ExecutorAddr::new(runtime);
    let served = Served {
        _range: ranges::register(CodeRange {
            start: code.start,
            end: code.end,
            runtime,
        }),
        answerer: Answerer::new(Box::new(lane::Asked(number)), trap),
        memory,
        sampler: OnceLock::new(),
        ranges: Mutex::default(),
    };
    let reserved = Reserved {
        session: number,
        start: served.memory.start(),
        points: EntryPoints::here(),
        owner: served.answerer.address(),
        host: lane::host_entry(),
    };
    lock(&shared.sessions).insert(number, Arc::new(served));
    Ok(reserved)
}

/// Samples threads while they run code of a session, once.
fn sample(shared: &Shared, session: u32, interval: u64, socket: OwnedFd) -> Result<(), String> {
    let served = shared.session(session).ok_or("no such session")?;
    if served.sampler.get().is_some() {
        return Err("it is sampled already".to_string());
    }
    let interval = Duration::from_nanos(interval);
    let sampler = Sampler::new(served.memory.code().start, socket, interval)?;
    // Requests come one after another.
    let _ = served.sampler.set(sampler);
    Ok(())
}

/// Reserves addresses for data of a session.
fn range(
    shared: &Shared,
    session: u32,
    bytes: u64,
    reserved: u64,
    file: OwnedFd,
) -> Result<Reply, String> {
    let served = shared.session(session).ok_or("no such session")?;
    let size = |bytes| usize::try_from(bytes).map_err(|_| "too much memory".to_string());
    let mapped = ForeignRange::map(file, size(bytes)?, size(reserved)?);
    let mapped = mapped.map_err(|error| error.to_string())?;
    let mut ranges = lock(&served.ranges);
    if ranges.mapped.len() >= MAX_RANGES {
        return Err(format!("there are {MAX_RANGES} ranges"));
    }
    let range = ranges.next;
    ranges.next = range.checked_add(1).ok_or("there are no numbers left")?;
    let start = mapped.start();
    ranges.mapped.insert(range, mapped);
    Ok(Reply::Range { range, start })
}

/// Makes the first bytes of a range accessible.
fn commit(shared: &Shared, session: u32, range: u32, bytes: u64) -> Result<(), String> {
    let served = shared.session(session).ok_or("no such session")?;
    let ranges = lock(&served.ranges);
    let mapped = ranges.mapped.get(&range).ok_or("no such range")?;
    let bytes = usize::try_from(bytes).map_err(|_| "too much memory")?;
    mapped.commit(bytes).map_err(|error| error.to_string())
}
