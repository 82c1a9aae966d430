//! The gate of a tier 0 that does not count.
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
use crate::instrument::Plan;
use crate::names;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{BlockArg, Function, Inst, InstBuilder, Signature, Value};
use regraft_outliner::{Gate, HookBlocks};

/// A gate that looks whether its region is there.
pub(super) struct CellGate<'a> {
    plan: &'a Plan<'a>,
    /// Each call block's parameter: the address of the region to call.
    entries: Vec<Value>,
}

impl<'a> CellGate<'a> {
    pub fn new(plan: &'a Plan<'a>) -> Self {
        Self {
            plan,
            entries: vec![],
        }
    }
}

impl Gate for CellGate<'_> {
    fn enter(&mut self, func: &mut Function, hook: usize, blocks: &HookBlocks) {
        let pointer = self.plan.pointer;
        let entry = func.dfg.append_block_param(blocks.call, pointer);
        self.entries.push(entry);
        let first = func.layout.first_inst(blocks.body);
        let location = first.map(|first| func.srcloc(first));
        let mut cursor = FuncCursor::new(func).at_bottom(blocks.header);
        // Time spent in the gate is time spent in the header.
        cursor.set_srcloc(location.unwrap_or_default());
        let cell = names::symbol(cursor.func, names::CELLS, self.plan.hook_units[hook]);
        let cell = cursor.ins().symbol_value(pointer, cell);
        let filled = cursor.ins().load(pointer, cell_flags(), cell, 0);
        let arg = [BlockArg::Value(filled)];
        cursor
            .ins()
            .brif(filled, blocks.call, &arg, blocks.body, &[]);
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

    fn keeps_original(&self) -> bool {
        true
    }
}
