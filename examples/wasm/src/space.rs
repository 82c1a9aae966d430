//! Where the memory of a store is: with the code that uses it, in this process or in another.
//!
//! ```text
//!   Range   grows in place, its end is a fault      linear memories, tables
//!   Cells   of a fixed size                         contexts, definitions, globals, records of functions
//! ```
//!
//! Either has an address, which generated code uses, and is read and written from here by offset.
//!
//! Invariants: addresses never change. What is read of memory that another process has can be anything: it is used as a value of
//! the program, or looked up.

use crate::error::Error;
use crate::reserve::Reservation;
use regraft::Engine;
use regraft::executor::{ProgramMemory, ProgramRange};
use std::cell::UnsafeCell;

/// A range that is reserved at once, and accessible from its start on.
#[derive(Debug)]
pub(crate) enum Range {
    Here(Reservation),
    There(ProgramRange),
}

impl Range {
    /// Reserves addresses, of which the first `most` can become accessible.
    pub fn new(
        engine: &Engine,
        reserved: usize,
        most: usize,
        what: &'static str,
    ) -> Result<Self, Error> {
        if engine.config().executor.is_here() {
            let refused = |source| Error::Reserve { what, source };
            return Ok(Self::Here(Reservation::new(reserved).map_err(refused)?));
        }
        Ok(Self::There(engine.program_range(reserved, most)?))
    }

    /// Where generated code finds it.
    pub fn address(&self) -> u64 {
        match self {
            Self::Here(range) => range.base().expose_provenance() as u64,
            Self::There(range) => range.address().get() as u64,
        }
    }

    /// Makes the bytes from `from` to `to` accessible; those before `from` are.
    pub fn commit(&self, from: usize, to: usize) -> Option<()> {
        match self {
            Self::Here(range) => range.commit(from, to).ok(),
            Self::There(_) if from == to => Some(()),
            Self::There(range) => range.commit(to).ok(),
        }
    }

    /// Copies bytes out.
    ///
    /// # Safety
    ///
    /// They are accessible.
    pub unsafe fn read(&self, offset: usize, into: &mut [u8]) {
        match self {
            Self::Here(range) => {
                // SAFETY: the caller's contract; a slice of the host does not overlap them, and one thread has both.
                unsafe {
                    let from = range.base().add(offset);
                    std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len());
                }
            }
            Self::There(range) => range.read(offset, into).unwrap_or_default(),
        }
    }

    /// Copies bytes in.
    ///
    /// # Safety
    ///
    /// They are accessible.
    pub unsafe fn write(&self, offset: usize, from: &[u8]) {
        match self {
            Self::Here(range) => {
                // SAFETY: as in `read`.
                unsafe {
                    let to = range.base().add(offset);
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
                }
            }
            Self::There(range) => range.write(offset, from).unwrap_or_default(),
        }
    }

    /// Sets bytes to a value.
    ///
    /// # Safety
    ///
    /// They are accessible.
    pub unsafe fn fill(&self, offset: usize, value: u8, length: usize) {
        match self {
            Self::Here(range) => {
                // SAFETY: the caller's contract.
                unsafe { std::ptr::write_bytes(range.base().add(offset), value, length) }
            }
            Self::There(range) => {
                let piece = vec![value; length.min(PIECE)];
                for at in (0..length).step_by(PIECE) {
                    let piece = &piece[..PIECE.min(length - at)];
                    range.write(offset + at, piece).unwrap_or_default();
                }
            }
        }
    }

    /// Copies `length` bytes of `source` to here; they can overlap.
    ///
    /// # Safety
    ///
    /// Both are accessible.
    pub unsafe fn copy(&self, to: usize, source: &Self, from: usize, length: usize) {
        match (self, source) {
            (Self::Here(own), Self::Here(other)) => {
                // SAFETY: the caller's contract; `copy` bears an overlap.
                unsafe { std::ptr::copy(other.base().add(from), own.base().add(to), length) }
            }
            (own, other) => {
                let mut bytes = vec![0; length];
                // SAFETY: the caller's contract.
                unsafe {
                    other.read(from, &mut bytes);
                    own.write(to, &bytes);
                }
            }
        }
    }
}

/// How much is written at once.
const PIECE: usize = 1 << 16;

/// Memory of a fixed size, aligned to 16 bytes. Generated code writes to it while the host has a shared reference.
#[derive(Debug)]
pub(crate) enum Cells {
    Here(Box<[UnsafeCell<u128>]>),
    There(ProgramMemory),
}

impl Cells {
    /// So many bytes, all zero.
    pub fn new(engine: &Engine, size: usize) -> Result<Self, Error> {
        if engine.config().executor.is_here() {
            let words = (0..size.div_ceil(16)).map(|_| UnsafeCell::new(0));
            return Ok(Self::Here(words.collect()));
        }
        Ok(Self::There(engine.program_memory(size.max(16), 16)?))
    }

    /// Where generated code finds it.
    pub fn address(&self) -> u64 {
        match self {
            Self::Here(words) => words.as_ptr().expose_provenance() as u64,
            Self::There(memory) => memory.address().get() as u64,
        }
    }

    /// The cell of 16 bytes at a multiple of 16.
    ///
    /// # Panics
    ///
    /// Where there is none, which layouts exclude.
    pub fn cell(&self, offset: usize) -> u128 {
        match self {
            // SAFETY: nobody has a reference to the contents, and generated code of this thread waits or does not run.
            Self::Here(words) => unsafe { words[offset / 16].get().read() },
            Self::There(memory) => {
                let mut bytes = [0; 16];
                let read = memory.read(offset, &mut bytes);
                assert!(read.is_some(), "a cell of the memory");
                u128::from_ne_bytes(bytes)
            }
        }
    }

    /// Sets the cell at a multiple of 16.
    ///
    /// # Panics
    ///
    /// As [`Cells::cell`].
    pub fn set_cell(&self, offset: usize, value: u128) {
        match self {
            // SAFETY: as in `cell`.
            Self::Here(words) => unsafe { words[offset / 16].get().write(value) },
            Self::There(memory) => {
                let written = memory.write(offset, &value.to_ne_bytes());
                assert!(written.is_some(), "a cell of the memory");
            }
        }
    }

    /// The word at a multiple of 8.
    ///
    /// # Panics
    ///
    /// As [`Cells::cell`].
    pub fn word(&self, offset: usize) -> u64 {
        let cell = self.cell(offset / 16 * 16);
        (cell >> (offset % 16 * 8)) as u64
    }

    /// Sets the word at a multiple of 8.
    ///
    /// # Panics
    ///
    /// As [`Cells::cell`].
    pub fn set_word(&self, offset: usize, value: u64) {
        let cell = offset / 16 * 16;
        let shift = offset % 16 * 8;
        let rest = self.cell(cell) & !(u128::from(u64::MAX) << shift);
        self.set_cell(cell, rest | u128::from(value) << shift);
    }
}
