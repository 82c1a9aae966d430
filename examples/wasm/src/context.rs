//! The memory that generated code gets as its context.
//!
//! Generated code writes to it (its globals) while the host has a shared reference: it is a slice of cells
//! with interior mutability, accessed through raw pointers only. Where what is: [`crate::vmctx`].

use crate::instance::InstanceData;
use crate::vmctx::{Definition, FuncRecord};
use std::cell::UnsafeCell;

/// The context of an instance; its address never changes.
#[derive(Debug)]
pub(crate) struct Context {
    words: Box<[UnsafeCell<u128>]>,
}

impl Context {
    /// A context of this size, all zero.
    pub fn new(size: usize) -> Self {
        let words = (0..size.div_ceil(16)).map(|_| UnsafeCell::new(0));
        Self {
            words: words.collect(),
        }
    }

    /// What generated code gets.
    pub fn pointer(&self) -> *mut u8 {
        let pointer: *mut u8 = self.words.as_ptr().cast_mut().cast();
        pointer.expose_provenance();
        pointer
    }

    /// The address of `size` bytes at `offset`.
    ///
    /// # Panics
    ///
    /// Where they are not all inside, which the layout excludes.
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset + size <= self.words.len() * 16, "context field");
        // SAFETY: the bytes are inside of the slice.
        unsafe { self.pointer().add(offset) }
    }

    pub fn set_instance(&self, instance: *const InstanceData) {
        self.set_pointer(0, instance.cast());
    }

    pub fn set_pointer(&self, offset: usize, value: *const u8) {
        value.expose_provenance();
        let at = self.at(offset, 8).cast::<*const u8>();
        // SAFETY: the field is inside and aligned: offsets are multiples of 8.
        unsafe { at.write(value) };
    }

    pub fn set_word(&self, offset: usize, value: u64) {
        // SAFETY: as in `set_pointer`.
        unsafe { self.at(offset, 8).cast::<u64>().write(value) };
    }

    /// Sets the entry of a memory or table, which its owner keeps in place.
    pub fn set_definition(&self, offset: usize, definition: &Definition) {
        self.set_pointer(offset, definition.base);
        let definition: *const Definition = definition;
        self.set_pointer(offset + 8, definition.cast());
    }

    /// The cell of a global.
    pub fn cell(&self, offset: usize) -> *mut u128 {
        self.at(offset, 16).cast()
    }

    pub fn get_cell(&self, offset: usize) -> u128 {
        // SAFETY: the cell is inside and aligned: globals begin at a multiple of 16.
        unsafe { self.cell(offset).read() }
    }

    pub fn set_cell(&self, offset: usize, value: u128) {
        // SAFETY: as in `get_cell`.
        unsafe { self.cell(offset).write(value) };
    }

    /// The record of a function.
    pub fn record(&self, offset: usize) -> *const FuncRecord {
        self.at(offset, size_of::<FuncRecord>()).cast()
    }
}
