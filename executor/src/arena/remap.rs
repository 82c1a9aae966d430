//! Emulators that see new instructions only where memory is mapped.
//!
//! A user-mode emulator keeps what it made of the guest's instructions. It notices that they change by what it is told of
//! the addresses at which they are: a store, an instruction that cleans a cache, a mapping. Code memory has two views, and
//! is written at other addresses than those at which it runs; so an emulator to which cleaning caches means nothing (as
//! QEMU's, of RISC-V and of x86-64) would go on with instructions of code that was freed. There, the pages of memory that
//! is used again are mapped again, from the same file.
//!
//! Invariants: whoever runs on such a page or reads from it at that moment goes on; the system replaces it in one step.
//!
//! Not here: what processors need ([`crate::arch`]).

use super::mapping::{Mapping, code_file, page_size};
use super::{Arena, ArenaError, CodeBlock, EXECUTABLE};
use crate::arch;
use crate::locks::lock;
use crate::section;
use std::io;
use std::sync::OnceLock;

/// Whether this process sees new instructions only where memory is mapped: tried, once.
pub fn is_needed() -> Result<bool, ArenaError> {
    static NEEDED: OnceLock<bool> = OnceLock::new();
    if let Some(&needed) = NEEDED.get() {
        return Ok(needed);
    }
    // Two threads may both try it; no fork comes in between.
    let needed = {
        let _section = section::section();
        is_stale()?
    };
    Ok(*NEEDED.get_or_init(|| needed))
}

/// Runs a function, replaces it by another, and says whether it is still the first that runs.
fn is_stale() -> Result<bool, ArenaError> {
    let page = page_size();
    let file = code_file(page)?;
    let (writable, executable) = (Mapping::reserve(page)?, Mapping::reserve(page)?);
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    writable.map(0, page, rw, Some((&file, 0)))?;
    executable.map(0, page, EXECUTABLE, Some((&file, 0)))?;
    let run = |value: u8| -> Result<usize, ArenaError> {
        let code = arch::returning(value);
        let entry = executable.base.as_ptr();
        // SAFETY: the page is as large, and nothing runs there now.
        unsafe { writable.base.as_ptr().copy_from(code.as_ptr(), code.len()) };
        // SAFETY: the page is readable.
        unsafe { arch::synchronize(entry, code.len(), true) }.map_err(|source| {
            ArenaError::System {
                action: "cleaning of instruction caches",
                source,
            }
        })?;
        // SAFETY: a function with this signature is there, or one that was.
        let function = unsafe { std::mem::transmute::<*mut u8, extern "C" fn() -> usize>(entry) };
        Ok(function())
    };
    let first = run(1)?;
    Ok(run(2)? == first)
}

impl Arena {
    /// Maps the pages of a block again, where that is needed.
    pub(super) fn map_again(&self, block: &CodeBlock) -> io::Result<()> {
        // Held, so that no other thread maps the same page in between.
        let file = lock(&self.file);
        let Some(file) = &*file else {
            return Ok(());
        };
        let start = block.offset / self.page * self.page;
        let end = (block.offset + block.len).next_multiple_of(self.page);
        let offset = libc::off_t::try_from(start).map_err(io::Error::other)?;
        let (at, len) = (self.data_bytes + start, end - start);
        self.near
            .map(at, len, self.executable_protection(), Some((file, offset)))
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::ArenaConfig;

    /// Runs one function after another in the same block of code memory.
    #[test]
    fn code_that_replaces_other_code_is_what_runs() {
        let arena = Arena::new(ArenaConfig::default()).unwrap();
        for value in 1..50 {
            let block = arena.alloc_code(16, 16).unwrap();
            let code = arch::returning(value);
            let (at, entry) = (arena.writable(block.offset), arena.executable(block.offset));
            // SAFETY: the block is as large, and nothing runs there.
            unsafe { at.copy_from(code.as_ptr(), code.len()) };
            arena.synchronize(&block).unwrap();
            // SAFETY: a function with this signature is there.
            let function =
                unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> usize>(entry) };
            assert_eq!(function(), usize::from(value));
            arena.free_code(block);
        }
    }
}
