//! Code on an edge of a function that is being changed.
//!
//! Invariants:
//!
//! * An edge gets one block at most, however often it is asked for.
//!
//! Not here: which edges there are (`regraft_regions::Flow`).

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{Block, BlockArg, Function, InstBuilder, Type};
use regraft_regions::{Edge, Flow, FlowEdge};

/// A cursor on an edge: in the block before it if that has one successor,
/// else in a new block that splits it, or in the one that did so before.
///
/// `flow` describes the function before anything was split.
pub fn at_edge<'f>(func: &'f mut Function, flow: &Flow, edge: FlowEdge) -> FuncCursor<'f> {
    let edge = flow.edge(edge);
    if flow.succs(edge.from).len() == 1 {
        return FuncCursor::new(func).at_inst(edge.inst);
    }
    let to = destination(func, edge).unwrap_or(edge.to);
    if to != edge.to
        && let Some(jump) = func.layout.last_inst(to)
    {
        return FuncCursor::new(func).at_inst(jump);
    }
    let split = func.dfg.make_block();
    func.layout.insert_block(split, to);
    if func.layout.is_cold(to) {
        func.layout.set_cold(split);
    }
    // What exists on the edge only becomes a parameter of the new block.
    let args = crate::edge_args(func, edge.inst, edge.index);
    let args: Vec<BlockArg> = args.collect();
    let types: Vec<Type> = func.dfg.block_param_types(to).collect();
    let mut carried = vec![];
    let mut passed = vec![];
    for (arg, ty) in args.into_iter().zip(types) {
        match arg {
            BlockArg::Value(value) => passed.push(BlockArg::Value(value)),
            other => {
                carried.push(other);
                passed.push(BlockArg::Value(func.dfg.append_block_param(split, ty)));
            }
        }
    }
    let dfg = &mut func.dfg;
    let calls = dfg.insts[edge.inst]
        .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    if let Some(call) = calls.get_mut(edge.index as usize) {
        call.clear(&mut dfg.value_lists);
        call.set_block(split, &mut dfg.value_lists);
        for arg in carried {
            call.append_argument(arg, &mut dfg.value_lists);
        }
    }
    let mut cursor = FuncCursor::new(func).at_bottom(split);
    let jump = cursor.ins().jump(to, &passed);
    cursor.at_inst(jump)
}

fn destination(func: &Function, edge: Edge) -> Option<Block> {
    let calls = func.dfg.insts[edge.inst]
        .branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables);
    let call = calls.get(edge.index as usize)?;
    Some(call.block(&func.dfg.value_lists))
}
