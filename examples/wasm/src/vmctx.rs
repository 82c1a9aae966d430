//! The layout of an instance as generated code sees it.
//!
//! ```text
//!   vmctx ─▶ 0   the instance (for functions of the runtime)
//!            8   …
//!            16  memories    base, definition         16 bytes each
//!                tables      base, definition         16 bytes each
//!                imports     code, vmctx              16 bytes each
//!                globals     imported: address of the cell; own: the cell     16 bytes each
//!                tags        address                16 bytes each
//!                records     code, vmctx, type        24 bytes each
//! ```
//!
//! The base of a memory or table never changes: both grow in place. What can change is in its
//! definition, which an importing instance shares. A record is what a function reference points to.
//!
//! Everything but the own globals is constant once the instance is made: loads of it are `readonly` and
//! can be moved.
//!
//! Not here: who fills it in ([`crate::instance`]).

use crate::error::Error;
use crate::module::ModuleData;
use crate::space::Cells;
use regraft::Engine;

/// What a function reference points to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FuncRecord {
    /// The stable address of its code.
    pub code: u64,
    /// The address of the context that it runs with.
    pub vmctx: u64,
    /// Its type, by number in the store.
    pub ty: u64,
}

/// Offsets in a [`FuncRecord`].
pub(crate) const RECORD_CODE: i32 = 0;
pub(crate) const RECORD_VMCTX: i32 = 8;
pub(crate) const RECORD_TYPE: i32 = 16;
pub(crate) const RECORD_SIZE: usize = 24;

/// The mutable part of a memory or table.
#[derive(Debug)]
pub(crate) struct Definition {
    /// Where it begins; constant.
    pub base: u64,
    /// What generated code reads: the base, and the size in bytes or elements.
    cells: Cells,
}

impl Definition {
    pub fn new(engine: &Engine, base: u64) -> Result<Self, Error> {
        let cells = Cells::new(engine, 16)?;
        cells.set_word(0, base);
        Ok(Self { base, cells })
    }

    /// Where generated code finds it.
    pub fn address(&self) -> u64 {
        self.cells.address()
    }

    /// The size in bytes or elements.
    pub fn length(&self) -> u64 {
        self.cells.word(DEFINITION_LENGTH as usize)
    }

    pub fn set_length(&self, length: u64) {
        self.cells.set_word(DEFINITION_LENGTH as usize, length);
    }
}

/// The offset of the length in a [`Definition`].
pub(crate) const DEFINITION_LENGTH: i32 = 8;

/// Offsets in the context of a module's instances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    tables: usize,
    imports: usize,
    globals: usize,
    tags: usize,
    records: usize,
    /// The size of the whole.
    pub size: usize,
}

const MEMORIES: usize = 16;
const ENTRY: usize = 16;

impl Layout {
    pub fn new(module: &ModuleData) -> Self {
        let tables = MEMORIES + module.memories.len() * ENTRY;
        let imports = tables + module.tables.len() * ENTRY;
        let globals = imports + module.imported_functions as usize * ENTRY;
        let tags = globals + module.globals.len() * ENTRY;
        let records = tags + module.tags.len() * ENTRY;
        Self {
            tables,
            imports,
            globals,
            tags,
            records,
            size: records + module.referenced.len() * RECORD_SIZE,
        }
    }

    /// Where the base of a memory is; its definition follows.
    pub fn memory(&self, index: u32) -> usize {
        MEMORIES + index as usize * ENTRY
    }

    /// Where the base of a table is; its definition follows.
    pub fn table(&self, index: u32) -> usize {
        self.tables + index as usize * ENTRY
    }

    /// Where the code of an imported function is; its context follows.
    pub fn import(&self, index: u32) -> usize {
        self.imports + index as usize * ENTRY
    }

    /// Where an own global is, or the address of an imported one.
    pub fn global(&self, index: u32) -> usize {
        self.globals + index as usize * ENTRY
    }

    /// Where the address of a tag is.
    pub fn tag(&self, index: u32) -> usize {
        self.tags + index as usize * ENTRY
    }

    /// Where the record at this position of `ModuleData::referenced` is.
    pub fn record(&self, position: usize) -> usize {
        self.records + position * RECORD_SIZE
    }
}
