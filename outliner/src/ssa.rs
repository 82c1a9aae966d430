//! SSA repair: giving a value that has several definitions block parameters
//! where they meet.
//!
//! After a region call has been spliced into a function, a value that lives
//! out of the region has two definitions: its own, for the path that runs the
//! loop in place, and a result of the region's call. [`repair`] rewrites every
//! use to the definition that reaches it and adds a block parameter where two
//! of them meet. (In loop terms: live-outs travel as block parameters, LCSSA
//! form.)
//!
//! Method: for each variable, the blocks that need it at their start are found
//! backwards from its uses; then reaching definitions are propagated forwards
//! over those blocks until nothing changes, a block with two different ones
//! becoming a definition (a parameter) itself. A block becomes a parameter at
//! most once, so this ends. Parameters in which one definition meets itself only go before any is made: where all cycles are loops,
//! no more are left than there must be.
//!
//! Reference: the reaching-definition view of SSA construction, Cytron et al.,
//! "Efficiently computing static single assignment form and the control
//! dependence graph", TOPLAS 1991, section 5; pruned by liveness.

use crate::error::OutlineError;
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{Block, Function, Inst, Type, Value};
use rustc_hash::{FxHashMap, FxHashSet};

/// A value with several definitions.
#[derive(Clone, Debug)]
pub struct Variable {
    /// The type of all of them.
    pub ty: Type,
    /// Every name under which it may be used.
    pub names: Vec<Value>,
    /// Definitions, as what holds at the end of a block. Uses within these
    /// blocks already name what they mean.
    pub definitions: Vec<(Block, Value)>,
}

struct Edges {
    /// Predecessor edges of each block: terminator and destination index.
    preds: FxHashMap<Block, Vec<(Block, Inst, usize)>>,
    rank: FxHashMap<Block, usize>,
}

/// Rewrites the uses of `variables` to the definitions that reach them.
///
/// # Errors
///
/// `UndefinedValue` where a use is reached without passing a definition.
///
/// # Complexity
///
/// O(instructions + Σ over variables of the blocks where it is live).
pub fn repair(func: &mut Function, variables: &[Variable]) -> Result<(), OutlineError> {
    if variables.is_empty() {
        return Ok(());
    }
    let edges = collect_edges(func);
    let uses = collect_uses(func, variables);
    let used = variables
        .iter()
        .zip(uses)
        .filter(|(_, uses)| !uses.is_empty());
    for (variable, uses) in used {
        repair_one(func, &edges, variable, &uses)?;
    }
    Ok(())
}

fn collect_edges(func: &Function) -> Edges {
    let mut preds: FxHashMap<Block, Vec<_>> = FxHashMap::default();
    for block in func.layout.blocks() {
        let Some(inst) = func.layout.last_inst(block) else {
            continue;
        };
        let destinations = func.dfg.insts[inst]
            .branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables);
        for (index, call) in destinations.iter().enumerate() {
            let to = call.block(&func.dfg.value_lists);
            preds.entry(to).or_default().push((block, inst, index));
        }
    }
    let cfg = ControlFlowGraph::with_function(func);
    let domtree = DominatorTree::with_function(func, &cfg);
    let rank = domtree.cfg_rpo().copied().enumerate();
    Edges {
        preds,
        rank: rank.map(|(rank, block)| (block, rank)).collect(),
    }
}

/// For each variable, the instructions that use one of its names outside the
/// blocks that define it.
fn collect_uses(func: &Function, variables: &[Variable]) -> Vec<Vec<(Block, Inst)>> {
    let mut names = FxHashMap::default();
    let mut defining = FxHashSet::default();
    for (index, variable) in variables.iter().enumerate() {
        names.extend(variable.names.iter().map(|&name| (name, index)));
        let blocks = variable.definitions.iter();
        defining.extend(blocks.map(|&(block, _)| (block, index)));
    }
    let mut uses = vec![vec![]; variables.len()];
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            for value in func.dfg.inst_values(inst) {
                let value = func.dfg.resolve_aliases(value);
                let Some(&index) = names.get(&value) else {
                    continue;
                };
                let list: &mut Vec<(Block, Inst)> = &mut uses[index];
                if !defining.contains(&(block, index)) && list.last() != Some(&(block, inst)) {
                    list.push((block, inst));
                }
            }
        }
    }
    uses
}

fn repair_one(
    func: &mut Function,
    edges: &Edges,
    variable: &Variable,
    uses: &[(Block, Inst)],
) -> Result<(), OutlineError> {
    let defined: FxHashMap<Block, Value> = variable.definitions.iter().copied().collect();
    let needed = needed_blocks(edges, variable, &defined, uses)?;
    let mut reaching = reaching(edges, &defined, &needed);
    replace_redundant(edges, &defined, &needed, &mut reaching);

    let mut values: FxHashMap<Block, Value> = FxHashMap::default();
    let mut params: Vec<Block> = vec![];
    for &block in &needed {
        if reaching.get(&block) == Some(&Reaching::Param(block)) {
            let param = func.dfg.append_block_param(block, variable.ty);
            values.insert(block, param);
            params.push(block);
        }
    }
    for &block in &needed {
        let value = match reaching.get(&block) {
            Some(&Reaching::Value(value)) => Some(value),
            Some(Reaching::Param(of)) => values.get(of).copied(),
            None => None,
        };
        if let Some(value) = value {
            values.insert(block, value);
        }
    }
    rewrite(func, variable, uses, &values);
    for block in params {
        for &(pred, inst, index) in edges.preds.get(&block).into_iter().flatten() {
            let out = defined.get(&pred).or_else(|| values.get(&pred)).copied();
            // An unreachable predecessor passes anything of the right type.
            let value = match out {
                Some(value) => value,
                None if !edges.rank.contains_key(&pred) => variable.names[0],
                None => {
                    return Err(OutlineError::UndefinedValue {
                        value: variable.names[0],
                        block: pred,
                    });
                }
            };
            let dfg = &mut func.dfg;
            let destinations = dfg.insts[inst]
                .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
            if let Some(call) = destinations.get_mut(index) {
                call.append_argument(value, &mut dfg.value_lists);
            }
        }
    }
    Ok(())
}

/// What a variable is at the start of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaching {
    Value(Value),
    /// The parameter of this block.
    Param(Block),
}

/// What comes into a block over each edge that control can take, as far as it is known.
fn incoming<'a>(
    edges: &'a Edges,
    defined: &'a FxHashMap<Block, Value>,
    reaching: &'a FxHashMap<Block, Reaching>,
    block: Block,
) -> impl Iterator<Item = Reaching> + 'a {
    let preds = edges.preds.get(&block).into_iter().flatten();
    let preds = preds.filter(|(pred, ..)| edges.rank.contains_key(pred));
    preds.filter_map(|(pred, ..)| {
        let own = defined.get(pred).map(|&value| Reaching::Value(value));
        own.or_else(|| reaching.get(pred).copied())
    })
}

fn reaching(
    edges: &Edges,
    defined: &FxHashMap<Block, Value>,
    needed: &[Block],
) -> FxHashMap<Block, Reaching> {
    let mut reaching: FxHashMap<Block, Reaching> = FxHashMap::default();
    let mut changed = true;
    while changed {
        changed = false;
        for &block in needed {
            if reaching.get(&block) == Some(&Reaching::Param(block)) {
                continue;
            }
            let mut incoming = incoming(edges, defined, &reaching, block);
            let new = incoming
                .next()
                .map(|first| match incoming.all(|other| other == first) {
                    true => first,
                    false => Reaching::Param(block),
                });
            drop(incoming);
            if let Some(new) = new {
                changed |= reaching.insert(block, new) != Some(new);
            }
        }
    }
    reaching
}

/// Parameters in which one definition meets itself only are that definition. The iteration above leaves some where a
/// definition changes outside of a loop while it goes round in it.
///
/// Reference: M. Braun and others, "Simple and efficient construction of static single assignment form", CC 2013, section 3.2.
fn replace_redundant(
    edges: &Edges,
    defined: &FxHashMap<Block, Value>,
    needed: &[Block],
    reaching: &mut FxHashMap<Block, Reaching>,
) {
    let mut replaced: FxHashMap<Block, Reaching> = FxHashMap::default();
    loop {
        let before = replaced.len();
        for &block in needed {
            let own = Reaching::Param(block);
            if reaching.get(&block) != Some(&own) || replaced.contains_key(&block) {
                continue;
            }
            let incoming = incoming(edges, defined, reaching, block);
            let mut incoming = incoming
                .map(|one| resolve(&replaced, one))
                .filter(|&one| one != own);
            let first = incoming.next();
            if let Some(first) = first.filter(|&first| incoming.all(|other| other == first)) {
                drop(incoming);
                replaced.insert(block, first);
            }
        }
        if replaced.len() == before {
            break;
        }
    }
    for reaching in reaching.values_mut() {
        *reaching = resolve(&replaced, *reaching);
    }
}

fn resolve(replaced: &FxHashMap<Block, Reaching>, reaching: Reaching) -> Reaching {
    let mut reaching = reaching;
    while let Reaching::Param(block) = reaching
        && let Some(&other) = replaced.get(&block)
    {
        reaching = other;
    }
    reaching
}

/// The reachable blocks that need the variable at their start, in reverse
/// post-order.
fn needed_blocks(
    edges: &Edges,
    variable: &Variable,
    defined: &FxHashMap<Block, Value>,
    uses: &[(Block, Inst)],
) -> Result<Vec<Block>, OutlineError> {
    let mut needed = FxHashSet::default();
    let mut pending: Vec<Block> = vec![];
    for &(block, _) in uses {
        if edges.rank.contains_key(&block) && needed.insert(block) {
            pending.push(block);
        }
    }
    while let Some(block) = pending.pop() {
        let mut reached = false;
        for (pred, ..) in edges.preds.get(&block).into_iter().flatten() {
            if !edges.rank.contains_key(pred) {
                continue;
            }
            reached = true;
            if !defined.contains_key(pred) && needed.insert(*pred) {
                pending.push(*pred);
            }
        }
        if !reached {
            return Err(OutlineError::UndefinedValue {
                value: variable.names[0],
                block,
            });
        }
    }
    let mut needed: Vec<Block> = needed.into_iter().collect();
    needed.sort_unstable_by_key(|block| edges.rank[block]);
    Ok(needed)
}

fn rewrite(
    func: &mut Function,
    variable: &Variable,
    uses: &[(Block, Inst)],
    reaching: &FxHashMap<Block, Value>,
) {
    for &(block, inst) in uses {
        let Some(&reaching) = reaching.get(&block) else {
            continue;
        };
        let mut resolved = FxHashMap::default();
        for value in func.dfg.inst_values(inst) {
            resolved.insert(value, func.dfg.resolve_aliases(value));
        }
        func.dfg.map_inst_values(inst, |value| {
            let name = resolved.get(&value).unwrap_or(&value);
            if variable.names.contains(name) {
                reaching
            } else {
                value
            }
        });
    }
}
