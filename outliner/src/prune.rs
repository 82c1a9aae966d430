//! Pruning a whole function: its cold blocks become continuations.
//!
//! ```text
//!      source                   pruned                        continuation of C
//!
//!        E                        E                             C'
//!       ╱ ╲                      ╱ ╲                            │
//!      A   C (cold)             A   call C's slot               B' ─▶ return 1, …
//!       ╲ ╱                     │    │
//!        B                      B    return what it returned
//! ```
//!
//! The region is the function: its entry is the function's, its natural exits
//! are returns and tail calls. The pruned function keeps its signature and its
//! frame, so a side exit is a call and not a tail call; what the continuation
//! hands back is returned at once, and the cold path never merges back.
//!
//! Not here: regions of loops (`extract`), and which blocks are cold.

use crate::error::OutlineError;
use crate::extract::{
    Extracted, continuation_signature, edge_value, import_outlined, live_at, outlined_name,
};
use crate::interface::{Interface, LiveOutSource, ParamSource, edge_args};
use crate::remap::edge_only_args;
use crate::splice::{carried_by, copy_leaving_inst, remove_unreachable, repeat_constants};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, FuncRef, Function, InstBuilder, JumpTableData, TrapCode, Value,
};
use regraft_regions::{ExitKind, Flow, Liveness, Region, RegionKind, SideExit};

/// Leaves the cold blocks out of a copy of `func`: edges to them call
/// continuations.
///
/// # Requires
///
/// `region` is of kind `Function`, and `interface` is its interface.
///
/// # Errors
///
/// `Malformed` for a region of another kind, or for input that the verifier
/// rejects.
///
/// # Complexity
///
/// O(instructions + side exits × values live there).
pub fn prune_function(
    func: &Function,
    flow: &Flow,
    liveness: &Liveness,
    region: &Region,
    interface: &Interface,
) -> Result<Extracted, OutlineError> {
    if region.kind() != RegionKind::Function {
        return Err(OutlineError::Malformed(
            "only a whole function can be pruned",
        ));
    }
    let mut function = func.clone();
    let returns =
        (!region.side_exits().is_empty()).then(|| return_blocks(&mut function, interface));
    let mut side_calls = vec![];
    for side_exit in region.side_exits() {
        let number = side_exit.number;
        let signature = continuation_signature(func, region, interface, liveness, side_exit.to);
        let name = outlined_name(func, region.entry(), &format!("_side{number}"));
        let callee = import_outlined(&mut function, name, signature);
        side_calls.push((number, callee));
        let block = redirect(&mut function, flow, side_exit)?;
        let live = live_at(func, liveness, region, side_exit.to);
        call_continuation(&mut function, interface, callee, block, &live, returns)?;
    }
    remove_unreachable(&mut function);
    Ok(Extracted {
        function,
        side_calls,
        reentry: None,
        side_tables: vec![],
        indirect_calls: vec![],
    })
}

/// A block outside the hot path, and what the redirected edge carries.
struct ExitBlock {
    block: Block,
    args: Vec<Value>,
}

/// Sends the edge of a side exit to a new block.
fn redirect(
    func: &mut Function,
    flow: &Flow,
    side_exit: &SideExit,
) -> Result<ExitBlock, OutlineError> {
    let edge = flow.edge(side_exit.edge);
    let args: Vec<BlockArg> = edge_args(func, edge.inst, edge.index).collect();
    let block = cold_block(func);
    let mut edge_values = vec![];
    let only = edge_only_args(args.iter().copied());
    for &arg in &only {
        let at = args.iter().position(|&other| other == arg);
        let param = at.and_then(|at| func.dfg.block_params(side_exit.to).get(at).copied());
        let param = param.ok_or(OutlineError::Malformed("an edge value without a parameter"))?;
        let ty = func.dfg.value_type(param);
        edge_values.push((arg, func.dfg.append_block_param(block, ty)));
    }
    let args = args.into_iter().map(|arg| match arg {
        BlockArg::Value(value) => Ok(func.dfg.resolve_aliases(value)),
        other => edge_value(other, &edge_values),
    });
    let args = args.collect::<Result<_, _>>()?;
    let dfg = &mut func.dfg;
    let calls = dfg.insts[edge.inst]
        .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    let call = calls.get_mut(edge.index as usize);
    let call = call.ok_or(OutlineError::Malformed("an edge that is gone"))?;
    *call = BlockCall::new(block, only, &mut dfg.value_lists);
    Ok(ExitBlock { block, args })
}

fn call_continuation(
    func: &mut Function,
    interface: &Interface,
    callee: FuncRef,
    exit: ExitBlock,
    live: &[Value],
    returns: Option<Block>,
) -> Result<(), OutlineError> {
    let mut args = exit.args;
    args.extend_from_slice(live);
    let mut cursor = FuncCursor::new(func).at_bottom(exit.block);
    for param in interface.carried() {
        args.push(match param.source {
            ParamSource::Value(value) | ParamSource::VmContext(value) => value,
            ParamSource::Slot(slot) => cursor.ins().stack_addr(param.ty, slot, 0),
            ParamSource::DynamicSlot(slot) => cursor.ins().dynamic_stack_addr(param.ty, slot),
            ParamSource::Entry(_) => {
                return Err(OutlineError::Malformed("an entry parameter is no live-in"));
            }
        });
    }
    let call = cursor.ins().call(callee, &args);
    let results = cursor.func.dfg.inst_results(call).iter();
    let results: Vec<BlockArg> = results.map(|&result| result.into()).collect();
    if let Some(returns) = returns {
        cursor.ins().jump(returns, &results);
    }
    Ok(())
}

/// A block that takes what a continuation returned and leaves the function as
/// the exit says.
fn return_blocks(func: &mut Function, interface: &Interface) -> Block {
    let dispatch = cold_block(func);
    let results: Vec<Value> = interface
        .results
        .iter()
        .map(|&ty| func.dfg.append_block_param(dispatch, ty))
        .collect();
    let mut exits = vec![];
    for exit in &interface.exits {
        let block = cold_block(func);
        if let ExitKind::Return { inst } | ExitKind::TailCall { inst } = exit.exit.kind {
            let constants = repeat_constants(func, block, &exit.constants);
            let name = |_: &mut FuncCursor<'_>, value: Value| {
                let source = LiveOutSource::Value(value);
                carried_by(exit, &results, &constants, source).unwrap_or(value)
            };
            copy_leaving_inst(func, inst, block, name);
        }
        exits.push(block);
    }
    let mut cursor = FuncCursor::new(func).at_bottom(dispatch);
    match exits.as_slice() {
        [] => {
            // No continuation ever returns.
            let code = TrapCode::unwrap_user(crate::UNREACHABLE_TRAP);
            cursor.ins().trap(code);
        }
        [exit] => {
            cursor.ins().jump(*exit, &[]);
        }
        [.., last] => {
            let pool = &mut cursor.func.dfg.value_lists;
            let default = BlockCall::new(*last, [], pool);
            // Exits are numbered from 1; entry 0 is never taken.
            let table: Vec<BlockCall> = std::iter::once(last)
                .chain(&exits)
                .map(|&block| BlockCall::new(block, [], pool))
                .collect();
            let table = cursor
                .func
                .create_jump_table(JumpTableData::new(default, &table));
            cursor.ins().br_table(results[0], table);
        }
    }
    dispatch
}

fn cold_block(func: &mut Function) -> Block {
    let block = func.dfg.make_block();
    func.layout.append_block(block);
    func.layout.set_cold(block);
    block
}
