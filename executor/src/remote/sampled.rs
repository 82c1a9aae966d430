//! Samples of code that runs in another process: packets on a socket of their own, which a thread of this process reads.
//!
//! Invariants: an address that comes is looked up, and means nothing where no code is.
//!
//! Limitations: a sample that comes while the reader is busy waits in the socket; when that is full, the executor's thread that
//! sends samples waits, and its ring loses the oldest.

use super::connection::Connection;
use super::message::{Reply, Request, Seen};
use super::socket::{Socket, SocketError};
use crate::samples::Sampled;
use crate::session::{ExecutorError, Sampling};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Samples come as long as this exists.
#[derive(Debug)]
pub struct Samples(Arc<Socket>);

impl Sampling for Samples {}

impl Samples {
    /// Has the executor sample code of a session.
    pub fn begin(
        connection: &Arc<Connection>,
        session: u32,
        interval: Duration,
        engine: Weak<dyn Sampled>,
    ) -> Result<Self, ExecutorError> {
        let (ours, theirs) =
            Socket::pair().map_err(|errno| ExecutorError::system("socketpair", errno))?;
        let request = Request::Sample {
            session,
            interval: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
        };
        match connection.request(&request, &[theirs.as_fd()])? {
            Reply::Done => {}
            other => return Err(connection.unexpected(other)),
        }
        let socket = Arc::new(Socket::new(ours));
        let (reader, connection) = (Arc::clone(&socket), Arc::downgrade(connection));
        let thread = std::thread::Builder::new().name("regraft-samples".to_string());
        let read = move || read(&reader, &connection, &engine);
        thread
            .spawn(read)
            .map_err(|error| ExecutorError::system("starting a thread for samples", error))?;
        Ok(Self(socket))
    }
}

impl Drop for Samples {
    /// The thread ends by itself: it may be the one that drops this.
    fn drop(&mut self) {
        self.0.close();
    }
}

fn read(socket: &Socket, connection: &Weak<Connection>, engine: &Weak<dyn Sampled>) {
    loop {
        match socket.receive::<Seen>() {
            Ok(Seen(pc)) => match engine.upgrade() {
                Some(engine) => engine.sampled(pc.get()),
                None => return,
            },
            Err(SocketError::Closed) => return,
            Err(error) => {
                if let Some(connection) = connection.upgrade() {
                    connection.fail(error);
                }
                return;
            }
        }
    }
}
