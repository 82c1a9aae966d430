//! Single-entry multiple-exit regions and the one gate that judges them.
//!
//! # Purpose
//! A [`Region`] is what gets outlined. Formation proposes block sets from profiles and may be as wrong as it
//! likes; [`Region::new`] alone decides what is legal, and **every region it returns can be outlined without
//! changing what the program does**.
//!
//! # Notation
//! * The *scope* fixes the interface to tier 0: its *natural exits* are the edges that leave it and the returns
//!   and tail calls in it.
//! * The *blocks* are the hot part of the scope, compiled into the region. An edge from them into the rest of the
//!   scope is a *side exit*; a continuation takes over there, on its own copies of blocks, and goes on to a
//!   natural exit or to the entry.
//!
//! ```text
//!      entry <------------.        scope  = {entry, a, b, c}
//!       /  \              |        blocks = {entry, a, c}
//!      a    b (cold)      |        side exit 0: entry -> b
//!       \  /              |        exit 1: c -> d
//!        c ---------------'
//!        |
//!        d
//! ```
//!
//! # Invariants
//! * *single entry*: control enters the scope at `entry` only.
//! * *connected*: each hot block is reached from the entry through hot blocks, each scope block through the scope.
//! * *stable exits*: natural exits are numbered over the whole scope, so their numbers do not depend on which
//!   blocks are hot. Tier 0 is instrumented before any profile exists and relies on it.
//!
//! # Limitations
//! Traps are not exits: they leave the program, not the region.
//!
//! # Not here
//! Whether an instruction can be outlined at all (the outliner says), and which region is worth it
//! ([`crate::formation`]).

mod error;

use cranelift_codegen::entity::EntitySet;
use cranelift_codegen::ir::{Block, Function, Inst, Opcode};

use crate::blocks::BlockSet;
use crate::flow::{Flow, FlowEdge};
use crate::loops::{LoopForest, LoopId};

pub use error::RegionError;

/// The most natural exits or side exits that a region may have.
pub const MAX_EXITS: usize = 65_535;

/// How control leaves a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// Along an edge to a block outside.
    Edge {
        /// The edge.
        edge: FlowEdge,
        /// Its target.
        to: Block,
    },
    /// By a `return`.
    Return {
        /// The `return`.
        inst: Inst,
    },
    /// By a `return_call` or `return_call_indirect`.
    TailCall {
        /// The tail call.
        inst: Inst,
    },
}

/// A natural exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit's number, from 1. What a region returns when it was not run is 0.
    pub number: u32,
    /// The block that control leaves from.
    pub from: Block,
    /// How it leaves.
    pub kind: ExitKind,
}

/// An edge from a hot block to a block of the scope that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideExit {
    /// The side exit's number, from 0.
    pub number: u32,
    /// The edge.
    pub edge: FlowEdge,
    /// Its source, a hot block.
    pub from: Block,
    /// Its target, a cold block.
    pub to: Block,
}

/// What shape a region has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// The scope leads back to the entry.
    Loop,
    /// The entry is the function's, and the scope is all that can be reached.
    Function,
    /// Any other legal set.
    Path,
}

/// A legal single-entry multiple-exit region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    entry: Block,
    scope: BlockSet,
    blocks: BlockSet,
    exits: Vec<Exit>,
    side_exits: Vec<SideExit>,
    kind: RegionKind,
}

impl Region {
    /// Judge a set of blocks, and number its exits if it is a region.
    ///
    /// The order in which blocks are given does not matter, and duplicates are ignored.
    ///
    /// # Errors
    /// Every variant of [`RegionError`] names the first offender in the order given (blocks) or in reverse
    /// postorder (edges).
    ///
    /// # Complexity
    /// O(k log k + edges) for k blocks of scope.
    pub fn new(
        func: &Function,
        flow: &Flow,
        entry: Block,
        scope: impl IntoIterator<Item = Block>,
        blocks: impl IntoIterator<Item = Block>,
    ) -> Result<Region, RegionError> {
        let scope = in_rpo(func, flow, scope)?;
        let blocks = in_rpo(func, flow, blocks)?;
        if let Some(block) = blocks.iter().find(|&b| !scope.contains(b)) {
            return Err(RegionError::NotInScope { block });
        }
        if !blocks.contains(entry) {
            return Err(RegionError::EntryNotInBlocks { entry });
        }
        check_single_entry(flow, entry, &scope)?;
        check_connected(flow, entry, &scope)?;
        check_connected(flow, entry, &blocks)?;
        let exits = natural_exits(func, flow, &scope)?;
        let side_exits = side_exits(flow, &scope, &blocks)?;
        let kind = kind(flow, entry, &scope);
        Ok(Region {
            entry,
            scope,
            blocks,
            exits,
            side_exits,
            kind,
        })
    }

    /// The region of all blocks of a loop.
    ///
    /// # Errors
    /// A natural loop is single-entry and connected; only [`RegionError::TooManyExits`] is left.
    pub fn whole_loop(
        func: &Function,
        flow: &Flow,
        loops: &LoopForest,
        l: LoopId,
    ) -> Result<Region, RegionError> {
        let blocks = loops.blocks(l);
        Region::new(
            func,
            flow,
            loops.header(l),
            blocks.iter().copied(),
            blocks.iter().copied(),
        )
    }

    /// The region of a scope without the blocks for which `hot` is false, and without what can then not be
    /// reached any more. The entry always stays.
    ///
    /// # Errors
    /// As [`Region::new`].
    pub fn pruned(
        func: &Function,
        flow: &Flow,
        entry: Block,
        scope: &[Block],
        hot: impl Fn(Block) -> bool,
    ) -> Result<Region, RegionError> {
        let members: EntitySet<Block> =
            scope.iter().copied().fold(EntitySet::new(), |mut set, b| {
                set.insert(b);
                set
            });
        let blocks = reach(flow, entry, |b| members.contains(b) && hot(b));
        Region::new(func, flow, entry, scope.iter().copied(), blocks.iter())
    }

    /// The block at which control enters.
    pub fn entry(&self) -> Block {
        self.entry
    }

    /// All blocks whose natural exits make the interface, in reverse postorder.
    pub fn scope(&self) -> &BlockSet {
        &self.scope
    }

    /// The hot blocks, in reverse postorder.
    pub fn blocks(&self) -> &BlockSet {
        &self.blocks
    }

    /// The natural exits of the scope; exit `n` is at position `n - 1`.
    pub fn exits(&self) -> &[Exit] {
        &self.exits
    }

    /// The side exits; side exit `n` is at position `n`.
    pub fn side_exits(&self) -> &[SideExit] {
        &self.side_exits
    }

    /// The region's shape.
    pub fn kind(&self) -> RegionKind {
        self.kind
    }

    /// Whether all of the scope is compiled.
    pub fn is_whole(&self) -> bool {
        self.blocks.len() == self.scope.len()
    }
}

/// Collect blocks that exist and are reachable, in reverse postorder.
fn in_rpo(
    func: &Function,
    flow: &Flow,
    blocks: impl IntoIterator<Item = Block>,
) -> Result<BlockSet, RegionError> {
    let mut listed = Vec::new();
    for block in blocks {
        if !func.layout.is_block_inserted(block) {
            return Err(RegionError::UnknownBlock { block });
        }
        if !flow.is_reachable(block) {
            return Err(RegionError::UnreachableBlock { block });
        }
        listed.push(block);
    }
    if listed.is_empty() {
        return Err(RegionError::EmptyRegion);
    }
    flow.sort_rpo(&mut listed);
    Ok(listed.into_iter().collect())
}

/// No block of the scope but the entry may be entered from outside.
fn check_single_entry(flow: &Flow, entry: Block, scope: &BlockSet) -> Result<(), RegionError> {
    for to in scope.iter().filter(|&b| b != entry) {
        if to == flow.entry() {
            return Err(RegionError::EntryBlockInside { block: to });
        }
        for &edge in flow.preds(to) {
            let from = flow.edge(edge).from;
            if !scope.contains(from) {
                return Err(RegionError::SideEntry { from, to });
            }
        }
    }
    Ok(())
}

/// Every member must be reached from the entry through members.
fn check_connected(flow: &Flow, entry: Block, set: &BlockSet) -> Result<(), RegionError> {
    let reached = reach(flow, entry, |b| set.contains(b));
    match set.iter().find(|&b| !reached.contains(b)) {
        Some(block) => Err(RegionError::DisconnectedBlock { block }),
        None => Ok(()),
    }
}

/// The blocks reached from `entry` through blocks that satisfy `inside`; the entry itself need not.
fn reach(flow: &Flow, entry: Block, inside: impl Fn(Block) -> bool) -> BlockSet {
    let mut reached = BlockSet::from_iter([entry]);
    let mut work = vec![entry];
    while let Some(block) = work.pop() {
        for edge in flow.succs(block) {
            let to = flow.edge(edge).to;
            if inside(to) && reached.insert(to) {
                work.push(to);
            }
        }
    }
    reached
}

/// Number the natural exits by source block, then terminator position.
fn natural_exits(func: &Function, flow: &Flow, scope: &BlockSet) -> Result<Vec<Exit>, RegionError> {
    let mut found = Vec::new();
    for from in scope.iter() {
        for edge in flow.succs(from) {
            let to = flow.edge(edge).to;
            if !scope.contains(to) {
                found.push((from, ExitKind::Edge { edge, to }));
            }
        }
        if let Some(inst) = func.layout.last_inst(from) {
            match func.dfg.insts[inst].opcode() {
                Opcode::Return => found.push((from, ExitKind::Return { inst })),
                Opcode::ReturnCall | Opcode::ReturnCallIndirect => {
                    found.push((from, ExitKind::TailCall { inst }));
                }
                _ => {}
            }
        }
    }
    check_exit_count(found.len())?;
    Ok((1..)
        .zip(found)
        .map(|(number, (from, kind))| Exit { number, from, kind })
        .collect())
}

/// Number the edges from hot blocks into the rest of the scope.
fn side_exits(
    flow: &Flow,
    scope: &BlockSet,
    blocks: &BlockSet,
) -> Result<Vec<SideExit>, RegionError> {
    let side_exits: Vec<SideExit> = blocks
        .iter()
        .flat_map(|from| flow.succs(from).map(move |edge| (from, edge)))
        .map(|(from, edge)| (from, edge, flow.edge(edge).to))
        .filter(|&(_, _, to)| scope.contains(to) && !blocks.contains(to))
        .zip(0..)
        .map(|((from, edge, to), number)| SideExit {
            number,
            edge,
            from,
            to,
        })
        .collect();
    check_exit_count(side_exits.len())?;
    Ok(side_exits)
}

fn check_exit_count(exits: usize) -> Result<(), RegionError> {
    if exits > MAX_EXITS {
        let limit = MAX_EXITS;
        return Err(RegionError::TooManyExits { exits, limit });
    }
    Ok(())
}

fn kind(flow: &Flow, entry: Block, scope: &BlockSet) -> RegionKind {
    let leads_back = flow
        .preds(entry)
        .iter()
        .any(|&edge| scope.contains(flow.edge(edge).from));
    if leads_back {
        RegionKind::Loop
    } else if entry == flow.entry() && scope.len() == flow.rpo().len() {
        RegionKind::Function
    } else {
        RegionKind::Path
    }
}

#[cfg(test)]
mod tests;
