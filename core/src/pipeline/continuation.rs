//! Formed regions and the continuations of their side exits.
//!
//! A region is published with a lazy slot for each cold block that its side exits lead to. The continuation behind the slot is
//! outlined and compiled when it is first called. It counts its calls: a side exit that runs hot has the region re-formed, with
//! the block inside.
//!
//! Invariants:
//!
//! * A continuation re-enters through the slot of its region's unit, so it reaches the newest version.
//! * Side exits to the same block share a continuation.
//!
//! Limitations: code that has left tier 0 has nowhere else to go, so a continuation that cannot be compiled at tier 1 is
//! compiled at tier 0's settings, and if that fails too the call traps, saying why.

use crate::code::error::{CompileError, MemoryError};
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::passes::layout::CounterLayout;
use crate::pipeline::compile::{Code, compile_from_reserve, fault};
use crate::pipeline::extract;
use crate::units::counters::Counters;
use crate::units::formed::{Formed, Side};
use crate::units::ledger::Releasable;
use crate::units::made::Made;
use crate::units::part::HotPart;
use crate::units::subject::Subject;
use crate::units::table::Unit;
use crate::units::version::Version;
use regraft_executor::locks::write;
use regraft_executor::slots::OwnedSlot;
use regraft_outliner::Interface;
use regraft_regions::Region;
use std::collections::HashSet;
use std::sync::Arc;

/// Gives every cold block behind the region's side exits a unit.
pub(crate) fn make_formed(
    engine: &Inner,
    subject: Subject<'_>,
    part: HotPart,
    region: Region,
    interface: Option<Interface>,
) -> Result<Arc<Formed>, CompileError> {
    let function = subject.function;
    fault(engine, Stage::Memory, &function.name)?;
    let threshold = subject.tiering.side_exit_threshold(part, 0, &engine.config);
    let mut sides: Vec<Side> = vec![];
    let mut started = HashSet::new();
    for side_exit in region.side_exits() {
        if !started.insert(side_exit.to) {
            continue;
        }
        let layout = CounterLayout::new([], 0);
        let counters = Counters::new(&engine.arena, layout, 0)?;
        counters.arm_entry(threshold);
        let unit = write(&engine.units).number().ok_or(MemoryError::Units)?;
        sides.push(Side {
            start: side_exit.to,
            number: side_exit.number,
            unit,
            slot: Releasable::new(OwnedSlot::lazy(&engine.slots, unit)?),
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
    let mut units = write(&engine.units);
    let owner = units.function(function.unit).cloned();
    let owner = owner.ok_or(CompileError::Replaced)?;
    for (index, side) in formed.sides.iter().enumerate() {
        if let Some(slot) = side.slot.with(|slot| slot.addresses()) {
            let continuation = Unit::Continuation {
                function: Arc::clone(&owner),
                body: Arc::downgrade(subject.body),
                formed: Arc::downgrade(&formed),
                side: index,
                slot,
            };
            units.insert(side.unit, continuation);
        }
    }
    Ok(formed)
}

/// The code of a continuation, compiled when it is first called; 0 if that fails.
pub(crate) fn resolve_continuation(
    engine: &Inner,
    subject: Subject<'_>,
    formed: &Formed,
    side: usize,
) -> usize {
    let side = &formed.sides[side];
    let make = || {
        let code = extract::continuation(engine, subject, formed, side)?;
        compile_awaited(engine, code)
    };
    match side.version.get_or_make(make, drop) {
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
                function = %subject.function.name, block = %side.start, %error,
                "a continuation cannot be compiled"
            );
            0
        }
    }
}

/// Compiles a continuation. Running code waits for it; if it runs hot, its region is re-formed.
fn compile_awaited(engine: &Inner, code: Code) -> Result<Version, CompileError> {
    if engine.paces_by_cost() {
        return compile_from_reserve(engine, Code { tier: 0, ..code });
    }
    let first = compile_from_reserve(engine, code.clone());
    first.or_else(|error| {
        tracing::warn!(function = %code.origin.name(), %error, "tier 1 failed; trying tier 0");
        compile_from_reserve(engine, Code { tier: 0, ..code })
    })
}
