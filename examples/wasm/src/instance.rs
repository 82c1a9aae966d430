//! Instances: a module with its imports, its own memories, tables and globals, and a context.
//!
//! Instantiation follows the specification: imports are checked, everything is allocated, segments are
//! copied in order, and the start function runs. What was written into shared tables and memories before a
//! trap stays; that is why even an instance that failed is kept by its store.
//!
//! Not here: the layout of the context ([`crate::vmctx`]), evaluation of constant expressions
//! ([`crate::constant`]).

use crate::compile::Compiled;
use crate::context::Context;
use crate::error::{Error, TrapKind};
use crate::exceptions::{self, Tag, TagData};
use crate::externs::{Extern, Global, Imports, Table};
use crate::func::Func;
use crate::memory::{LinearMemory, Memory};
use crate::module::{Item, Module, SegmentKind};
use crate::store::{Store, StoreData};
use crate::table::TableData;
use crate::value::Value;
use crate::vmctx::FuncRecord;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// An instance of a module. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Instance {
    store: Store,
    data: Rc<InstanceData>,
}

/// What is behind an instance.
#[derive(Debug)]
pub(crate) struct InstanceData {
    pub compiled: Arc<Compiled>,
    pub context: Context,
    memories: Vec<Rc<LinearMemory>>,
    tables: Vec<Rc<TableData>>,
    imported_globals: Vec<Global>,
    tags: Vec<Rc<TagData>>,
    pub store: Weak<StoreData>,
    /// Where the code of each imported function is.
    imported_functions: RefCell<Vec<Func>>,
    /// Element segments that have not been dropped, evaluated.
    elements: RefCell<Vec<Vec<u64>>>,
    /// Which data segments have been dropped.
    dropped: RefCell<Vec<bool>>,
}

impl Instance {
    /// Makes an instance and runs its start function.
    ///
    /// # Errors
    ///
    /// `UnknownImport`, `IncompatibleImport`, `OtherStore`; `TooLarge` and `Reserve` for memories and
    /// tables; `Engine`; `Trap`, `Exit` and `Host` from segments and the start function.
    pub fn new(store: &Store, module: &Module, imports: &Imports) -> Result<Self, Error> {
        let compiled = store.compiled(module)?;
        let resolved = imports.resolve(store, module)?;
        let data = InstanceData::allocate(store, compiled, &resolved)?;
        let data = Rc::new(data);
        data.context.set_instance(Rc::as_ptr(&data));
        store.keep_instance(&data);
        let instance = Self {
            store: store.clone(),
            data,
        };
        instance.link(&resolved)?;
        instance.initialize()?;
        Ok(instance)
    }

    /// Fills the context with what is constant from now on.
    fn link(&self, resolved: &[Extern]) -> Result<(), Error> {
        let data = &*self.data;
        let (layout, module) = (&data.compiled.layout, &data.compiled.module);
        let mut functions = vec![];
        for import in resolved {
            if let Extern::Func(func) = import {
                functions.push(func.imported_by(&self.data)?);
            }
        }
        for (index, func) in functions.iter().enumerate() {
            let record = func.record();
            let at = layout.import(index as u32);
            data.context.set_word(at, record.code);
            data.context.set_word(at + 8, record.vmctx);
        }
        for (position, &function) in module.referenced.iter().enumerate() {
            let imported = functions.get(function as usize);
            let (code, vmctx) = match imported {
                Some(func) => (func.record().code, func.record().vmctx),
                None => {
                    let defined = (function - module.imported_functions) as usize;
                    let id = data.compiled.functions[defined];
                    (self.store.code(id)?, data.context.address())
                }
            };
            let ty = data.compiled.type_ids[module.functions[function as usize] as usize];
            let at = layout.record(position);
            data.context.set_word(at, code);
            data.context.set_word(at + 8, vmctx);
            data.context.set_word(at + 16, ty);
            let record = FuncRecord { code, vmctx, ty };
            self.store.know_record(data.context.record(at), record);
        }
        for (index, memory) in data.memories.iter().enumerate() {
            let at = layout.memory(index as u32);
            data.context.set_definition(at, &memory.definition);
        }
        for (index, table) in data.tables.iter().enumerate() {
            let at = layout.table(index as u32);
            data.context.set_definition(at, &table.definition);
        }
        for (index, tag) in data.tags.iter().enumerate() {
            let at = layout.tag(index as u32);
            data.context.set_word(at, exceptions::address(tag));
        }
        for (index, global) in data.imported_globals.iter().enumerate() {
            let at = layout.global(index as u32);
            data.context.set_word(at, global.address());
        }
        *data.imported_functions.borrow_mut() = functions;
        Ok(())
    }

    /// Evaluates and copies what the module says, in its order.
    fn initialize(&self) -> Result<(), Error> {
        let data = &*self.data;
        let module = &data.compiled.module;
        for (index, global) in module.globals.iter().enumerate() {
            if let Some(init) = &global.init {
                let value = data.evaluate(init)?;
                let at = data.compiled.layout.global(index as u32);
                data.context.set_cell(at, value);
            }
        }
        for (table, defined) in data.tables.iter().zip(&module.tables) {
            if let Some(init) = &defined.init {
                let value = data.evaluate(init)? as u64;
                table.fill(0, value, table.length())?;
            }
        }
        for element in &module.elements {
            let items: Result<Vec<u64>, Error> = element
                .items
                .iter()
                .map(|item| Ok(data.evaluate(item)? as u64))
                .collect();
            data.elements.borrow_mut().push(items?);
        }
        for (index, element) in module.elements.iter().enumerate() {
            let index = index as u32;
            match &element.kind {
                SegmentKind::Passive => {}
                SegmentKind::Declared => data.drop_elements(index),
                SegmentKind::Active(table, offset) => {
                    let offset = data.evaluate(offset)? as u64;
                    let length = element.items.len() as u32;
                    data.init_table(*table, index, offset, 0, length)?;
                    data.drop_elements(index);
                }
            }
        }
        for (index, segment) in module.data.iter().enumerate() {
            let index = index as u32;
            if let SegmentKind::Active(memory, offset) = &segment.kind {
                let offset = data.evaluate(offset)? as u64;
                let length = segment.bytes.len() as u32;
                data.init_memory(*memory, index, offset, 0, length)?;
                data.drop_data(index);
            }
        }
        if let Some(start) = module.start {
            self.function(start)?.call(&[])?;
        }
        Ok(())
    }

    /// The function with this index.
    fn function(&self, index: u32) -> Result<Func, Error> {
        let data = &*self.data;
        if let Some(func) = data.imported_functions.borrow().get(index as usize) {
            return Ok(func.clone());
        }
        let module = &data.compiled.module;
        let position = module.reference(index);
        let position =
            position.ok_or_else(|| Error::Internal(format!("no record of function {index}")))?;
        let at = data.compiled.layout.record(position);
        let record = data.context.record(at);
        Ok(Func::from_word(&self.store, record))
    }

    /// The store that it lives in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it exports under a name.
    pub fn export(&self, name: &str) -> Option<Extern> {
        let module = &self.data.compiled.module;
        let export = module.exports.iter().find(|export| export.name == name)?;
        let store = self.store.clone();
        Some(match export.item {
            Item::Func(index) => Extern::Func(self.function(index).ok()?),
            Item::Memory(index) => Extern::Memory(Memory {
                store,
                inner: Rc::clone(&self.data.memories[index as usize]),
            }),
            Item::Table(index) => Extern::Table(Table {
                store,
                inner: Rc::clone(&self.data.tables[index as usize]),
            }),
            Item::Global(index) => Extern::Global(self.global(index)),
            Item::Tag(index) => Extern::Tag(Tag {
                store,
                data: Rc::clone(self.data.tags.get(index as usize)?),
            }),
        })
    }

    fn global(&self, index: u32) -> Global {
        let data = &*self.data;
        if let Some(global) = data.imported_globals.get(index as usize) {
            return global.clone();
        }
        let at = data.compiled.layout.global(index);
        Global {
            store: self.store.clone(),
            ty: data.compiled.module.globals[index as usize].ty,
            cells: Rc::clone(&data.context.cells),
            offset: at,
        }
    }

    /// The names and values of all exports.
    pub fn exports(&self) -> Vec<(String, Extern)> {
        let names = self.data.compiled.module.exports.iter();
        let names = names.map(|export| export.name.clone());
        names
            .filter_map(|name| Some((name.clone(), self.export(&name)?)))
            .collect()
    }

    /// An exported function.
    ///
    /// # Errors
    ///
    /// `NoExport`.
    pub fn func(&self, name: &str) -> Result<Func, Error> {
        match self.export(name) {
            Some(Extern::Func(func)) => Ok(func),
            _ => Err(no_export("function", name)),
        }
    }

    /// An exported memory.
    ///
    /// # Errors
    ///
    /// `NoExport`.
    pub fn memory(&self, name: &str) -> Result<Memory, Error> {
        match self.export(name) {
            Some(Extern::Memory(memory)) => Ok(memory),
            _ => Err(no_export("memory", name)),
        }
    }

    /// Calls an exported function.
    ///
    /// # Errors
    ///
    /// `NoExport`, and as [`Func::call`].
    pub fn call(&self, name: &str, arguments: &[Value]) -> Result<Vec<Value>, Error> {
        self.func(name)?.call(arguments)
    }
}

fn no_export(kind: &'static str, name: &str) -> Error {
    Error::NoExport {
        kind,
        name: name.to_string(),
    }
}

impl InstanceData {
    /// Allocates what the module defines; the context stays empty.
    fn allocate(
        store: &Store,
        compiled: Arc<Compiled>,
        resolved: &[Extern],
    ) -> Result<Self, Error> {
        let module = Arc::clone(&compiled.module);
        let (mut memories, mut tables, mut imported_globals) = (vec![], vec![], vec![]);
        let mut tags = vec![];
        for import in resolved {
            match import {
                Extern::Memory(memory) => memories.push(Rc::clone(&memory.inner)),
                Extern::Table(table) => tables.push(Rc::clone(&table.inner)),
                Extern::Global(global) => imported_globals.push(global.clone()),
                Extern::Tag(tag) => tags.push(Rc::clone(&tag.data)),
                Extern::Func(_) => {}
            }
        }
        for limits in &module.memories[memories.len()..] {
            memories.push(Rc::new(LinearMemory::new(store, *limits)?));
        }
        for table in &module.tables[tables.len()..] {
            tables.push(Rc::new(TableData::new(store, table.ty, 0)?));
        }
        for index in module.imported_tags..module.tags.len() as u32 {
            let ty = module.tag_type(index).cloned().unwrap_or_default();
            tags.push(Rc::new(TagData { ty }));
        }
        Ok(Self {
            tags,
            store: store.downgrade(),
            context: Context::new(store.engine(), compiled.layout.size)?,
            memories,
            tables,
            imported_globals,
            imported_functions: RefCell::default(),
            elements: RefCell::default(),
            dropped: RefCell::new(vec![false; module.data.len()]),
            compiled,
        })
    }

    /// A constant expression's value, as a cell.
    fn evaluate(&self, expr: &[crate::module::ConstOp]) -> Result<u128, Error> {
        let layout = &self.compiled.layout;
        crate::constant::evaluate(
            expr,
            |index| match self.imported_globals.get(index as usize) {
                Some(global) => global.get_cell(),
                None => self.context.get_cell(layout.global(index)),
            },
            |function| {
                let position = self.compiled.module.reference(function)?;
                let record = self.context.record(layout.record(position));
                Some(record)
            },
        )
    }

    pub fn memory(&self, index: u32) -> &LinearMemory {
        &self.memories[index as usize]
    }

    pub fn tag(&self, index: u32) -> &Rc<TagData> {
        &self.tags[index as usize]
    }

    pub fn table(&self, index: u32) -> &TableData {
        &self.tables[index as usize]
    }

    /// The memory that functions of the host work on.
    pub fn default_memory(&self) -> Option<Rc<LinearMemory>> {
        let exports = self.compiled.module.exports.iter();
        let index =
            exports
                .filter(|export| export.name == "memory")
                .find_map(|export| match export.item {
                    Item::Memory(index) => Some(index),
                    _ => None,
                });
        self.memories.get(index.unwrap_or(0) as usize).cloned()
    }

    /// Copies a part of a data segment into a memory.
    pub fn init_memory(
        &self,
        memory: u32,
        segment: u32,
        to: u64,
        from: u32,
        length: u32,
    ) -> Result<(), TrapKind> {
        let module = &self.compiled.module;
        let dropped = self.dropped.borrow()[segment as usize];
        let range = module.data[segment as usize].bytes.clone();
        let bytes = if dropped { &[] } else { &module.bytes[range] };
        let part = part(bytes, from, length).ok_or(TrapKind::MemoryOutOfBounds)?;
        self.memory(memory).write(to, part)
    }

    /// Copies a part of an element segment into a table.
    pub fn init_table(
        &self,
        table: u32,
        segment: u32,
        to: u64,
        from: u32,
        length: u32,
    ) -> Result<(), TrapKind> {
        let elements = self.elements.borrow();
        let items = &elements[segment as usize];
        let part = part(items, from, length).ok_or(TrapKind::TableOutOfBounds)?;
        self.table(table).write(to, part)
    }

    pub fn drop_elements(&self, segment: u32) {
        self.elements.borrow_mut()[segment as usize] = vec![];
    }

    pub fn drop_data(&self, segment: u32) {
        self.dropped.borrow_mut()[segment as usize] = true;
    }
}

fn part<T>(items: &[T], from: u32, length: u32) -> Option<&[T]> {
    let from = from as usize;
    items.get(from..from.checked_add(length as usize)?)
}
