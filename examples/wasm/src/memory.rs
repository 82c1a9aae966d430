//! Linear memory.
//!
//! The index of an access is 32 bits wide, its offset too: whatever they add up to lies within 8 GiB and
//! a vector. So much is reserved, and what the program does not own faults; generated code needs no bounds
//! check. The memory grows in place.
//!
//! Reading and writing from the host copies, and checks: no reference into the memory is given out, as
//! WebAssembly could change what is behind it.

use crate::error::{Error, TrapKind};
use crate::space::Range;
use crate::store::Store;
use crate::types::Limits;
use crate::vmctx::Definition;
use std::rc::Rc;

/// The size of a page of WebAssembly.
pub const PAGE_SIZE: u64 = 65_536;
/// The most pages that a memory with 32-bit indices can have.
const MAX_PAGES: u64 = 65_536;
/// Index and offset of 32 bits each, and the widest access.
const RESERVED: usize = (2 << 32) + PAGE_SIZE as usize;

/// What is behind a memory.
#[derive(Debug)]
pub(crate) struct LinearMemory {
    range: Range,
    pub definition: Definition,
    limits: Limits,
}

impl LinearMemory {
    pub fn new(store: &Store, limits: Limits) -> Result<Self, Error> {
        const WHAT: &str = "a linear memory";
        let most = limits.maximum.unwrap_or(MAX_PAGES).min(MAX_PAGES);
        let most = to_usize(most.max(limits.minimum.min(MAX_PAGES)) * PAGE_SIZE);
        let range = Range::new(store.engine(), RESERVED, most, WHAT)?;
        let bytes = limits.minimum.min(MAX_PAGES) * PAGE_SIZE;
        let committed = range.commit(0, to_usize(bytes));
        committed.ok_or_else(|| Error::Reserve {
            what: WHAT,
            source: std::io::ErrorKind::OutOfMemory.into(),
        })?;
        let definition = Definition::new(store.engine(), range.address())?;
        definition.set_length(bytes);
        Ok(Self {
            range,
            definition,
            limits,
        })
    }

    /// Its size in pages now, and what it can grow to.
    pub fn limits(&self) -> Limits {
        Limits {
            minimum: self.pages(),
            maximum: self.limits.maximum,
        }
    }

    pub fn size(&self) -> u64 {
        self.definition.length()
    }

    pub fn pages(&self) -> u64 {
        self.size() / PAGE_SIZE
    }

    /// Grows by `delta` pages; returns the size before.
    pub fn grow(&self, delta: u64) -> Option<u64> {
        let before = self.pages();
        let maximum = self.limits.maximum.unwrap_or(MAX_PAGES).min(MAX_PAGES);
        let after = before.checked_add(delta).filter(|new| *new <= maximum)?;
        let (from, to) = (before * PAGE_SIZE, after * PAGE_SIZE);
        self.range.commit(to_usize(from), to_usize(to))?;
        self.definition.set_length(to);
        Some(before)
    }

    /// Where `length` bytes at `offset` are in the range, if the memory has them.
    fn at(&self, offset: u64, length: u64) -> Result<usize, TrapKind> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.size()) {
            return Err(TrapKind::MemoryOutOfBounds);
        }
        Ok(to_usize(offset))
    }

    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), TrapKind> {
        let from = self.at(offset, into.len() as u64)?;
        // SAFETY: what the memory has is accessible.
        unsafe { self.range.read(from, into) };
        Ok(())
    }

    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), TrapKind> {
        let to = self.at(offset, from.len() as u64)?;
        // SAFETY: as in `read`.
        unsafe { self.range.write(to, from) };
        Ok(())
    }

    pub fn fill(&self, offset: u64, value: u8, length: u64) -> Result<(), TrapKind> {
        let to = self.at(offset, length)?;
        // SAFETY: as in `read`.
        unsafe { self.range.fill(to, value, to_usize(length)) };
        Ok(())
    }

    /// Copies `length` bytes from `source`, at `from`, to this memory, at `to`; they can overlap.
    pub fn copy(&self, to: u64, source: &Self, from: u64, length: u64) -> Result<(), TrapKind> {
        let from = source.at(from, length)?;
        let to = self.at(to, length)?;
        // SAFETY: as in `read`, both.
        unsafe { self.range.copy(to, &source.range, from, to_usize(length)) };
        Ok(())
    }
}

/// Sizes here are below 2^34, and the host has 64 bits.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A linear memory of a store.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(crate) store: Store,
    pub(crate) inner: Rc<LinearMemory>,
}

impl Memory {
    /// A memory that no module defines.
    ///
    /// # Errors
    ///
    /// `Reserve`; `TooLarge`.
    pub fn new(store: &Store, limits: Limits) -> Result<Self, Error> {
        if limits.minimum > MAX_PAGES {
            return Err(Error::TooLarge {
                what: "the memory in pages",
                found: limits.minimum,
                limit: MAX_PAGES,
            });
        }
        let inner = Rc::new(LinearMemory::new(store, limits)?);
        Ok(Self {
            store: store.clone(),
            inner,
        })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// Grows by `delta` pages; the number of pages before, or nothing where it cannot.
    pub fn grow(&self, delta: u64) -> Option<u64> {
        self.inner.grow(delta)
    }

    fn refused(&self, offset: u64, length: usize) -> Error {
        Error::MemoryAccess {
            offset,
            length: length as u64,
            size: self.size(),
        }
    }

    /// Copies bytes out.
    ///
    /// # Errors
    ///
    /// `MemoryAccess` where they are not all inside.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let length = into.len();
        let read = self.inner.read(offset, into);
        read.map_err(|_| self.refused(offset, length))
    }

    /// Copies bytes out into a vector.
    ///
    /// # Errors
    ///
    /// `MemoryAccess` where they are not all inside.
    pub fn read_vec(&self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let fits = offset.checked_add(length);
        if fits.is_none_or(|end| end > self.size()) {
            return Err(self.refused(offset, to_usize(length)));
        }
        let mut bytes = vec![0; to_usize(length)];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies bytes in.
    ///
    /// # Errors
    ///
    /// `MemoryAccess` where they do not all fit.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), Error> {
        let written = self.inner.write(offset, from);
        written.map_err(|_| self.refused(offset, from.len()))
    }
}
