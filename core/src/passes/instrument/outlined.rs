//! Counting in outlined code: entries, and natural exits.
//!
//! Tier 0 has a hook for every loop, but few loops get hot: what is counted
//! about a region is counted in the region's own code, so that a hook that is
//! never entered costs no instruction for it.
//!
//! Invariants:
//!
//! * Every natural exit is counted by its number, wherever it is taken: in the
//!   region or in a continuation.
//! * A re-entry from a continuation is no entry: the continuation takes back
//!   what the region's entry is about to add.

use super::copies::choose;
use super::{CELL, declare_counters, load_cell, store_cell};
use crate::passes::layout::CounterLayout;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, FuncRef, Function, GlobalValue, Inst, InstBuilder, InstructionData, Opcode, Type, Value,
};

/// Where a hook's counters are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookCounters<'a> {
    /// The unit of the function that holds the hook.
    pub unit: u32,
    /// The counters of that function.
    pub layout: &'a CounterLayout,
    /// The hook.
    pub hook: usize,
    /// The pointer type of the target.
    pub pointer: Type,
    /// Whether tier 0 counts, and so marks arrivals at the hook.
    pub arrivals: bool,
}

/// Counts entries and exits in the function of a region, in place.
pub(crate) fn count_region(func: &mut Function, hook: HookCounters<'_>) {
    let counters = declare_counters(func, hook.unit);
    if let Some(entry) = func.layout.entry_block() {
        let mut cursor = FuncCursor::new(func).at_first_insertion_point(entry);
        count_entry(&mut cursor, counters, hook, Step::Add);
    }
    count_exits(func, counters, hook);
}

/// Counts exits, and takes re-entries back, in a continuation, in place.
pub(crate) fn count_continuation(
    func: &mut Function,
    hook: HookCounters<'_>,
    reentry: Option<FuncRef>,
) {
    let counters = declare_counters(func, hook.unit);
    let reenters = |func: &Function, inst: Inst| match func.dfg.insts[inst] {
        InstructionData::Call {
            opcode: Opcode::ReturnCall,
            func_ref,
            ..
        } => Some(func_ref) == reentry,
        _ => false,
    };
    for inst in terminators(func, reenters) {
        let mut cursor = FuncCursor::new(func).at_inst(inst);
        count_entry(&mut cursor, counters, hook, Step::Subtract);
    }
    count_exits(func, counters, hook);
}

#[derive(Clone, Copy)]
enum Step {
    Add,
    Subtract,
}

fn count_entry(
    cursor: &mut FuncCursor<'_>,
    counters: GlobalValue,
    hook: HookCounters<'_>,
    step: Step,
) {
    let base = choose(cursor, hook.pointer, counters, hook.layout);
    let one = cursor.ins().iconst(CELL, 1);
    if hook.arrivals {
        // The check has counted this execution already: one less than the mark
        // means that control had just arrived.
        let count = load_cell(cursor, base, hook.layout.countdown(hook.hook));
        let mark = load_cell(cursor, base, hook.layout.mark(hook.hook));
        let steps = cursor.ins().isub(mark, count);
        let running = cursor.ins().icmp(IntCC::NotEqual, steps, one);
        let running = cursor.ins().uextend(CELL, running);
        step_cell(cursor, base, hook.layout.running(hook.hook), running, step);
    }
    step_cell(cursor, base, hook.layout.entries(hook.hook), one, step);
}

fn step_cell(cursor: &mut FuncCursor<'_>, base: Value, offset: i32, by: Value, step: Step) {
    let before = load_cell(cursor, base, offset);
    let after = match step {
        Step::Add => cursor.ins().iadd(before, by),
        Step::Subtract => cursor.ins().isub(before, by),
    };
    store_cell(cursor, after, base, offset);
}

/// Counts each `return` by the exit number that it returns.
fn count_exits(func: &mut Function, counters: GlobalValue, hook: HookCounters<'_>) {
    let returns = |func: &Function, inst: Inst| func.dfg.insts[inst].opcode() == Opcode::Return;
    for inst in terminators(func, returns) {
        let Some(exit) = exit_number(func, inst) else {
            continue;
        };
        let mut cursor = FuncCursor::new(func).at_inst(inst);
        let base = choose(&mut cursor, hook.pointer, counters, hook.layout);
        let one = cursor.ins().iconst(CELL, 1);
        let offset = hook.layout.exit(hook.hook, exit);
        step_cell(&mut cursor, base, offset, one, Step::Add);
    }
}

/// The exit number that a `return` of outlined code returns: a constant.
fn exit_number(func: &Function, inst: Inst) -> Option<u32> {
    let number = func.dfg.inst_args(inst).first()?;
    let defined = func.dfg.value_def(*number).inst()?;
    match func.dfg.insts[defined] {
        InstructionData::UnaryImm { imm, .. } => u32::try_from(imm.bits()).ok(),
        _ => None,
    }
}

fn terminators(func: &Function, wanted: impl Fn(&Function, Inst) -> bool) -> Vec<Inst> {
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let last = blocks
        .into_iter()
        .filter_map(|block| func.layout.last_inst(block));
    last.filter(|&inst| wanted(func, inst)).collect()
}
