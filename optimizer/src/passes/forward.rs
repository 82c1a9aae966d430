//! Values that are known to be in memory are used instead of loading them.
//!
//! ```text
//!   store v1, v0+8           store v1, v0+8
//!   …                  ─▶    …
//!   v2 = load v0+8           (v2 is v1)
//! ```
//!
//! Over blocks, too: where paths meet with different values, the block gets a parameter, if anybody needs the value. For a stack slot that is
//! private this is the promotion of a variable to SSA values: it holds nothing before its first store, and no call and no pointer
//! changes it.
//!
//! Requires: a function that verifies. Ensures: fewer loads, the same stores; a load that trapped goes only where an
//! access to the same bytes did not trap before.
//!
//! Reference: see `available`; for slots, M. Braun and others, "Simple and efficient construction of static single assignment form", CC 2013,
//! section 2 (parameters on demand).
//!
//! Limitations: unused parameters stay for Cranelift to remove. Undefined contents become zero.
//!
//! Not here: the stores that nobody needs any more (`dead`).

use crate::access::{Accesses, Effect, PlaceId, operands};
use crate::account::Fuel;
use crate::available::{Available, Definition};
use crate::edit::{append_argument, convert, has_slots, replace, zero};
use crate::policy::Policy;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder, Opcode, Type, Value};
use regraft_regions::{Flow, FlowError};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Which places are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Private stack slots only.
    Slots,
    /// All of them.
    Memory,
}

/// Replaces loads.
///
/// # Errors
/// [`FlowError`] for what is no valid function.
///
/// # Complexity
/// O(instructions + places × blocks), within the bounds of the policy.
pub(crate) fn run(
    func: &mut Function,
    scope: Scope,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<(), FlowError> {
    let nothing = match scope {
        Scope::Slots => !has_slots(func),
        Scope::Memory => !has_loads(func),
    };
    if nothing {
        return Ok(());
    }
    let flow = Flow::compute(func)?;
    let accesses = Accesses::compute(func, &flow, policy);
    let wanted = |(_, place): &(usize, &crate::access::Place)| {
        // What is accessed once holds nothing that is known, but for slots, which begin undefined.
        let again = place.accesses > 1 && scope == Scope::Memory;
        place.loads > 0 && (again || place.private)
    };
    let places = accesses.places.iter().enumerate().filter(wanted);
    let places: Vec<PlaceId> = places.map(|(at, _)| PlaceId::new(at)).collect();
    let at_once = (policy.max_states / flow.rpo().len().max(1)).max(1);
    for places in places.chunks(at_once).take(policy.max_rounds) {
        let available = Available::compute(&flow, &accesses, places);
        let mut rewriter = Rewriter {
            func,
            flow: &flow,
            accesses: &accesses,
            available: &available,
            met: FxHashMap::default(),
            planned: FxHashMap::default(),
            replaced: FxHashMap::default(),
            params: FxHashMap::default(),
            pending: VecDeque::new(),
            converted: FxHashMap::default(),
            zeros: FxHashMap::default(),
            max_params: policy.max_params,
        };
        let mut loads = rewriter.loads();
        loads.retain(|load| {
            rewriter.can_have(load.place, load.definition) && fuel.burn() && {
                rewriter.want(load.place, load.definition);
                true
            }
        });
        rewriter.replace_redundant();
        for load in loads {
            rewriter.forward(load);
        }
        rewriter.finish();
    }
    Ok(())
}

fn has_loads(func: &Function) -> bool {
    let blocks = func.layout.blocks();
    let mut insts = blocks.flat_map(|block| func.layout.block_insts(block));
    insts.any(|inst| func.dfg.insts[inst].opcode().can_load())
}

/// A load of a place whose value is known.
#[derive(Clone, Copy)]
struct Known {
    inst: Inst,
    place: PlaceId,
    definition: Definition,
}

struct Rewriter<'a> {
    func: &'a mut Function,
    flow: &'a Flow,
    accesses: &'a Accesses,
    available: &'a Available,
    /// What meets in the parameters that are needed.
    met: FxHashMap<(Block, PlaceId), Vec<Definition>>,
    /// How many parameters a block gets, at most.
    planned: FxHashMap<Block, usize>,
    /// Parameters that are nothing but another definition.
    replaced: FxHashMap<(Block, PlaceId), Definition>,
    params: FxHashMap<(Block, PlaceId), Value>,
    /// Parameters whose arguments are still to be passed, in the order of the parameters.
    pending: VecDeque<(Block, PlaceId)>,
    /// Values of stores and loads in the type of their place.
    converted: FxHashMap<Inst, Value>,
    zeros: FxHashMap<Type, Value>,
    max_params: usize,
}

impl Rewriter<'_> {
    fn loads(&self) -> Vec<Known> {
        let mut loads = vec![];
        for &block in self.flow.rpo() {
            let mut state = self.available.start(block).to_vec();
            for &(inst, effect) in self.accesses.effects(block) {
                if let Effect::Load(place) = effect {
                    let definition = self.available.of(&state, place);
                    if !matches!(definition, Definition::Nothing | Definition::Top) {
                        loads.push(Known {
                            inst,
                            place,
                            definition,
                        });
                    }
                }
                self.available.step(self.accesses, &mut state, inst, effect);
            }
        }
        loads
    }

    /// Whether blocks have room for the parameters that this takes: at most one for each place that is looked at.
    fn can_have(&self, place: PlaceId, definition: Definition) -> bool {
        match definition {
            Definition::Param(block) => {
                let planned = self.planned.get(&block).copied().unwrap_or(0);
                self.met.contains_key(&(block, place))
                    || self.func.dfg.block_params(block).len() + planned < self.max_params
            }
            _ => true,
        }
    }

    /// Notes what meets in a parameter, and in those that it needs.
    fn want(&mut self, place: PlaceId, definition: Definition) {
        let mut wanted = vec![definition];
        while let Some(definition) = wanted.pop() {
            let Definition::Param(block) = definition else {
                continue;
            };
            if self.met.contains_key(&(block, place)) {
                continue;
            }
            let edges = self.flow.preds(block).iter();
            let mut met: Vec<Definition> = edges
                .map(|&edge| self.available.at_end(self.flow.edge(edge).from, place))
                .collect();
            met.sort_unstable();
            met.dedup();
            wanted.extend(&met);
            self.met.insert((block, place), met);
            *self.planned.entry(block).or_default() += 1;
        }
    }

    /// Finds the parameters in which one definition meets itself only: iteration leaves them where a definition changes outside of a loop
    /// while it goes round in it. What is left is minimal where all cycles are loops (Braun and others, section 3.2).
    fn replace_redundant(&mut self) {
        let mut keys: Vec<(Block, PlaceId)> = self.met.keys().copied().collect();
        // Outer loops first: one look is enough for most.
        keys.sort_unstable_by_key(|&(block, place)| (self.flow.rpo_number(block), place));
        loop {
            let before = self.replaced.len();
            for &(block, place) in &keys {
                if self.replaced.contains_key(&(block, place)) {
                    continue;
                }
                let met = self.met.get(&(block, place)).into_iter().flatten();
                let own = Definition::Param(block);
                let mut met = met
                    .map(|&met| self.resolve(place, met))
                    .filter(|&met| met != own);
                if let Some(first) = met.next()
                    && !matches!(first, Definition::Top | Definition::Nothing)
                    && met.all(|met| met == first)
                {
                    self.replaced.insert((block, place), first);
                }
            }
            if self.replaced.len() == before {
                return;
            }
        }
    }

    fn resolve(&self, place: PlaceId, definition: Definition) -> Definition {
        let mut definition = definition;
        while let Definition::Param(block) = definition
            && let Some(&other) = self.replaced.get(&(block, place))
        {
            definition = other;
        }
        definition
    }

    /// The value of a definition, in the type of its place.
    fn value(&mut self, place: PlaceId, definition: Definition) -> Option<Value> {
        let ty = self.accesses.place(place)?.ty;
        let value = match self.resolve(place, definition) {
            Definition::Top | Definition::Nothing => return None,
            Definition::Undefined => {
                if let Some(&zero) = self.zeros.get(&ty) {
                    return Some(zero);
                }
                let entry = self.flow.entry();
                let mut cursor = FuncCursor::new(self.func).at_first_insertion_point(entry);
                let value = zero(&mut cursor, ty);
                self.zeros.insert(ty, value);
                value
            }
            Definition::Store(inst) | Definition::Load(inst) => {
                if let Some(&value) = self.converted.get(&inst) {
                    return Some(value);
                }
                let value = self.in_type_of_place(inst, ty)?;
                self.converted.insert(inst, value);
                value
            }
            Definition::Param(block) => {
                if let Some(&param) = self.params.get(&(block, place)) {
                    return Some(param);
                }
                let param = self.func.dfg.append_block_param(block, ty);
                self.params.insert((block, place), param);
                self.pending.push_back((block, place));
                param
            }
        };
        Some(value)
    }

    /// What an instruction stores or loads, in the type of its place.
    fn in_type_of_place(&mut self, inst: Inst, ty: Type) -> Option<Value> {
        let operands = operands(self.func, inst)?;
        let location = self.func.srcloc(inst);
        let (value, mut cursor) = match operands.data {
            Some(data) => (data, FuncCursor::new(self.func).at_inst(inst)),
            None => {
                let value = *self.func.dfg.inst_results(inst).first()?;
                (value, FuncCursor::new(self.func).after_inst(inst))
            }
        };
        cursor.set_srcloc(location);
        let narrow = match operands.memory == operands.ty {
            true => value,
            false => cursor.ins().ireduce(operands.memory, value),
        };
        Some(convert(&mut cursor, narrow, ty))
    }

    fn forward(&mut self, load: Known) {
        let Some(operands) = operands(self.func, load.inst) else {
            return;
        };
        let Some(value) = self.value(load.place, load.definition) else {
            return;
        };
        let location = self.func.srcloc(load.inst);
        let mut cursor = FuncCursor::new(self.func).at_inst(load.inst);
        cursor.set_srcloc(location);
        let value = convert(&mut cursor, value, operands.memory);
        let value = match operands.opcode {
            _ if operands.memory == operands.ty => value,
            Opcode::Sload8 | Opcode::Sload16 | Opcode::Sload32 => {
                cursor.ins().sextend(operands.ty, value)
            }
            _ => cursor.ins().uextend(operands.ty, value),
        };
        let Some(&result) = self.func.dfg.inst_results(load.inst).first() else {
            return;
        };
        if self.func.dfg.resolve_aliases(value) != result {
            replace(self.func, load.inst, result, value);
        }
    }

    /// Passes the arguments of all parameters.
    fn finish(&mut self) {
        while let Some((block, place)) = self.pending.pop_front() {
            for &edge in self.flow.preds(block) {
                let edge = self.flow.edge(edge);
                let definition = self.available.at_end(edge.from, place);
                // There is one: `Nothing` on any edge would have made the block's state `Nothing`.
                let value = self
                    .value(place, definition)
                    .or_else(|| self.value(place, Definition::Undefined));
                if let Some(value) = value {
                    append_argument(self.func, edge.inst, edge.index, value);
                }
            }
            self.pass_zeros(block, place);
        }
    }

    /// Edges from unreachable blocks pass something of the right type.
    fn pass_zeros(&mut self, block: Block, place: PlaceId) {
        let Some(ty) = self.accesses.place(place).map(|place| place.ty) else {
            return;
        };
        let edges = self.flow.edges().map(|(_, edge)| edge);
        let from_nowhere = edges.filter(|edge| edge.to == block);
        for edge in from_nowhere.filter(|edge| !self.flow.is_reachable(edge.from)) {
            let mut cursor = FuncCursor::new(self.func).at_inst(edge.inst);
            let zero = zero(&mut cursor, ty);
            append_argument(self.func, edge.inst, edge.index, zero);
        }
    }
}
