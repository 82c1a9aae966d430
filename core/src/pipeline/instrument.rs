//! Tier 0: a function with hooks at its loops, and counters.
//!
//! Invariants:
//!
//! * Every natural loop has a hook, or a typed reason why it has none.
//!
//! Not here: how instrumented CLIF is written (`passes::instrument`), what hooks do when they fire (`tiering::hot`).

use crate::code::codemap::LocationNumbers;
use crate::code::error::{CompileError, MemoryError};
use crate::config::detection::Detection;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::pacing::weigh;
use crate::passes::instrument::{self, Plan, indirect_calls};
use crate::pipeline::compile::fault;
use crate::pipeline::optimize::wants;
use crate::units::counters::Counters;
use crate::units::function::{Body, FunctionUnit};
use crate::units::ledger::Releasable;
use crate::units::part::NEVER;
use crate::units::samples::FunctionSamples;
use crate::units::table::Unit;
use crate::units::tiering::{Analysis, HotState, LoopHook, TierState, Tiering, known_counts};
use cranelift_codegen::ir::Function;
use regraft_executor::locks::write;
use regraft_executor::slots::OwnedSlot;
use regraft_optimizer::Pass;
use regraft_outliner::{Hook, Interface, OutlineError, hookable_loop};
use regraft_regions::{Counting, Flow, Liveness, LoopForest, LoopId, Region, estimate};
use std::sync::{Arc, Mutex, OnceLock};

/// The CLIF of a function's tier 0, and what tiering up needs; its counters are armed.
pub(crate) fn instrument(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
) -> Result<(Function, Tiering), CompileError> {
    let func = &body.source;
    fault(engine, Stage::Transform, &function.name)?;
    let flow = Flow::compute(func).map_err(OutlineError::from)?;
    let loops = LoopForest::compute(func, &flow);
    let liveness = Liveness::compute(func, &flow);
    let analysis = Analysis {
        flow,
        loops,
        liveness,
    };
    let mut hooks = vec![];
    let mut refused = vec![];
    for loop_id in analysis.loops.loops() {
        let Analysis {
            flow,
            loops,
            liveness,
        } = &analysis;
        match hookable_loop(func, flow, loops, liveness, loop_id) {
            Ok((region, interface)) => hooks.push((loop_id, region, interface)),
            Err(reason) => refused.push((loop_id, reason)),
        }
    }
    let hooks = allocate_regions(engine, function, body, hooks)?;

    let frequencies = estimate(func, &analysis.flow, &analysis.loops);
    let weights = weigh(func, &analysis.flow, &analysis.loops, &frequencies);
    let known = known_counts(&analysis.flow, hooks.iter().map(|hook| &hook.region));
    let counting = counting(engine, weights.function.instructions);
    let count = || regraft_regions::place(func, &analysis.flow, &frequencies, &known, counting);
    let placement = (engine.config.detection == Detection::Counters).then(count);
    let targets = match placement {
        Some(_) if wants(engine, Pass::Devirtualize) => indirect_calls(func),
        _ => vec![],
    };
    let spliced: Vec<Hook<'_>> = hooks
        .iter()
        .map(|hook| Hook {
            region: &hook.region,
            interface: &hook.interface,
        })
        .collect();
    let units: Vec<u32> = hooks.iter().map(|hook| hook.unit).collect();
    let plan = Plan {
        flow: &analysis.flow,
        hooks: &spliced,
        hook_units: &units,
        placement: placement.as_ref(),
        targets: &targets,
        unit: function.unit,
        copies: engine.config.memory.counter_copies,
        pointer: engine.isas.tier0.pointer_type(),
        call_conv: engine.isas.tier0.default_call_conv(),
    };
    let located = body.block_locations || body.lines.is_some();
    let numbered = (placement.is_none() && !located).then(|| {
        let mut numbered = func.clone();
        let location_numbers = Arc::new(LocationNumbers::number(&mut numbered));
        (numbered, location_numbers)
    });
    let (numbered, location_numbers) = numbered.unzip();
    let (instrumented, layout) = instrument::instrument(numbered.as_ref().unwrap_or(func), &plan)?;
    let counters = Counters::new(&engine.arena, layout, hooks.len())?;
    let (calls, executions) = if engine.tiers_up() {
        let config = &engine.config;
        (
            config.thresholds.entries.into(),
            config.thresholds.loops.into(),
        )
    } else {
        (NEVER, NEVER)
    };
    counters.arm_entry(calls);
    for hook in 0..hooks.len() {
        counters.arm_hook(hook, executions);
    }
    let mut state = TierState::default();
    state.hooks.resize_with(hooks.len(), HotState::default);
    let samples = match engine.config.detection {
        Detection::Sampling(sampling) => Some(FunctionSamples::new(sampling, hooks.len())),
        Detection::Counters => None,
    };
    let tiering = Tiering {
        analysis,
        hooks,
        refused,
        placement,
        targets,
        counters,
        samples,
        location_numbers,
        weights,
        saved_use: OnceLock::new(),
        state: Mutex::new(state),
    };
    Ok((instrumented, tiering))
}

/// What tier 0 counts in a function of so many instructions.
fn counting(engine: &Inner, instructions: usize) -> Counting {
    // Nobody asks which blocks are cold where none is left out.
    match engine.config.testing.counting {
        Counting::SpanningTree if engine.formation_policy().prune_from > instructions => {
            Counting::Loops
        }
        counting => counting,
    }
}

/// Gives each hook's region a unit with an empty slot.
fn allocate_regions(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
    hooks: Vec<(LoopId, Region, Interface)>,
) -> Result<Vec<LoopHook>, CompileError> {
    let mut units = write(&engine.units);
    let owner = units.function(function.unit).cloned();
    let owner = owner.ok_or(CompileError::Replaced)?;
    let mut allocated = Vec::with_capacity(hooks.len());
    for (hook, (loop_id, region, interface)) in hooks.into_iter().enumerate() {
        let unit = units.number().ok_or(MemoryError::Units)?;
        let slot = OwnedSlot::empty(&engine.slots, unit)?;
        let region_unit = Unit::Region {
            function: Arc::clone(&owner),
            body: Arc::downgrade(body),
            hook,
            slot: slot.addresses(),
        };
        units.insert(unit, region_unit);
        allocated.push(LoopHook {
            loop_id,
            region,
            interface,
            unit,
            slot: Releasable::new(slot),
        });
    }
    Ok(allocated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CompileMode, Config};
    use crate::context::Engine;
    use crate::pacing::PRUNE_FROM;

    #[test]
    fn blocks_are_counted_where_somebody_asks_which_are_cold() {
        let counts = |config: Config, instructions| {
            let engine = Engine::new(config).unwrap();
            counting(&engine.inner, instructions)
        };
        let small = PRUNE_FROM - 1;
        assert_eq!(counts(Config::default(), small), Counting::Loops);
        assert_eq!(
            counts(Config::default(), PRUNE_FROM),
            Counting::SpanningTree
        );
        let by_counts = Config::default().compile(CompileMode::Synchronous);
        assert_eq!(counts(by_counts, small), Counting::SpanningTree);
        let every = Config::default().counting(Counting::EveryBlock);
        assert_eq!(counts(every, small), Counting::EveryBlock);
    }
}
