//! Tables of references.
//!
//! Elements are 64-bit words. A table reserves what it could grow to, so its base never changes and
//! generated code can keep it; only its length is read again.

use crate::error::{Error, TrapKind};
use crate::space::Range;
use crate::store::Store;
use crate::types::{Limits, TableType};
use crate::vmctx::Definition;

/// The most elements that a table can have here.
pub(crate) const MAX_ELEMENTS: u64 = 10_000_000;
const WORD: u64 = 8;

/// What is behind a table.
#[derive(Debug)]
pub(crate) struct TableData {
    range: Range,
    pub definition: Definition,
    pub ty: TableType,
}

impl TableData {
    pub fn new(store: &Store, ty: TableType, init: u64) -> Result<Self, Error> {
        if ty.limits.minimum > MAX_ELEMENTS {
            return Err(Error::TooLarge {
                what: "the table in elements",
                found: ty.limits.minimum,
                limit: MAX_ELEMENTS,
            });
        }
        let maximum = ty.limits.maximum.unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
        let bytes = to_usize(maximum.max(ty.limits.minimum) * WORD);
        let range = Range::new(store.engine(), bytes, bytes, "a table")?;
        let definition = Definition::new(store.engine(), range.address())?;
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
        self.definition.length()
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
        committed?;
        self.definition.set_length(after);
        if init != 0 {
            self.fill(before, init, delta).ok()?;
        }
        Some(before)
    }

    /// Where `length` elements at `index` are in the range, and how many bytes they have, if the table has them.
    fn at(&self, index: u64, length: u64) -> Result<(usize, usize), TrapKind> {
        let end = index.checked_add(length);
        if end.is_none_or(|end| end > self.length()) {
            return Err(TrapKind::TableOutOfBounds);
        }
        Ok((to_usize(index * WORD), to_usize(length * WORD)))
    }

    pub fn get(&self, index: u64) -> Result<u64, TrapKind> {
        let (at, _) = self.at(index, 1)?;
        let mut word = [0; WORD as usize];
        // SAFETY: what the table has is accessible.
        unsafe { self.range.read(at, &mut word) };
        Ok(u64::from_ne_bytes(word))
    }

    pub fn fill(&self, index: u64, value: u64, length: u64) -> Result<(), TrapKind> {
        let (at, bytes) = self.at(index, length)?;
        for element in (0..bytes).step_by(WORD as usize) {
            // SAFETY: as in `get`.
            unsafe { self.range.write(at + element, &value.to_ne_bytes()) };
        }
        Ok(())
    }

    /// Copies references in.
    pub fn write(&self, index: u64, from: &[u64]) -> Result<(), TrapKind> {
        let (at, _) = self.at(index, from.len() as u64)?;
        let bytes: Vec<u8> = from.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // SAFETY: as in `get`.
        unsafe { self.range.write(at, &bytes) };
        Ok(())
    }

    /// Copies `length` elements from `source`, at `from`, to this table, at `to`; they can overlap.
    pub fn copy(&self, to: u64, source: &Self, from: u64, length: u64) -> Result<(), TrapKind> {
        let (from, _) = source.at(from, length)?;
        let (to, bytes) = self.at(to, length)?;
        // SAFETY: as in `get`, both.
        unsafe { self.range.copy(to, &source.range, from, bytes) };
        Ok(())
    }
}

/// Sizes here are below 2^27, and the host has 64 bits.
fn to_usize(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
