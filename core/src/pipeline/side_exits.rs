//! Formed regions and the continuations of their side exits.
//!
//! A region is published with a lazy slot for each cold block that its side
//! exits lead to. The continuation behind the slot is outlined and compiled
//! when it is first called. It counts its calls: a side exit that runs hot
//! has the region formed again, with the block inside.
//!
//! Invariants:
//!
//! * A continuation re-enters through the slot of its region's unit, so it
//!   reaches the newest version.
//! * Side exits to the same block share a continuation.
//!
//! Limitations: code that has left tier 0 has nowhere else to go, so a
//! continuation that cannot be compiled at tier 1 is compiled at tier 0's
//! settings, and if that fails too the call traps, saying why.

use crate::code::codemap::CodeUnit;
use crate::code::error::CompileError;
use crate::code::externals::OwnData;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::passes::instrument::{HookCounters, count_calls, count_continuation};
use crate::passes::layout::CounterLayout;
use crate::passes::names;
use crate::units::counters::{AddressTable, Counters};
use crate::units::formed::{Formed, Side};
use crate::units::function::{Body, FunctionUnit};
use crate::units::ledger::Releasable;
use crate::units::made::Made;
use crate::units::part::HotPart;
use crate::units::table::Unit;
use crate::units::tiering::{LoopHook, Tiering};
use crate::units::version::Version;
use cranelift_codegen::ir::{
    Block, ExternalName, FuncRef, Function, GlobalValueData, UserExternalName,
};
use regraft_executor::locks::write;
use regraft_executor::slots::OwnedSlot;
use regraft_outliner::{Extracted, Interface, check_continuation, extract_continuation};
use regraft_regions::Region;
use std::collections::HashSet;
use std::sync::Arc;

impl Inner {
    /// Gives every cold block behind the region's side exits a unit.
    pub(crate) fn make_formed(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        part: HotPart,
        region: Region,
        interface: Option<Interface>,
        threshold: u64,
    ) -> Result<Arc<Formed>, CompileError> {
        self.fault(Stage::Memory, &function.name)?;
        let full = || CompileError::Memory("the unit table is full".into());
        let mut sides: Vec<Side> = vec![];
        let mut started = HashSet::new();
        for side_exit in region.side_exits() {
            if !started.insert(side_exit.to) {
                continue;
            }
            let layout = CounterLayout::new([], 0);
            let counters = Counters::new(&self.arena, layout, 0)?;
            counters.arm_entry(threshold);
            let unit = write(&self.units).number().ok_or_else(full)?;
            sides.push(Side {
                start: side_exit.to,
                number: side_exit.number,
                unit,
                slot: Releasable::new(OwnedSlot::lazy(&self.slots, unit)?),
                counters,
                version: Made::new(),
            });
        }
        let formed = Arc::new(Formed {
            part,
            region,
            interface,
            sides,
            tables: Releasable::default(),
        });
        let mut units = write(&self.units);
        let owner = units.function(function.unit).cloned();
        let owner = owner.ok_or(CompileError::Replaced)?;
        for (index, side) in formed.sides.iter().enumerate() {
            if let Some(slot) = side.slot.with(|slot| slot.addresses()) {
                let continuation = Unit::Continuation {
                    function: Arc::clone(&owner),
                    body: Arc::downgrade(body),
                    formed: Arc::downgrade(&formed),
                    side: index,
                    slot,
                };
                units.insert(side.unit, continuation);
            }
        }
        Ok(formed)
    }

    /// Compiles a continuation when it is first called; 0 if that fails.
    pub(crate) fn resolve_continuation(
        &self,
        function: &FunctionUnit,
        body: &Body,
        formed: &Formed,
        side: usize,
    ) -> usize {
        let Some(tiering) = body.tiering() else {
            return 0;
        };
        let side = &formed.sides[side];
        let make = || self.compile_continuation(function, body, tiering, formed, side);
        let version = side.version.get_or_make(make, drop);
        match version {
            Ok(version) => {
                let resolved = side.slot.with(|slot| {
                    slot.resolve(version.entry);
                    slot.current()
                });
                // Without a slot, nobody calls it any more but who asks.
                resolved.unwrap_or(version.entry)
            }
            Err(error) => {
                tracing::error!(
                    function = %function.name, block = %side.start, %error,
                    "a continuation cannot be compiled"
                );
                0
            }
        }
    }

    fn compile_continuation(
        &self,
        function: &FunctionUnit,
        body: &Body,
        tiering: &Tiering,
        formed: &Formed,
        side: &Side,
    ) -> Result<Version, CompileError> {
        let missing = || CompileError::Transform("a continuation without an interface".into());
        let interface = tiering.interface_of(formed).ok_or_else(missing)?;
        let unit = side.unit;
        let analysis = &tiering.analysis;
        let Extracted {
            function: mut continuation,
            reentry,
            ..
        } = extract_continuation(
            &body.source,
            &analysis.flow,
            &analysis.liveness,
            &formed.region,
            interface,
            side.number,
        )?;
        if self.config.check {
            check_continuation(
                &body.source,
                &formed.region,
                interface,
                side.number,
                &continuation,
                reentry,
            )
            .map_err(|error| CompileError::Check(error.to_string()))?;
        }
        let isa = &self.isas.tier1;
        if let HotPart::Loop(hook) = formed.part {
            let LoopHook { unit, .. } = tiering.hooks[hook];
            if let Some(reentry) = reentry {
                name_unit(&mut continuation, reentry, unit);
            }
            let hook = HookCounters {
                unit: function.unit,
                layout: tiering.counters.layout(),
                hook,
                pointer: isa.pointer_type(),
                arrivals: tiering.counts(),
            };
            count_continuation(&mut continuation, hook, reentry);
        }
        count_calls(
            &mut continuation,
            unit,
            isa.pointer_type(),
            isa.default_call_conv(),
        )?;
        let code_unit = CodeUnit::Continuation {
            region: formed.region.entry(),
            start: side.start,
        };
        let origin = body.origin(function, code_unit);
        let own = [
            ((names::COUNTERS, unit), side.counters.address()),
            ((names::COUNTERS, function.unit), tiering.counters.address()),
        ];
        if self.paces_by_cost() {
            // Somebody waits for it. If it runs hot, its region is formed again.
            return self.compile_from_reserve(0, &origin, continuation, &own);
        }
        self.compile_from_reserve(1, &origin, continuation.clone(), &own)
            .or_else(|error| {
                tracing::warn!(function = %origin.name(), %error, "tier 1 failed; trying tier 0");
                self.compile_from_reserve(0, &origin, continuation, &own)
            })
    }

    /// Names the units behind the side calls of an extracted function.
    pub(crate) fn name_side_calls(
        &self,
        extracted: &mut Extracted,
        formed: &Formed,
    ) -> Result<(), CompileError> {
        let missing = || CompileError::Transform("a side exit without a continuation".into());
        let side_exits = formed.region.side_exits();
        let sides = formed.sides_by_start();
        for &(number, callee) in &extracted.side_calls {
            let side_exit = side_exits.get(number as usize).ok_or_else(missing)?;
            let side = sides.get(&side_exit.to).ok_or_else(missing)?;
            name_unit(&mut extracted.function, callee, side.unit);
        }
        Ok(())
    }
}

impl Inner {
    /// Fills the tables of an extracted region with the stubs of its
    /// continuations; returns where they lie, by name.
    pub(crate) fn fill_side_tables(
        &self,
        extracted: &mut Extracted,
        formed: &Formed,
    ) -> Result<Vec<OwnData>, CompileError> {
        let missing = || CompileError::Transform("a side exit without a continuation".into());
        let sides = formed.sides_by_start();
        let side_exits = formed.region.side_exits();
        let mut tables = vec![];
        let mut own = vec![];
        for (number, side_table) in (0..).zip(&extracted.side_tables) {
            let mut stubs = Vec::with_capacity(side_table.side_exits.len());
            for side_exit in &side_table.side_exits {
                let stub = side_exit.map(|side_exit| {
                    let side_exit = side_exits.get(side_exit as usize)?;
                    let slot = &sides.get(&side_exit.to)?.slot;
                    slot.with(|slot| slot.stub_address())
                });
                stubs.push(match stub {
                    Some(stub) => stub.ok_or_else(missing)?,
                    // No branch of the code leads here.
                    None => self.slots.trap_stub_address(),
                });
            }
            let table = AddressTable::new(&self.arena, &stubs)?;
            own.push(((names::TABLES, number), table.address()));
            tables.push(table);
            let name = UserExternalName::new(names::TABLES, number);
            let name = extracted.function.declare_imported_user_function(name);
            let global = &mut extracted.function.global_values[side_table.table];
            if let GlobalValueData::Symbol { name: symbol, .. } = global {
                *symbol = ExternalName::user(name);
            }
        }
        formed.tables.set(tables);
        Ok(own)
    }
}

/// The blocks of a region that takes its hot side exits in: the old ones,
/// and what the newly hot blocks lead to, cold blocks left out again.
///
/// A side exit counts as hot here from an eighth of the threshold on, so that
/// one formation takes in all that run about as often.
pub(crate) fn grown_blocks(
    func: &Function,
    flow: &regraft_regions::Flow,
    formed: &Formed,
    threshold: u64,
) -> Vec<Block> {
    let region = &formed.region;
    let mut taken: HashSet<Block> = region.blocks().iter().collect();
    let hot = formed.sides.iter().filter(|side| {
        let count = side.counters.entry_count();
        count > 0 && count >= threshold / 8
    });
    let mut pending: Vec<Block> = hot.map(|side| side.start).collect();
    while let Some(block) = pending.pop() {
        if !taken.insert(block) {
            continue;
        }
        let next = flow.succs(block).map(|edge| flow.edge(edge).to);
        pending.extend(next.filter(|&to| {
            region.scope().contains(to) && !taken.contains(&to) && !func.layout.is_cold(to)
        }));
    }
    let scope = region.scope().iter();
    scope.filter(|block| taken.contains(block)).collect()
}

/// Makes `callee` name the stub of a unit.
fn name_unit(func: &mut Function, callee: FuncRef, unit: u32) {
    let user = UserExternalName::new(names::UNITS, unit);
    let user = func.declare_imported_user_function(user);
    func.dfg.ext_funcs[callee].name = ExternalName::user(user);
}
