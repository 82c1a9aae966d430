//! The check of a tier 0 that does not count.
//!
//! ```text
//!   H: e = cell(region)
//!      e ≠ 0 ─▶ call e ─▶ exits
//!      e = 0 ─▶ H body
//! ```
//!
//! Invariants: no store, and no call of the runtime: what is hot is found from outside, and shows in
//! the cell.
//!
//! Limitations: arrivals at the header are not marked, so that an entry into a running loop cannot be
//! told from one at its start.

use super::{call_region, cell_flags};
use crate::passes::instrument::Plan;
use crate::passes::names;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{Function, Inst, InstBuilder, Signature, Type, Value};
use regraft_outliner::{HookBlocks, OsrCheck};

/// A check that looks whether its region is there.
pub(super) struct CellCheck<'a> {
    plan: &'a Plan<'a>,
    /// The address of each region to call, known in its call block.
    entries: Vec<Value>,
}

impl<'a> CellCheck<'a> {
    pub fn new(plan: &'a Plan<'a>) -> Self {
        Self {
            plan,
            entries: vec![],
        }
    }
}

impl OsrCheck for CellCheck<'_> {
    fn enter(&mut self, func: &mut Function, hook: usize, blocks: &HookBlocks) {
        let pointer = self.plan.pointer;
        let first = func.layout.first_inst(blocks.body);
        let location = first.map(|first| func.srcloc(first));
        let mut cursor = FuncCursor::new(func).at_bottom(blocks.header);
        // Time spent in the check is time spent in the header.
        cursor.set_srcloc(location.unwrap_or_default());
        let cell = names::symbol(cursor.func, names::CELLS, self.plan.hook_units[hook]);
        let cell = cursor.ins().symbol_value(pointer, cell);
        let entry = cursor.ins().load(pointer, cell_flags(), cell, 0);
        self.entries.push(entry);
        let (call, body) = (blocks.call, blocks.body);
        cursor.ins().brif(entry, call, &[], body, &[]);
    }

    fn call(
        &mut self,
        cursor: &mut FuncCursor<'_>,
        hook: usize,
        signature: Signature,
        args: &[Value],
    ) -> Inst {
        call_region(cursor, self.entries[hook], signature, args)
    }

    fn pointer(&self) -> Type {
        self.plan.pointer
    }
}
