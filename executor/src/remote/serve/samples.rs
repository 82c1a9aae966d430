//! Samples of threads that run code, on their way to the process that made it.

use crate::ExecutorAddr;
use crate::remote::message::Seen;
use crate::remote::socket::Socket;
use crate::samples::{Sampled, Wanted};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Samples of a session are sent as long as this exists.
#[derive(Debug)]
pub struct Sampler {
    /// The processor time from one sample to the next.
    pub interval: Duration,
    socket: Arc<Packets>,
    _wanted: Wanted,
}

#[derive(Debug)]
struct Packets(Socket);

impl Sampled for Packets {
    fn sampled(self: Arc<Self>, pc: usize) {
        if self.0.send(&Seen(ExecutorAddr::new(pc))).is_err() {
            // Nobody reads any more.
            self.0.close();
        }
    }
}

impl Sampler {
    /// Sends samples of the code that starts at `code` to a socket.
    pub fn new(code: usize, socket: OwnedFd, interval: Duration) -> Result<Self, String> {
        let socket = Arc::new(Packets(Socket::new(socket)));
        let packets = Arc::downgrade(&socket);
        Ok(Self {
            interval,
            socket,
            _wanted: Wanted::register(code, packets).map_err(|error| error.to_string())?,
        })
    }
}

impl Drop for Sampler {
    /// Wakes who sends a sample that nobody reads, before it is waited for.
    fn drop(&mut self) {
        self.socket.0.close();
    }
}
