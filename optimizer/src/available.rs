//! Which value a place is known to hold, at every point of the function.
//!
//! Lattice, per place: unknown yet (`Top`) above every definition; a definition above the parameter of a block where several meet
//! (`Param`); `Nothing` at the bottom. At the start of a block the definitions of its predecessors meet: the same one stays, different ones
//! are a parameter of the block, `Nothing` wins. A load of `Nothing` defines.
//!
//! Invariants:
//!
//! * *A definition dominates what it reaches*: it is on every path there, as every path brought it.
//! * *Its value is the last one*: a definition cannot reach the point before its own instruction, as the first path there comes without it.
//! * A block that has a parameter for a place, or nothing, never gets another definition for it, so that the iteration ends.
//!
//! Reference: the states are those of store-to-load forwarding and full redundancy elimination of loads with parameters inserted on demand:
//! F. Chow and others, "Register promotion by partial redundancy elimination of loads and stores", PLDI 1998, without speculation.
//!
//! Limitations: what is available on some paths only stays in memory (`hoist` does something about that for loops).

use crate::access::{Accesses, Effect, PlaceId};
use crate::address::BaseId;
use cranelift_codegen::entity::EntitySet;
use cranelift_codegen::ir::{Block, Function, Inst};
use regraft_regions::Flow;
use rustc_hash::FxHashMap;

/// Where a place's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Definition {
    /// Nothing is known yet.
    Top,
    /// Undefined: a private slot before its first store.
    Undefined,
    /// This store's data.
    Store(Inst),
    /// This load's result.
    Load(Inst),
    /// A parameter of this block.
    Param(Block),
    /// It has to be loaded.
    Nothing,
}

/// The states of some places, at the start and end of each reachable block.
#[derive(Debug)]
pub(crate) struct Available {
    /// Index of a place in a state; `u32::MAX` for places that are not looked at.
    tracked: Vec<u32>,
    starts: FxHashMap<Block, Vec<Definition>>,
    ends: FxHashMap<Block, Vec<Definition>>,
}

impl Available {
    /// Iterates to the fixed point.
    ///
    /// # Complexity
    /// O(depth of loops × (effects + edges × places))
    pub fn compute(flow: &Flow, accesses: &Accesses, places: &[PlaceId]) -> Self {
        let mut tracked = vec![u32::MAX; accesses.places.len()];
        for (at, place) in (0..).zip(places) {
            if let Some(slot) = tracked.get_mut(place.index()) {
                *slot = at;
            }
        }
        let top = vec![Definition::Top; places.len()];
        let mut available = Self {
            tracked,
            starts: flow.rpo().iter().map(|&b| (b, top.clone())).collect(),
            ends: flow.rpo().iter().map(|&b| (b, top.clone())).collect(),
        };
        let initial = places.iter().map(|&place| match accesses.place(place) {
            Some(place) if place.private => Definition::Undefined,
            _ => Definition::Nothing,
        });
        available.starts.insert(flow.entry(), initial.collect());
        // Blocks that something new comes into.
        let mut stale: EntitySet<Block> = EntitySet::new();
        stale.extend(flow.rpo().iter().copied());
        let mut changed = true;
        while changed {
            changed = false;
            for &block in flow.rpo() {
                if !stale.remove(block) {
                    continue;
                }
                if block != flow.entry() {
                    available.meet(flow, accesses, block);
                }
                let mut state = available.start(block).to_vec();
                for &(inst, effect) in accesses.effects(block) {
                    available.step(accesses, &mut state, inst, effect);
                }
                if available.ends.get(&block) != Some(&state) {
                    available.ends.insert(block, state);
                    stale.extend(flow.succs(block).map(|edge| flow.edge(edge).to));
                    changed = true;
                }
            }
        }
        available
    }

    /// The state at the start of a block.
    pub fn start(&self, block: Block) -> &[Definition] {
        self.starts.get(&block).map_or(&[], |state| state)
    }

    /// What a place holds at the end of a block.
    pub fn at_end(&self, block: Block, place: PlaceId) -> Definition {
        let state = self.ends.get(&block).map_or(&[][..], |state| state);
        self.of(state, place)
    }

    /// What a place holds in a state; `Nothing` if it is not looked at.
    pub fn of(&self, state: &[Definition], place: PlaceId) -> Definition {
        let at = self.tracked.get(place.index()).copied();
        let definition = at.and_then(|at| state.get(at as usize));
        definition.copied().unwrap_or(Definition::Nothing)
    }

    fn meet(&mut self, flow: &Flow, accesses: &Accesses, block: Block) {
        let mut state = self.start(block).to_vec();
        let preds = flow.preds(block).iter();
        let ends: Vec<&Vec<Definition>> = preds
            .filter_map(|&edge| self.ends.get(&flow.edge(edge).from))
            .collect();
        for (at, definition) in state.iter_mut().enumerate() {
            let own = [Definition::Nothing, Definition::Param(block)];
            if !own.contains(definition) {
                *definition = Definition::Top;
            }
            for end in &ends {
                let other = end.get(at).copied().unwrap_or(Definition::Nothing);
                *definition = match (*definition, other) {
                    (Definition::Nothing, _) | (_, Definition::Nothing) => Definition::Nothing,
                    (one, Definition::Top) => one,
                    (Definition::Top, other) => other,
                    (one, other) if one == other => one,
                    _ => Definition::Param(block),
                };
            }
        }
        for &place in accesses.changed_at(block) {
            self.set(&mut state, place, Definition::Nothing);
        }
        self.starts.insert(block, state);
    }

    fn set(&self, state: &mut [Definition], place: PlaceId, definition: Definition) {
        let at = self.tracked.get(place.index()).copied();
        if let Some(slot) = at.and_then(|at| state.get_mut(at as usize)) {
            *slot = definition;
        }
    }

    /// What an instruction does to the state.
    pub fn step(&self, accesses: &Accesses, state: &mut [Definition], inst: Inst, effect: Effect) {
        match effect {
            Effect::Load(place) => {
                if self.of(state, place) == Definition::Nothing {
                    self.set(state, place, Definition::Load(inst));
                }
            }
            Effect::Store(place, change) => {
                for &changed in accesses.changed_by(change) {
                    self.set(state, changed, Definition::Nothing);
                }
                self.set(state, place, Definition::Store(inst));
            }
            Effect::Changes(change) | Effect::Defines(change) => {
                for &changed in accesses.changed_by(change) {
                    self.set(state, changed, Definition::Nothing);
                }
            }
        }
    }
}

/// The bases whose leaves are all defined outside the given blocks.
pub(crate) fn is_invariant(
    func: &Function,
    accesses: &Accesses,
    base: BaseId,
    inside: impl Fn(Block) -> bool,
) -> bool {
    use cranelift_codegen::ir::ValueDef;
    accesses.numbering.leaves(base).iter().all(|&leaf| {
        let block = match func.dfg.value_def(leaf) {
            ValueDef::Result(inst, _) => func.layout.inst_block(inst),
            ValueDef::Param(block, _) => Some(block),
            ValueDef::Union(..) => None,
        };
        block.is_some_and(|block| !inside(block))
    })
}
