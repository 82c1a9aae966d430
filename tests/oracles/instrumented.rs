//! Counting by brute force: a counter in every block and on every edge.
//!
//! Shares nothing with the engine's instrumentation, placement and reconstruction.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{BlockArg, BlockCall, Function, InstBuilder, MemFlagsData, types};
use regraft_regions::Flow;
use std::collections::BTreeMap;

/// Counts of a function: blocks by name; edges by source, position in its terminator, and target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the function was entered.
    pub entries: u64,
    /// How often each block ran, if it did.
    pub blocks: BTreeMap<String, u64>,
    /// How often each edge was taken, if it was.
    pub edges: BTreeMap<(String, u32, String), u64>,
}

/// A function that counts, and its cells: one per block and edge.
#[derive(Debug)]
pub struct Instrumented {
    /// The function.
    pub function: Function,
    source: Function,
    // Written by generated code.
    cells: *mut u64,
    length: usize,
}

impl Instrumented {
    /// Instruments a copy of `source`.
    ///
    /// # Errors
    ///
    /// `FlowError`, as text.
    pub fn new(source: &Function) -> Result<Self, String> {
        let flow = Flow::compute(source).map_err(|error| error.to_string())?;
        let length = source.dfg.num_blocks() + flow.edge_count();
        let cells: *mut u64 = Box::into_raw(vec![0_u64; length].into_boxed_slice()).cast();
        let base = cells.expose_provenance();
        let mut function = source.clone();
        for block in source.layout.blocks() {
            let mut cursor = FuncCursor::new(&mut function).at_first_insertion_point(block);
            count(&mut cursor, base + 8 * block.as_u32() as usize);
        }
        for (id, edge) in flow.edges() {
            let split = function.dfg.make_block();
            function.layout.append_block(split);
            let dfg = &mut function.dfg;
            let calls = dfg.insts[edge.inst]
                .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
            let call = &mut calls[edge.index as usize];
            let args: Vec<BlockArg> = call.args(&dfg.value_lists).collect();
            *call = BlockCall::new(split, [], &mut dfg.value_lists);
            let mut cursor = FuncCursor::new(&mut function).at_bottom(split);
            count(
                &mut cursor,
                base + 8 * (source.dfg.num_blocks() + id.as_u32() as usize),
            );
            cursor.ins().jump(edge.to, &args);
        }
        Ok(Self {
            function,
            source: source.clone(),
            cells,
            length,
        })
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        // SAFETY: within the allocation; no generated code runs now.
        let cell = |at: usize| unsafe { self.cells.add(at).read() };
        let mut counts = Counts::default();
        let Ok(flow) = Flow::compute(&self.source) else {
            return counts;
        };
        counts.entries = cell(flow.entry().as_u32() as usize);
        for block in self.source.layout.blocks() {
            let count = cell(block.as_u32() as usize);
            if count > 0 {
                counts.blocks.insert(block.to_string(), count);
            }
        }
        for (id, edge) in flow.edges() {
            let count = cell(self.source.dfg.num_blocks() + id.as_u32() as usize);
            if count > 0 {
                let key = (edge.from.to_string(), edge.index, edge.to.to_string());
                counts.edges.insert(key, count);
            }
        }
        counts
    }
}

impl Drop for Instrumented {
    fn drop(&mut self) {
        let cells = std::ptr::slice_from_raw_parts_mut(self.cells, self.length);
        // SAFETY: it was made from a box of this length.
        drop(unsafe { Box::from_raw(cells) });
    }
}

fn count(cursor: &mut FuncCursor<'_>, address: usize) {
    let address = cursor.ins().iconst(types::I64, address as i64);
    let flags = MemFlagsData::trusted();
    let old = cursor.ins().load(types::I64, flags, address, 0);
    let one = cursor.ins().iconst(types::I64, 1);
    let new = cursor.ins().iadd(old, one);
    cursor.ins().store(flags, new, address, 0);
}
