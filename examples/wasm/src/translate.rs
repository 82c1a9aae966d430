//! From the body of a WebAssembly function to CLIF.
//!
//! One pass over the operators with a stack of CLIF values; `cranelift-frontend` makes SSA of the locals.
//! Each submodule translates one topic and says with its result whether an operator was its own:
//!
//! ```text
//!   operator ─▶ control ─▶ exceptions ─▶ variables ─▶ numeric ─▶ memory ─▶ tables ─▶ bulk ─▶ simd ─▶ refused
//! ```
//!
//! Invariants:
//!
//! * A vector on the stack may have any vector type; where control flow meets, and in locals, calls and
//!   globals, it is `i8x16` ([`Translator::canonical`]).
//! * After an operator that does not fall through, `reachable` is false, and everything up to the end of
//!   the construct is skipped without being translated.
//! * Linear memory, tables, globals and what is constant are disjoint alias regions ([`flags`]).
//!
//! Requires: the body has been validated. What does not fit all the same is an error, never a panic.

mod bulk;
mod calls;
mod control;
mod exceptions;
pub(crate) mod flags;
mod memory;
mod numeric;
mod simd;
mod simd_float;
mod simd_memory;
mod simd_ops;
mod tables;
mod variables;

use crate::compile::Compiled;
use crate::error::Error;
use crate::helpers::Helper;
use crate::types::ValueType;
use control::Frame;
use cranelift_codegen::ir::{
    FuncRef, Function, InstBuilder, SigRef, SourceLoc, UserFuncName, Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use flags::Flags;
use regraft::Engine;
use std::collections::HashMap;
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// Translates a defined function.
///
/// # Errors
///
/// `Invalid` or `Internal` where the body is not what the validator has let pass: a defect.
pub(crate) fn function(
    engine: &Engine,
    compiled: &Compiled,
    function: u32,
) -> Result<Function, Error> {
    let module = &compiled.module;
    let defined = function.saturating_sub(module.imported_functions) as usize;
    let missing = || Error::Internal(format!("there is no body of function {function}"));
    let range = module.bodies.get(defined).ok_or_else(missing)?;
    let bytes = module.bytes.get(range.clone()).ok_or_else(missing)?;
    let body = FunctionBody::new(BinaryReader::new(bytes, range.start as u64));

    let ty = module.func_type(function);
    let name = UserFuncName::user(0, compiled.functions[defined].as_u32());
    let mut func = Function::with_name_signature(name, crate::compile::signature(ty));
    let mut context = FunctionBuilderContext::new();
    let mut translator = Translator::new(engine, compiled, function, &mut func, &mut context)?;
    translator.locals(&body)?;
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let (op, offset) = reader.read_with_offset()?;
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        translator.b.set_srcloc(SourceLoc::new(offset));
        translator.operator(&op)?;
    }
    translator.b.seal_all_blocks();
    translator.b.finalize(engine.isa().frontend_config());
    Ok(func)
}

/// The state of a translation.
struct Translator<'a> {
    b: FunctionBuilder<'a>,
    engine: &'a Engine,
    compiled: &'a Compiled,
    flags: Flags,
    vmctx: Value,
    locals: Vec<(Variable, ValueType)>,
    stack: Vec<Value>,
    frames: Vec<Frame>,
    reachable: bool,
    /// How many constructs were begun in unreachable code.
    skipped: u32,
    callees: HashMap<u32, FuncRef>,
    helpers: HashMap<Helper, FuncRef>,
    signatures: HashMap<u32, SigRef>,
    /// The bases of memories and tables that the current block has loaded.
    bases: memory::Bases,
}

impl<'a> Translator<'a> {
    fn new(
        engine: &'a Engine,
        compiled: &'a Compiled,
        function: u32,
        func: &'a mut Function,
        context: &'a mut FunctionBuilderContext,
    ) -> Result<Self, Error> {
        let flags = Flags::new(func);
        let mut b = FunctionBuilder::new(func, context);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let params = b.block_params(entry).to_vec();
        let (&vmctx, params) = params
            .split_first()
            .ok_or_else(|| Error::Internal("a function without a context".to_string()))?;
        let ty = compiled.module.func_type(function);
        let mut locals = vec![];
        for (&value, &ty) in params.iter().zip(&ty.params) {
            let variable = b.declare_var(ty.clif());
            b.def_var(variable, value);
            locals.push((variable, ty));
        }
        let body = Frame::body(ty.results.clone());
        Ok(Self {
            b,
            engine,
            compiled,
            flags,
            vmctx,
            locals,
            stack: vec![],
            frames: vec![body],
            reachable: true,
            skipped: 0,
            callees: HashMap::new(),
            helpers: HashMap::new(),
            signatures: HashMap::new(),
            bases: memory::Bases::default(),
        })
    }

    /// Declares the locals, which are zero at first.
    fn locals(&mut self, body: &FunctionBody<'_>) -> Result<(), Error> {
        for local in body.get_locals_reader()? {
            let (count, ty) = local?;
            let ty = ValueType::from_wasm(ty)
                .ok_or_else(|| Error::Internal(format!("a local of type {ty}")))?;
            let zero = self.zero(ty);
            for _ in 0..count {
                let variable = self.b.declare_var(ty.clif());
                self.b.def_var(variable, zero);
                self.locals.push((variable, ty));
            }
        }
        Ok(())
    }

    fn zero(&mut self, ty: ValueType) -> Value {
        match ty {
            ValueType::F32 => self.b.ins().f32const(0.0),
            ValueType::F64 => self.b.ins().f64const(0.0),
            ValueType::V128 => self.vector_constant([0; 16]),
            _ => self.b.ins().iconst(ty.clif(), 0),
        }
    }

    fn operator(&mut self, op: &Operator<'_>) -> Result<(), Error> {
        if !self.reachable {
            return self.unreachable_operator(op);
        }
        let done = self.control(op)?
            || self.exception(op)?
            || self.variable(op)?
            || self.numeric(op)?
            || self.memory(op)?
            || self.table(op)?
            || self.bulk(op)?
            || self.simd(op)?
            || self.simd_memory(op)?;
        if done {
            return Ok(());
        }
        Err(Error::Internal(format!("no translation of {op:?}")))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn pop(&mut self) -> Result<Value, Error> {
        let floor = self.frames.last().map_or(0, |frame| frame.height);
        if self.stack.len() <= floor {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop2(&mut self) -> Result<(Value, Value), Error> {
        let second = self.pop()?;
        Ok((self.pop()?, second))
    }

    /// Takes the top `count` values, in order.
    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, Error> {
        let at = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
        Ok(self.stack.split_off(at))
    }

    /// The top `count` values, as they travel between blocks.
    fn peek_canonical(&mut self, count: usize) -> Result<Vec<Value>, Error> {
        let at = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
        let values = self.stack[at..].to_vec();
        Ok(values
            .into_iter()
            .map(|value| self.canonical(value))
            .collect())
    }

    /// The type of a value.
    fn ty(&self, value: Value) -> cranelift_codegen::ir::Type {
        self.b.func.dfg.value_type(value)
    }

    /// A value as it travels between blocks, functions and instances.
    fn canonical(&mut self, value: Value) -> Value {
        if self.ty(value).is_vector() {
            self.cast(value, types::I8X16)
        } else {
            value
        }
    }
}

fn underflow() -> Error {
    Error::Internal("the translation's stack is empty".to_string())
}
