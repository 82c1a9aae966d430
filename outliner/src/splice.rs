//! Splicing calls of regions into the function that holds them.
//!
//! ```text
//!      before                     after
//!
//!        │                          │
//!    ┌─▶ H ──▶ T                ┌─▶ H: check───────▶ call region
//!    │   │                      │   │                 keep its results
//!    └── B                      │   H body ──▶ T ◀── branch on the exit number
//!                               │   │
//!                               └── B
//! ```
//!
//! The header keeps its parameters; its instructions move to a new block, the
//! *body*. What decides between the body and the call is the [`OsrCheck`], given
//! by the caller.
//!
//! Invariants:
//!
//! * A region that is called runs, and returns the number of an exit.
//! * Any number of regions can be spliced in at once, nested or not, as long
//!   as no two share an entry.
//!
//! Not here: what the check does, compiling anything, and the function with the
//! region's own blocks removed (`residual`).

use crate::error::OutlineError;
use crate::frame::FrameVariables;
use crate::interface::{ExitInterface, Interface, LiveOutSource, ParamSource, edge_args};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::entity::packed_option::PackedOption;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Function, Inst, InstBuilder, JumpTableData, Signature, TrapCode,
    Type, Value, types,
};
use regraft_regions::{ExitKind, Flow, Region};

/// A region to be spliced in.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// The region; only its scope matters here.
    pub region: &'a Region,
    /// Its interface.
    pub interface: &'a Interface,
}

/// The blocks of a spliced region.
#[derive(Clone, Copy, Debug)]
pub struct HookBlocks {
    /// The region's entry: it holds the check.
    pub header: Block,
    /// What the entry held before.
    pub body: Block,
    /// Calls the region and branches on the exit number.
    pub call: Block,
}

/// What decides whether a region is called, and how.
pub trait OsrCheck {
    /// Fills the header, which is empty but for its parameters. It must end
    /// in a branch to the body, the call block, or either; blocks may be added.
    fn enter(&mut self, func: &mut Function, hook: usize, blocks: &HookBlocks);

    /// Emits the call at the cursor, in the call block, and returns it.
    fn call(
        &mut self,
        cursor: &mut FuncCursor<'_>,
        hook: usize,
        signature: Signature,
        args: &[Value],
    ) -> Inst;

    /// The target's type of addresses.
    fn pointer(&self) -> Type;
}

/// Splices a call of each hooked region into `func`, in place; the original
/// blocks stay.
///
/// `flow` describes `func` as it was when the regions were formed.
///
/// # Errors
///
/// `UndefinedValue` and `Malformed` for input that the verifier rejects.
///
/// # Complexity
///
/// O(instructions + live-ins + exits × live-outs, over all hooks).
pub fn splice(
    func: &mut Function,
    flow: &Flow,
    hooks: &[Hook<'_>],
    check: &mut dyn OsrCheck,
) -> Result<Vec<HookBlocks>, OutlineError> {
    let source_blocks: Vec<Block> = func.layout.blocks().collect();
    let mut all_blocks = Vec::with_capacity(hooks.len());
    let mut body_of: SecondaryMap<Block, PackedOption<Block>> = SecondaryMap::new();
    for (index, hook) in hooks.iter().enumerate() {
        let blocks = make_blocks(func, hook)?;
        check.enter(func, index, &blocks);
        body_of[blocks.header] = blocks.body.into();
        all_blocks.push(blocks);
    }
    let mut variables = FrameVariables::new(func, hooks, check.pointer());
    for (index, (hook, blocks)) in hooks.iter().zip(&all_blocks).enumerate() {
        fill_call(func, flow, index, hook, blocks, check, &mut variables)?;
    }
    variables.finish(func, flow, &source_blocks, |block| {
        body_of[block].expand().unwrap_or(block)
    })?;
    Ok(all_blocks)
}

fn make_blocks(func: &mut Function, hook: &Hook<'_>) -> Result<HookBlocks, OutlineError> {
    let header = hook.interface.entry;
    let body = split_entry(func, header)?;
    let call = cold_block(func);
    Ok(HookBlocks { header, body, call })
}

/// Moves what `entry` holds to a new block behind it.
pub(crate) fn split_entry(func: &mut Function, entry: Block) -> Result<Block, OutlineError> {
    let first = func
        .layout
        .first_inst(entry)
        .ok_or(OutlineError::Malformed("the region's entry is empty"))?;
    let body = func.dfg.make_block();
    func.layout.split_block(body, first);
    if func.layout.is_cold(entry) {
        func.layout.set_cold(body);
    }
    Ok(body)
}

fn cold_block(func: &mut Function) -> Block {
    let block = func.dfg.make_block();
    func.layout.append_block(block);
    func.layout.set_cold(block);
    block
}

fn fill_call(
    func: &mut Function,
    flow: &Flow,
    index: usize,
    hook: &Hook<'_>,
    blocks: &HookBlocks,
    check: &mut dyn OsrCheck,
    variables: &mut FrameVariables<'_>,
) -> Result<(), OutlineError> {
    let interface = hook.interface;
    let mut cursor = FuncCursor::new(func).at_bottom(blocks.call);
    let name = |cursor: &mut FuncCursor<'_>, value| variables.name_at(cursor, value, blocks.header);
    let args = region_args(&mut cursor, interface, name)?;
    let call = check.call(&mut cursor, index, interface.signature(), &args);
    let results = region_results(cursor.func, interface, call)?;
    variables.called(call);
    // Where a value is not live, it does not matter what it is.
    for exit in &interface.exits {
        for live in &exit.live_outs {
            if let LiveOutSource::Value(value) = live.source {
                variables.define(call, value, results[live.result], index);
            }
        }
    }
    let mut targets = Vec::with_capacity(interface.exits.len());
    for exit in &interface.exits {
        let carried = |source| exit.result_of(source).map(|at| results[at]);
        let name = |cursor: &mut FuncCursor<'_>, value: Value| {
            let result = carried(LiveOutSource::Value(value));
            result.unwrap_or_else(|| variables.name_after(cursor, value, index, blocks.header))
        };
        targets.push(match exit.exit.kind {
            ExitKind::Edge { edge, to } => {
                let edge = flow.edge(edge);
                let args = exit_args(&mut cursor, edge.inst, edge.index, carried, name)?;
                BlockCall::new(to, args, &mut cursor.func.dfg.value_lists)
            }
            ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                let block = cold_block(cursor.func);
                copy_leaving_inst(cursor.func, inst, block, name);
                BlockCall::new(block, [], &mut cursor.func.dfg.value_lists)
            }
        });
    }
    dispatch(&mut cursor, results[0], &targets);
    Ok(())
}

/// What a region is called with, in the order of its parameters; `name` says
/// what a live-in is called at the cursor.
pub(crate) fn region_args(
    cursor: &mut FuncCursor<'_>,
    interface: &Interface,
    name: impl Fn(&mut FuncCursor<'_>, Value) -> Value,
) -> Result<Vec<Value>, OutlineError> {
    let mut args = Vec::with_capacity(interface.params.len());
    for param in &interface.params {
        args.push(match param.source {
            ParamSource::Entry(at) => {
                let params = cursor.func.dfg.block_params(interface.entry);
                *params.get(at).ok_or(OutlineError::Malformed(
                    "the region's entry lost a parameter",
                ))?
            }
            ParamSource::Value(value) | ParamSource::VmContext(value) => name(cursor, value),
            ParamSource::Slot(slot) => cursor.ins().stack_addr(param.ty, slot, 0),
            ParamSource::DynamicSlot(slot) => cursor.ins().dynamic_stack_addr(param.ty, slot),
        });
    }
    Ok(args)
}

/// The results of a region's call.
pub(crate) fn region_results(
    func: &Function,
    interface: &Interface,
    call: Inst,
) -> Result<Vec<Value>, OutlineError> {
    let results = func.dfg.inst_results(call).to_vec();
    if results.len() != interface.results.len() {
        return Err(OutlineError::Malformed(
            "the call has not the results of the interface",
        ));
    }
    Ok(results)
}

/// The arguments of an edge that leaves a region, after the call of the
/// region: `carried` says which result a source is, `name` what a value is
/// called.
pub(crate) fn exit_args(
    cursor: &mut FuncCursor<'_>,
    inst: Inst,
    index: u32,
    carried: impl Fn(LiveOutSource) -> Option<Value>,
    name: impl Fn(&mut FuncCursor<'_>, Value) -> Value,
) -> Result<Vec<BlockArg>, OutlineError> {
    let passed: Vec<BlockArg> = edge_args(cursor.func, inst, index).collect();
    let mut args = Vec::with_capacity(passed.len());
    for arg in passed {
        let value = match arg {
            BlockArg::Value(value) => {
                let value = cursor.func.dfg.resolve_aliases(value);
                Some(name(cursor, value))
            }
            BlockArg::TryCallRet(i) => carried(LiveOutSource::TryCallRet(i)),
            BlockArg::TryCallExn(i) => carried(LiveOutSource::TryCallExn(i)),
        };
        let missing = "an exit argument that no result carries";
        args.push(BlockArg::Value(
            value.ok_or(OutlineError::Malformed(missing))?,
        ));
    }
    Ok(args)
}

/// Repeats the instructions that define `constants` at the end of `block`.
pub(crate) fn repeat_constants(
    func: &mut Function,
    block: Block,
    constants: &[Value],
) -> Vec<(Value, Value)> {
    let mut copies = vec![];
    for &value in constants {
        if let Some(inst) = func.dfg.value_def(value).inst() {
            let copy = func.dfg.clone_inst(inst);
            func.layout.append_inst(copy, block);
            copies.push((value, func.dfg.first_result(copy)));
        }
    }
    copies
}

/// What a value of the scope is called after an exit: the result that carries
/// it, or the repeated constant.
pub(crate) fn carried_by(
    exit: &ExitInterface,
    results: &[Value],
    constants: &[(Value, Value)],
    source: LiveOutSource,
) -> Option<Value> {
    let result = exit.result_of(source).map(|at| results[at]);
    result.or_else(|| match source {
        LiveOutSource::Value(value) => constants
            .iter()
            .find(|constant| constant.0 == value)
            .map(|constant| constant.1),
        _ => None,
    })
}

/// Ends the block behind a region's call with a branch on the number of the exit; there is a target for each, in order.
pub fn dispatch(cursor: &mut FuncCursor<'_>, number: Value, targets: &[BlockCall]) {
    let args = |cursor: &FuncCursor<'_>, call: &BlockCall| -> (Block, Vec<BlockArg>) {
        let pool = &cursor.func.dfg.value_lists;
        (call.block(pool), call.args(pool).collect())
    };
    match targets {
        [] => {
            // The region never returns.
            let code = TrapCode::unwrap_user(UNREACHABLE_TRAP);
            cursor.ins().trap(code);
        }
        [only] => {
            let (block, args) = args(cursor, only);
            cursor.ins().jump(block, &args);
        }
        [first, second] => {
            let (first, first_args) = args(cursor, first);
            let (second, second_args) = args(cursor, second);
            let one = cursor.ins().iconst(types::I32, 1);
            let is_first = cursor.ins().icmp(IntCC::Equal, number, one);
            let branch = cursor.ins();
            branch.brif(is_first, first, &first_args, second, &second_args);
        }
        [before @ .., last] => {
            let minus_one = cursor.ins().iconst(types::I32, -1);
            let index = cursor.ins().iadd(number, minus_one);
            let table = JumpTableData::new(*last, before);
            let table = cursor.func.create_jump_table(table);
            cursor.ins().br_table(index, table);
        }
    }
}

/// The user trap code of a region without exits that has returned.
pub const UNREACHABLE_TRAP: u8 = 0xf0;

/// Repeats a `return` or `return_call*` of the scope at the end of `block`,
/// where its arguments are called what `name` says; it may insert code.
pub(crate) fn copy_leaving_inst(
    func: &mut Function,
    inst: Inst,
    block: Block,
    name: impl Fn(&mut FuncCursor<'_>, Value) -> Value,
) {
    let location = func.srcloc(inst);
    let copy = func.dfg.clone_inst(inst);
    let mut args = func.dfg.inst_args(copy).to_vec();
    let mut cursor = FuncCursor::new(func).at_bottom(block).with_srcloc(location);
    for arg in &mut args {
        let value = cursor.func.dfg.resolve_aliases(*arg);
        *arg = name(&mut cursor, value);
    }
    func.dfg.inst_args_mut(copy).copy_from_slice(&args);
    func.layout.append_inst(copy, block);
    if !location.is_default() {
        func.set_srcloc(copy, location);
    }
}

/// Removes the blocks that control no longer reaches.
pub(crate) fn remove_unreachable(func: &mut Function) {
    let cfg = ControlFlowGraph::with_function(func);
    let domtree = DominatorTree::with_function(func, &cfg);
    let dead: Vec<Block> = func
        .layout
        .blocks()
        .filter(|&block| !domtree.is_reachable(block))
        .collect();
    for block in dead {
        func.layout.remove_block_and_insts(block);
    }
}
