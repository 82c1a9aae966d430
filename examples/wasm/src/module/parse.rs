//! Sections to plain data.
//!
//! Requires: the bytes have been validated. What the validator has let pass and is not known here is
//! refused as unsupported, never a panic.

use super::{
    ConstExpr, ConstOp, Data, Element, Export, Global, Import, Item, ModuleData, SegmentKind, Table,
};
use crate::error::Error;
use crate::types::{FuncType, GlobalType, Limits, TableType, ValueType};
use std::sync::Arc;
use wasmparser::{
    DataKind, ElementItems, ElementKind, ExternalKind, KnownCustom, Name, Operator, Parser,
    Payload, TableInit, TypeRef, ValType,
};

/// Source locations are 32 bits wide, so a module must be smaller.
const MAX_MODULE: u64 = 1 << 31;

pub(super) fn parse(bytes: &[u8]) -> Result<ModuleData, Error> {
    if bytes.len() as u64 >= MAX_MODULE {
        return Err(Error::TooLarge {
            what: "the module's size in bytes",
            found: bytes.len() as u64,
            limit: MAX_MODULE,
        });
    }
    let mut module = ModuleData {
        bytes: Arc::from(bytes),
        ..ModuleData::default()
    };
    for payload in Parser::new(0).parse_all(bytes) {
        section(&mut module, payload?)?;
    }
    module.referenced.sort_unstable();
    module.referenced.dedup();
    Ok(module)
}

fn section(module: &mut ModuleData, payload: Payload<'_>) -> Result<(), Error> {
    match payload {
        Payload::TypeSection(reader) => {
            for ty in reader.into_iter_err_on_gc_types() {
                module.types.push(func_type(&ty?)?);
            }
        }
        Payload::ImportSection(reader) => {
            for import in reader.into_imports() {
                import_item(module, import?)?;
            }
        }
        Payload::FunctionSection(reader) => {
            for ty in reader {
                module.functions.push(ty?);
            }
        }
        Payload::TableSection(reader) => {
            for table in reader {
                let table = table?;
                let init = match table.init {
                    TableInit::RefNull => None,
                    TableInit::Expr(expr) => Some(const_expr(module, &expr)?),
                };
                let ty = table_type(table.ty)?;
                module.tables.push(Table { ty, init });
            }
        }
        Payload::MemorySection(reader) => {
            for memory in reader {
                module.memories.push(limits(memory?));
            }
        }
        Payload::GlobalSection(reader) => {
            for global in reader {
                let global = global?;
                let init = Some(const_expr(module, &global.init_expr)?);
                let ty = global_type(global.ty)?;
                module.globals.push(Global { ty, init });
            }
        }
        Payload::TagSection(reader) => {
            for tag in reader {
                module.tags.push(tag?.func_type_idx);
            }
        }
        Payload::ExportSection(reader) => {
            for export in reader {
                let export = export?;
                let item = match export.kind {
                    ExternalKind::Func => Item::Func(export.index),
                    ExternalKind::Table => Item::Table(export.index),
                    ExternalKind::Memory => Item::Memory(export.index),
                    ExternalKind::Global => Item::Global(export.index),
                    ExternalKind::Tag => Item::Tag(export.index),
                    kind => return Err(unsupported(&format!("an export of kind {kind:?}"))),
                };
                if let Item::Func(function) = item {
                    module.referenced.push(function);
                }
                let name = export.name.to_string();
                module.exports.push(Export { name, item });
            }
        }
        Payload::StartSection { func, .. } => {
            module.referenced.push(func);
            module.start = Some(func);
        }
        Payload::ElementSection(reader) => {
            for element in reader {
                self::element(module, element?)?;
            }
        }
        Payload::DataSection(reader) => {
            for data in reader {
                let data = data?;
                let kind = match data.kind {
                    DataKind::Passive => SegmentKind::Passive,
                    DataKind::Active {
                        memory_index,
                        offset_expr,
                    } => SegmentKind::Active(memory_index, const_expr(module, &offset_expr)?),
                };
                // The payload is the tail of the segment.
                let end = to_usize(data.range.end)?;
                let bytes = end - data.data.len()..end;
                module.data.push(Data { kind, bytes });
            }
        }
        Payload::CodeSectionEntry(body) => {
            let range = body.range();
            let body = to_usize(range.start)?..to_usize(range.end)?;
            module.bodies.push(body);
        }
        Payload::CustomSection(custom) => {
            if let KnownCustom::Name(names) = custom.as_known() {
                // Names are decoration: what cannot be read is left out.
                for name in names.into_iter().map_while(Result::ok) {
                    self::names(module, name);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn names(module: &mut ModuleData, name: Name<'_>) {
    match name {
        Name::Module { name, .. } => module.name = Some(name.to_string()),
        Name::Function(functions) => {
            for naming in functions.into_iter().map_while(Result::ok) {
                let name = naming.name.to_string();
                module.function_names.insert(naming.index, name);
            }
        }
        _ => {}
    }
}

fn import_item(module: &mut ModuleData, import: wasmparser::Import<'_>) -> Result<(), Error> {
    let item = match import.ty {
        TypeRef::Func(ty) => {
            module.functions.push(ty);
            module.imported_functions += 1;
            Item::Func(module.imported_functions - 1)
        }
        TypeRef::Table(ty) => {
            let ty = table_type(ty)?;
            module.tables.push(Table { ty, init: None });
            module.imported_tables += 1;
            Item::Table(module.imported_tables - 1)
        }
        TypeRef::Memory(ty) => {
            module.memories.push(limits(ty));
            module.imported_memories += 1;
            Item::Memory(module.imported_memories - 1)
        }
        TypeRef::Global(ty) => {
            let ty = global_type(ty)?;
            module.globals.push(Global { ty, init: None });
            module.imported_globals += 1;
            Item::Global(module.imported_globals - 1)
        }
        TypeRef::Tag(ty) => {
            module.tags.push(ty.func_type_idx);
            module.imported_tags += 1;
            Item::Tag(module.imported_tags - 1)
        }
        ty => return Err(unsupported(&format!("an import of kind {ty:?}"))),
    };
    module.imports.push(Import {
        module: import.module.to_string(),
        name: import.name.to_string(),
        item,
    });
    Ok(())
}

fn element(module: &mut ModuleData, element: wasmparser::Element<'_>) -> Result<(), Error> {
    let kind = match element.kind {
        ElementKind::Passive => SegmentKind::Passive,
        ElementKind::Declared => SegmentKind::Declared,
        ElementKind::Active {
            table_index,
            offset_expr,
        } => SegmentKind::Active(table_index.unwrap_or(0), const_expr(module, &offset_expr)?),
    };
    let mut items = vec![];
    match element.items {
        ElementItems::Functions(functions) => {
            for function in functions {
                let function = function?;
                module.referenced.push(function);
                items.push(vec![ConstOp::Func(function)]);
            }
        }
        ElementItems::Expressions(_, exprs) => {
            for expr in exprs {
                items.push(const_expr(module, &expr?)?);
            }
        }
    }
    module.elements.push(Element { kind, items });
    Ok(())
}

fn const_expr(
    module: &mut ModuleData,
    expr: &wasmparser::ConstExpr<'_>,
) -> Result<ConstExpr, Error> {
    let mut ops = vec![];
    for op in expr.get_operators_reader() {
        ops.push(match op? {
            Operator::I32Const { value } => ConstOp::I32(value),
            Operator::I64Const { value } => ConstOp::I64(value),
            Operator::F32Const { value } => ConstOp::F32(value.bits()),
            Operator::F64Const { value } => ConstOp::F64(value.bits()),
            Operator::V128Const { value } => ConstOp::V128(u128::from_le_bytes(*value.bytes())),
            Operator::RefNull { .. } => ConstOp::Null,
            Operator::RefFunc { function_index } => {
                module.referenced.push(function_index);
                ConstOp::Func(function_index)
            }
            Operator::GlobalGet { global_index } => ConstOp::Global(global_index),
            Operator::I32Add => ConstOp::I32Add,
            Operator::I32Sub => ConstOp::I32Sub,
            Operator::I32Mul => ConstOp::I32Mul,
            Operator::I64Add => ConstOp::I64Add,
            Operator::I64Sub => ConstOp::I64Sub,
            Operator::I64Mul => ConstOp::I64Mul,
            Operator::End => break,
            op => return Err(unsupported(&format!("the constant instruction {op:?}"))),
        });
    }
    Ok(ops)
}

fn func_type(ty: &wasmparser::FuncType) -> Result<FuncType, Error> {
    let types = |types: &[ValType]| -> Result<Vec<ValueType>, ()> {
        types.iter().map(|ty| value_type(*ty)).collect()
    };
    Ok(FuncType {
        params: types(ty.params()).map_err(|()| unsupported_type(ty))?,
        results: types(ty.results()).map_err(|()| unsupported_type(ty))?,
    })
}

fn value_type(ty: ValType) -> Result<ValueType, ()> {
    ValueType::from_wasm(ty).ok_or(())
}

fn unsupported_type(ty: &impl std::fmt::Display) -> Error {
    unsupported(&format!("the type {ty}"))
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported {
        what: what.to_string(),
    }
}

fn table_type(ty: wasmparser::TableType) -> Result<TableType, Error> {
    let element = ValueType::from_ref(ty.element_type);
    Ok(TableType {
        element: element.ok_or_else(|| unsupported_type(&ty.element_type))?,
        limits: Limits {
            minimum: ty.initial,
            maximum: ty.maximum,
        },
    })
}

fn global_type(ty: wasmparser::GlobalType) -> Result<GlobalType, Error> {
    let value = value_type(ty.content_type);
    Ok(GlobalType {
        value: value.map_err(|()| unsupported_type(&ty.content_type))?,
        mutable: ty.mutable,
    })
}

fn limits(ty: wasmparser::MemoryType) -> Limits {
    Limits {
        minimum: ty.initial,
        maximum: ty.maximum,
    }
}

fn to_usize(offset: u64) -> Result<usize, Error> {
    usize::try_from(offset).map_err(|_| Error::Internal(format!("offset {offset}")))
}
