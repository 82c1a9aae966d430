//! Checks that cannot fail go.
//!
//! ```text
//!   v2 = icmp ult v1, v9            v2 = icmp ult v1, v9
//!   brif v2, block2, block3         brif v2, block2, block3
//! block2:                     ─▶  block2:
//!   v4 = icmp uge v1, v9
//!   trapnz v4, heap_oob
//!   …                               …
//! ```
//!
//! A conditional trap goes whose condition is known, by the intervals of what it compares or by what was compared before: an index that
//! a loop counts up to a bound that is no more than the length, an access that has been checked. An addition that traps on overflow becomes
//! one that does not; a branch that can go one way only, a jump (some front ends make branches of checks).
//!
//! It is done to definitions as well: a region that is entered while it runs gets its induction variables from outside, and knows nothing of
//! where they began.
//!
//! Requires: a function that verifies. Ensures: no trap that happens goes.
//!
//! Reference: R. Bodík, R. Gupta, V. Sarkar, "ABCD: eliminating array bounds checks on demand", PLDI 2000; here by intervals (see `ranges`).
//!
//! Limitations: those of `ranges`. Functions without conditional traps, and without blocks that only trap, are not looked at, nor are large ones.

use crate::account::Fuel;
use crate::edit::{jump_to, replace};
use crate::policy::Policy;
use crate::ranges::{Point, Ranges};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{Function, Inst, InstBuilder, InstructionData, Opcode};
use regraft_regions::{Flow, FlowError};

/// Removes checks.
///
/// # Errors
/// [`FlowError`] for what is no valid function.
///
/// # Complexity
/// As `ranges`.
pub(crate) fn run(func: &mut Function, policy: &Policy, fuel: &mut Fuel) -> Result<(), FlowError> {
    if !has_checks(func, policy) {
        return Ok(());
    }
    let flow = Flow::compute(func)?;
    let changes = match Ranges::compute(func, &flow) {
        Some(ranges) => find(func, &flow, &ranges),
        None => return Ok(()),
    };
    for (inst, change) in changes {
        if !fuel.burn() {
            break;
        }
        apply(func, inst, change);
    }
    Ok(())
}

/// Whether there is anything that traps on a condition, in a function that is not too large to look for what is known of it.
pub fn has_checks(func: &Function, policy: &Policy) -> bool {
    let small = func.dfg.num_insts() <= policy.max_checked;
    small
        && func.layout.blocks().any(|block| {
            let mut insts = func.layout.block_insts(block);
            let traps = insts
                .next()
                .is_some_and(|first| opcode(func, first) == Opcode::Trap);
            traps
                || func.layout.block_insts(block).any(|inst| {
                    matches!(
                        opcode(func, inst),
                        Opcode::Trapz | Opcode::Trapnz | Opcode::UaddOverflowTrap
                    )
                })
        })
}

fn opcode(func: &Function, inst: Inst) -> Opcode {
    func.dfg.insts[inst].opcode()
}

#[derive(Clone, Copy, Debug)]
enum Change {
    /// The trap does not happen.
    Remove,
    /// The sum fits.
    Add,
    /// The branch takes its first destination, or its second.
    Jump(bool),
}

fn find(func: &Function, flow: &Flow, ranges: &Ranges<'_>) -> Vec<(Inst, Change)> {
    let mut changes = vec![];
    for &block in flow.rpo() {
        for inst in func.layout.block_insts(block) {
            let point = Point { block, inst };
            let change = match func.dfg.insts[inst] {
                InstructionData::CondTrap { opcode, arg, .. } => {
                    let traps = opcode == Opcode::Trapnz;
                    (ranges.holds(arg, point) == Some(!traps)).then_some(Change::Remove)
                }
                InstructionData::IntAddTrap { args, .. } => {
                    let operands = ranges.at(args[0], point).zip(ranges.at(args[1], point));
                    let fits = operands
                        .is_some_and(|(one, other)| one.sum_overflows(other) == Some(false));
                    fits.then_some(Change::Add)
                }
                InstructionData::Brif { arg, .. } => ranges.holds(arg, point).map(Change::Jump),
                _ => None,
            };
            changes.extend(change.map(|change| (inst, change)));
        }
    }
    changes
}

fn apply(func: &mut Function, inst: Inst, change: Change) {
    match change {
        Change::Remove => {
            func.layout.remove_inst(inst);
        }
        Change::Add => {
            let InstructionData::IntAddTrap { args, .. } = func.dfg.insts[inst] else {
                return;
            };
            let Some(&result) = func.dfg.inst_results(inst).first() else {
                return;
            };
            let location = func.srcloc(inst);
            let mut cursor = FuncCursor::new(func).at_inst(inst);
            cursor.set_srcloc(location);
            let sum = cursor.ins().iadd(args[0], args[1]);
            replace(func, inst, result, sum);
        }
        Change::Jump(first) => jump_to(func, inst, usize::from(!first)),
    }
}
