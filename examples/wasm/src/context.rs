//! The memory that generated code gets as its context. Where what is: [`crate::vmctx`].

use crate::error::Error;
use crate::instance::InstanceData;
use crate::space::Cells;
use crate::vmctx::Definition;
use regraft::Engine;
use std::rc::Rc;

/// The context of an instance; its address never changes.
#[derive(Debug)]
pub(crate) struct Context {
    pub cells: Rc<Cells>,
}

impl Context {
    /// A context of this size, all zero.
    pub fn new(engine: &Engine, size: usize) -> Result<Self, Error> {
        Ok(Self {
            cells: Rc::new(Cells::new(engine, size)?),
        })
    }

    /// What generated code gets.
    pub fn address(&self) -> u64 {
        self.cells.address()
    }

    /// Lets functions of the runtime find the instance, where they are called directly.
    pub fn set_instance(&self, instance: *const InstanceData) {
        if let Cells::Here(_) = &*self.cells {
            self.set_word(0, instance.expose_provenance() as u64);
        }
    }

    pub fn set_word(&self, offset: usize, value: u64) {
        self.cells.set_word(offset, value);
    }

    /// Sets the entry of a memory or table, which its owner keeps in place.
    pub fn set_definition(&self, offset: usize, definition: &Definition) {
        self.set_word(offset, definition.base);
        self.set_word(offset + 8, definition.address());
    }

    pub fn get_cell(&self, offset: usize) -> u128 {
        self.cells.cell(offset)
    }

    pub fn set_cell(&self, offset: usize, value: u128) {
        self.cells.set_cell(offset, value);
    }

    /// The address of the record of a function.
    pub fn record(&self, offset: usize) -> u64 {
        self.address() + offset as u64
    }
}
