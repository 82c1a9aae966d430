//! A store whose code runs in another process.
//!
//! ```text
//!   generated code ─▶ host function ─▶ a message ─▶ the thread that has called ─▶ its store ─▶ instance, closure
//!   Func::call ─▶ Engine::call ─▶ enter.N(code, vmctx, values…) ─▶ code(vmctx, values…)
//! ```
//!
//! What generated code passes is an address of that process, which is looked up: of an instance by its context, of a function
//! of the host by its record.
//!
//! Invariants: nothing that comes from the other process is used as an address or an index here.
//!
//! Limitations: exceptions are not found over there; modules with tags are refused.
//!
//! Not here: memory ([`crate::space`]).

use crate::error::Error;
use crate::helpers::There;
use crate::store::{Store, StoreData};
use crate::types::FuncType;
use crate::vmctx::FuncRecord;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{Signature, Type, types};
use regraft::{Engine, FunctionId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Weak;

thread_local! {
    /// The stores of this thread, by number: a message comes to the thread that has called.
    static STORES: RefCell<HashMap<u64, Weak<StoreData>>> = RefCell::default();
}

/// Lets host functions find a store of the calling thread by its number.
pub(crate) fn register(number: u64, store: Weak<StoreData>) {
    STORES.with_borrow_mut(|stores| {
        stores.retain(|_, store| store.strong_count() > 0);
        stores.insert(number, store);
    });
}

fn store(number: u64) -> Option<Store> {
    let found = STORES.with_borrow(|stores| stores.get(&number).cloned());
    Store::upgrade(&found?)
}

/// Defines a function of the runtime.
pub(crate) fn helper(
    engine: &Engine,
    name: &str,
    signature: &Signature,
    number: u64,
    run: There,
) -> Result<FunctionId, Error> {
    let forwarded = move |arguments: &[DataValue]| {
        let store = store(number)?;
        let (context, arguments) = arguments.split_first()?;
        let instance = store.instance_at(to_cell(context) as u64)?;
        run(&instance, arguments)
    };
    Ok(engine.host_function(name, signature, forwarded)?)
}

/// Defines a function that always fails.
pub(crate) fn absent(
    engine: &Engine,
    name: &str,
    signature: &Signature,
) -> Result<FunctionId, Error> {
    Ok(engine.host_function(name, signature, |_| None)?)
}

/// Defines the code of host functions of a type.
pub(crate) fn leave(
    engine: &Engine,
    number: u64,
    ty: &FuncType,
    of_store: u64,
) -> Result<FunctionId, Error> {
    let results: Vec<Type> = ty.results.iter().map(|ty| ty.clif()).collect();
    let ty = ty.clone();
    let signature = crate::compile::signature(&ty);
    let forwarded = move |arguments: &[DataValue]| {
        let store = store(of_store)?;
        let (context, arguments) = arguments.split_first()?;
        let host = store.host_at(to_cell(context) as u64)?;
        // Another process could name a function of another type.
        if *host.ty() != ty {
            return None;
        }
        let mut cells = vec![0; ty.params.len().max(ty.results.len())];
        for (cell, argument) in cells.iter_mut().zip(arguments) {
            *cell = to_cell(argument);
        }
        let called = host.called(&store, &mut cells);
        let results = || results.iter().zip(&cells);
        called.then(|| results().map(|(ty, cell)| from_cell(*ty, *cell)).collect())
    };
    Ok(engine.host_function(&format!("wasm.leave.{number}"), &signature, forwarded)?)
}

/// Calls a function with its arguments in cells, and puts its results there.
pub(crate) fn call(store: &Store, record: FuncRecord, cells: &mut [u128]) -> Result<(), Error> {
    let ty = store.type_of(record.ty);
    let enter = store.enter_with_values(record.ty)?;
    let word = |word: u64| DataValue::I64(word.cast_signed());
    let mut arguments = vec![word(record.code), word(record.vmctx)];
    let params = ty.params.iter().zip(&*cells);
    arguments.extend(params.map(|(ty, cell)| from_cell(ty.clif(), *cell)));
    // SAFETY: nothing of this process is run but host functions, which bear any arguments.
    let called = unsafe { store.engine().call(enter, &arguments) };
    let results = called.map_err(|error| match error {
        regraft::Error::Trap(trap) => store.trapped(&trap),
        error => error.into(),
    })?;
    for (cell, result) in cells.iter_mut().zip(&results) {
        *cell = to_cell(result);
    }
    Ok(())
}

/// A value as a cell of 16 bytes, of which a smaller one uses the first.
fn to_cell(value: &DataValue) -> u128 {
    match value {
        DataValue::I32(value) => u128::from(value.cast_unsigned()),
        DataValue::I64(value) => u128::from(value.cast_unsigned()),
        DataValue::F32(value) => u128::from(value.bits()),
        DataValue::F64(value) => u128::from(value.bits()),
        DataValue::V128(bytes) => u128::from_le_bytes(*bytes),
        // There are no other types.
        _ => 0,
    }
}

fn from_cell(ty: Type, cell: u128) -> DataValue {
    match ty {
        types::I32 => DataValue::I32((cell as u32).cast_signed()),
        types::F32 => DataValue::F32(Ieee32::with_bits(cell as u32)),
        types::F64 => DataValue::F64(Ieee64::with_bits(cell as u64)),
        types::I64 => DataValue::I64((cell as u64).cast_signed()),
        _ => DataValue::V128(cell.to_le_bytes()),
    }
}
