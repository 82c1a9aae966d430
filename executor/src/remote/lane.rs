//! A socket, at whose other end is a thread of the executor.
//!
//! Not here: what is said on it (`call`).

use super::socket::Socket;
use std::os::fd::OwnedFd;

/// See the module's page.
#[derive(Debug)]
pub struct Lane(pub(super) Socket);

impl Lane {
    pub fn new(socket: OwnedFd) -> Self {
        Self(Socket::new(socket))
    }

    /// Wakes who waits at either end.
    pub fn close(&self) {
        self.0.close();
    }
}
