//! Copies of blocks of the function that they are in, and what that does to its values.
//!
//! A value of a block that was copied has several definitions. Uses in a copy name the copy's own; uses elsewhere are repaired when all copies
//! are made ([`Copies::finish`]): where definitions meet, there is a block parameter.
//!
//! Requires of who copies: every path from the entry to a use of a value still passes one of its definitions.
//!
//! Not here: which blocks are copied, and which edges lead to copies.

use crate::access::is_barrier;
use crate::error::OptimizeError;
use cranelift_codegen::ir::{Block, Function, Inst, Value};
use regraft_outliner::ssa::{Variable, repair};
use rustc_hash::FxHashMap;

/// The definitions of values in blocks that were copied.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    variables: Vec<Variable>,
    of: FxHashMap<Value, usize>,
}

impl Copies {
    /// Copies blocks in front of `before`, in the order in which they run; edges between them lead to the copies. Returns the copy of each.
    ///
    /// What a block uses of one that runs after it, it has from an earlier time round, which is no copy's.
    ///
    /// # Complexity
    /// O(their instructions)
    pub fn copy(
        &mut self,
        func: &mut Function,
        blocks: &[Block],
        before: Block,
    ) -> FxHashMap<Block, Block> {
        let mut copies: FxHashMap<Block, Block> = FxHashMap::default();
        let mut values: FxHashMap<Value, Value> = FxHashMap::default();
        let mut made = vec![];
        for &block in blocks {
            let mut insts = vec![];
            let copy = func.dfg.make_block();
            func.layout.insert_block(copy, before);
            if func.layout.is_cold(block) {
                func.layout.set_cold(copy);
            }
            copies.insert(block, copy);
            for param in func.dfg.block_params(block).to_vec() {
                let ty = func.dfg.value_type(param);
                let new = func.dfg.append_block_param(copy, ty);
                self.define(func, block, param, copy, new);
                values.insert(param, new);
            }
            let originals: Vec<Inst> = func.layout.block_insts(block).collect();
            for inst in originals {
                let new = func.dfg.clone_inst(inst);
                func.layout.append_inst(new, copy);
                let location = func.srcloc(inst);
                func.set_srcloc(new, location);
                let pairs = func.dfg.inst_results(inst).iter().copied();
                let pairs: Vec<_> = pairs
                    .zip(func.dfg.inst_results(new).iter().copied())
                    .collect();
                for (result, new) in pairs {
                    self.define(func, block, result, copy, new);
                    values.insert(result, new);
                }
                insts.push(new);
            }
            for &inst in &insts {
                let used: Vec<Value> = func.dfg.inst_values(inst).collect();
                let resolved: FxHashMap<Value, Value> = used
                    .into_iter()
                    .map(|value| (value, func.dfg.resolve_aliases(value)))
                    .collect();
                func.dfg.map_inst_values(inst, |value| {
                    let value = resolved.get(&value).copied().unwrap_or(value);
                    values.get(&value).copied().unwrap_or(value)
                });
            }
            made.extend(insts);
        }
        for inst in made {
            let dfg = &mut func.dfg;
            let calls = dfg.insts[inst]
                .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
            for call in calls {
                if let Some(&copy) = copies.get(&call.block(&dfg.value_lists)) {
                    call.set_block(copy, &mut dfg.value_lists);
                }
            }
        }
        copies
    }

    fn define(&mut self, func: &Function, block: Block, old: Value, copy: Block, new: Value) {
        let index = *self.of.entry(old).or_insert_with(|| {
            self.variables.push(Variable {
                ty: func.dfg.value_type(old),
                names: vec![old],
                definitions: vec![(block, old)],
            });
            self.variables.len() - 1
        });
        if let Some(variable) = self.variables.get_mut(index) {
            variable.definitions.push((copy, new));
        }
    }

    /// Lets every use name the definition that reaches it.
    ///
    /// # Errors
    /// [`OptimizeError`] where none does.
    pub fn finish(self, func: &mut Function) -> Result<(), OptimizeError> {
        Ok(repair(func, &self.variables)?)
    }
}

/// The instructions of a block, if it can be copied: calls, stores and what else is done once only stay where they are.
pub(crate) fn copied_size(func: &Function, block: Block) -> Option<usize> {
    let mut count = 0;
    for inst in func.layout.block_insts(block) {
        if is_barrier(func.dfg.insts[inst].opcode()) || func.debug_tags.has(inst) {
            return None;
        }
        count += 1;
    }
    Some(count)
}

/// Sends every destination `from` of a branch to `to`.
pub(crate) fn redirect(func: &mut Function, inst: Inst, from: Block, to: Block) {
    let dfg = &mut func.dfg;
    let calls =
        dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    for call in calls {
        if call.block(&dfg.value_lists) == from {
            call.set_block(to, &mut dfg.value_lists);
        }
    }
}
