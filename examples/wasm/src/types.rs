//! Types of WebAssembly, as far as they are supported, and what they are in CLIF.
//!
//! A 128-bit vector travels as `i8x16` whatever its lanes mean; a reference travels as a 64-bit word: 0 is
//! null, a function reference is the address of its record ([`crate::vmctx::FuncRecord`]), an external
//! reference is the host's number plus one, a reference to an exception is its address
//! ([`crate::exceptions::ExceptionData`]).

use crate::error::Error;
use crate::value::Value;
use cranelift_codegen::ir::{Type, types};
use std::fmt;
use wasmparser::{AbstractHeapType, HeapType, RefType, ValType};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A 32-bit float.
    F32,
    /// A 64-bit float.
    F64,
    /// A 128-bit vector.
    V128,
    /// A reference to a function, or null.
    FuncRef,
    /// A reference to something of the host, or null.
    ExternRef,
    /// A reference to an exception, or null.
    ExnRef,
}

impl ValueType {
    /// The type that `ty` stands for, if it is supported.
    pub fn from_wasm(ty: ValType) -> Option<Self> {
        Some(match ty {
            ValType::I32 => Self::I32,
            ValType::I64 => Self::I64,
            ValType::F32 => Self::F32,
            ValType::F64 => Self::F64,
            ValType::V128 => Self::V128,
            ValType::Ref(ty) => Self::from_ref(ty)?,
        })
    }

    /// The reference type that `ty` stands for, if it is supported.
    pub fn from_ref(ty: RefType) -> Option<Self> {
        match ty {
            RefType::FUNCREF => Some(Self::FuncRef),
            RefType::EXTERNREF => Some(Self::ExternRef),
            ty => Self::from_heap(ty.heap_type()).filter(|ty| *ty == Self::ExnRef),
        }
    }

    /// The reference type of a null of this heap type, if it is supported.
    pub fn from_heap(ty: HeapType) -> Option<Self> {
        match ty {
            HeapType::FUNC => Some(Self::FuncRef),
            HeapType::EXTERN => Some(Self::ExternRef),
            HeapType::Abstract {
                ty: AbstractHeapType::Exn,
                ..
            } => Some(Self::ExnRef),
            _ => None,
        }
    }

    /// What it is in CLIF.
    pub fn clif(self) -> Type {
        match self {
            Self::I32 => types::I32,
            Self::I64 | Self::FuncRef | Self::ExternRef | Self::ExnRef => types::I64,
            Self::F32 => types::F32,
            Self::F64 => types::F64,
            Self::V128 => types::I8X16,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::FuncRef => "funcref",
            Self::ExternRef => "externref",
            Self::ExnRef => "exnref",
        })
    }
}

/// The type of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FuncType {
    /// What it takes.
    pub params: Vec<ValueType>,
    /// What it returns.
    pub results: Vec<ValueType>,
}

impl FuncType {
    /// Whether these can be the arguments of such a function.
    ///
    /// # Errors
    ///
    /// `Arguments`.
    pub(crate) fn check_arguments(&self, arguments: &[Value]) -> Result<(), Error> {
        let found: Vec<ValueType> = arguments.iter().map(Value::ty).collect();
        if found == self.params {
            return Ok(());
        }
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        Err(Error::Arguments {
            found: found.join(" "),
            wanted: self.to_string(),
        })
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[ValueType]| {
            let names: Vec<String> = types.iter().map(ToString::to_string).collect();
            names.join(" ")
        };
        write!(f, "({}) -> ({})", list(&self.params), list(&self.results))
    }
}

/// The size of a memory in pages of 64 KiB, or of a table in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size at first.
    pub minimum: u64,
    /// What it can grow to.
    pub maximum: Option<u64>,
}

impl Limits {
    /// Whether something of size `current` and these limits can be imported as `wanted`.
    pub fn fits(&self, current: u64, wanted: &Limits) -> bool {
        let maximum = match (self.maximum, wanted.maximum) {
            (_, None) => true,
            (Some(have), Some(want)) => have <= want,
            (None, Some(_)) => false,
        };
        current >= wanted.minimum && maximum
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.maximum {
            Some(maximum) => write!(f, "{}..={maximum}", self.minimum),
            None => write!(f, "{}..", self.minimum),
        }
    }
}

/// The type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableType {
    /// What its elements are: a reference type.
    pub element: ValueType,
    /// Its size in elements.
    pub limits: Limits,
}

/// The type of a global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalType {
    /// What it holds.
    pub value: ValueType,
    /// Whether it can be set.
    pub mutable: bool,
}

/// The type of an import or export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A table.
    Table(TableType),
    /// A memory, in pages.
    Memory(Limits),
    /// A global.
    Global(GlobalType),
    /// A tag; the parameters are the values of an exception.
    Tag(FuncType),
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => write!(f, "function {ty}"),
            Self::Table(ty) => write!(f, "table of {} {}", ty.element, ty.limits),
            Self::Memory(limits) => write!(f, "memory of {limits} pages"),
            Self::Global(ty) if ty.mutable => write!(f, "mutable global {}", ty.value),
            Self::Global(ty) => write!(f, "global {}", ty.value),
            Self::Tag(ty) => write!(f, "tag {ty}"),
        }
    }
}
