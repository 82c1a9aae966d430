//! Side exits that a table takes instead of code.
//!
//! ```text
//!   br_table v1, D, [A, C0, C1, …]          br_table v1, D, [A, T, T, …]
//!   C0: return_call side0(v2, v3)     ─▶    T: p = load table[umin(v1, entries)]
//!   C1: return_call side1(v2, v3)              return_call_indirect p(v2, v3)
//! ```
//!
//! Purpose: the dispatch of an interpreter has a side exit for each opcode that
//! is cold. A tail call costs the code generator as much as ten other
//! instructions, and all of these pass the same values: so the cold entries of
//! the `br_table` share one, and a table of addresses, indexed like the
//! `br_table`, says whom it calls.
//!
//! Invariants:
//!
//! * A pass of its own, after `extract`: it changes nothing but the
//!   destinations of a `br_table`.
//! * The table's symbol is undefined here: who links the function names it
//!   and provides [`SideTable::side_exits`] as addresses.
//!
//! Not here: the proof (`checker::tables`), and what the addresses are.

use crate::extract::Extracted;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::{
    Block, ExternalName, FuncRef, Function, GlobalValue, GlobalValueData, Inst, InstBuilder,
    InstructionData, JumpTable, MemFlagsData, Opcode, Signature, Type, Value,
};
use rustc_hash::FxHashMap;

/// With fewer side exits than this, a table does not pay.
const TABLE_MIN: usize = 8;

/// A table of the continuations' addresses, for the side exits of a
/// `br_table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideTable {
    /// The symbol under which the function knows the table: an array of
    /// addresses, one for each of `side_exits`.
    pub table: GlobalValue,
    /// For each entry of the `br_table`, and then for its default, the number
    /// of the side exit that it is; `None` where it is none of the table's.
    pub side_exits: Vec<Option<u32>>,
}

/// Replaces the side exits of each `br_table` that has eight or more of them
/// with equal arguments by a table, in place.
///
/// `pointer` is the target's type of addresses.
///
/// # Ensures
///
/// The function verifies if it did before, and does the same once the tables
/// hold the addresses of the functions that it called.
///
/// # Complexity
///
/// O(blocks + edges + arguments of the side calls).
pub fn tabulate_side_exits(extracted: &mut Extracted, pointer: Type) {
    let numbers = extracted.side_calls.iter();
    let numbers: FxHashMap<FuncRef, u32> =
        numbers.map(|&(number, callee)| (callee, number)).collect();
    if numbers.len() < TABLE_MIN {
        return;
    }
    let func = &mut extracted.function;
    let arrivals = arrivals(func);
    let blocks: Vec<Block> = func.layout.blocks().collect();
    for block in blocks {
        let branch = func.layout.last_inst(block);
        let Some(InstructionData::BranchTable { arg, table, .. }) =
            branch.map(|branch| func.dfg.insts[branch])
        else {
            continue;
        };
        let Some(group) = largest_group(func, table, &arrivals, &numbers) else {
            continue;
        };
        let entries = func.dfg.jump_tables[table].as_slice().len();
        let (side_table, through) = call_through_table(func, arg, entries, pointer, &group);
        let mut side_exits = vec![None; entries + 1];
        for exit in &group {
            // The default comes first among the destinations, and last in the table.
            let at = exit.destination.checked_sub(1).unwrap_or(entries);
            side_exits[at] = Some(exit.number);
            let dfg = &mut func.dfg;
            let calls = dfg.jump_tables[table].all_branches_mut();
            calls[exit.destination].set_block(through, &mut dfg.value_lists);
            func.layout.remove_inst(exit.call);
            func.layout.remove_block(exit.block);
        }
        let gone = |number: u32| group.iter().any(|exit| exit.number == number);
        extracted.side_calls.retain(|&(number, _)| !gone(number));
        extracted.side_tables.push(SideTable {
            table: side_table,
            side_exits,
        });
    }
}

/// An edge of a `br_table` to a block that does nothing but a side call.
#[derive(Clone, Copy)]
struct TableExit {
    destination: usize,
    block: Block,
    call: Inst,
    number: u32,
}

/// How many edges lead to each block.
fn arrivals(func: &Function) -> SecondaryMap<Block, u32> {
    let mut arrivals = SecondaryMap::new();
    for block in func.layout.blocks() {
        let Some(branch) = func.layout.last_inst(block) else {
            continue;
        };
        let (tables, exceptions) = (&func.dfg.jump_tables, &func.dfg.exception_tables);
        for call in func.dfg.insts[branch].branch_destination(tables, exceptions) {
            arrivals[call.block(&func.dfg.value_lists)] += 1;
        }
    }
    arrivals
}

/// The exits of a `br_table` that pass the same arguments to functions of one
/// signature: the largest such group, if it is large enough.
fn largest_group(
    func: &Function,
    table: JumpTable,
    arrivals: &SecondaryMap<Block, u32>,
    numbers: &FxHashMap<FuncRef, u32>,
) -> Option<Vec<TableExit>> {
    let mut groups: FxHashMap<(&Signature, &[Value]), Vec<TableExit>> = FxHashMap::default();
    let calls = func.dfg.jump_tables[table].all_branches();
    for (destination, call) in calls.iter().enumerate() {
        let block = call.block(&func.dfg.value_lists);
        let first = func.layout.first_inst(block)?;
        let InstructionData::Call {
            opcode: Opcode::ReturnCall,
            func_ref,
            ..
        } = func.dfg.insts[first]
        else {
            continue;
        };
        let Some(&number) = numbers.get(&func_ref) else {
            continue;
        };
        if arrivals[block] != 1 || !func.dfg.block_params(block).is_empty() {
            continue;
        }
        let signature = &func.dfg.signatures[func.dfg.ext_funcs[func_ref].signature];
        let group = groups.entry((signature, func.dfg.inst_args(first)));
        group.or_default().push(TableExit {
            destination,
            block,
            call: first,
            number,
        });
    }
    // Ties go to the group that begins first, so that equal input gives equal output.
    let largest = groups.into_values().max_by_key(|group| {
        let first = group.first().map_or(0, |exit| exit.destination);
        (group.len(), std::cmp::Reverse(first))
    })?;
    (largest.len() >= TABLE_MIN).then_some(largest)
}

/// Appends the block that calls what the table holds for `index`.
fn call_through_table(
    func: &mut Function,
    index: Value,
    entries: usize,
    pointer: Type,
    group: &[TableExit],
) -> (GlobalValue, Block) {
    let table = func.create_global_value(GlobalValueData::Symbol {
        name: ExternalName::testcase("side_table"),
        offset: 0.into(),
        colocated: false,
        tls: false,
    });
    let block = func.dfg.make_block();
    func.layout.append_block(block);
    let exit = group.first().map(|exit| exit.call);
    let signature = exit.and_then(|call| func.dfg.call_signature(call));
    let args = exit.map_or(vec![], |call| func.dfg.inst_args(call).to_vec());
    let mut cursor = FuncCursor::new(func).at_bottom(block);
    let default = cursor.ins().iconst(I32, entries as i64);
    let index = cursor.ins().umin(index, default);
    let index = match pointer.bits() > I32.bits() {
        true => cursor.ins().uextend(pointer, index),
        false => index,
    };
    let log2 = i64::from(pointer.bytes().trailing_zeros());
    let offset = cursor.ins().ishl_imm_u(index, log2);
    let base = cursor.ins().symbol_value(pointer, table);
    let address = cursor.ins().iadd(base, offset);
    let flags = MemFlagsData::trusted().with_readonly();
    let callee = cursor.ins().load(pointer, flags, address, 0);
    if let Some(signature) = signature {
        cursor.ins().return_call_indirect(signature, callee, &args);
    }
    (table, block)
}

#[cfg(test)]
mod tests;
