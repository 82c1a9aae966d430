//! A module: parsed and validated, not yet compiled.
//!
//! Everything but function bodies is turned into plain data here; bodies stay bytes until they are
//! translated ([`crate::compile`]).
//!
//! Invariant: a [`Module`] that exists is valid and needs nothing that is not supported. What follows
//! relies on it: indices are in range, types agree.

mod parse;

use crate::error::Error;
use crate::types::{ExternType, FuncType, GlobalType, Limits, TableType, ValueType};
use regraft::warm::Digest;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A WebAssembly module. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) inner: Arc<ModuleData>,
}

/// What a module says.
#[derive(Debug, Default)]
pub(crate) struct ModuleData {
    pub bytes: Arc<[u8]>,
    /// Of all bytes but those of data, once somebody has asked.
    pub digest: OnceLock<Digest>,
    pub name: Option<String>,
    pub types: Vec<FuncType>,
    pub imports: Vec<Import>,
    /// By function index, imported ones first: the index of its type.
    pub functions: Vec<u32>,
    pub imported_functions: u32,
    /// By table index, imported ones first.
    pub tables: Vec<Table>,
    pub imported_tables: u32,
    /// By memory index, imported ones first.
    pub memories: Vec<Limits>,
    pub imported_memories: u32,
    /// By global index, imported ones first.
    pub globals: Vec<Global>,
    pub imported_globals: u32,
    /// By tag index, imported ones first: the index of its type.
    pub tags: Vec<u32>,
    pub imported_tags: u32,
    pub exports: Vec<Export>,
    pub start: Option<u32>,
    pub elements: Vec<Element>,
    pub data: Vec<Data>,
    /// By index among the defined functions: where the body is in `bytes`.
    pub bodies: Vec<Range<usize>>,
    pub function_names: HashMap<u32, String>,
    /// The functions of which a reference can be made, sorted.
    pub referenced: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Import {
    pub module: String,
    pub name: String,
    pub item: Item,
}

/// What an import or export is, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Func(u32),
    Table(u32),
    Memory(u32),
    Global(u32),
    Tag(u32),
}

#[derive(Debug)]
pub(crate) struct Export {
    pub name: String,
    pub item: Item,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub ty: TableType,
    /// What its elements are at first; null if nothing is said.
    pub init: Option<ConstExpr>,
}

#[derive(Debug)]
pub(crate) struct Global {
    pub ty: GlobalType,
    /// The initial value of a global that is not imported.
    pub init: Option<ConstExpr>,
}

/// A constant expression: operations on a stack.
pub(crate) type ConstExpr = Vec<ConstOp>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ConstOp {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    Null,
    Func(u32),
    Global(u32),
    I32Add,
    I32Sub,
    I32Mul,
    I64Add,
    I64Sub,
    I64Mul,
}

#[derive(Debug)]
pub(crate) struct Element {
    pub kind: SegmentKind,
    pub items: Vec<ConstExpr>,
}

#[derive(Debug)]
pub(crate) struct Data {
    pub kind: SegmentKind,
    pub bytes: Range<usize>,
}

/// When a segment is used.
#[derive(Debug)]
pub(crate) enum SegmentKind {
    /// By an instruction.
    Passive,
    /// At instantiation, into this table or memory at this offset.
    Active(u32, ConstExpr),
    /// Never; it declares functions.
    Declared,
}

impl Module {
    /// Parses and validates a module in binary form.
    ///
    /// # Errors
    ///
    /// `Invalid`; `Unsupported` where it needs a proposal that is not supported, by name; `TooLarge`.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        crate::features::validate(bytes)?;
        Ok(Self {
            inner: Arc::new(parse::parse(bytes)?),
        })
    }

    /// A digest of all of it but the contents of its data segments, on which no code depends: what a warm start knows it by
    /// ([`regraft::warm`]).
    pub fn digest(&self) -> Digest {
        self.inner.digest()
    }

    /// The name that the module gives itself.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// What it imports: module, name and type.
    pub fn imports(&self) -> impl Iterator<Item = (&str, &str, ExternType)> {
        let imports = self.inner.imports.iter();
        imports.map(|import| (&*import.module, &*import.name, self.inner.ty(import.item)))
    }

    /// What it exports: name and type.
    pub fn exports(&self) -> impl Iterator<Item = (&str, ExternType)> {
        let exports = self.inner.exports.iter();
        exports.map(|export| (&*export.name, self.inner.ty(export.item)))
    }

    /// How many functions it defines.
    pub fn defined_functions(&self) -> usize {
        self.inner.bodies.len()
    }
}

impl ModuleData {
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let mut rest = 0;
            let mut parts = vec![];
            for data in &self.data {
                parts.push(self.bytes.get(rest..data.bytes.start).unwrap_or_default());
                rest = data.bytes.end;
            }
            parts.push(self.bytes.get(rest..).unwrap_or_default());
            Digest::of(parts)
        })
    }

    pub fn ty(&self, item: Item) -> ExternType {
        match item {
            Item::Func(index) => ExternType::Func(self.func_type(index).clone()),
            Item::Table(index) => ExternType::Table(self.tables[index as usize].ty),
            Item::Memory(index) => ExternType::Memory(self.memories[index as usize]),
            Item::Global(index) => ExternType::Global(self.globals[index as usize].ty),
            Item::Tag(index) => ExternType::Tag(self.tag_type(index).cloned().unwrap_or_default()),
        }
    }

    pub fn func_type(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize] as usize]
    }

    /// The type of a tag, whose parameters are the values of an exception.
    pub fn tag_type(&self, tag: u32) -> Option<&FuncType> {
        self.types.get(*self.tags.get(tag as usize)? as usize)
    }

    pub fn global_type(&self, global: u32) -> ValueType {
        self.globals[global as usize].ty.value
    }

    /// The name of a function in reports and traps.
    pub fn function_name(&self, function: u32) -> String {
        match self.function_names.get(&function) {
            Some(name) => format!("{name}#{function}"),
            None => format!("func#{function}"),
        }
    }

    /// The position of a function among those of which a reference can be made.
    pub fn reference(&self, function: u32) -> Option<usize> {
        self.referenced.binary_search(&function).ok()
    }
}
