//! Tables and references.

use super::Translator;
use crate::error::{Error, codes};
use crate::helpers::Helper;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, TrapCode, Value, types};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn table(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        match *op {
            Operator::RefFunc { function_index } => {
                let position = self.compiled.module.reference(function_index);
                let position = position
                    .ok_or_else(|| Error::Internal(format!("no record of {function_index}")))?;
                let at = self.compiled.layout.record(position) as i64;
                let value = self.b.ins().iadd_imm_s(self.vmctx, at);
                self.push(value);
            }
            Operator::TableGet { table } => {
                let index = self.pop()?;
                let address = self.element(table, index, codes::TABLE_OUT_OF_BOUNDS)?;
                let flags = self.flags.table;
                let value = self.b.ins().load(types::I64, flags, address, 0);
                self.push(value);
            }
            Operator::TableSet { table } => {
                let (index, value) = self.pop2()?;
                let address = self.element(table, index, codes::TABLE_OUT_OF_BOUNDS)?;
                let flags = self.flags.table;
                self.b.ins().store(flags, value, address, 0);
            }
            Operator::TableSize { table } => {
                let length = self.length(self.compiled.layout.table(table))?;
                let length = self.b.ins().ireduce(types::I32, length);
                self.push(length);
            }
            Operator::TableGrow { table } => {
                let (init, delta) = self.pop2()?;
                let table = self.constant(table);
                let results = self.helper(Helper::TableGrow, &[table, init, delta])?;
                self.stack.extend(results);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The address of an element, after a check of the index.
    pub(super) fn element(
        &mut self,
        table: u32,
        index: Value,
        code: TrapCode,
    ) -> Result<Value, Error> {
        let module = &self.compiled.module;
        let entry = self.compiled.layout.table(table);
        let limits = module.tables[table as usize].ty.limits;
        let own = table >= module.imported_tables;
        let outside = if own && limits.maximum == Some(limits.minimum) {
            // It cannot grow: the length is a constant.
            let length = limits.minimum.min(u64::from(u32::MAX)).cast_signed();
            let length = self.b.ins().iconst(types::I32, length);
            self.b
                .ins()
                .icmp(IntCC::UnsignedGreaterThanOrEqual, index, length)
        } else {
            let length = self.length(entry)?;
            let length = self.b.ins().ireduce(types::I32, length);
            self.b
                .ins()
                .icmp(IntCC::UnsignedGreaterThanOrEqual, index, length)
        };
        self.b.ins().trapnz(outside, code);
        let base = self.base(entry)?;
        let index = self.b.ins().uextend(types::I64, index);
        let at = self.b.ins().ishl_imm_u(index, 3);
        Ok(self.b.ins().iadd(base, at))
    }
}
