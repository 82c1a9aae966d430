//! What can be imported and exported, and how imports are found.

use crate::error::Error;
use crate::exceptions::Tag;
use crate::func::Func;
use crate::instance::Instance;
use crate::memory::Memory;
use crate::module::Module;
use crate::space::Cells;
use crate::store::Store;
use crate::table::TableData;
use crate::types::{ExternType, GlobalType, TableType};
use crate::value::Value;
use std::collections::HashMap;
use std::rc::Rc;

/// Something that can be imported or exported.
#[derive(Clone, Debug)]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A memory.
    Memory(Memory),
    /// A table.
    Table(Table),
    /// A global.
    Global(Global),
    /// A tag.
    Tag(Tag),
}

impl Extern {
    /// Its type; for memories and tables, with the size that it has now.
    pub fn ty(&self) -> ExternType {
        match self {
            Self::Func(func) => ExternType::Func(func.ty()),
            Self::Memory(memory) => ExternType::Memory(memory.inner.limits()),
            Self::Table(table) => ExternType::Table(TableType {
                element: table.inner.ty.element,
                limits: table.inner.limits(),
            }),
            Self::Global(global) => ExternType::Global(global.ty),
            Self::Tag(tag) => ExternType::Tag(tag.ty()),
        }
    }

    fn store(&self) -> &Store {
        match self {
            Self::Func(func) => &func.store,
            Self::Memory(memory) => &memory.store,
            Self::Table(table) => &table.store,
            Self::Global(global) => &global.store,
            Self::Tag(tag) => &tag.store,
        }
    }
}

/// A table of a store.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) store: Store,
    pub(crate) inner: Rc<TableData>,
}

impl Table {
    /// A table that no module defines, of nulls.
    ///
    /// # Errors
    ///
    /// `TooLarge`; `Reserve`.
    pub fn new(store: &Store, ty: TableType) -> Result<Self, Error> {
        let inner = Rc::new(TableData::new(store, ty, 0)?);
        Ok(Self {
            store: store.clone(),
            inner,
        })
    }

    /// How many elements it has.
    pub fn length(&self) -> u64 {
        self.inner.length()
    }

    /// An element, if there is one.
    pub fn get(&self, index: u64) -> Option<Value> {
        let word = self.inner.get(index).ok()?;
        let ty = self.inner.ty.element;
        Some(Value::from_cell(ty, u128::from(word), &self.store))
    }
}

/// A global of a store.
#[derive(Clone)]
pub struct Global {
    pub(crate) store: Store,
    pub(crate) ty: GlobalType,
    /// Where it is: the cells, and the offset in them.
    pub(crate) cells: Rc<Cells>,
    pub(crate) offset: usize,
}

impl std::fmt::Debug for Global {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Global")
            .field("ty", &self.ty)
            .finish_non_exhaustive()
    }
}

impl Global {
    /// A global that no module defines.
    ///
    /// # Errors
    ///
    /// `OtherStore`; `Engine`.
    pub fn new(store: &Store, value: &Value, mutable: bool) -> Result<Self, Error> {
        let cells = Cells::new(store.engine(), 16)?;
        cells.set_cell(0, value.to_cell(store)?);
        Ok(Self {
            store: store.clone(),
            ty: GlobalType {
                value: value.ty(),
                mutable,
            },
            cells: Rc::new(cells),
            offset: 0,
        })
    }

    /// Where generated code finds it.
    pub(crate) fn address(&self) -> u64 {
        self.cells.address() + self.offset as u64
    }

    pub(crate) fn get_cell(&self) -> u128 {
        self.cells.cell(self.offset)
    }

    /// Its value.
    pub fn get(&self) -> Value {
        Value::from_cell(self.ty.value, self.get_cell(), &self.store)
    }

    /// Sets it.
    ///
    /// # Errors
    ///
    /// `SetGlobal` where it is not mutable or of another type; `OtherStore`.
    pub fn set(&self, value: &Value) -> Result<(), Error> {
        if !self.ty.mutable || value.ty() != self.ty.value {
            return Err(Error::SetGlobal {
                wanted: ExternType::Global(self.ty).to_string(),
                found: value.to_string(),
            });
        }
        let cell = value.to_cell(&self.store)?;
        self.cells.set_cell(self.offset, cell);
        Ok(())
    }
}

/// What modules can import, by module and name.
#[derive(Clone, Debug, Default)]
pub struct Imports {
    items: HashMap<(String, String), Extern>,
}

impl Imports {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds something; what had the name before is forgotten.
    pub fn define(&mut self, module: &str, name: &str, item: Extern) -> &mut Self {
        let key = (module.to_string(), name.to_string());
        self.items.insert(key, item);
        self
    }

    /// Adds all exports of an instance.
    pub fn instance(&mut self, module: &str, instance: &Instance) -> &mut Self {
        for (name, item) in instance.exports() {
            self.define(module, &name, item);
        }
        self
    }

    /// Defines each function that a module imports and that is missing here, as one that fails when it is
    /// called, saying which it is. Modules made for another host load then, and run as far as they can do
    /// without it. Memories, tables and globals cannot be replaced: they stay missing.
    ///
    /// # Errors
    ///
    /// `Engine`.
    pub fn stub_functions(&mut self, store: &Store, module: &Module) -> Result<&mut Self, Error> {
        for (from, name, wanted) in module.imports() {
            let key = (from.to_string(), name.to_string());
            if let ExternType::Func(ty) = wanted
                && !self.items.contains_key(&key)
            {
                let message = format!("import {from}.{name} {ty} was called, and is not there");
                let stub = Func::new(store, ty, move |_, _, _| Err(Error::Host(message.clone())))?;
                self.items.insert(key, Extern::Func(stub));
            }
        }
        Ok(self)
    }

    /// What a module imports, in its order and checked.
    pub(crate) fn resolve(&self, store: &Store, module: &Module) -> Result<Vec<Extern>, Error> {
        let mut resolved = vec![];
        for (from, name, wanted) in module.imports() {
            let key = (from.to_string(), name.to_string());
            let item = self.items.get(&key).ok_or_else(|| Error::UnknownImport {
                module: from.to_string(),
                name: name.to_string(),
                wanted: wanted.to_string(),
            })?;
            if !item.store().same(store) {
                return Err(Error::OtherStore { what: "an import" });
            }
            if !fits(&item.ty(), &wanted) {
                return Err(Error::IncompatibleImport {
                    module: from.to_string(),
                    name: name.to_string(),
                    wanted: wanted.to_string(),
                    found: item.ty().to_string(),
                });
            }
            resolved.push(item.clone());
        }
        Ok(resolved)
    }
}

fn fits(found: &ExternType, wanted: &ExternType) -> bool {
    match (found, wanted) {
        (ExternType::Memory(found), ExternType::Memory(wanted)) => {
            found.fits(found.minimum, wanted)
        }
        (ExternType::Table(found), ExternType::Table(wanted)) => {
            found.element == wanted.element
                && found.limits.fits(found.limits.minimum, &wanted.limits)
        }
        _ => found == wanted,
    }
}
