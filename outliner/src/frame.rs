//! Live-outs of spliced regions that travel through the frame.
//!
//! Where a region call stands beside the blocks that it replaces, a value that
//! lives out of the region has two definitions: its own and a result of the
//! call. Tier 0 keeps such a value in a stack slot:
//!
//! ```text
//!   where it leaves the scope   store v1, slot       after the call   store result, slot
//!   uses in the scope           v1, as before        uses outside     v9 = load slot
//! ```
//!
//! Why not block parameters, as in the residual (`ssa`): every block where two
//! exits meet would need one for each value that is live there. That is moves
//! in proportion to exits times live-outs, in a nest for each of its loops;
//! and code without optimisation keeps what lives from block to block in the
//! frame anyway. This takes one or two stores for each value, one load for each
//! block that uses it, and one scan of the function. A value that can leave by
//! many edges is stored where it is defined, once for all of them.
//!
//! Why a use inside the scope can keep the name: control enters the scope at
//! its entry only, which dominates the definition; so every path from there to
//! the use passes the definition.
//!
//! Invariants:
//!
//! * Where a value is stored on the edges by which it leaves its scope, it is
//!   also stored where a region within the scope has returned: that region may
//!   have taken such an edge.
//! * A use is rewritten unless it lies in all scopes that the value lives out
//!   of.
//! * Constants are repeated where they are used, not stored; what nothing
//!   loads is not stored either.
//!
//! Not here: which values live out of a region (`interface`).

use crate::edges::at_edge;
use crate::error::OutlineError;
use crate::interface::{ExitInterface, LiveOutSource, is_constant};
use crate::splice::Hook;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{
    Block, Function, Inst, InstBuilder, StackSlot, StackSlotData, StackSlotKind, Type, Value,
    ValueDef,
};
use regraft_regions::{ExitKind, Flow, FlowEdge};
use std::cell::Cell;
use std::ops::Range;

/// A variable that lives out by more edges than this is stored where it is
/// defined.
const MOST_EDGES: u32 = 2;

/// The binary logarithm of the size of the largest types.
const SLOT_ALIGN_SHIFT: u8 = 4;

/// The values that live out of hooked regions, and where they are kept.
pub(crate) struct FrameVariables<'a> {
    hooks: &'a [Hook<'a>],
    variables: Vec<Variable>,
    /// For each value, aliases included, the position of its variable plus one.
    of: SecondaryMap<Value, u32>,
    /// The hooks whose regions the variables live out of.
    scopes: Vec<u32>,
    /// Calls of regions, a variable that each returns, and the result that it is.
    returned: Vec<(Inst, u32, Value)>,
    /// The call of each hook.
    calls: Vec<Inst>,
    frame: Frame,
}

struct Variable {
    value: Value,
    ty: Type,
    /// The instruction that defines it, if it is a constant.
    constant: Option<Inst>,
    /// Where in the frame it is, if anything loads it.
    offset: Cell<Option<i32>>,
    /// Where in `FrameVariables::scopes` its hooks are.
    scopes: Range<usize>,
    /// The block that asked last, and what it is called there.
    local: Option<(Block, Value)>,
    /// The hook that returned it last.
    returned_by: Option<usize>,
}

/// The stack slot of all variables.
struct Frame {
    slot: Cell<Option<StackSlot>>,
    size: Cell<u32>,
    /// The target's type of addresses.
    pointer: Type,
}

impl<'a> FrameVariables<'a> {
    /// Finds the variables.
    pub fn new(func: &Function, hooks: &'a [Hook<'a>], pointer: Type) -> Self {
        let mut listed: Vec<(Value, u32)> = vec![];
        let mut of: SecondaryMap<Value, u32> = SecondaryMap::new();
        for (number, hook) in (0..).zip(hooks) {
            for exit in &hook.interface.exits {
                let carried = exit.live_outs.iter().filter_map(|live| match live.source {
                    LiveOutSource::Value(value) => Some(value),
                    _ => None,
                });
                for value in carried.chain(exit.constants.iter().copied()) {
                    // The hook that listed it last, plus one.
                    if of[value] != number + 1 {
                        of[value] = number + 1;
                        listed.push((value, number));
                    }
                }
            }
        }
        listed.sort_unstable();
        let mut variables = vec![];
        let mut start = 0;
        for same in listed.chunk_by(|a, b| a.0 == b.0) {
            let value = same[0].0;
            let scopes = start..start + same.len();
            start = scopes.end;
            let defined = func.dfg.value_def(value).inst();
            variables.push(Variable {
                value,
                ty: func.dfg.value_type(value),
                constant: defined.filter(|_| is_constant(func, value)),
                offset: Cell::new(None),
                scopes,
                local: None,
                returned_by: None,
            });
            of[value] = variables.len() as u32;
        }
        if !variables.is_empty() {
            for value in func.dfg.values() {
                let original = func.dfg.resolve_aliases(value);
                if original != value && of[original] != 0 {
                    of[value] = of[original];
                }
            }
        }
        Self {
            hooks,
            variables,
            of,
            scopes: listed.into_iter().map(|(_, hook)| hook).collect(),
            returned: vec![],
            calls: vec![],
            frame: Frame {
                slot: Cell::new(None),
                size: Cell::new(0),
                pointer,
            },
        }
    }

    /// What `value` is called in code at `cursor` that belongs to `place`, a
    /// block of the source.
    pub fn name_at(&self, cursor: &mut FuncCursor<'_>, value: Value, place: Block) -> Value {
        match self.variable(value) {
            Some(variable) if !self.is_direct(variable, place) => self.frame.load(cursor, variable),
            _ => value,
        }
    }

    /// What `value` is called in code at `cursor` that comes after an exit of
    /// the region that `hook` calls at `header`.
    pub fn name_after(
        &self,
        cursor: &mut FuncCursor<'_>,
        value: Value,
        hook: usize,
        header: Block,
    ) -> Value {
        match self.variable(value) {
            // The region defined it: what its own blocks call it has not been defined.
            Some(variable) if self.lives_out_of(variable, hook) => {
                self.frame.load(cursor, variable)
            }
            _ => self.name_at(cursor, value, header),
        }
    }

    /// Says which instruction calls the region of the next hook.
    pub fn called(&mut self, call: Inst) {
        self.calls.push(call);
    }

    /// Makes `result` of `call`, which calls the region of `hook`, what `value`
    /// is from there on.
    pub fn define(&mut self, call: Inst, value: Value, result: Value, hook: usize) {
        let Some(at) = self.of[value].checked_sub(1) else {
            return;
        };
        let variable = &mut self.variables[at as usize];
        // Each of the region's exits says the same.
        if variable.returned_by != Some(hook) {
            variable.returned_by = Some(hook);
            self.returned.push((call, at, result));
        }
    }

    /// Rewrites the uses of variables in `blocks`, and stores what is loaded
    /// where it is defined. The blocks are the blocks of the source; `body_of` says where the
    /// instructions of each are now.
    ///
    /// # Errors
    ///
    /// `Malformed` for input that the verifier rejects.
    pub fn finish(
        mut self,
        func: &mut Function,
        flow: &Flow,
        blocks: &[Block],
        body_of: impl Fn(Block) -> Block,
    ) -> Result<(), OutlineError> {
        if self.variables.is_empty() {
            return Ok(());
        }
        for &block in blocks {
            self.rewrite_uses(func, block, body_of(block));
        }
        for &(call, at, result) in &self.returned {
            let variable = &self.variables[at as usize];
            self.frame
                .store(func, variable, result, func.layout.next_inst(call))?;
        }
        let on_edges = self.stored_on_edges();
        for (variable, on_edges) in self.variables.iter().zip(&on_edges) {
            if on_edges.is_some() {
                continue;
            }
            let next = match func.dfg.value_def(variable.value) {
                ValueDef::Result(inst, _) => func.layout.next_inst(inst),
                ValueDef::Param(block, _) => func.layout.first_inst(body_of(block)),
                ValueDef::Union(..) => None,
            };
            self.frame.store(func, variable, variable.value, next)?;
        }
        // The edges on which variables are stored, in order.
        let mut stores: Vec<(FlowEdge, u32, usize)> = vec![];
        for (number, hook) in (0..).zip(self.hooks) {
            for (edge, exit) in edge_exits(hook) {
                let stored = self.live_out_at(exit);
                let stored = stored.filter(|&at| on_edges[at] == Some(number));
                stores.extend(stored.map(|at| (edge, number, at)));
            }
        }
        stores.sort_unstable();
        for &(edge, _, at) in &stores {
            let next = at_edge(func, flow, edge).current_inst();
            let variable = &self.variables[at];
            self.frame.store(func, variable, variable.value, next)?;
        }
        // A region within the scope that is left by such an edge does not pass it.
        for (number, (hook, &call)) in (0..).zip(self.hooks.iter().zip(&self.calls)) {
            let mut passed: Vec<usize> = vec![];
            for (edge, _) in edge_exits(hook) {
                let first = stores.partition_point(|&(other, ..)| other < edge);
                let same = stores[first..].iter().take_while(|store| store.0 == edge);
                for &(_, outer, at) in same {
                    let scope = self.hooks[outer as usize].region.scope();
                    if outer != number && scope.contains(hook.region.entry()) {
                        passed.push(at);
                    }
                }
            }
            passed.sort_unstable();
            passed.dedup();
            for at in passed {
                let variable = &self.variables[at];
                let next = func.layout.next_inst(call);
                self.frame.store(func, variable, variable.value, next)?;
            }
        }
        Ok(())
    }

    /// For each variable the hook on whose exit edges it is stored, if that is
    /// better than where it is defined: a loop is left less often than it runs.
    fn stored_on_edges(&self) -> Vec<Option<u32>> {
        let scope = |hook: u32| self.hooks[hook as usize].region.scope();
        // Whoever leaves another of its scopes leaves this one, or has left it.
        let innermost: Vec<Option<u32>> = self
            .variables
            .iter()
            .map(|variable| {
                variable.offset.get()?;
                let scopes = &self.scopes[variable.scopes.clone()];
                scopes.iter().copied().min_by_key(|&hook| scope(hook).len())
            })
            .collect();
        let mut edges = vec![0_u32; self.variables.len()];
        for (number, hook) in (0..).zip(self.hooks) {
            for (_, exit) in edge_exits(hook) {
                for at in self.live_out_at(exit) {
                    edges[at] += u32::from(innermost[at] == Some(number));
                }
            }
        }
        let mut nested = vec![None; self.hooks.len()];
        let choices = innermost.into_iter().zip(&edges);
        let choices = choices.map(|(hook, &edges)| {
            let hook = hook.filter(|_| edges <= MOST_EDGES)?;
            let nested = nested[hook as usize].get_or_insert_with(|| self.is_nested(hook));
            nested.then_some(hook)
        });
        choices.collect()
    }

    /// Whether each scope that has this one's entry has all of it.
    fn is_nested(&self, hook: u32) -> bool {
        let region = self.hooks[hook as usize].region;
        let mut others = self.hooks.iter().map(|other| other.region.scope());
        others.all(|other| {
            !other.contains(region.entry()) || region.scope().iter().all(|b| other.contains(b))
        })
    }

    /// The positions of the variables that live out by this exit.
    fn live_out_at(&self, exit: &ExitInterface) -> impl Iterator<Item = usize> {
        exit.live_outs.iter().filter_map(|live| match live.source {
            LiveOutSource::Value(value) => Some(self.of[value].checked_sub(1)? as usize),
            _ => None,
        })
    }

    fn rewrite_uses(&mut self, func: &mut Function, place: Block, block: Block) {
        let mut next = func.layout.first_inst(block);
        while let Some(inst) = next {
            next = func.layout.next_inst(inst);
            // Only branches have values elsewhere than among their arguments.
            let renamed = if func.dfg.insts[inst].opcode().is_branch() {
                let values: Vec<Value> = func.dfg.inst_values(inst).collect();
                self.rename(func, place, inst, &values)
            } else {
                let count = func.dfg.inst_args(inst).len();
                (0..count).fold(false, |renamed, at| {
                    let value = func.dfg.inst_args(inst)[at];
                    self.rename(func, place, inst, &[value]) || renamed
                })
            };
            if renamed {
                let name = |value: Value| match self.variable(value).map(|found| found.local) {
                    Some(Some((known, name))) if known == place => name,
                    _ => value,
                };
                func.dfg.map_inst_values(inst, name);
            }
        }
    }

    /// Whether one of `values` is called differently in `place`; it is known by
    /// that name before `inst` then.
    fn rename(&mut self, func: &mut Function, place: Block, inst: Inst, values: &[Value]) -> bool {
        let mut renamed = false;
        for &value in values {
            let Some(at) = self.of[value].checked_sub(1) else {
                continue;
            };
            let variable = &self.variables[at as usize];
            let name = match variable.local {
                Some((known, name)) if known == place => name,
                _ if self.is_direct(variable, place) => variable.value,
                _ => self.frame.load(&mut cursor_at(func, inst), variable),
            };
            renamed |= name != variable.value;
            self.variables[at as usize].local = Some((place, name));
        }
        renamed
    }

    fn variable(&self, value: Value) -> Option<&Variable> {
        let at = self.of[value].checked_sub(1)?;
        self.variables.get(at as usize)
    }

    fn lives_out_of(&self, variable: &Variable, hook: usize) -> bool {
        let mut hooks = self.scopes[variable.scopes.clone()].iter();
        hooks.any(|&other| other as usize == hook)
    }

    /// Whether the variable's own definition is the only one that reaches `place`.
    fn is_direct(&self, variable: &Variable, place: Block) -> bool {
        let mut hooks = self.scopes[variable.scopes.clone()].iter();
        hooks.all(|&hook| self.hooks[hook as usize].region.scope().contains(place))
    }
}

impl Frame {
    /// The variable at the cursor: loaded, or repeated if it is a constant.
    fn load(&self, cursor: &mut FuncCursor<'_>, variable: &Variable) -> Value {
        if let Some(inst) = variable.constant {
            let copy = cursor.func.dfg.clone_inst(inst);
            cursor.insert_inst(copy);
            return cursor.func.dfg.first_result(copy);
        }
        let slot = self.slot.get().unwrap_or_else(|| {
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 0, SLOT_ALIGN_SHIFT);
            cursor.func.create_sized_stack_slot(data)
        });
        self.slot.set(Some(slot));
        let offset = variable.offset.get().unwrap_or_else(|| {
            let bytes = variable.ty.bytes();
            let offset = self.size.get().next_multiple_of(bytes.next_power_of_two());
            self.size.set(offset + bytes);
            cursor.func.sized_stack_slots[slot].size = self.size.get();
            i32::try_from(offset).unwrap_or(i32::MAX)
        });
        variable.offset.set(Some(offset));
        let load = cursor.ins();
        load.stack_load(self.pointer, variable.ty, slot, offset)
    }

    /// Stores what the variable is from `next` on, if anything loads it.
    fn store(
        &self,
        func: &mut Function,
        variable: &Variable,
        value: Value,
        next: Option<Inst>,
    ) -> Result<(), OutlineError> {
        if let (Some(offset), Some(slot)) = (variable.offset.get(), self.slot.get()) {
            let missing = OutlineError::Malformed("a live-out without a definition");
            let mut cursor = cursor_at(func, next.ok_or(missing)?);
            let store = cursor.ins();
            store.stack_store(self.pointer, value, slot, offset);
        }
        Ok(())
    }
}

/// The exits of a hook's region that are edges.
fn edge_exits<'a>(hook: &'a Hook<'a>) -> impl Iterator<Item = (FlowEdge, &'a ExitInterface)> {
    let exits = hook.interface.exits.iter();
    exits.filter_map(|exit| match exit.exit.kind {
        ExitKind::Edge { edge, .. } => Some((edge, exit)),
        _ => None,
    })
}

/// A cursor before `inst`, for code that belongs to it.
fn cursor_at(func: &mut Function, inst: Inst) -> FuncCursor<'_> {
    let location = func.srcloc(inst);
    FuncCursor::new(func).at_inst(inst).with_srcloc(location)
}
