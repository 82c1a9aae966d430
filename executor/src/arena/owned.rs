//! Blocks of memory that go back to their arena with their owner.
//!
//! Nothing may run or read them any more when the owner is dropped: this is the owner's to know.

use super::{Arena, ArenaError, CodeBlock, DataBlock};
use std::sync::Arc;

/// A block of code memory.
#[derive(Debug)]
pub struct OwnedCode {
    arena: Arc<Arena>,
    /// There until it is dropped.
    block: Option<CodeBlock>,
}

impl OwnedCode {
    /// Takes charge of a block of `arena`.
    pub fn new(arena: &Arc<Arena>, block: CodeBlock) -> Self {
        Self {
            arena: Arc::clone(arena),
            block: Some(block),
        }
    }

    /// As [`Arena::synchronize`].
    ///
    /// # Errors
    /// As there.
    pub fn synchronize(&self) -> std::io::Result<()> {
        let block = self.block.iter();
        block
            .into_iter()
            .try_for_each(|block| self.arena.synchronize(block))
    }

    /// Copies `len` bytes from the address at which they run; what is not in the block is left out.
    ///
    /// Nobody writes to the block meanwhile: to be called once its code is complete.
    pub fn read(&self, address: usize, len: usize) -> Vec<u8> {
        let Some(block) = &self.block else {
            return vec![];
        };
        self.arena.read_code(block, address, len)
    }

    /// Bytes of code memory that it takes up.
    pub fn size(&self) -> usize {
        self.block.as_ref().map_or(0, CodeBlock::size)
    }
}

impl Drop for OwnedCode {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.arena.free_code(block);
        }
    }
}

/// A block of data memory.
#[derive(Debug)]
pub struct OwnedData {
    arena: Arc<Arena>,
    /// There until it is dropped.
    block: Option<DataBlock>,
}

impl OwnedData {
    /// Allocates zeroed bytes at a multiple of `align`.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] when data memory is full.
    pub fn new(arena: &Arc<Arena>, bytes: usize, align: usize) -> Result<Self, ArenaError> {
        let block = arena.alloc_data(bytes, align)?;
        Ok(Self {
            arena: Arc::clone(arena),
            block: Some(block),
        })
    }

    /// The block, which is there as long as the owner.
    pub fn block(&self) -> Option<&DataBlock> {
        self.block.as_ref()
    }

    /// The address of the first byte for generated code.
    pub fn address(&self) -> usize {
        let block = self.block.as_ref();
        block.map_or(0, DataBlock::executor_address)
    }
}

impl Drop for OwnedData {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.arena.free_data(block);
        }
    }
}
