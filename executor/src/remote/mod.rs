//! Executors that are processes of their own.
//!
//! ```text
//!   makes code                                           runs code
//!   ┌──────────────────────┐                             ┌──────────────────────┐
//!   │ Connection ──────────│─ control: one request, ────▶│ serve                │
//!   │                      │           one reply         │                      │
//!   │ a thread in a call ──│─ lane: call ───────────────▶│ its thread, running  │
//!   │   resolve, compile ◀─│─── resolve, hot, host ──────│   generated code     │
//!   │   … ─────────────────│─── answer ─────────────────▶│   …                  │
//!   │   goes on ◀──────────│─── returned, trapped ───────│                      │
//!   └──────────────────────┘                             └──────────────────────┘
//! ```
//!
//! A thread that calls generated code has a *lane*: a socket, and a thread of the executor at its other end. So the two
//! threads act as one. What generated code asks for is answered by the thread that called it, as in one process: a
//! compilation holds up the caller that needs it, and nobody else; a host function that calls generated code again does
//! so on the same lane, and calls and returns nest.
//!
//! Invariants:
//!
//! * Messages are packets of at most [`message::MAX`] bytes, decoded as a whole or not at all. One that is not decoded, or
//!   is not due, closes the connection.
//! * When the connection is closed at either end, everybody who waits for a message is woken: the kernel closes the
//!   sockets of a process that dies.
//! * No call into code is made for a packet alone: a callee lies in memory that the session was given.
//! * A pin of reclamation ([`crate::epoch`]) is of the thread that makes the call, and lasts until it has returned. The
//!   message is behind the pin, so that the executor's thread is inside only while its caller is pinned.
//!
//! Limitations: threads that generated code starts by itself in the executor have no lane: what they call first is not
//! compiled, and traps; their hot loops stay at tier 0. Their time inside is not known to reclamation. One machine.
//!
//! Not here: what is compiled (the crate `regraft`).

#[cfg(feature = "command")]
pub mod command;
pub mod message;

mod answers;
mod call;
mod connection;
mod lane;
mod process;
mod range;
mod sampled;
#[cfg(feature = "command")]
mod sandbox;
pub mod serve;
mod session;
mod socket;

pub use connection::Connection;
pub use process::{Program, Spawned};
pub(crate) use session::Remote;
