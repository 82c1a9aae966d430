//! What the checker knows of the source function and the region.
//!
//! Purpose: where each edge of the source leads (copy, natural exit, side
//! exit), which values defined in the scope are live where control leaves it,
//! and what a source value means. All of it is computed here, from the
//! function and the region's block sets and exit tables alone.
//!
//! Notation: edges are numbered as [`regraft_regions::FlowEdge`] documents, in
//! layout order and by position in the terminator.
//!
//! Limitations: exit tables are looked up, not judged; an edge that should be
//! in one and is not makes the walk fail with `UnnumberedExit`.

use super::content::is_constant;
use super::error::{CheckError, Meaning};
use cranelift_codegen::entity::{EntityRef, EntitySet, SecondaryMap};
use cranelift_codegen::ir::{
    ArgumentPurpose, Block, BlockArg, BlockCall, Function, Inst, InstructionData, Value, ValueDef,
};
use regraft_regions::{ExitKind, Region};
use std::collections::HashMap;

/// The destinations of a terminator.
pub(super) fn destinations(func: &Function, inst: Inst) -> &[BlockCall] {
    func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables)
}

/// The block a destination names.
pub(super) fn target(func: &Function, call: BlockCall) -> Block {
    call.block(&func.dfg.value_lists)
}

/// The arguments of a destination.
pub(super) fn arguments(
    func: &Function,
    call: BlockCall,
) -> impl ExactSizeIterator<Item = BlockArg> + '_ {
    call.args(&func.dfg.value_lists)
}

/// The source function, seen from one region.
pub(super) struct Source<'a> {
    pub func: &'a Function,
    pub region: &'a Region,
    exits: HashMap<(Block, usize), u32>,
    leaving: HashMap<Inst, u32>,
    side_exits: HashMap<(Block, usize), u32>,
    /// Values defined in the scope that are live-in at targets of exits.
    live: SecondaryMap<Block, Vec<Value>>,
    scope: EntitySet<Block>,
}

impl<'a> Source<'a> {
    /// Complexity: O(instructions + edges into blocks where a value defined in
    /// the scope is live, summed over these values).
    pub fn new(func: &'a Function, region: &'a Region) -> Result<Self, CheckError> {
        let mut edges = Vec::new();
        for block in func.layout.blocks() {
            let Some(last) = func.layout.last_inst(block) else {
                return Err(CheckError::Malformed("a block of the source is empty"));
            };
            edges.extend((0..destinations(func, last).len()).map(|index| (block, index)));
        }
        let edge_of = |edge: usize| {
            let edge = edges.get(edge).copied();
            edge.ok_or(CheckError::Malformed(
                "an exit names an edge that is not there",
            ))
        };
        let mut exits = HashMap::new();
        let mut leaving = HashMap::new();
        let mut wanted = EntitySet::new();
        for exit in region.exits() {
            match exit.kind {
                ExitKind::Edge { edge, to } => {
                    exits.insert(edge_of(edge.index())?, exit.number);
                    wanted.insert(to);
                }
                ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                    leaving.insert(inst, exit.number);
                }
            }
        }
        let mut side_exits = HashMap::new();
        for side in region.side_exits() {
            side_exits.insert(edge_of(side.edge.index())?, side.number);
            wanted.insert(side.to);
        }
        let mut scope = EntitySet::new();
        for block in region.scope().iter() {
            scope.insert(block);
        }
        let live = live_from_scope(func, &scope, &wanted)?;
        Ok(Self {
            func,
            region,
            exits,
            leaving,
            side_exits,
            live,
            scope,
        })
    }

    /// The number of the natural exit by this edge.
    pub fn exit(&self, from: Block, destination: usize) -> Result<u32, CheckError> {
        let number = self.exits.get(&(from, destination)).copied();
        number.ok_or(CheckError::UnnumberedExit { from, destination })
    }

    /// The number of the side exit by this edge.
    pub fn side_exit(&self, from: Block, destination: usize) -> Result<u32, CheckError> {
        let number = self.side_exits.get(&(from, destination)).copied();
        number.ok_or(CheckError::UnnumberedExit { from, destination })
    }

    /// The number of the natural exit by this `return` or tail call.
    pub fn leaving(&self, from: Block, inst: Inst) -> Result<u32, CheckError> {
        let number = self.leaving.get(&inst).copied();
        number.ok_or(CheckError::UnnumberedExit {
            from,
            destination: 0,
        })
    }

    /// The source's edge of a natural exit: its block and destination.
    pub fn edges_of_exits(&self) -> HashMap<u32, (Block, usize)> {
        self.exits
            .iter()
            .map(|(&edge, &number)| (number, edge))
            .collect()
    }

    /// The values defined in the scope that are live-in at a target of an
    /// exit, by number.
    pub fn live(&self, target: Block) -> &[Value] {
        &self.live[target]
    }

    /// Of [`Self::live`], what is passed to a continuation as such: constants
    /// are not, it repeats them, and the context always comes with the live-ins.
    pub fn passed(&self, target: Block) -> impl Iterator<Item = Value> + '_ {
        let context = self.context();
        let live = self.live(target).iter().copied();
        let live = live.filter(move |&value| Some(value) != context);
        live.filter(|&value| self.constant(Meaning::Value(value)).is_none())
    }

    pub fn in_scope(&self, block: Block) -> bool {
        self.scope.contains(block)
    }

    /// The block that defines a value, after aliases.
    pub fn home(&self, value: Value) -> Option<Block> {
        home(self.func, self.func.dfg.resolve_aliases(value))
    }

    /// Whether the scope defines what the value means. Addresses in the frame
    /// never change, so that the scope defines none.
    pub fn scope_defines(&self, meaning: Meaning) -> bool {
        match meaning {
            Meaning::Value(value) => self.home(value).is_some_and(|block| self.in_scope(block)),
            Meaning::Slot { .. } | Meaning::DynamicSlot { .. } => false,
            Meaning::TryCallRet(_) | Meaning::TryCallExn(_) => true,
        }
    }

    /// What a value means: an address in the frame, or itself.
    pub fn meaning(&self, value: Value) -> Meaning {
        let value = self.func.dfg.resolve_aliases(value);
        let ty = self.func.dfg.value_type(value);
        let ValueDef::Result(inst, _) = self.func.dfg.value_def(value) else {
            return Meaning::Value(value);
        };
        match self.func.dfg.insts[inst] {
            InstructionData::StackAddr {
                stack_slot, offset, ..
            } => Meaning::Slot {
                slot: stack_slot,
                offset: i64::from(i32::from(offset)),
                ty,
            },
            InstructionData::DynamicStackAddr {
                dynamic_stack_slot, ..
            } => Meaning::DynamicSlot {
                slot: dynamic_stack_slot,
                ty,
            },
            _ => Meaning::Value(value),
        }
    }

    /// The instruction that makes a value, if it is a constant.
    pub fn constant(&self, meaning: Meaning) -> Option<Inst> {
        let Meaning::Value(value) = meaning else {
            return None;
        };
        let inst = self.func.dfg.value_def(value).inst()?;
        is_constant(&self.func.dfg.insts[inst]).then_some(inst)
    }

    /// What a branch argument means.
    pub fn argument(&self, arg: BlockArg) -> Meaning {
        match arg {
            BlockArg::Value(value) => self.meaning(value),
            BlockArg::TryCallRet(i) => Meaning::TryCallRet(i),
            BlockArg::TryCallExn(i) => Meaning::TryCallExn(i),
        }
    }

    /// The value of the function's `vmctx` parameter.
    pub fn context(&self) -> Option<Value> {
        let entry = self.func.layout.entry_block()?;
        let signature = &self.func.signature;
        let index = signature.special_param_index(ArgumentPurpose::VMContext)?;
        self.func.dfg.block_params(entry).get(index).copied()
    }
}

fn home(func: &Function, value: Value) -> Option<Block> {
    match func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        ValueDef::Union(..) => None,
    }
}

/// For each value that the scope defines, goes back from its uses to its
/// definition and notes the wanted blocks on the way. Uses in unreachable
/// blocks count for nothing.
fn live_from_scope(
    func: &Function,
    scope: &EntitySet<Block>,
    wanted: &EntitySet<Block>,
) -> Result<SecondaryMap<Block, Vec<Value>>, CheckError> {
    let Some(entry) = func.layout.entry_block() else {
        return Err(CheckError::Malformed("the source has no entry block"));
    };
    let mut preds: SecondaryMap<Block, Vec<Block>> = SecondaryMap::new();
    let mut uses: Vec<(Value, Block)> = Vec::new();
    let mut seen = EntitySet::new();
    seen.insert(entry);
    let mut work = vec![entry];
    while let Some(block) = work.pop() {
        for inst in func.layout.block_insts(block) {
            for value in func.dfg.inst_values(inst) {
                let value = func.dfg.resolve_aliases(value);
                let defined_in = home(func, value);
                if defined_in != Some(block) && defined_in.is_some_and(|b| scope.contains(b)) {
                    uses.push((value, block));
                }
            }
            for &call in destinations(func, inst) {
                let to = target(func, call);
                preds[to].push(block);
                if seen.insert(to) {
                    work.push(to);
                }
            }
        }
    }
    uses.sort_unstable();
    uses.dedup();
    let mut live: SecondaryMap<Block, Vec<Value>> = SecondaryMap::new();
    let mut visited: SecondaryMap<Block, u32> = SecondaryMap::new();
    for of_value in uses.chunk_by(|a, b| a.0 == b.0) {
        let value = of_value[0].0;
        let defined_in = home(func, value);
        let mark = value.as_u32().wrapping_add(1);
        work.extend(of_value.iter().map(|&(_, block)| block));
        while let Some(block) = work.pop() {
            if visited[block] == mark || defined_in == Some(block) {
                continue;
            }
            visited[block] = mark;
            if wanted.contains(block) {
                live[block].push(value);
            }
            work.extend_from_slice(&preds[block]);
        }
    }
    Ok(live)
}
