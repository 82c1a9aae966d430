//! Which function each indirect call reaches most often: two cells for each, a candidate and how far it is ahead.
//!
//! Reference: R. Boyer and J. Moore, "MJRTY: a fast majority vote algorithm", 1981: a target that is called in more than half
//! of all executions is the candidate in the end.

use super::{Base, CELL, load_cell, store_cell};
use crate::passes::layout::CounterLayout;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Function, Inst, InstBuilder, InstructionData, Opcode, Type, Value};

/// The indirect calls whose targets are worth knowing, in the order of the code.
pub(crate) fn indirect_calls(func: &Function) -> Vec<Inst> {
    let blocks = func.layout.blocks();
    let blocks = blocks.filter(|&block| !func.layout.is_cold(block));
    let insts = blocks.flat_map(|block| func.layout.block_insts(block));
    let calls = insts.filter(|&inst| func.dfg.insts[inst].opcode() == Opcode::CallIndirect);
    calls.take(MOST_TARGETS).collect()
}

/// So many indirect calls of a function are looked at: an interpreter that was generated may have thousands.
const MOST_TARGETS: usize = 64;

/// The address that an indirect call calls.
fn target(func: &Function, inst: Inst) -> Option<Value> {
    match &func.dfg.insts[inst] {
        InstructionData::CallIndirect { args, .. } => args.first(&func.dfg.value_lists),
        _ => None,
    }
}

/// Notes the target of an indirect call in front of it.
pub(super) fn note_target(
    func: &mut Function,
    pointer: Type,
    layout: &CounterLayout,
    counters: Base,
    call: (usize, Inst),
) {
    let (number, inst) = call;
    let Some(target) = target(func, inst).filter(|_| pointer == CELL) else {
        return;
    };
    let location = func.srcloc(inst);
    let mut cursor = FuncCursor::new(func).at_inst(inst);
    if !location.is_default() {
        cursor.set_srcloc(location);
    }
    let base = counters.address(&mut cursor, pointer);
    let candidate = load_cell(&mut cursor, base, layout.target(number));
    let lead = load_cell(&mut cursor, base, layout.lead(number));
    let one = cursor.ins().iconst(CELL, 1);
    let minus_one = cursor.ins().iconst(CELL, -1);
    let zero = cursor.ins().iconst(CELL, 0);
    let same = cursor.ins().icmp(IntCC::Equal, candidate, target);
    let step = cursor.ins().select(same, one, minus_one);
    let lead = cursor.ins().iadd(lead, step);
    let lost = cursor.ins().icmp(IntCC::SignedLessThan, lead, zero);
    let candidate = cursor.ins().select(lost, target, candidate);
    let lead = cursor.ins().select(lost, one, lead);
    store_cell(&mut cursor, candidate, base, layout.target(number));
    store_cell(&mut cursor, lead, base, layout.lead(number));
}
