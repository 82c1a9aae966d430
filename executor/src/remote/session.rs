//! One engine's part of an executor that is another process.

use super::answers::Answers;
use super::call;
use super::connection::Connection;
use super::message::{Reply, Request};
use super::range::RemoteRange;
use super::sampled::Samples;
use crate::ExecutorAddr;
use crate::arena::{Arena, ArenaConfig, Elsewhere, MAX_RESERVATION, Shared};
use crate::samples::Sampled;
use crate::session::{
    DataRange, EnterError, ExecutorError, HostEntry, HostFunction, Sampling, Session,
};
use crate::slots::{EntryPoints, Runtime, SlotError, SlotTable};
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A session with an executor that is another process.
#[derive(Debug)]
pub struct Remote {
    connection: Arc<Connection>,
    arena: Arc<Arena>,
    number: u32,
    points: EntryPoints,
    owner: ExecutorAddr,
    host: ExecutorAddr,
    answers: Arc<Answers>,
}

/// What the arena asks of the executor; the session ends when the last owner of the arena has dropped it.
#[derive(Debug)]
struct There {
    connection: Arc<Connection>,
    number: u32,
}

impl Elsewhere for There {
    fn synchronize(&self, start: ExecutorAddr, len: usize, reused: bool) -> io::Result<()> {
        // Where nothing was before, x86-64 fetches what was stored.
        if !reused && cfg!(target_arch = "x86_64") {
            return self.connection.check().map_err(io::Error::other);
        }
        let request = Request::Barrier {
            session: self.number,
            start,
            len: len as u64,
            reused,
        };
        match self.connection.request(&request, &[]) {
            Ok(Reply::Done) => Ok(()),
            Ok(other) => Err(io::Error::other(self.connection.unexpected(other))),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Drop for There {
    fn drop(&mut self) {
        self.connection.end_session(self.number);
    }
}

impl Remote {
    /// Makes memory, and has the executor map it.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn new(
        connection: &Arc<Connection>,
        config: ArenaConfig,
    ) -> Result<Self, crate::executor::SessionError> {
        let shared = Shared::new(config)?;
        let [code, data] = shared.sizes();
        let request = Request::Reserve {
            code: code as u64,
            data: data as u64,
        };
        let reserved = match connection.request(&request, &shared.files())? {
            Reply::Reserved(reserved) => reserved,
            other => return Err(connection.unexpected(other).into()),
        };
        let start = reserved.start.get();
        let page_bits = 4096 - 1;
        let end = start.checked_add(code + data).filter(|_| start > 0);
        if end.is_none() || start & page_bits != 0 || code + data > MAX_RESERVATION {
            return Err(connection.unexpected(reserved).into());
        }
        let answers = Arc::new(Answers::default());
        if !connection.add_session(reserved.session, Arc::clone(&answers)) {
            return Err(connection.unexpected(reserved).into());
        }
        let there = There {
            connection: Arc::clone(connection),
            number: reserved.session,
        };
        Ok(Self {
            connection: Arc::clone(connection),
            arena: shared.arena(reserved.start, Arc::new(there))?,
            number: reserved.session,
            points: reserved.points,
            owner: reserved.owner,
            host: reserved.host,
            answers,
        })
    }
}

impl Session for Remote {
    fn is_here(&self) -> bool {
        false
    }

    fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    fn slots(&self, runtime: Box<dyn Runtime>) -> Result<SlotTable, SlotError> {
        let table = SlotTable::answered_by(Arc::clone(&self.arena), self.points, self.owner)?;
        // The executor knows where the runtime's code is: at the start of code memory.
        if self.arena.executable_offset(table.trap_stub_address()) != Some(0)
            || !self.answers.set(runtime)
        {
            return Err(SlotError::Synchronize(io::Error::other(
                "a second table of slots, or one behind other code",
            )));
        }
        Ok(table)
    }

    fn symbol(&self, name: &str) -> Option<ExecutorAddr> {
        self.connection.symbol(name, false)
    }

    fn library_call(&self, name: &str) -> Option<ExecutorAddr> {
        self.connection.symbol(name, true)
    }

    unsafe fn enter(
        &self,
        function: ExecutorAddr,
        first: ExecutorAddr,
        values: &mut [u128],
    ) -> Result<(), EnterError> {
        let Self { connection, .. } = self;
        call::enter(connection, self.number, function, first, values)
    }

    fn sample(
        &self,
        interval: Duration,
        engine: Weak<dyn Sampled>,
    ) -> Result<Box<dyn Sampling>, ExecutorError> {
        let samples = Samples::begin(&self.connection, self.number, interval, engine)?;
        Ok(Box::new(samples))
    }

    fn range(&self, reserved: usize, most: usize) -> Result<Box<dyn DataRange>, ExecutorError> {
        let range = RemoteRange::new(&self.connection, self.number, reserved, most)?;
        Ok(Box::new(range))
    }

    fn host_function(&self, function: Arc<HostFunction>) -> Result<HostEntry, ExecutorError> {
        let number = self.answers.add(function);
        let number = number.ok_or(ExecutorError::Unsupported {
            what: "another host function",
        })?;
        Ok(HostEntry {
            entry: self.host,
            session: self.number,
            function: number,
        })
    }
}
