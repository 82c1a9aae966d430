//! A thread that runs code for a thread of another process.
//!
//! Invariants:
//!
//! * No `RefCell` is borrowed, and no lock held, while generated code runs or the other side is waited for.
//! * When the other side is gone, generated code is told 0, the trap, without waiting.

use super::{MAX_LANES, Shared, lanes_of};
use crate::ExecutorAddr;
use crate::arch::Entered;
use crate::remote::message::{Down, Up, from_bytes, to_bytes};
use crate::remote::socket::{Socket, SocketError};
use crate::samples;
use crate::slots::Runtime;
use crate::trap::call_safely;
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// The lane of a thread.
struct Lane {
    socket: Arc<Socket>,
    shared: Arc<Shared>,
    /// The other side does not answer any more.
    dead: Cell<bool>,
}

thread_local! {
    static LANE: RefCell<Option<Rc<Lane>>> = const { RefCell::new(None) };
}

/// Counts a thread that ends.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        lanes_of(&self.0).running -= 1;
        self.0.ended.notify_all();
    }
}

/// Starts the thread of a lane.
pub fn start(shared: &Arc<Shared>, socket: OwnedFd, stack: usize) -> Result<(), String> {
    let socket = Arc::new(Socket::new(socket));
    {
        let mut lanes = lanes_of(shared);
        if lanes.running >= MAX_LANES {
            return Err(format!("{MAX_LANES} threads run code"));
        }
        lanes.running += 1;
        lanes.sockets.retain(|socket| socket.strong_count() > 0);
        lanes.sockets.push(Arc::downgrade(&socket));
    }
    let running = Running(Arc::clone(shared));
    let shared = Arc::clone(shared);
    let run = move || {
        let running = running;
        let lane = Rc::new(Lane {
            socket,
            shared,
            dead: Cell::new(false),
        });
        LANE.set(Some(Rc::clone(&lane)));
        lane.serve();
        LANE.set(None);
        drop(running);
    };
    let thread = std::thread::Builder::new().stack_size(stack);
    match thread.spawn(run) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

impl Lane {
    /// Makes calls until the connection is closed.
    fn serve(&self) {
        while !self.dead.get() {
            match self.socket.receive::<Down>() {
                Ok(Down::Call {
                    session,
                    function,
                    first,
                    values,
                }) => self.call(session, function, first, &values),
                Ok(_) => self.lost("an answer came that nobody waits for"),
                Err(SocketError::Closed) => return,
                Err(error) => self.lost(&error),
            }
        }
    }

    /// Takes note that the other side cannot be asked any more.
    fn lost(&self, why: impl std::fmt::Display) {
        if !self.dead.replace(true) {
            self.socket.close();
            tracing::error!(%why, "the engine is gone: what it has not compiled traps");
        }
    }

    /// Calls code, and says how it ended.
    fn call(&self, session: u32, function: ExecutorAddr, first: ExecutorAddr, values: &[u8]) {
        let served = self.shared.session(session);
        let served = served.filter(|served| served.memory.code().contains(&function.get()));
        let mut cells = vec![0_u128; values.len() / size_of::<u128>()];
        let said = match (served, from_bytes(values, &mut cells)) {
            (Some(served), Some(())) => {
                if let Some(sampler) = served.sampler.get() {
                    samples::start(sampler.interval);
                }
                let function = std::ptr::with_exposed_provenance::<()>(function.get());
                // SAFETY: it lies in the code memory of a session that is kept; the process that writes there says
                // that it is a function of these arguments.
                let function = unsafe { std::mem::transmute::<*const (), Entered>(function) };
                let cells_at = cells.as_mut_ptr().cast();
                // SAFETY: as above. The frames in between are `ask`'s, which own nothing that a trap may not skip: a trap
                // in a call that `ask` makes ends that call.
                match unsafe { call_safely(function, first.get(), cells_at) } {
                    Ok(()) => Up::Returned(to_bytes(&cells)),
                    Err(fault) => Up::trapped(&fault),
                }
            }
            _ => Up::Refused {
                reason: "a call of what is no code of the session".to_string(),
            },
        };
        if let Err(error) = self.socket.send(&said) {
            self.lost(error);
        }
    }

    /// Asks the other side for something that generated code needs; `None` when there is no answer to be had.
    fn ask(&self, question: &Up) -> Option<Down> {
        if self.dead.get() {
            return None;
        }
        if let Err(error) = self.socket.send(question) {
            self.lost(error);
            return None;
        }
        loop {
            match self.socket.receive::<Down>() {
                // The other side calls back before it answers.
                Ok(Down::Call {
                    session,
                    function,
                    first,
                    values,
                }) => self.call(session, function, first, &values),
                Ok(answer) => return Some(answer),
                Err(error) => {
                    self.lost(error);
                    return None;
                }
            }
        }
    }

    /// The address that is the answer, or 0.
    fn ask_address(&self, question: &Up) -> usize {
        match self.ask(question) {
            Some(Down::Answer(address)) => address.get(),
            Some(_) => {
                self.lost("an answer to another question came");
                0
            }
            None => 0,
        }
    }
}

/// Asks on the lane of the calling thread, if it has one.
fn on_lane<R>(ask: impl FnOnce(&Lane) -> R) -> Option<R> {
    let lane = LANE.try_with(|lane| lane.borrow().as_ref().map(Rc::clone));
    Some(ask(&*lane.ok().flatten()?))
}

/// The runtime of a session: what generated code asks goes to the other process.
pub struct Asked(pub u32);

impl Runtime for Asked {
    fn resolve(&self, unit: u32) -> usize {
        let session = self.0;
        let asked = on_lane(|lane| lane.ask_address(&Up::Resolve { session, unit }));
        match asked {
            None | Some(0) => {
                tracing::error!(unit, "a unit that has no code was called: the call traps");
                0
            }
            Some(address) => address,
        }
    }

    fn hot(&self, unit: u32) -> usize {
        let session = self.0;
        on_lane(|lane| lane.ask_address(&Up::Hot { session, unit })).unwrap_or(0)
    }
}

/// The address of [`regraft_host`].
pub fn host_entry() -> ExecutorAddr {
    ExecutorAddr::new((regraft_host as *const ()).expose_provenance())
}

/// What generated code calls for a host function of the other process: 0 if that has returned, 1 if the call is to trap.
///
/// # Safety
/// `values` points to `count` cells of 16 bytes, which nobody else accesses.
unsafe extern "C" fn regraft_host(
    session: u32,
    function: u32,
    values: *mut u128,
    count: usize,
) -> u32 {
    // SAFETY: the caller's contract.
    let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
    let question = Up::Host {
        session,
        function,
        values: to_bytes(values),
    };
    let asked = AssertUnwindSafe(|| on_lane(|lane| lane.ask(&question)));
    match catch_unwind(asked) {
        Ok(Some(Some(Down::Host(Some(bytes))))) => match from_bytes(&bytes, values) {
            Some(()) => 0,
            None => 1,
        },
        Ok(_) => 1,
        Err(payload) => {
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            1
        }
    }
}
