//! Constants, locals, globals, `drop` and `select`.

use super::Translator;
use crate::error::Error;
use crate::types::ValueType;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_frontend::Variable;
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn variable(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        match *op {
            Operator::LocalGet { local_index } => {
                let variable = self.local(local_index)?;
                let value = self.b.use_var(variable);
                self.push(value);
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop()?;
                self.set_local(local_index, value)?;
            }
            Operator::LocalTee { local_index } => {
                let value = self.pop()?;
                self.set_local(local_index, value)?;
                self.push(value);
            }
            Operator::GlobalGet { global_index } => {
                let ty = self.compiled.module.global_type(global_index);
                let (flags, address, offset) = self.global(global_index)?;
                let value = self.b.ins().load(ty.clif(), flags, address, offset);
                self.push(value);
            }
            Operator::GlobalSet { global_index } => {
                let value = self.pop()?;
                let value = self.canonical(value);
                let (flags, address, offset) = self.global(global_index)?;
                self.b.ins().store(flags, value, address, offset);
            }
            Operator::Drop => {
                self.pop()?;
            }
            Operator::Select | Operator::TypedSelect { .. } => {
                let condition = self.pop()?;
                let condition = self.condition(condition);
                let (first, second) = self.pop2()?;
                let (first, second) = (self.canonical(first), self.canonical(second));
                let value = self.b.ins().select(condition, first, second);
                self.push(value);
            }
            Operator::RefNull { .. } => {
                let value = self.zero(ValueType::FuncRef);
                self.push(value);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn local(&self, index: u32) -> Result<Variable, Error> {
        let local = self.locals.get(index as usize);
        let local = local.ok_or_else(|| Error::Internal(format!("no local {index}")))?;
        Ok(local.0)
    }

    fn set_local(&mut self, index: u32, value: Value) -> Result<(), Error> {
        let variable = self.local(index)?;
        let value = self.canonical(value);
        self.b.def_var(variable, value);
        Ok(())
    }

    /// Where a global is, and how it is accessed.
    fn global(&mut self, index: u32) -> Result<(MemFlagsData, Value, i32), Error> {
        let module = &self.compiled.module;
        let first = self.compiled.first_region;
        let flags = self.flags.global(self.b.func, first, module, index);
        let offset = offset(self.compiled.layout.global(index))?;
        if index >= module.imported_globals {
            return Ok((flags, self.vmctx, offset));
        }
        let constant = self.flags.constant;
        let ty = cranelift_codegen::ir::types::I64;
        let address = self.b.ins().load(ty, constant, self.vmctx, offset);
        Ok((flags, address, 0))
    }
}

/// An offset in the context as CLIF takes it.
pub(super) fn offset(offset: usize) -> Result<i32, Error> {
    i32::try_from(offset).map_err(|_| Error::TooLarge {
        what: "the instance's context in bytes",
        found: offset as u64,
        limit: i32::MAX as u64,
    })
}
