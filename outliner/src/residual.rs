//! The residual: the source function with the region replaced by a call.
//!
//! ```text
//!      before                     after
//!
//!        │                          │
//!    ┌─▶ H ──▶ T                    H ──▶ call region
//!    │   │                                    │ br_table on the exit number
//!    └── B                                    ▼
//!                                         exit 1 ──▶ T
//! ```
//!
//! Purpose: `outline` as a pure transformation from function to two functions
//! that together do what the one did. It is what snapshots show, and what the
//! round trip (outline, then inline again) starts from.
//!
//! Invariants:
//!
//! * Every exit has a block of its own, and what leaves by it is defined there;
//!   SSA repair (`ssa`) joins these definitions where they meet.
//!
//! Not here: tier 0, which keeps the region's own blocks (`splice`).

use crate::error::OutlineError;
use crate::extract::import_outlined;
use crate::interface::{Interface, LiveOutSource, defining_block};
use crate::splice::{
    UNREACHABLE_TRAP, carried_by, copy_leaving_inst, exit_args, region_args, region_results,
    remove_unreachable, repeat_constants, split_entry,
};
use crate::ssa::{Variable, repair};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Block, BlockCall, Function, InstBuilder, JumpTableData, TrapCode, UserFuncName, Value,
};
use indexmap::IndexMap;
use regraft_regions::{ExitKind, Flow, Region};

/// Replaces the scope of `region` in a copy of `func` by a direct call to the
/// function `callee`, with its dispatch over the exits.
///
/// # Ensures
///
/// The result verifies if `func` does; the scope's own blocks are gone.
///
/// # Errors
///
/// `UndefinedValue` and `Malformed` for input that the verifier rejects.
pub fn residual(
    func: &Function,
    flow: &Flow,
    region: &Region,
    interface: &Interface,
    callee: &UserFuncName,
) -> Result<Function, OutlineError> {
    let mut residual = func.clone();
    let func = &mut residual;
    split_entry(func, region.entry())?;
    let append = |func: &mut Function| {
        let block = func.dfg.make_block();
        func.layout.append_block(block);
        block
    };
    let call_block = append(func);
    let exits: Vec<Block> = interface.exits.iter().map(|_| append(func)).collect();
    let mut cursor = FuncCursor::new(func).at_bottom(region.entry());
    cursor.ins().jump(call_block, &[]);

    cursor.goto_bottom(call_block);
    let args = region_args(&mut cursor, interface, |_, value| value)?;
    let callee = import_outlined(cursor.func, callee.clone(), interface.signature());
    let call = cursor.ins().call(callee, &args);
    let results = region_results(cursor.func, interface, call)?;
    dispatch(&mut cursor, results[0], &exits);

    let mut variables: IndexMap<Value, Variable> = IndexMap::new();
    for (exit, &block) in interface.exits.iter().zip(&exits) {
        let constants = repeat_constants(func, block, &exit.constants);
        let live = exit.live_outs.iter().filter_map(|live| match live.source {
            LiveOutSource::Value(value) => Some((value, results[live.result])),
            _ => None,
        });
        for (value, definition) in live.chain(constants.iter().copied()) {
            let variable = variables.entry(value).or_insert_with(|| Variable {
                ty: func.dfg.value_type(definition),
                names: vec![value],
                definitions: vec![],
            });
            variable.definitions.push((block, definition));
        }
        let carried = |source| carried_by(exit, &results, &constants, source);
        let name =
            |_: &mut FuncCursor<'_>, value| carried(LiveOutSource::Value(value)).unwrap_or(value);
        match exit.exit.kind {
            ExitKind::Edge { edge, to } => {
                let edge = flow.edge(edge);
                let mut cursor = FuncCursor::new(func).at_bottom(block);
                let args = exit_args(&mut cursor, edge.inst, edge.index, carried, name)?;
                cursor.ins().jump(to, &args);
            }
            ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                copy_leaving_inst(func, inst, block, name);
            }
        }
    }
    remove_unreachable(func);
    let variables: Vec<Variable> = variables
        .into_iter()
        .map(|(value, mut variable)| {
            // A definition that was removed defines nothing.
            let home = defining_block(func, value);
            if let Some(home) = home.filter(|&home| func.layout.is_block_inserted(home)) {
                variable.definitions.push((home, value));
            }
            variable
        })
        .collect();
    repair(func, &variables)?;
    Ok(residual)
}

/// Ends the call block with a branch on the exit number.
fn dispatch(cursor: &mut FuncCursor<'_>, number: Value, exits: &[Block]) {
    match exits {
        [] => {
            // The region never returns.
            let code = TrapCode::unwrap_user(UNREACHABLE_TRAP);
            cursor.ins().trap(code);
        }
        [exit] => {
            cursor.ins().jump(*exit, &[]);
        }
        [.., last] => {
            let pool = &mut cursor.func.dfg.value_lists;
            // Exits are numbered from 1; entry 0 is never taken.
            let table: Vec<BlockCall> = std::iter::once(last)
                .chain(exits)
                .map(|&block| BlockCall::new(block, [], pool))
                .collect();
            let default = BlockCall::new(*last, [], pool);
            let table = JumpTableData::new(default, &table);
            let table = cursor.func.create_jump_table(table);
            cursor.ins().br_table(number, table);
        }
    }
}
