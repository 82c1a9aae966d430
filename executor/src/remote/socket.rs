//! Packets with descriptors over Unix sockets.
//!
//! A packet is sent and received whole (`SOCK_SEQPACKET`), so that no message has to be told from the next.
//!
//! Invariants: what is received is a message in its type, and has as many descriptors as the caller expects.

use super::message::{MAX, MessageError, decode, encode};
use crate::session::GoneCause;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why nothing was sent or received.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The other side has closed the connection, or has died.
    #[error("the connection was closed")]
    Closed,
    /// It has not answered for so long that it is not waited for any more.
    #[error("there was no answer in time")]
    Late,
    /// It sent what it must not send, or the message cannot be sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A descriptor is missing, or there is one too many.
    #[error("{got} descriptors came instead of {expected}")]
    Descriptors {
        /// How many should have come.
        expected: usize,
        /// How many came.
        got: usize,
    },
    /// The operating system's answer.
    #[error("{0}")]
    System(Errno),
}

impl From<SocketError> for GoneCause {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Closed => Self::Closed,
            SocketError::Late => Self::Late,
            SocketError::System(errno) => Self::System(Arc::new(errno.into())),
            error @ (SocketError::Message(_) | SocketError::Descriptors { .. }) => {
                Self::Malformed {
                    message: error.to_string(),
                }
            }
        }
    }
}

impl From<Errno> for SocketError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Self::Closed,
            Errno::AGAIN => Self::Late,
            errno => Self::System(errno),
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Mutex<Box<[u8]>>,
}

/// Descriptors that may come with one message.
const MAX_DESCRIPTORS: usize = 2;

impl Socket {
    pub fn new(fd: OwnedFd) -> Self {
        let buffer = Mutex::new(vec![0; MAX].into_boxed_slice());
        Self { fd, buffer }
    }

    /// Two ends, connected.
    pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
    }

    /// Has [`Socket::receive`] fail when nothing has come for so long.
    pub fn expect_within(&self, time: std::time::Duration) -> Result<(), SocketError> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        set_socket_timeout(&self.fd, Timeout::Recv, Some(time))?;
        Ok(set_socket_timeout(&self.fd, Timeout::Send, Some(time))?)
    }

    /// Not in a section: a fork does not wait for who waits for a message.
    fn buffer(&self) -> MutexGuard<'_, Box<[u8]>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits at either end; nothing comes any more.
    pub fn close(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Both);
    }

    /// Sends a message.
    pub fn send(&self, message: &impl Serialize) -> Result<(), SocketError> {
        let mut buffer = self.buffer();
        let bytes = encode(message, &mut buffer)?;
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends a message, and descriptors along.
    pub fn send_with(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let mut buffer = self.buffer();
        let bytes = encode(message, &mut buffer)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if !along.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(SocketError::Descriptors {
                expected: MAX_DESCRIPTORS,
                got: descriptors.len(),
            });
        }
        loop {
            let bytes = [IoSlice::new(bytes)];
            match rustix::net::sendmsg(&self.fd, &bytes, &mut along, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits for a message without descriptors.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<T, SocketError> {
        let mut buffer = self.buffer();
        loop {
            match rustix::net::recv(&self.fd, &mut **buffer, RecvFlags::TRUNC) {
                Ok((_, 0)) => return Err(SocketError::Closed),
                Ok((_, len)) => {
                    let bytes = buffer.get(..len).ok_or(MessageError::TooLong)?;
                    return Ok(decode(bytes)?);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits for a message and the descriptors that came along.
    pub fn receive_with<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), SocketError> {
        let mut buffer = self.buffer();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        loop {
            let mut along = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let received = match rustix::net::recvmsg(&self.fd, &mut slices, &mut along, flags) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let mut descriptors = vec![];
            for message in along.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            if received.bytes == 0 {
                return Err(SocketError::Closed);
            }
            if received.flags.contains(ReturnFlags::CTRUNC) {
                return Err(SocketError::Descriptors {
                    expected: MAX_DESCRIPTORS,
                    got: descriptors.len() + 1,
                });
            }
            let bytes = buffer.get(..received.bytes);
            return Ok((decode(bytes.ok_or(MessageError::TooLong)?)?, descriptors));
        }
    }
}
