//! Calls, from the side that makes them.
//!
//! ```text
//!   enter ─▶ Call ─▶ ┌ Resolve, Hot ─▶ the engine ─▶ Answer ┐ … ─▶ Returned, Trapped
//!                    └ Host ─▶ a closure (may enter) ─▶ Host ┘
//! ```
//!
//! Invariants:
//!
//! * A lane is used by one thread at a time, from its outermost call to the end of that. What that thread calls meanwhile goes
//!   the same way, so that the call that began last ends first.
//! * What comes is checked before it is used: numbers of sessions, units and functions are looked up, values are counted.

use super::connection::Connection;
use super::lane::Lane;
use super::message::{Down, MAX_VALUES, Up, from_bytes, to_bytes};
use super::socket::SocketError;
use crate::ExecutorAddr;
use crate::session::{EnterError, ExecutorError, GoneCause};
use crate::trap::Fault;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

thread_local! {
    /// The lanes of the calls that the thread is in, by connection, innermost last.
    static HELD: RefCell<Vec<(u64, Arc<Lane>)>> = const { RefCell::new(vec![]) };
}

/// The lane of a thread's outermost call; given back, and forgotten by the thread, when it is dropped.
struct Hold<'c> {
    connection: &'c Connection,
    lane: Option<Arc<Lane>>,
}

impl<'c> Hold<'c> {
    fn new(connection: &'c Connection) -> Result<Self, ExecutorError> {
        let lane = connection.take_lane()?;
        HELD.with_borrow_mut(|held| held.push((connection.id, Arc::clone(&lane))));
        Ok(Self {
            connection,
            lane: Some(lane),
        })
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.pop());
        if let Some(lane) = self.lane.take() {
            self.connection.give_back(lane);
        }
    }
}

/// Calls `function(first, values)` in the executor.
pub(super) fn enter(
    connection: &Connection,
    session: u32,
    function: ExecutorAddr,
    first: ExecutorAddr,
    values: &mut [u128],
) -> Result<(), EnterError> {
    connection.check().map_err(EnterError::Executor)?;
    let bytes = size_of_val(values);
    if bytes > MAX_VALUES {
        return Err(EnterError::Executor(ExecutorError::TooLong {
            bytes,
            limit: MAX_VALUES,
        }));
    }
    let call = Down::Call {
        session,
        function,
        first,
        values: to_bytes(values),
    };
    let own = HELD.with_borrow(|held| {
        let mut held = held.iter().rev();
        let own = held.find(|(id, _)| *id == connection.id);
        own.map(|(_, lane)| Arc::clone(lane))
    });
    match own {
        Some(lane) => follow(connection, &lane, &call, values),
        None => {
            let hold = Hold::new(connection).map_err(EnterError::Executor)?;
            match &hold.lane {
                Some(lane) => follow(connection, lane, &call, values),
                None => Ok(()),
            }
        }
    }
}

/// Makes a call and does what it asks for, until it has ended.
fn follow(
    connection: &Connection,
    lane: &Lane,
    call: &Down,
    values: &mut [u128],
) -> Result<(), EnterError> {
    let broken = |error: SocketError| EnterError::Executor(connection.fail(error));
    lane.0.send(call).map_err(broken)?;
    loop {
        let answer = match lane.0.receive::<Up>().map_err(broken)? {
            Up::Returned(bytes) => {
                let returned = from_bytes(&bytes, values);
                return returned.ok_or_else(|| {
                    let message = format!("{} bytes of results", bytes.len());
                    EnterError::Executor(connection.fail(GoneCause::Unexpected { message }))
                });
            }
            Up::Trapped {
                kind,
                signal,
                pc,
                address,
            } => {
                return Err(EnterError::Fault(Fault {
                    kind,
                    signal,
                    pc: pc.get(),
                    address: address.map(ExecutorAddr::get),
                }));
            }
            Up::Refused { reason } => {
                return Err(EnterError::Executor(ExecutorError::Refused { reason }));
            }
            Up::Resolve { session, unit } => {
                let answers = connection.answers(session);
                let address = answers.map_or(0, |answers| answers.resolve(unit));
                Down::Answer(ExecutorAddr::new(address))
            }
            Up::Hot { session, unit } => {
                let answers = connection.answers(session);
                let address = answers.map_or(0, |answers| answers.hot(unit));
                Down::Answer(ExecutorAddr::new(address))
            }
            Up::Host {
                session,
                function,
                values,
            } => {
                let answers = connection.answers(session);
                let called = || host(&*answers?.function(function)?, &values);
                Down::Host(called())
            }
        };
        // A host function may have forked: the call is the parent's.
        connection.check().map_err(EnterError::Executor)?;
        lane.0.send(&answer).map_err(broken)?;
    }
}

/// Calls a host function; `None` if it fails or panics, or the values are none.
fn host(function: &crate::session::HostFunction, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut values = vec![0; bytes.len() / size_of::<u128>()];
    from_bytes(bytes, &mut values)?;
    let called = catch_unwind(AssertUnwindSafe(|| function(&mut values)));
    match called {
        Ok(true) => Some(to_bytes(&values)),
        Ok(false) => None,
        Err(payload) => {
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            tracing::error!("a host function panicked: the call traps");
            None
        }
    }
}
