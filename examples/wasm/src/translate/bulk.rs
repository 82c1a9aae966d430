//! Bulk operations on memories and tables: calls of the runtime, which checks the bounds.
//!
//! A helper that can fail returns a status; other than 0 it is out of bounds.

use super::Translator;
use crate::error::{Error, codes};
use crate::helpers::Helper;
use cranelift_codegen::ir::{InstBuilder, TrapCode, Value};
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn bulk(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        const MEMORY: TrapCode = TrapCode::HEAP_OUT_OF_BOUNDS;
        const TABLE: TrapCode = codes::TABLE_OUT_OF_BOUNDS;
        match *op {
            Operator::MemoryCopy { dst_mem, src_mem } => {
                self.checked(Helper::MemoryCopy, &[dst_mem, src_mem], 3, MEMORY)?;
            }
            Operator::MemoryFill { mem } => {
                self.checked(Helper::MemoryFill, &[mem], 3, MEMORY)?;
            }
            Operator::MemoryInit { data_index, mem } => {
                self.checked(Helper::MemoryInit, &[mem, data_index], 3, MEMORY)?;
            }
            Operator::TableCopy {
                dst_table,
                src_table,
            } => self.checked(Helper::TableCopy, &[dst_table, src_table], 3, TABLE)?,
            Operator::TableFill { table } => {
                self.checked(Helper::TableFill, &[table], 3, TABLE)?;
            }
            Operator::TableInit { elem_index, table } => {
                self.checked(Helper::TableInit, &[table, elem_index], 3, TABLE)?;
            }
            Operator::DataDrop { data_index } => {
                let segment = self.constant(data_index);
                self.helper(Helper::DataDrop, &[segment])?;
            }
            Operator::ElemDrop { elem_index } => {
                let segment = self.constant(elem_index);
                self.helper(Helper::ElemDrop, &[segment])?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Calls a helper with numbers and the top `count` values; traps where it fails.
    fn checked(
        &mut self,
        helper: Helper,
        numbers: &[u32],
        count: usize,
        code: TrapCode,
    ) -> Result<(), Error> {
        let operands = self.pop_many(count)?;
        let numbers = numbers.iter().map(|number| self.constant(*number));
        let mut arguments: Vec<Value> = numbers.collect();
        arguments.extend(operands);
        let results = self.helper(helper, &arguments)?;
        let &[status] = &results[..] else {
            return Err(Error::Internal("a helper without a status".to_string()));
        };
        self.b.ins().trapnz(status, code);
        Ok(())
    }
}
