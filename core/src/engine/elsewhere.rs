//! What a program needs whose code runs in another process: memory there, and functions here.
//!
//! ```text
//!   generated code ─▶ %name: store arguments; call the executor; load results ─▶ a message ─▶ the closure
//! ```
//!
//! A host function is a function of the engine like any other, whose CLIF is written here: it can be called, redefined,
//! compiled at tier 1 and inlined.
//!
//! Invariants: a closure gets values of the types of its signature; results of other types are a trap of the call.
//!
//! Limitations: host functions are for executors that are other processes; in this one, code calls functions by their
//! addresses ([`Engine::symbol`]).
//!
//! Not here: messages (`regraft_executor::remote`).

use crate::context::Engine;
use crate::error::Error;
use crate::units::function::FunctionId;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{
    AbiParam, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind,
    TrapCode, UserFuncName, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use regraft_executor::ExecutorAddr;
use regraft_executor::arena::OwnedData;
use regraft_executor::session::{DataRange, HostEntry, Session};
use std::sync::Arc;

/// The code of the trap by which a call ends whose host function failed, or could not be asked.
pub const HOST_FUNCTION_FAILED: TrapCode = TrapCode::unwrap_user(250);

/// Bytes of a value that travels.
const VALUE_SIZE: usize = 16;

/// Memory for a program's data, which generated code and this process both see.
#[derive(Debug)]
pub struct ProgramMemory(OwnedData);

impl ProgramMemory {
    /// Where generated code finds it.
    pub fn address(&self) -> ExecutorAddr {
        ExecutorAddr::new(self.0.address())
    }

    /// Its length in bytes.
    pub fn size(&self) -> usize {
        self.0.block().map_or(0, |block| block.size())
    }

    /// Copies bytes out; `None`, and nothing is copied, where they are not all in it.
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        self.0.block()?.read(offset, bytes)
    }

    /// Copies bytes in; `None`, and nothing is copied, where there is no room for them.
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        self.0.block()?.write(offset, bytes)
    }
}

/// Addresses for a program's data, of which the first can be made accessible: for memory that grows in place, and whose end
/// is a fault.
#[derive(Debug)]
pub struct ProgramRange {
    range: Box<dyn DataRange>,
    /// The executor's end of it goes with the session.
    _session: Arc<dyn Session>,
}

impl ProgramRange {
    /// Where generated code finds it.
    pub fn address(&self) -> ExecutorAddr {
        self.range.address()
    }

    /// Makes the first bytes accessible, rounded up to pages: zeros, if they were not accessible before.
    ///
    /// # Errors
    ///
    /// `Executor`.
    pub fn commit(&self, bytes: usize) -> Result<(), Error> {
        Ok(self.range.commit(bytes)?)
    }

    /// Copies bytes out; `None`, and nothing is copied, where they can never be accessible.
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        self.range.read(offset, bytes)
    }

    /// Copies bytes in; `None`, and nothing is copied, where they can never be accessible.
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        self.range.write(offset, bytes)
    }
}

impl Engine {
    /// Reserves addresses for a program's data where code runs in another process; the first `most` bytes can become
    /// accessible.
    ///
    /// They are given back when it is dropped: no code may use them then.
    ///
    /// # Errors
    ///
    /// `Executor`; also where code runs in this process, which can map memory itself.
    pub fn program_range(&self, reserved: usize, most: usize) -> Result<ProgramRange, Error> {
        let session = Arc::clone(&self.inner.session);
        Ok(ProgramRange {
            range: session.range(reserved, most)?,
            _session: session,
        })
    }

    /// Zeroed memory for a program's data, at a multiple of `align`: a part of the engine's data memory
    /// ([`Config::arena`](crate::Config)).
    ///
    /// It is given back when it is dropped: no code may use it then.
    ///
    /// # Errors
    ///
    /// `Arena` where there is none.
    pub fn program_memory(&self, bytes: usize, align: usize) -> Result<ProgramMemory, Error> {
        let data = OwnedData::new(&self.inner.arena, bytes, align)?;
        Ok(ProgramMemory(data))
    }

    /// Defines a function whose calls come to a closure of this process, on the thread that has called generated code, which
    /// may call it again. Where the closure has no results, or panics, the call is a trap of
    /// [`HOST_FUNCTION_FAILED`].
    ///
    /// # Errors
    ///
    /// As [`Engine::declare`] and [`Engine::define`]; `Executor` where code runs in this process, or a value of the
    /// signature cannot travel: one of more than 16 bytes.
    pub fn host_function(
        &self,
        name: &str,
        signature: &Signature,
        function: impl Fn(&[DataValue]) -> Option<Vec<DataValue>> + Send + Sync + 'static,
    ) -> Result<FunctionId, Error> {
        let values = signature.params.iter().chain(&signature.returns);
        if values
            .clone()
            .any(|value| value.value_type.bytes() > VALUE_SIZE as u32)
        {
            return Err(super::unsupported("a value of more than 16 bytes"));
        }
        let id = self.declare(name, signature)?;
        let types = signature.clone();
        let called = move |cells: &mut [u128]| called(&types, cells, &function).is_some();
        let entry = self.inner.session.host_function(Arc::new(called))?;
        self.define(id, self.forwarding(signature, entry))?;
        Ok(id)
    }

    /// A function that passes its arguments on.
    fn forwarding(&self, signature: &Signature, entry: HostEntry) -> Function {
        let isa = self.isa();
        let pointer = isa.pointer_type();
        let mut function =
            Function::with_name_signature(UserFuncName::default(), signature.clone());
        let mut host = Signature::new(CallConv::triple_default(isa.triple()));
        host.params = [types::I32, types::I32, pointer, pointer]
            .map(AbiParam::new)
            .to_vec();
        host.returns = vec![AbiParam::new(types::I32)];
        let host = function.import_signature(host);
        let count = signature.params.len().max(signature.returns.len());
        let size = u32::try_from(count * VALUE_SIZE).unwrap_or(u32::MAX);
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
        let slot = function.create_sized_stack_slot(slot);

        let mut context = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut function, &mut context);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        builder.seal_block(block);
        let arguments = builder.block_params(block).to_vec();
        let values = builder.ins().stack_addr(pointer, slot, 0);
        let flags = MemFlagsData::trusted();
        let place = |index: usize| i32::try_from(index * VALUE_SIZE).unwrap_or(i32::MAX);
        for (index, argument) in arguments.into_iter().enumerate() {
            builder.ins().store(flags, argument, values, place(index));
        }
        let constant = |address: usize| (address as u64).cast_signed();
        let callee = builder.ins().iconst(pointer, constant(entry.entry.get()));
        let session = builder.ins().iconst(types::I32, i64::from(entry.session));
        let number = builder.ins().iconst(types::I32, i64::from(entry.function));
        let count = builder.ins().iconst(pointer, constant(count));
        let arguments = [session, number, values, count];
        let call = builder.ins().call_indirect(host, callee, &arguments);
        let status = builder.inst_results(call).first().copied();
        if let Some(status) = status {
            builder.ins().trapnz(status, HOST_FUNCTION_FAILED);
        }
        let results: Vec<_> = signature
            .returns
            .iter()
            .enumerate()
            .map(|(index, result)| {
                let ty = result.value_type;
                builder.ins().load(ty, flags, values, place(index))
            })
            .collect();
        builder.ins().return_(&results);
        builder.finalize(isa.frontend_config());
        function
    }
}

/// Calls a closure with the values in `cells`, and puts its results there.
fn called(
    signature: &Signature,
    cells: &mut [u128],
    function: &impl Fn(&[DataValue]) -> Option<Vec<DataValue>>,
) -> Option<()> {
    let count = signature.params.len().max(signature.returns.len());
    if cells.len() != count {
        return None;
    }
    let arguments = signature.params.iter().zip(&*cells);
    let arguments: Vec<_> = arguments
        .map(|(param, cell)| DataValue::read_from_slice_ne(&cell.to_ne_bytes(), param.value_type))
        .collect();
    let results = function(&arguments)?;
    let fit = results.len() == signature.returns.len()
        && results.iter().zip(&signature.returns).all(|(result, ret)| {
            result.ty() == ret.value_type
                || result.is_vector() && result.ty().bits() == ret.value_type.bits()
        });
    if !fit {
        return None;
    }
    for (cell, result) in cells.iter_mut().zip(&results) {
        let mut bytes = [0; VALUE_SIZE];
        result.write_to_slice_ne(&mut bytes);
        *cell = u128::from_ne_bytes(bytes);
    }
    Some(())
}
