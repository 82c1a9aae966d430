//! Calls: direct, indirect, of imports, of the runtime, and as tails.
//!
//! A defined function is called by its name with the caller's context. An import is called through the
//! context, which holds its address and the context that it wants. An indirect call checks the index, then
//! null (by the fault of reading the record's type), then the type.

use super::Translator;
use crate::error::{Error, codes};
use crate::helpers::Helper;
use crate::vmctx::{RECORD_CODE, RECORD_TYPE, RECORD_VMCTX};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, SigRef, Value, types};

/// Where a call goes.
pub(super) enum Callee {
    Direct(FuncRef),
    Address(SigRef, Value),
}

impl Translator<'_> {
    pub(super) fn call(&mut self, function: u32) -> Result<(), Error> {
        let ty = self.compiled.module.functions[function as usize];
        let arguments = self.arguments(ty)?;
        let (callee, vmctx) = self.direct(function)?;
        let results = self.emit_call(callee, vmctx, arguments);
        self.stack.extend(results);
        Ok(())
    }

    pub(super) fn return_call(&mut self, function: u32) -> Result<(), Error> {
        let ty = self.compiled.module.functions[function as usize];
        let arguments = self.arguments(ty)?;
        let (callee, vmctx) = self.direct(function)?;
        self.emit_return_call(callee, vmctx, arguments);
        Ok(())
    }

    pub(super) fn call_indirect(&mut self, ty: u32, table: u32) -> Result<(), Error> {
        let (callee, vmctx) = self.indirect(ty, table)?;
        let arguments = self.arguments(ty)?;
        let results = self.emit_call(callee, vmctx, arguments);
        self.stack.extend(results);
        Ok(())
    }

    pub(super) fn return_call_indirect(&mut self, ty: u32, table: u32) -> Result<(), Error> {
        let (callee, vmctx) = self.indirect(ty, table)?;
        let arguments = self.arguments(ty)?;
        self.emit_return_call(callee, vmctx, arguments);
        Ok(())
    }

    /// Calls a function of the runtime with this instance and `arguments`.
    pub(super) fn helper(
        &mut self,
        helper: Helper,
        arguments: &[Value],
    ) -> Result<Vec<Value>, Error> {
        let callee = self.helper_ref(helper)?;
        let mut values = vec![self.vmctx];
        values.extend_from_slice(arguments);
        let call = self.b.ins().call(callee, &values);
        Ok(self.b.inst_results(call).to_vec())
    }

    pub(super) fn helper_ref(&mut self, helper: Helper) -> Result<FuncRef, Error> {
        if let Some(&callee) = self.helpers.get(&helper) {
            return Ok(callee);
        }
        let id = self.compiled.helpers.id(helper);
        let callee = self.engine.import(id, self.b.func)?;
        self.helpers.insert(helper, callee);
        Ok(callee)
    }

    /// Pops the arguments of a function of this type.
    fn arguments(&mut self, ty: u32) -> Result<Vec<Value>, Error> {
        let count = self.compiled.module.types[ty as usize].params.len();
        let values = self.peek_canonical(count)?;
        self.pop_many(count)?;
        Ok(values)
    }

    fn signature(&mut self, ty: u32) -> SigRef {
        if let Some(&signature) = self.signatures.get(&ty) {
            return signature;
        }
        let signature = crate::compile::signature(&self.compiled.module.types[ty as usize]);
        let signature = self.b.import_signature(signature);
        self.signatures.insert(ty, signature);
        signature
    }

    /// A function by its index, and the context that it runs with.
    fn direct(&mut self, function: u32) -> Result<(Callee, Value), Error> {
        let module = &self.compiled.module;
        if function < module.imported_functions {
            let signature = self.signature(module.functions[function as usize]);
            let entry = self.compiled.layout.import(function);
            let code = self.field(entry)?;
            let vmctx = self.field(entry + 8)?;
            return Ok((Callee::Address(signature, code), vmctx));
        }
        let callee = match self.callees.get(&function) {
            Some(&callee) => callee,
            None => {
                let defined = (function - module.imported_functions) as usize;
                let id = self.compiled.functions[defined];
                let callee = self.engine.import(id, self.b.func)?;
                self.callees.insert(function, callee);
                callee
            }
        };
        Ok((Callee::Direct(callee), self.vmctx))
    }

    /// Pops an index; the function that the table has there, after all checks.
    fn indirect(&mut self, ty: u32, table: u32) -> Result<(Callee, Value), Error> {
        let index = self.pop()?;
        let address = self.element(table, index, codes::UNDEFINED_ELEMENT)?;
        let flags = self.flags.table;
        let record = self.b.ins().load(types::I64, flags, address, 0);
        let flags = self.flags.record;
        let found = self.b.ins().load(types::I64, flags, record, RECORD_TYPE);
        let wanted = self.compiled.type_ids[ty as usize].cast_signed();
        let differs = self.b.ins().icmp_imm_s(IntCC::NotEqual, found, wanted);
        self.b.ins().trapnz(differs, codes::INDIRECT_CALL_TYPE);
        let flags = self.flags.constant_after_check();
        let code = self.b.ins().load(types::I64, flags, record, RECORD_CODE);
        let vmctx = self.b.ins().load(types::I64, flags, record, RECORD_VMCTX);
        let signature = self.signature(ty);
        Ok((Callee::Address(signature, code), vmctx))
    }

    fn emit_return_call(&mut self, callee: Callee, vmctx: Value, mut arguments: Vec<Value>) {
        arguments.insert(0, vmctx);
        match callee {
            Callee::Direct(callee) => self.b.ins().return_call(callee, &arguments),
            Callee::Address(signature, code) => self
                .b
                .ins()
                .return_call_indirect(signature, code, &arguments),
        };
        self.reachable = false;
    }
}
