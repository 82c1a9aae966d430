//! Addresses for a program's data in an executor that is another process.

use super::connection::Connection;
use super::message::{Reply, Request};
use crate::ExecutorAddr;
use crate::arena::SharedRange;
use crate::session::{DataRange, ExecutorError};
use std::sync::Arc;

/// A range of an executor, and the view of it in this process.
#[derive(Debug)]
pub struct RemoteRange {
    connection: Arc<Connection>,
    session: u32,
    number: u32,
    start: ExecutorAddr,
    shared: SharedRange,
}

impl RemoteRange {
    /// Makes memory, and has the executor reserve addresses for it.
    pub fn new(
        connection: &Arc<Connection>,
        session: u32,
        reserved: usize,
        most: usize,
    ) -> Result<Self, ExecutorError> {
        let shared = SharedRange::new(most);
        let shared = shared.map_err(|error| ExecutorError::Memory(Arc::new(error)))?;
        let request = Request::Range {
            session,
            bytes: shared.size() as u64,
            reserved: reserved.max(shared.size()) as u64,
        };
        match connection.request(&request, &[shared.file()])? {
            Reply::Range { range, start } => Ok(Self {
                connection: Arc::clone(connection),
                session,
                number: range,
                start,
                shared,
            }),
            other => Err(connection.unexpected(other)),
        }
    }
}

impl DataRange for RemoteRange {
    fn address(&self) -> ExecutorAddr {
        self.start
    }

    fn commit(&self, bytes: usize) -> Result<(), ExecutorError> {
        let request = Request::Commit {
            session: self.session,
            range: self.number,
            bytes: bytes as u64,
        };
        match self.connection.request(&request, &[])? {
            Reply::Done => Ok(()),
            other => Err(self.connection.unexpected(other)),
        }
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        self.shared.read(offset, bytes)
    }

    /// Nothing in the child of a fork: the memory is its parent's.
    fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        self.connection.check().ok()?;
        self.shared.write(offset, bytes)
    }
}

impl Drop for RemoteRange {
    fn drop(&mut self) {
        let request = Request::Unmap {
            session: self.session,
            range: self.number,
        };
        // A connection that is gone has nothing to be told.
        let _ = self.connection.request(&request, &[]);
    }
}
