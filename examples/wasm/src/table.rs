//! Tables of references.
//!
//! Elements are 64-bit words. A table reserves what it could grow to, so its base never changes and
//! generated code can keep it; only its length is read again.

use crate::error::{Error, TrapKind};
use crate::reserve::Reservation;
use crate::types::{Limits, TableType};
use crate::vmctx::Definition;
use std::cell::Cell;

/// The most elements that a table can have here.
pub(crate) const MAX_ELEMENTS: u64 = 10_000_000;
const WORD: u64 = 8;

/// What is behind a table.
#[derive(Debug)]
pub(crate) struct TableData {
    range: Reservation,
    pub definition: Definition,
    pub ty: TableType,
}

impl TableData {
    pub fn new(ty: TableType, init: u64) -> Result<Self, Error> {
        if ty.limits.minimum > MAX_ELEMENTS {
            return Err(Error::TooLarge {
                what: "the table in elements",
                found: ty.limits.minimum,
                limit: MAX_ELEMENTS,
            });
        }
        let maximum = ty.limits.maximum.unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
        let bytes = to_usize(maximum.max(ty.limits.minimum) * WORD);
        let range = Reservation::new(bytes).map_err(|source| Error::Reserve {
            what: "a table",
            source,
        })?;
        let definition = Definition {
            base: range.base(),
            length: Cell::new(0),
        };
        let table = Self {
            range,
            definition,
            ty,
        };
        match table.grow(ty.limits.minimum, init) {
            Some(_) => Ok(table),
            None => Err(Error::Reserve {
                what: "a table",
                source: std::io::Error::from(std::io::ErrorKind::OutOfMemory),
            }),
        }
    }

    pub fn length(&self) -> u64 {
        self.definition.length.get()
    }

    /// Its size now, and what it can grow to.
    pub fn limits(&self) -> Limits {
        Limits {
            minimum: self.length(),
            maximum: self.ty.limits.maximum,
        }
    }

    /// Grows by `delta` elements; returns the size before.
    pub fn grow(&self, delta: u64, init: u64) -> Option<u64> {
        let before = self.length();
        let maximum = self.ty.limits.maximum.unwrap_or(MAX_ELEMENTS);
        let after = before.checked_add(delta);
        let after = after.filter(|new| *new <= maximum.min(MAX_ELEMENTS))?;
        let committed = self
            .range
            .commit(to_usize(before * WORD), to_usize(after * WORD));
        committed.ok()?;
        self.definition.length.set(after);
        if init != 0 {
            self.fill(before, init, delta).ok()?;
        }
        Some(before)
    }

    /// The address of `length` elements at `index`, if the table has them.
    fn at(&self, index: u64, length: u64) -> Result<*mut u64, TrapKind> {
        let end = index.checked_add(length);
        if end.is_none_or(|end| end > self.length()) {
            return Err(TrapKind::TableOutOfBounds);
        }
        // SAFETY: the index is within the mapping.
        Ok(unsafe { self.definition.base.cast::<u64>().add(to_usize(index)) })
    }

    pub fn get(&self, index: u64) -> Result<u64, TrapKind> {
        let at = self.at(index, 1)?;
        // SAFETY: the element is accessible, and a multiple of its size from a page's start.
        Ok(unsafe { at.read() })
    }

    pub fn fill(&self, index: u64, value: u64, length: u64) -> Result<(), TrapKind> {
        let at = self.at(index, length)?;
        for element in 0..to_usize(length) {
            // SAFETY: as in `get`.
            unsafe { at.add(element).write(value) };
        }
        Ok(())
    }

    /// Copies references in.
    pub fn write(&self, index: u64, from: &[u64]) -> Result<(), TrapKind> {
        let at = self.at(index, from.len() as u64)?;
        // SAFETY: the elements are accessible; a slice of the host does not overlap them.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), at, from.len()) };
        Ok(())
    }

    /// Copies `length` elements from `source`, at `from`, to this table, at `to`; they can overlap.
    pub fn copy(&self, to: u64, source: &Self, from: u64, length: u64) -> Result<(), TrapKind> {
        let from = source.at(from, length)?;
        let to = self.at(to, length)?;
        // SAFETY: both ranges are accessible; `copy` bears an overlap.
        unsafe { std::ptr::copy(from, to, to_usize(length)) };
        Ok(())
    }
}

/// Sizes here are below 2^27, and the host has 64 bits.
fn to_usize(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
