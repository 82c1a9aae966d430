//! Short arms of a branch are both computed, and one is chosen.
//!
//! ```text
//!   brif v1, block1, block2
//! block1: v3 = iadd v2, v9 ; jump block3(v3)     ─▶    v3 = iadd v2, v9
//! block2: v4 = ushr v2, v8 ; jump block3(v4)           v4 = ushr v2, v8
//! block3(v5):                                          v6 = select v1, v3, v4 ; jump block3(v6)
//! ```
//!
//! One arm may be empty. What is computed in vain costs less than a branch that is predicted wrongly now and then; how often that is nobody
//! has counted, so only very short arms are taken, and only in loops.
//!
//! Requires: a function that verifies. Ensures: only what cannot trap and has no effect is computed more often than before.
//!
//! Reference: J. Allen and others, "Conversion of control dependence to data dependence", POPL 1983; for what it is worth, S. Mahlke and
//! others, "Characterizing the impact of predicated execution on branch prediction", MICRO 1994.
//!
//! Limitations: integers of up to 64 bits. Arms that are marked cold stay: their branch is predicted well.

use crate::account::Fuel;
use crate::edit::{append_block, at_end};
use crate::error::OptimizeError;
use crate::evaluate::width;
use crate::policy::Policy;
use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstBuilder, InstructionData, Opcode, Value, ValueDef,
};
use regraft_regions::{Flow, LoopForest};
use rustc_hash::{FxHashMap, FxHashSet};

/// How often it is done: what was joined may be an arm itself.
const ROUNDS: u32 = 3;

/// Joins arms.
///
/// # Errors
/// [`OptimizeError`] for what is no valid function.
///
/// # Complexity
/// O(instructions)
pub(crate) fn run(
    func: &mut Function,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<(), OptimizeError> {
    for _ in 0..ROUNDS {
        let mut branches = func
            .layout
            .blocks()
            .filter_map(|block| arms(func, block, policy));
        if branches.next().is_none() {
            break;
        }
        drop(branches);
        let flow = Flow::compute(func)?;
        let loops = LoopForest::compute(func, &flow);
        // All edges, also from where control never is.
        let mut entered: FxHashMap<Block, usize> = FxHashMap::default();
        for (_, edge) in flow.edges() {
            *entered.entry(edge.to).or_default() += 1;
        }
        let mut changed = false;
        let mut taken: FxHashSet<Block> = FxHashSet::default();
        for &block in flow.rpo() {
            let Some(arms) = arms(func, block, policy) else {
                continue;
            };
            let alone = arms.blocks().all(|arm| entered.get(&arm) == Some(&1));
            let involved: Vec<Block> = arms.blocks().chain([block, arms.join]).collect();
            if !alone
                || loops.innermost(block).is_none()
                || involved.iter().any(|block| taken.contains(block))
                || arms.blocks().any(|arm| arm == flow.entry())
                || !fuel.burn()
            {
                continue;
            }
            let joined = entered.get(&arms.join) == Some(&2) && arms.join != flow.entry();
            apply(func, block, &arms);
            if joined {
                append_block(func, block, arms.join);
            }
            taken.extend(involved);
            changed = true;
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

/// The two ways from a branch to where they meet.
#[derive(Debug)]
struct Arms {
    condition: Value,
    /// A block of its own, for the first destination and the second.
    arms: [Option<Block>; 2],
    join: Block,
    args: [Vec<BlockArg>; 2],
}

impl Arms {
    fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        self.arms.iter().flatten().copied()
    }
}

/// The arms of the branch at the end of a block, if they are short.
fn arms(func: &Function, block: Block, policy: &Policy) -> Option<Arms> {
    let InstructionData::Brif { arg, blocks, .. } = func.dfg.insts[func.layout.last_inst(block)?]
    else {
        return None;
    };
    width(func.dfg.value_type(arg))?;
    if func.layout.is_cold(block) {
        return None;
    }
    let lists = &func.dfg.value_lists;
    let to = blocks.map(|call| call.block(lists));
    // Where each leads if it is an arm of its own.
    let ends = to.map(|to| arm(func, to));
    let (arms, join) = match ends {
        [Some((one, _)), Some((other, _))] if one == other => ([Some(to[0]), Some(to[1])], one),
        [Some((join, _)), _] if join == to[1] => ([Some(to[0]), None], join),
        [_, Some((join, _))] if join == to[0] => ([None, Some(to[1])], join),
        _ => return None,
    };
    if func.layout.is_cold(join) || to[0] == to[1] || join == block {
        return None;
    }
    let cost: usize = ends
        .iter()
        .zip(&arms)
        .filter(|(_, arm)| arm.is_some())
        .filter_map(|(end, _)| end.map(|(_, cost)| cost))
        .sum();
    let args = [0, 1].map(|nth: usize| {
        let call = match arms[nth] {
            None => Some(blocks[nth]),
            Some(arm) => match func.layout.last_inst(arm).map(|last| func.dfg.insts[last]) {
                Some(InstructionData::Jump { destination, .. }) => Some(destination),
                _ => None,
            },
        };
        call.map_or(vec![], |call| call.args(lists).collect())
    });
    let mut selects = 0;
    for (one, other) in args[0].iter().zip(&args[1]) {
        let (one, other) = (one.as_value()?, other.as_value()?);
        if func.dfg.resolve_aliases(one) != func.dfg.resolve_aliases(other) {
            width(func.dfg.value_type(one))?;
            selects += 1;
        }
    }
    (cost <= policy.max_selected && selects <= policy.max_selects && args[0].len() == args[1].len())
        .then_some(Arms {
            condition: arg,
            arms,
            join,
            args,
        })
}

/// Where a block leads that does nothing but compute, and what that costs.
fn arm(func: &Function, block: Block) -> Option<(Block, usize)> {
    if func.layout.is_cold(block) || !func.dfg.block_params(block).is_empty() {
        return None;
    }
    let mut cost = 0;
    for inst in func.layout.block_insts(block) {
        match func.dfg.insts[inst] {
            InstructionData::Jump { destination, .. } => {
                let to = destination.block(&func.dfg.value_lists);
                return (to != block).then_some((to, cost));
            }
            _ => cost += price(func, inst)?,
        }
    }
    None
}

/// What an instruction costs that may be done in vain.
fn price(func: &Function, inst: Inst) -> Option<usize> {
    let &[result] = func.dfg.inst_results(inst) else {
        return None;
    };
    width(func.dfg.value_type(result))?;
    if func.debug_tags.has(inst) {
        return None;
    }
    use Opcode as O;
    match func.dfg.insts[inst].opcode() {
        O::Iconst => Some(0),
        O::Iadd | O::Isub | O::Band | O::Bor | O::Bxor | O::Bnot | O::Ineg => Some(1),
        O::Ishl | O::Ushr | O::Sshr | O::Uextend | O::Sextend | O::Ireduce => Some(1),
        O::Icmp => Some(1),
        O::Select => Some(2),
        O::Imul => Some(3),
        _ => None,
    }
}

fn apply(func: &mut Function, block: Block, arms: &Arms) {
    let Some(branch) = func.layout.last_inst(block) else {
        return;
    };
    let location = func.srcloc(branch);
    func.layout.remove_inst(branch);
    for arm in arms.blocks() {
        let insts: Vec<Inst> = func.layout.block_insts(arm).collect();
        for inst in insts {
            func.layout.remove_inst(inst);
            if func.dfg.insts[inst].opcode() != Opcode::Jump {
                func.layout.append_inst(inst, block);
            }
        }
        func.layout.remove_block(arm);
    }
    let condition = stripped(func, arms.condition);
    let mut cursor = at_end(func, block, location);
    let mut args = vec![];
    for (&one, &other) in arms.args[0].iter().zip(&arms.args[1]) {
        let (Some(a), Some(b)) = (one.as_value(), other.as_value()) else {
            continue;
        };
        let dfg = &cursor.func.dfg;
        args.push(match dfg.resolve_aliases(a) == dfg.resolve_aliases(b) {
            true => one,
            false => cursor.ins().select(condition, a, b).into(),
        });
    }
    cursor.ins().jump(arms.join, &args);
}

/// A condition without extensions, which hide comparisons from the code generator.
fn stripped(func: &Function, condition: Value) -> Value {
    let mut condition = func.dfg.resolve_aliases(condition);
    while let ValueDef::Result(inst, _) = func.dfg.value_def(condition)
        && let InstructionData::Unary {
            opcode: Opcode::Uextend,
            arg,
        } = func.dfg.insts[inst]
    {
        condition = func.dfg.resolve_aliases(arg);
    }
    condition
}
