//! Tier-0 instrumentation: counters and region hooks, CLIF to CLIF.
//!
//! ```text
//!   H: check                             counters of the function
//!     n = --countdown(H)                 ┌──────────────┐
//!     n < 0 ─▶ probe: e = cell(region)   │ entry        │  countdown of calls
//!     │         e ≠ 0 ─▶ call e ─▶ exits │ hook 0       │  countdown, mark, entries,
//!     ▼         e = 0 ─▶ tell runtime    │ …            │  running, one per exit
//!   H body ◀──────────────┘              │ sites        │  one per counter site
//!                                        └──────────────┘
//! ```
//!
//! Invariants:
//!
//! * The pass is pure: addresses are symbols (see `names`).
//! * A header's countdown counts its executions, so no site counts it again.
//! * A region is entered when its cell holds it, at the header's next execution
//!   at the earliest: what the runtime answers is not used.
//! * `mark` holds the countdown as it was when control last came to the
//!   header from outside its loop: a region entered at another value of the
//!   countdown is entered while its loop was already running.
//!
//! Where tier 0 does not count, because something else finds what is hot, a
//! check is a load and a branch (`uncounted`), and there is nothing else.
//!
//! Limitations: counters are not atomic. Two threads in one copy lose
//! counts (never memory safety), and so may a re-arming that crosses a
//! decrement; see ARCHITECTURE.md.
//!
//! Not here: where counters go (`regraft_regions::counters`), what the
//! runtime does when asked (`tiering::hot`), how code is compiled (`pipeline`).

use crate::passes::layout::CounterLayout;
use crate::passes::names;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, FuncRef, Function, GlobalValue, Inst, InstBuilder, InstructionData,
    MemFlagsData, Signature, Type, Value,
};
use cranelift_codegen::isa::CallConv;
use regraft_outliner::{Hook, HookBlocks, OsrCheck, OutlineError, at_edge, splice};
use regraft_regions::{Flow, FlowEdge, Placement, Site};

/// What to put into a function.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The control flow of the function.
    pub flow: &'a Flow,
    /// The loops to hook.
    pub hooks: &'a [Hook<'a>],
    /// The unit of each hook's region.
    pub hook_units: &'a [u32],
    /// Where the other counters go; absent where tier 0 does not count.
    pub placement: Option<&'a Placement>,
    /// The indirect calls whose targets are noted, where tier 0 counts.
    pub targets: &'a [Inst],
    /// The function's own unit.
    pub unit: u32,
    /// The pointer type of the target.
    pub pointer: Type,
    /// How many copies of the counters there are, for threads.
    pub copies: u32,
    /// The calling convention of the runtime's entry points.
    pub call_conv: CallConv,
}

/// Instruments a copy of `func` for tier 0.
///
/// # Ensures
///
/// The result verifies if `func` does, and computes the same as long as every
/// region does what its loop does.
///
/// # Errors
///
/// As [`splice`]: only for functions that the verifier rejects.
///
/// # Complexity
///
/// As [`splice`], plus O(sites).
pub fn instrument(
    func: &Function,
    plan: &Plan<'_>,
) -> Result<(Function, CounterLayout), OutlineError> {
    let sites = plan.placement.map_or(&[][..], |placement| &placement.sites);
    let layout = CounterLayout::new(
        plan.hooks.iter().map(|hook| hook.interface.exits.len()),
        sites.len(),
    )
    .with_targets(plan.targets.len())
    .with_copies(plan.copies);
    let mut out = func.clone();
    if plan.placement.is_none() {
        splice(&mut out, plan.flow, plan.hooks, &mut CellCheck::new(plan))?;
        return Ok((out, layout));
    }
    let (counters, runtime) = declare_runtime(&mut out, plan.unit, plan.pointer, plan.call_conv);
    let counters = Base::at_entry(&mut out, plan.pointer, counters, &layout);
    let mut check = CountdownCheck {
        plan,
        layout: &layout,
        counters,
        runtime,
        entries: vec![],
    };
    splice(&mut out, plan.flow, plan.hooks, &mut check)?;
    for (index, hook) in plan.hooks.iter().enumerate() {
        let scope = hook.region.scope();
        let preds = plan.flow.preds(hook.region.entry()).iter().copied();
        let entering = preds.filter(|&edge| !scope.contains(plan.flow.edge(edge).from));
        for edge in entering.collect::<Vec<_>>() {
            mark_arrival(&mut out, plan, &layout, counters, index, edge);
        }
    }
    for (index, &site) in sites.iter().enumerate() {
        let offset = layout.site(index);
        let cursor = match site {
            Site::Block(block) => at_start(&mut out, counters, block),
            Site::Edge(edge) => at_edge(&mut out, plan.flow, edge),
            Site::Table(edge) => {
                // The first of the table's sites stands for all.
                if plan.flow.edge(edge).index == FIRST_ENTRY {
                    let table = plan.flow.edge(edge).inst;
                    increment_indexed(&mut out, plan.pointer, counters, offset, table);
                }
                continue;
            }
        };
        increment(cursor, plan.pointer, counters, offset);
    }
    for call in plan.targets.iter().copied().enumerate() {
        note_target(&mut out, plan.pointer, &layout, counters, call);
    }
    hook_entry(&mut out, plan.pointer, plan.unit, counters, runtime)?;
    Ok((out, layout))
}

/// Counts the calls of a continuation down, at its entry, in place: how often
/// its side exits are taken.
///
/// # Errors
///
/// `Malformed` for a function without blocks.
pub fn count_calls(
    func: &mut Function,
    unit: u32,
    pointer: Type,
    call_conv: CallConv,
) -> Result<(), OutlineError> {
    let (counters, runtime) = declare_runtime(func, unit, pointer, call_conv);
    hook_entry(func, pointer, unit, Base::Symbol(counters), runtime)
}

fn declare_runtime(
    func: &mut Function,
    unit: u32,
    pointer: Type,
    call_conv: CallConv,
) -> (GlobalValue, FuncRef) {
    let counters = declare_counters(func, unit);
    let mut signature = Signature::new(call_conv);
    signature.params.push(AbiParam::new(pointer));
    signature.returns.push(AbiParam::new(pointer));
    let runtime = names::function(func, names::RUNTIME, names::RUNTIME_HOT, signature);
    (counters, runtime)
}

fn declare_counters(func: &mut Function, unit: u32) -> GlobalValue {
    names::symbol(func, names::COUNTERS, unit)
}

/// Counter cells are private to regraft: always mapped, always aligned.
fn cell_flags() -> MemFlagsData {
    MemFlagsData::trusted()
}

fn increment(mut cursor: FuncCursor<'_>, pointer: Type, counters: Base, offset: i32) {
    let base = counters.address(&mut cursor, pointer);
    increment_cell(&mut cursor, base, offset);
}

/// The position of the first table entry among the destinations of a `br_table`, after the default.
const FIRST_ENTRY: u32 = 1;

/// Increments, of the cells from `offset` on, the one for the destination that a `br_table` is about
/// to take: those of the entries come first, that of the default is the last.
fn increment_indexed(
    func: &mut Function,
    pointer: Type,
    counters: Base,
    offset: i32,
    br_table: Inst,
) {
    let InstructionData::BranchTable { arg, table, .. } = func.dfg.insts[br_table] else {
        return;
    };
    let entries = func.dfg.jump_tables[table].as_slice().len() as i64;
    let mut cursor = FuncCursor::new(func).at_inst(br_table);
    let default = cursor.ins().iconst(INDEX, entries);
    let index = cursor.ins().umin(arg, default);
    let index = match pointer.bits() > INDEX.bits() {
        true => cursor.ins().uextend(pointer, index),
        false => index,
    };
    let log2 = i64::from(CELL.bytes().trailing_zeros());
    let distance = cursor.ins().ishl_imm_u(index, log2);
    let base = counters.address(&mut cursor, pointer);
    let base = cursor.ins().iadd(base, distance);
    increment_cell(&mut cursor, base, offset);
}

fn increment_cell(cursor: &mut FuncCursor<'_>, base: Value, offset: i32) {
    let count = load_cell(cursor, base, offset);
    let one = cursor.ins().iconst(CELL, 1);
    let count = cursor.ins().iadd(count, one);
    store_cell(cursor, count, base, offset);
}

/// The type of a counter.
const CELL: Type = cranelift_codegen::ir::types::I64;

/// The type of a `br_table`'s index.
const INDEX: Type = cranelift_codegen::ir::types::I32;

fn load_cell(cursor: &mut FuncCursor<'_>, base: Value, offset: i32) -> Value {
    cursor.ins().load(CELL, cell_flags(), base, offset)
}

fn store_cell(cursor: &mut FuncCursor<'_>, value: Value, base: Value, offset: i32) {
    cursor.ins().store(cell_flags(), value, base, offset);
}

/// The first position in a block where counters are known.
fn at_start(func: &mut Function, counters: Base, block: Block) -> FuncCursor<'_> {
    match counters.computed_by(func) {
        Some(base) if func.layout.inst_block(base) == Some(block) => {
            FuncCursor::new(func).after_inst(base)
        }
        _ => FuncCursor::new(func).at_first_insertion_point(block),
    }
}

/// Records the countdown of `hook` on an edge that enters its loop.
fn mark_arrival(
    func: &mut Function,
    plan: &Plan<'_>,
    layout: &CounterLayout,
    counters: Base,
    hook: usize,
    edge: FlowEdge,
) {
    let mut cursor = at_edge(func, plan.flow, edge);
    let base = counters.address(&mut cursor, plan.pointer);
    let count = load_cell(&mut cursor, base, layout.countdown(hook));
    store_cell(&mut cursor, count, base, layout.mark(hook));
}

/// Counts calls down at the function's entry.
fn hook_entry(
    func: &mut Function,
    pointer: Type,
    unit: u32,
    counters: Base,
    runtime: FuncRef,
) -> Result<(), OutlineError> {
    let entry = func.layout.entry_block();
    // The countdown comes behind the address of the counters.
    let first = match counters.computed_by(func) {
        Some(base) => func.layout.next_inst(base),
        None => entry.and_then(|entry| func.layout.first_inst(entry)),
    };
    let (Some(entry), Some(first)) = (entry, first) else {
        return Err(OutlineError::Malformed("the function's entry is empty"));
    };
    let body = func.dfg.make_block();
    func.layout.split_block(body, first);
    let hot = cold_block(func);
    let mut cursor = FuncCursor::new(func).at_bottom(entry);
    let offset = CounterLayout::ENTRY;
    count_down(&mut cursor, pointer, counters, offset, hot, body);
    cursor.goto_bottom(hot);
    let cell = names::symbol(cursor.func, names::CELLS, unit);
    let cell = cursor.ins().symbol_value(pointer, cell);
    cursor.ins().call(runtime, &[cell]);
    cursor.ins().jump(body, &[]);
    Ok(())
}

fn cold_block(func: &mut Function) -> Block {
    let block = func.dfg.make_block();
    func.layout.append_block(block);
    func.layout.set_cold(block);
    block
}

/// Counts down, and branches on whether the count is below zero.
fn count_down(
    cursor: &mut FuncCursor<'_>,
    pointer: Type,
    counters: Base,
    offset: i32,
    below: Block,
    otherwise: Block,
) {
    let base = counters.address(cursor, pointer);
    let before = load_cell(cursor, base, offset);
    let minus_one = cursor.ins().iconst(CELL, -1);
    let count = cursor.ins().iadd(before, minus_one);
    store_cell(cursor, count, base, offset);
    let zero = cursor.ins().iconst(CELL, 0);
    let negative = cursor.ins().icmp(IntCC::SignedLessThan, count, zero);
    cursor.ins().brif(negative, below, &[], otherwise, &[]);
}

/// The check of tier 0: a countdown, then the region's cell, then the runtime.
struct CountdownCheck<'a> {
    plan: &'a Plan<'a>,
    layout: &'a CounterLayout,
    counters: Base,
    runtime: FuncRef,
    /// The address of each region to call, known in its call block.
    entries: Vec<Value>,
}

impl OsrCheck for CountdownCheck<'_> {
    fn enter(&mut self, func: &mut Function, hook: usize, blocks: &HookBlocks) {
        let pointer = self.plan.pointer;
        let cell = names::symbol(func, names::CELLS, self.plan.hook_units[hook]);
        let probe = cold_block(func);
        let ask = cold_block(func);
        let mut cursor = FuncCursor::new(func).at_bottom(blocks.header);
        let offset = self.layout.countdown(hook);
        let counters = self.counters;
        count_down(&mut cursor, pointer, counters, offset, probe, blocks.body);

        cursor.goto_bottom(probe);
        let address = cursor.ins().symbol_value(pointer, cell);
        let entry = cursor.ins().load(pointer, cell_flags(), address, 0);
        self.entries.push(entry);
        cursor.ins().brif(entry, blocks.call, &[], ask, &[]);

        // The address once more: it costs less than keeping it.
        cursor.goto_bottom(ask);
        let address = cursor.ins().symbol_value(pointer, cell);
        cursor.ins().call(self.runtime, &[address]);
        cursor.ins().jump(blocks.body, &[]);
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

fn call_region(
    cursor: &mut FuncCursor<'_>,
    entry: Value,
    signature: Signature,
    args: &[Value],
) -> Inst {
    let signature = cursor.func.import_signature(signature);
    cursor.ins().call_indirect(signature, entry, args)
}

mod copies;
mod outlined;
mod targets;
mod uncounted;

use uncounted::CellCheck;

use copies::Base;
use targets::note_target;

pub(crate) use targets::indirect_calls;

pub(crate) use outlined::{HookCounters, count_continuation, count_region};

#[cfg(test)]
mod tests;
