//! Generated functions between the host and WebAssembly, one per type.
//!
//! ```text
//!   enter(code, vmctx, cells):  values from cells ─▶ code(vmctx, values…) ─▶ results to cells
//!   leave(vmctx, values…):      values to cells ─▶ host(vmctx, cells) ─▶ results from cells
//! ```
//!
//!   helper(vmctx, …):           makes sure that there is stack, and calls the runtime's function
//!
//! Code of the host must not run out of stack, because a fault in it is no trap. So before it is called, a
//! generated function runs whose frame is as large as what the host may need: Cranelift's prologue touches
//! every page of it, and a fault there is a trap like any other.
//!
//! `enter` has the host's convention and calls with WebAssembly's; `leave` is the code of every host
//! function of its type. A cell has 16 bytes.

use crate::compile;
use crate::error::{Error, codes};
use crate::types::FuncType;
use cranelift_codegen::ir::{
    AbiParam, FuncRef, Function, InstBuilder, MemFlagsData, Signature, StackSlotData,
    StackSlotKind, Type, UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use regraft::{Engine, FunctionId};

const CELL: i32 = 16;
/// The stack that a function of the host finds at least.
const HOST_STACK: u32 = 128 << 10;
/// The stack that a function of the runtime finds at least.
const HELPER_STACK: u32 = 16 << 10;

fn at(position: usize) -> i32 {
    i32::try_from(position).map_or(i32::MAX, |position| position.saturating_mul(CELL))
}

/// Reads values of these types from cells.
fn load(b: &mut FunctionBuilder<'_>, cells: Value, of: &[Type]) -> Vec<Value> {
    let flags = MemFlagsData::trusted();
    let load = |(position, ty): (usize, &Type)| b.ins().load(*ty, flags, cells, at(position));
    of.iter().enumerate().map(load).collect()
}

/// Writes values to cells.
fn store(b: &mut FunctionBuilder<'_>, cells: Value, values: &[Value]) {
    let flags = MemFlagsData::trusted();
    for (position, value) in values.iter().enumerate() {
        b.ins().store(flags, *value, cells, at(position));
    }
}

fn types_of(list: &[crate::types::ValueType]) -> Vec<Type> {
    list.iter().map(|ty| ty.clif()).collect()
}

/// Defines the function through which the host calls functions of this type.
pub(crate) fn enter(engine: &Engine, number: u64, ty: &FuncType) -> Result<FunctionId, Error> {
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params = vec![AbiParam::new(types::I64); 3];
    let id = engine.declare(&format!("wasm.enter.{number}"), &signature)?;
    let name = UserFuncName::user(0, id.as_u32());
    let mut func = Function::with_name_signature(name, signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let params = begin(&mut b);
    if let &[code, vmctx, cells] = &params[..] {
        let mut arguments = vec![vmctx];
        arguments.extend(load(&mut b, cells, &types_of(&ty.params)));
        let callee = b.import_signature(compile::signature(ty));
        let call = b.ins().call_indirect(callee, code, &arguments);
        let results = b.inst_results(call).to_vec();
        store(&mut b, cells, &results);
        b.ins().return_(&[]);
    }
    b.finalize(engine.isa().frontend_config());
    engine.define(id, func)?;
    Ok(id)
}

/// Defines the function through which the host calls functions of this type in another process: code, context and values are
/// its parameters.
pub(crate) fn enter_with_values(
    engine: &Engine,
    number: u64,
    ty: &FuncType,
) -> Result<FunctionId, Error> {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params = vec![AbiParam::new(types::I64); 2];
    let params = types_of(&ty.params).into_iter().map(AbiParam::new);
    signature.params.extend(params);
    let results = types_of(&ty.results).into_iter().map(AbiParam::new);
    signature.returns.extend(results);
    let id = engine.declare(&format!("wasm.enter_with_values.{number}"), &signature)?;
    let name = UserFuncName::user(0, id.as_u32());
    let mut func = Function::with_name_signature(name, signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let params = begin(&mut b);
    if let Some((&code, arguments)) = params.split_first() {
        let callee = b.import_signature(compile::signature(ty));
        let call = b.ins().call_indirect(callee, code, arguments);
        let results = b.inst_results(call).to_vec();
        b.ins().return_(&results);
    }
    b.finalize(engine.isa().frontend_config());
    engine.define(id, func)?;
    Ok(id)
}

/// Defines the code of host functions of this type; `host` is what they call, and `throw` what throws the exception that it
/// may have failed with.
pub(crate) fn leave(
    engine: &Engine,
    number: u64,
    ty: &FuncType,
    (host, throw): (FunctionId, FunctionId),
) -> Result<FunctionId, Error> {
    let signature = compile::signature(ty);
    let id = engine.declare(&format!("wasm.leave.{number}"), &signature)?;
    let name = UserFuncName::user(0, id.as_u32());
    let mut func = Function::with_name_signature(name, signature);
    let host = engine.import(host, &mut func)?;
    let throw = engine.import(throw, &mut func)?;
    let room = room(engine, HOST_STACK, &mut func)?;
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let params = begin(&mut b);
    if let Some((&vmctx, arguments)) = params.split_first() {
        let cells = ty.params.len().max(ty.results.len()).max(1);
        let size = u32::try_from(at(cells)).unwrap_or(u32::MAX);
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
        let slot = b.create_sized_stack_slot(slot);
        b.ins().call(room, &[]);
        let cells = b.ins().stack_addr(types::I64, slot, 0);
        store(&mut b, cells, arguments);
        let call = b.ins().call(host, &[vmctx, cells]);
        let status = b.inst_results(call).first().copied();
        if let Some(status) = status {
            let (failed, fine) = (b.create_block(), b.create_block());
            b.set_cold_block(failed);
            b.ins().brif(status, failed, &[], fine, &[]);
            b.switch_to_block(failed);
            b.seal_block(failed);
            let frame = b.ins().get_frame_pointer(types::I64);
            b.ins().call(throw, &[vmctx, frame]);
            b.ins().trap(codes::HOST);
            b.switch_to_block(fine);
            b.seal_block(fine);
        }
        let results = load(&mut b, cells, &types_of(&ty.results));
        b.ins().return_(&results);
    }
    b.finalize(engine.isa().frontend_config());
    engine.define(id, func)?;
    Ok(id)
}

/// Defines a function of this signature that calls the host's function `host`.
pub(crate) fn helper(
    engine: &Engine,
    name: &str,
    signature: &Signature,
    host: FunctionId,
) -> Result<FunctionId, Error> {
    let id = engine.declare(name, signature)?;
    let name = UserFuncName::user(0, id.as_u32());
    let mut func = Function::with_name_signature(name, signature.clone());
    let host = engine.import(host, &mut func)?;
    let room = room(engine, HELPER_STACK, &mut func)?;
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let arguments = begin(&mut b);
    b.ins().call(room, &[]);
    let call = b.ins().call(host, &arguments);
    let results = b.inst_results(call).to_vec();
    b.ins().return_(&results);
    b.finalize(engine.isa().frontend_config());
    engine.define(id, func)?;
    Ok(id)
}

/// Defines a function that throws: it calls the host's function `host` with its own arguments and its frame pointer, and that
/// does not return if somebody handles the exception.
pub(crate) fn thrower(
    engine: &Engine,
    name: &str,
    params: &[Type],
    host: usize,
) -> Result<FunctionId, Error> {
    let signature = thrower_signature(params);
    let id = engine.declare(name, &signature)?;
    let symbol = format!("{name}.host");
    engine.symbol(&symbol, std::ptr::with_exposed_provenance::<u8>(host))?;
    let mut outside = Signature::new(engine.isa().default_call_conv());
    outside.params.clone_from(&signature.params);
    outside.params.push(AbiParam::new(types::I64));
    let host = engine.declare(&symbol, &outside)?;
    let name = UserFuncName::user(0, id.as_u32());
    let mut func = Function::with_name_signature(name, signature);
    let host = engine.import(host, &mut func)?;
    let room = room(engine, HELPER_STACK, &mut func)?;
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let mut arguments = begin(&mut b);
    b.ins().call(room, &[]);
    arguments.push(b.ins().get_frame_pointer(types::I64));
    b.ins().call(host, &arguments);
    b.ins().trap(codes::HOST);
    b.finalize(engine.isa().frontend_config());
    engine.define(id, func)?;
    Ok(id)
}

/// The signature of a function that throws: no register is expected to be preserved over an exception.
pub(crate) fn thrower_signature(params: &[Type]) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params = params.iter().map(|ty| AbiParam::new(*ty)).collect();
    signature
}

/// Declares in `into` a function that traps where there is not so much stack left.
fn room(engine: &Engine, bytes: u32, into: &mut Function) -> Result<FuncRef, Error> {
    let name = format!("wasm.room.{bytes}");
    if let Some(id) = engine.lookup(&name) {
        return Ok(engine.import(id, into)?);
    }
    let signature = Signature::new(engine.isa().default_call_conv());
    let id = engine.declare(&name, &signature)?;
    let name = UserFuncName::user(0, id.as_u32());
    let mut func = Function::with_name_signature(name, signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    begin(&mut b);
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4);
    b.create_sized_stack_slot(slot);
    b.ins().return_(&[]);
    b.finalize(engine.isa().frontend_config());
    engine.define(id, func)?;
    Ok(engine.import(id, into)?)
}

/// The signature of what `leave` calls.
pub(crate) fn host_signature(engine: &Engine) -> Signature {
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params = vec![AbiParam::new(types::I64); 2];
    signature.returns = vec![AbiParam::new(types::I32)];
    signature
}

/// The signature of what `leave` calls when the host has failed.
pub(crate) fn throw_signature(engine: &Engine) -> Signature {
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params = vec![AbiParam::new(types::I64); 2];
    signature
}

/// Makes the entry block; returns the parameters.
fn begin(b: &mut FunctionBuilder<'_>) -> Vec<Value> {
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    b.block_params(entry).to_vec()
}
