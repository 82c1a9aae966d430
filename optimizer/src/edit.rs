//! Small edits that passes share.

use crate::error::OptimizeError;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::EntitySet;
use cranelift_codegen::ir::{
    Block, BlockArg, ConstantData, Endianness, Function, Inst, InstBuilder, InstructionData,
    MemFlagsData, SourceLoc, Type, Value, immediates, types,
};
use regraft_outliner::OutlineError;
use rustc_hash::FxHashMap;

/// Whether a function has a stack slot that takes room: those that were promoted take none.
pub(crate) fn has_slots(func: &Function) -> bool {
    func.sized_stack_slots.values().any(|slot| slot.size > 0)
}

/// Converts a value into another type of the same kind, by moving bits.
pub(crate) fn convert(cursor: &mut FuncCursor<'_>, value: Value, ty: Type) -> Value {
    if cursor.func.dfg.value_type(value) == ty {
        return value;
    }
    let flags = MemFlagsData::new().with_endianness(Endianness::Little);
    cursor.ins().bitcast(ty, flags, value)
}

/// Inserts a zero of type `ty` at the cursor.
pub(crate) fn zero(cursor: &mut FuncCursor<'_>, ty: Type) -> Value {
    match ty {
        types::I128 => {
            let half = cursor.ins().iconst(types::I64, 0);
            cursor.ins().iconcat(half, half)
        }
        types::F16 => cursor.ins().f16const(immediates::Ieee16::with_bits(0)),
        types::F32 => cursor.ins().f32const(immediates::Ieee32::with_bits(0)),
        types::F64 => cursor.ins().f64const(immediates::Ieee64::with_bits(0)),
        types::F128 => {
            let zero = ConstantData::from([0_u8; 16].as_slice());
            let zero = cursor.func.dfg.constants.insert(zero);
            cursor.ins().f128const(zero)
        }
        ty if ty.is_vector() => {
            let zero = ConstantData::from(vec![0_u8; ty.bytes() as usize]);
            let zero = cursor.func.dfg.constants.insert(zero);
            cursor.ins().vconst(ty, zero)
        }
        ty => cursor.ins().iconst(ty, 0),
    }
}

/// Appends an argument to the `index`th destination of a branch.
pub(crate) fn append_argument(func: &mut Function, inst: Inst, index: u32, value: Value) {
    let dfg = &mut func.dfg;
    let calls =
        dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    if let Some(call) = calls.get_mut(index as usize) {
        call.append_argument(value, &mut dfg.value_lists);
    }
}

/// Makes `old`, a result of an instruction that goes, another name of `new`.
///
/// # Requires
/// The types are the same, and `new` is there wherever `old` is used.
pub(crate) fn replace(func: &mut Function, inst: Inst, old: Value, new: Value) {
    func.dfg.detach_inst_results(inst);
    func.dfg.change_to_alias(old, new);
    func.layout.remove_inst(inst);
}

/// Takes a call out of its block, which ends there now; returns the block, and one with what comes after, whose parameters are
/// what the call returned.
///
/// # Errors
/// [`OptimizeError`] for a call that ends its block.
pub(crate) fn lift_call(func: &mut Function, call: Inst) -> Result<(Block, Block), OptimizeError> {
    let malformed = OutlineError::Malformed("a call at the end of a block");
    let next = func.layout.next_inst(call);
    let block = func.layout.inst_block(call);
    let (next, block) = next.zip(block).ok_or(malformed)?;
    let rest = func.dfg.make_block();
    func.layout.split_block(rest, next);
    let results = func.dfg.inst_results(call).to_vec();
    func.dfg.detach_inst_results(call);
    for result in results {
        let ty = func.dfg.value_type(result);
        let param = func.dfg.append_block_param(rest, ty);
        func.dfg.change_to_alias(result, param);
    }
    func.layout.remove_inst(call);
    Ok((block, rest))
}

/// Puts a call that was lifted into a cold block of its own, which leads to `rest`.
pub(crate) fn call_aside(
    func: &mut Function,
    call: Inst,
    rest: Block,
    location: SourceLoc,
) -> Block {
    let aside = func.dfg.make_block();
    func.layout.insert_block(aside, rest);
    func.layout.set_cold(aside);
    func.layout.append_inst(call, aside);
    func.dfg.make_inst_results(call, types::INVALID);
    let results = func.dfg.inst_results(call).iter();
    let results: Vec<BlockArg> = results.map(|&result| result.into()).collect();
    at_end(func, aside, location).ins().jump(rest, &results);
    aside
}

/// Makes a jump of a `brif`, to one of its destinations.
pub(crate) fn jump_to(func: &mut Function, inst: Inst, destination: usize) {
    let InstructionData::Brif { blocks, .. } = func.dfg.insts[inst] else {
        return;
    };
    let Some(call) = blocks.get(destination) else {
        return;
    };
    let to = call.block(&func.dfg.value_lists);
    let args: Vec<BlockArg> = call.args(&func.dfg.value_lists).collect();
    let location = func.srcloc(inst);
    let mut cursor = FuncCursor::new(func).at_inst(inst);
    cursor.set_srcloc(location);
    cursor.ins().jump(to, &args);
    cursor.remove_inst();
}

/// A cursor at the end of a block, with a source location if there is one.
pub(crate) fn at_end(func: &mut Function, block: Block, location: SourceLoc) -> FuncCursor<'_> {
    let mut cursor = FuncCursor::new(func);
    if !location.is_default() {
        cursor.set_srcloc(location);
    }
    cursor.goto_bottom(block);
    cursor
}

/// Appends a block to the only one that leads to it.
///
/// # Requires
/// Control gets there. No other edge leads to it, from reachable blocks or others; it is not the entry.
pub(crate) fn append_block(func: &mut Function, block: Block, next: Block) {
    let Some(jump) = func.layout.last_inst(block) else {
        return;
    };
    let InstructionData::Jump { destination, .. } = func.dfg.insts[jump] else {
        return;
    };
    let args: Vec<Option<Value>> = destination
        .args(&func.dfg.value_lists)
        .map(|arg| arg.as_value())
        .collect();
    let params = func.dfg.block_params(next).to_vec();
    if args.len() != params.len() || args.iter().any(Option::is_none) {
        return;
    }
    func.layout.remove_inst(jump);
    func.dfg.detach_block_params(next);
    for (param, arg) in params.into_iter().zip(args.into_iter().flatten()) {
        func.dfg.change_to_alias(param, arg);
    }
    let insts: Vec<Inst> = func.layout.block_insts(next).collect();
    for inst in insts {
        func.layout.remove_inst(inst);
        func.layout.append_inst(inst, block);
    }
    func.layout.remove_block(next);
}

/// Joins blocks that are each other's only neighbours, and removes those that control cannot get to.
///
/// # Complexity
/// O(instructions)
pub(crate) fn join_blocks(func: &mut Function) {
    let reached = reached(func);
    let blocks: Vec<Block> = func.layout.blocks().collect();
    if reached.len() < blocks.len() {
        let mut kept: EntitySet<Block> = EntitySet::new();
        kept.extend(reached.iter().copied());
        for block in blocks.into_iter().filter(|&block| !kept.contains(block)) {
            while let Some(last) = func.layout.last_inst(block) {
                func.layout.remove_inst(last);
            }
            func.layout.remove_block(block);
        }
    }
    let mut entered: FxHashMap<Block, usize> = FxHashMap::default();
    for block in func.layout.blocks() {
        let Some(last) = func.layout.last_inst(block) else {
            continue;
        };
        let (tables, handlers) = (&func.dfg.jump_tables, &func.dfg.exception_tables);
        for call in func.dfg.insts[last].branch_destination(tables, handlers) {
            *entered
                .entry(call.block(&func.dfg.value_lists))
                .or_default() += 1;
        }
    }
    for block in reached {
        while let Some(last) = func.layout.last_inst(block)
            && let InstructionData::Jump { destination, .. } = func.dfg.insts[last]
        {
            let next = destination.block(&func.dfg.value_lists);
            let alike = func.layout.is_cold(block) == func.layout.is_cold(next);
            let joins = entered.get(&next) == Some(&1) && alike && next != block;
            if !joins || Some(next) == func.layout.entry_block() {
                break;
            }
            append_block(func, block, next);
            if func.layout.last_inst(block) == Some(last) {
                break;
            }
        }
    }
}

/// The blocks that control can get to.
fn reached(func: &Function) -> Vec<Block> {
    let mut reached: Vec<Block> = func.layout.entry_block().into_iter().collect();
    let mut seen: EntitySet<Block> = EntitySet::new();
    seen.extend(reached.iter().copied());
    let mut at = 0;
    while let Some(&block) = reached.get(at) {
        at += 1;
        let Some(last) = func.layout.last_inst(block) else {
            continue;
        };
        let (tables, handlers) = (&func.dfg.jump_tables, &func.dfg.exception_tables);
        for call in func.dfg.insts[last].branch_destination(tables, handlers) {
            let to = call.block(&func.dfg.value_lists);
            if seen.insert(to) {
                reached.push(to);
            }
        }
    }
    reached
}
