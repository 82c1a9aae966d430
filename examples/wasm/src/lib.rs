//! WebAssembly on regraft: code runs at once, and hot loops are optimised while they run.
//!
//! ```
//! use regraft_wasm::{Imports, Instance, Module, Store, Value};
//!
//! // (module (func (export "add") (param i32 i32) (result i32)
//! //   (i32.add (local.get 0) (local.get 1))))
//! let bytes = b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03add\0\0\
//!     \x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b";
//! let store = Store::new(regraft::Config::default())?;
//! let module = Module::new(bytes)?;
//! let instance = Instance::new(&store, &module, &Imports::new())?;
//! let results = instance.call("add", &[Value::I32(2), Value::I32(3)])?;
//! assert!(matches!(results[..], [Value::I32(5)]));
//! # Ok::<(), regraft_wasm::Error>(())
//! ```
//!
//! A client of regraft like any other: parsing and validation by `wasmparser`, translation to CLIF by
//! `cranelift-frontend`, and everything from there through regraft's public interface.
//!
//! ```text
//!   bytes ─▶ module (parsed, validated) ─▶ compile (declared in an engine) ─▶ translate (CLIF)
//!                                │
//!                                └─▶ instance (memories, tables, globals, context) ─▶ call
//! ```
//!
//! `unsafe` is confined to `reserve`, `space`, `memory`, `table`, `helpers` and `func` (what generated code calls, and how it is called).
//!
//! Supported: WebAssembly 2.0 with 128-bit SIMD, and of 3.0 tail calls, extended constant expressions,
//! several memories and exceptions. A module that needs something else is refused, by the proposal's name.

#![deny(missing_docs)]

mod compile;
mod constant;
mod context;
mod error;
mod exceptions;
mod externs;
mod features;
mod func;
mod helpers;
mod instance;
mod memory;
mod module;
mod remote;
mod reserve;
mod space;
mod store;
mod table;
mod thunks;
mod translate;
mod types;
mod value;
mod vmctx;
mod wasi;

pub use error::{Error, Trap, TrapKind};
pub use exceptions::{Exception, Tag, Thrown};
pub use externs::{Extern, Global, Imports, Table};
pub use func::{Caller, Func};
pub use instance::Instance;
pub use memory::{Memory, PAGE_SIZE};
pub use module::Module;
pub use store::Store;
pub use types::{ExternType, FuncType, GlobalType, Limits, TableType, ValueType};
pub use value::Value;
pub use wasi::Wasi;
