//! Splicing region calls into the function that holds the regions.
//!
//! ```text
//!      before                     after
//!
//!        │                          │
//!    ┌─▶ H ──▶ T                ┌─▶ H: gate ───────▶ call region
//!    │   │                      │   │                    │
//!    └── B                      │   H body ──▶ T ◀── X1 ◀┤ br_table on the exit number
//!                               │   │      ▲             │
//!                               └── B      └─────────────┘ 0: did not run
//! ```
//!
//! The header keeps its parameters; its instructions move to a new block, the
//! *body*. What decides between the body and the call is the [`Gate`], given
//! by the caller: tier 0 counts down, the residual always calls.
//!
//! Invariants:
//!
//! * Every exit edge has an exit block of its own, so that exits can be
//!   counted one by one.
//! * Any number of regions can be spliced in at once, nested or not, as long
//!   as no two share an entry.
//!
//! Not here: what the gate does, and compiling anything.

use crate::error::OutlineError;
use crate::interface::{
    ExitInterface, Interface, LiveOutSource, ParamSource, defining_block, edge_args,
};
use crate::ssa::{Variable, repair};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Function, Inst, InstBuilder, JumpTableData, Signature, Value,
};
use indexmap::IndexMap;
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
#[derive(Clone, Debug)]
pub struct HookBlocks {
    /// The region's entry: it holds the gate.
    pub header: Block,
    /// What the entry held before.
    pub body: Block,
    /// Calls the region and dispatches on the exit number.
    pub call: Block,
    /// One block per natural exit; exit number *k* is at *k* − 1.
    pub exits: Vec<Block>,
}

/// What decides whether a region is called, and how.
pub trait Gate {
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

    /// Emits what should happen when the region has returned by an exit.
    fn leave(&mut self, cursor: &mut FuncCursor<'_>, hook: usize, exit: u32) {
        let _ = (cursor, hook, exit);
    }

    /// Whether control can still reach the original blocks.
    fn keeps_original(&self) -> bool;
}

/// Splices a call of each hooked region into `func`, in place.
///
/// `flow` describes `func` as it was when the regions were formed.
///
/// # Errors
///
/// `UndefinedValue` and `Malformed` for input that the verifier rejects.
///
/// # Complexity
///
/// O(instructions + exits × live-outs), plus SSA repair.
pub fn splice(
    func: &mut Function,
    flow: &Flow,
    hooks: &[Hook<'_>],
    gate: &mut dyn Gate,
) -> Result<Vec<HookBlocks>, OutlineError> {
    let mut all_blocks = Vec::with_capacity(hooks.len());
    for (index, hook) in hooks.iter().enumerate() {
        let blocks = make_blocks(func, hook, gate.keeps_original())?;
        gate.enter(func, index, &blocks);
        all_blocks.push(blocks);
    }
    let mut variables: IndexMap<Value, Variable> = IndexMap::new();
    for (index, (hook, blocks)) in hooks.iter().zip(&all_blocks).enumerate() {
        fill_call(func, flow, index, hook, blocks, gate, &mut variables)?;
    }
    if !gate.keeps_original() {
        remove_unreachable(func);
    }
    let variables: Vec<Variable> = variables
        .into_iter()
        .map(|(value, mut variable)| {
            // A definition that was pruned away defines nothing.
            let home = defining_block(func, value);
            if let Some(home) = home.filter(|&home| func.layout.is_block_inserted(home)) {
                variable.definitions.push((home, value));
            }
            variable
        })
        .collect();
    repair(func, &variables)?;
    Ok(all_blocks)
}

fn make_blocks(
    func: &mut Function,
    hook: &Hook<'_>,
    keeps_original: bool,
) -> Result<HookBlocks, OutlineError> {
    let header = hook.interface.entry;
    let first = func
        .layout
        .first_inst(header)
        .ok_or(OutlineError::Malformed("the region's entry is empty"))?;
    let body = func.dfg.make_block();
    func.layout.split_block(body, first);
    if func.layout.is_cold(header) {
        func.layout.set_cold(body);
    }
    let append = |func: &mut Function| {
        let block = func.dfg.make_block();
        func.layout.append_block(block);
        if keeps_original {
            func.layout.set_cold(block);
        }
        block
    };
    let call = append(func);
    let exits = hook.interface.exits.iter().map(|_| append(func)).collect();
    Ok(HookBlocks {
        header,
        body,
        call,
        exits,
    })
}

fn fill_call(
    func: &mut Function,
    flow: &Flow,
    index: usize,
    hook: &Hook<'_>,
    blocks: &HookBlocks,
    gate: &mut dyn Gate,
    variables: &mut IndexMap<Value, Variable>,
) -> Result<(), OutlineError> {
    let interface = hook.interface;
    let header_params = func.dfg.block_params(blocks.header).to_vec();
    let mut cursor = FuncCursor::new(func);
    cursor.goto_bottom(blocks.call);
    let mut args = Vec::with_capacity(interface.params.len());
    for param in &interface.params {
        args.push(match param.source {
            ParamSource::Entry(at) => *header_params.get(at).ok_or(OutlineError::Malformed(
                "the region's entry lost a parameter",
            ))?,
            ParamSource::Value(value) | ParamSource::VmContext(value) => value,
            ParamSource::Slot(slot) => cursor.ins().stack_addr(param.ty, slot, 0),
            ParamSource::DynamicSlot(slot) => cursor.ins().dynamic_stack_addr(param.ty, slot),
        });
    }
    let call = gate.call(&mut cursor, index, interface.signature(), &args);
    let results = func.dfg.inst_results(call).to_vec();
    if results.len() != interface.results.len() {
        return Err(OutlineError::Malformed(
            "the call has not the results of the interface",
        ));
    }
    dispatch(func, blocks, results[0], gate.keeps_original());
    for (exit, &block) in interface.exits.iter().zip(&blocks.exits) {
        let mut cursor = FuncCursor::new(func);
        cursor.goto_bottom(block);
        gate.leave(&mut cursor, index, exit.exit.number);
        for live in &exit.live_outs {
            if let LiveOutSource::Value(value) = live.source {
                let variable = variables.entry(value).or_insert_with(|| Variable {
                    ty: live.ty,
                    names: vec![value],
                    definitions: vec![],
                });
                variable.definitions.push((block, results[live.result]));
            }
        }
        let constants = repeat_constants(func, block, &exit.constants);
        for &(value, copy) in &constants {
            let variable = variables.entry(value).or_insert_with(|| Variable {
                ty: func.dfg.value_type(value),
                names: vec![value],
                definitions: vec![],
            });
            variable.definitions.push((block, copy));
        }
        let carried = |source| carried_by(exit, &results, &constants, source);
        match exit.exit.kind {
            ExitKind::Edge { edge, to } => {
                let edge = flow.edge(edge);
                let mut args = vec![];
                for arg in edge_args(func, edge.inst, edge.index) {
                    args.push(BlockArg::Value(edge_arg(func, arg, carried)?));
                }
                let mut cursor = FuncCursor::new(func);
                cursor.goto_bottom(block);
                cursor.ins().jump(to, &args);
            }
            ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                copy_leaving_inst(func, inst, block, carried);
            }
        }
    }
    Ok(())
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

fn edge_arg(
    func: &Function,
    arg: BlockArg,
    carried: impl Fn(LiveOutSource) -> Option<Value>,
) -> Result<Value, OutlineError> {
    let missing = OutlineError::Malformed("an exit argument that no result carries");
    match arg {
        BlockArg::Value(value) => {
            let value = func.dfg.resolve_aliases(value);
            Ok(carried(LiveOutSource::Value(value)).unwrap_or(value))
        }
        BlockArg::TryCallRet(i) => carried(LiveOutSource::TryCallRet(i)).ok_or(missing),
        BlockArg::TryCallExn(i) => carried(LiveOutSource::TryCallExn(i)).ok_or(missing),
    }
}

/// Ends the call block with a branch on the exit number.
fn dispatch(func: &mut Function, blocks: &HookBlocks, number: Value, keeps_original: bool) {
    let mut cursor = FuncCursor::new(func);
    cursor.goto_bottom(blocks.call);
    let not_run = keeps_original.then_some(blocks.body);
    match (blocks.exits.as_slice(), not_run) {
        ([], Some(body)) => {
            cursor.ins().jump(body, &[]);
        }
        ([], None) => {
            // The region never returns.
            cursor
                .ins()
                .trap(cranelift_codegen::ir::TrapCode::unwrap_user(
                    UNREACHABLE_TRAP,
                ));
        }
        ([exit], Some(body)) => {
            cursor.ins().brif(number, *exit, &[], body, &[]);
        }
        ([exit], None) => {
            cursor.ins().jump(*exit, &[]);
        }
        ([.., last], not_run) => {
            let pool = &mut cursor.func.dfg.value_lists;
            let default = BlockCall::new(*last, [], pool);
            // With no way back, entry 0 is never taken: any exit will do.
            let first = not_run.unwrap_or(*last);
            let table: Vec<BlockCall> = std::iter::once(&first)
                .chain(&blocks.exits)
                .map(|&block| BlockCall::new(block, [], pool))
                .collect();
            let table = cursor
                .func
                .create_jump_table(JumpTableData::new(default, &table));
            cursor.ins().br_table(number, table);
        }
    }
}

/// The user trap code of a region without exits that has returned.
pub const UNREACHABLE_TRAP: u8 = 0xf0;

/// Repeats a `return` or `return_call*` of the scope at the end of `block`,
/// with the values that the region returned.
pub(crate) fn copy_leaving_inst(
    func: &mut Function,
    inst: Inst,
    block: Block,
    carried: impl Fn(LiveOutSource) -> Option<Value>,
) {
    let location = func.srcloc(inst);
    let copy = func.dfg.clone_inst(inst);
    let args = func.dfg.inst_args(copy).to_vec();
    let args = args.into_iter().map(|value| {
        let value = func.dfg.resolve_aliases(value);
        carried(LiveOutSource::Value(value)).unwrap_or(value)
    });
    let args: Vec<Value> = args.collect();
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
