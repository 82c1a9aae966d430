//! Tier 0: a function with hooks at its loops, and counters.
//!
//! ```text
//!   CLIF ── survey ──▶ loops, weights ──┬── probes, templates (`probe`)
//!                                       └── interfaces, hooks in CLIF (`instrument`) ──▶ Cranelift
//! ```
//!
//! Invariants:
//!
//! * Every natural loop has a hook, or a typed reason why it has none.
//!
//! Not here: how instrumented CLIF is written (`passes::instrument`), what hooks do when they fire (`tiering::hot`).

use crate::code::codemap::LocationNumbers;
use crate::code::error::{CompileError, MemoryError};
use crate::config::detection::Detection;
use crate::context::Inner;
use crate::pacing::{Weights, weigh};
use crate::passes::instrument::{self, Plan, indirect_calls};
use crate::passes::layout::CounterLayout;
use crate::pipeline::optimize::wants;
use crate::units::counters::Counters;
use crate::units::function::{Body, FunctionUnit};
use crate::units::ledger::Releasable;
use crate::units::part::NEVER;
use crate::units::samples::FunctionSamples;
use crate::units::table::Unit;
use crate::units::tiering::{Analysis, HotState, LoopHook, TierState, Tiering, known_counts};
use cranelift_codegen::ir::{Function, Inst};
use regraft_executor::locks::write;
use regraft_executor::slots::OwnedSlot;
use regraft_optimizer::Pass;
use regraft_outliner::{Hook, Interface, OutlineError, whole_loop};
use regraft_regions::{
    Counting, Flow, Frequencies, LoopForest, LoopId, Placement, Region, estimate,
};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

/// What tier 0 needs to know of a function, whoever makes its code.
pub(crate) struct Survey {
    pub analysis: Analysis,
    /// The loops that may get a hook, as whole regions, by number.
    pub loops: Vec<(LoopId, Region)>,
    refused: Vec<(LoopId, OutlineError)>,
    frequencies: Frequencies,
    weights: Weights,
}

impl Survey {
    /// Looks at the control flow of a function, and at nothing that lives there.
    ///
    /// # Errors
    ///
    /// CLIF that is malformed.
    pub fn of(func: &Function) -> Result<Self, CompileError> {
        let flow = Flow::compute(func).map_err(OutlineError::from)?;
        let forest = LoopForest::compute(func, &flow);
        let frequencies = estimate(func, &flow, &forest);
        let weights = weigh(func, &flow, &forest, &frequencies);
        let (mut loops, mut refused) = (vec![], vec![]);
        for loop_id in forest.loops() {
            match whole_loop(func, &flow, &forest, loop_id) {
                Ok(region) => loops.push((loop_id, region)),
                Err(reason) => refused.push((loop_id, reason)),
            }
        }
        Ok(Self {
            analysis: Analysis::new(flow, forest),
            loops,
            refused,
            frequencies,
            weights,
        })
    }

    /// Where tier 0 counts beside loops and calls.
    pub fn placement(&self, engine: &Inner, func: &Function) -> Placement {
        let flow = &self.analysis.flow;
        let known = known_counts(flow, self.loops.iter().map(|(_, region)| region));
        let counting = counting(engine, self.weights.function.instructions);
        regraft_regions::place(func, flow, &self.frequencies, &known, counting)
    }

    /// What tiering up needs; the counters are armed.
    pub fn tiering(
        self,
        engine: &Inner,
        hooks: Vec<LoopHook>,
        placement: Option<Placement>,
        layout: CounterLayout,
    ) -> Result<Tiering, CompileError> {
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
        Ok(Tiering {
            analysis: self.analysis,
            hooks,
            refused: self.refused,
            placement,
            targets: vec![],
            counters,
            frame: None,
            samples,
            location_numbers: None,
            weights: self.weights,
            saved_use: OnceLock::new(),
            since: Instant::now(),
            state: Mutex::new(state),
        })
    }
}

/// The CLIF of a function's tier 0, and what tiering up needs; its counters are armed.
pub(crate) fn instrument(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
    mut survey: Survey,
) -> Result<(Function, Tiering), CompileError> {
    let func = &body.source;
    let mut interfaces = vec![];
    let Survey {
        analysis,
        loops,
        refused,
        ..
    } = &mut survey;
    let liveness = analysis.liveness(func);
    loops.retain(|(loop_id, region)| {
        let interface = Interface::compute(func, &analysis.flow, liveness, region);
        match interface {
            Ok(interface) => interfaces.push(interface),
            Err(reason) => {
                refused.push((*loop_id, reason));
                return false;
            }
        }
        true
    });
    refused.sort_by_key(|refused| refused.0);
    let hooks = allocate_regions(engine, function, body, &survey.loops)?;
    let counts = engine.config.detection == Detection::Counters;
    let placement = counts.then(|| survey.placement(engine, func));
    let targets = match placement {
        Some(_) => noted_targets(engine, func),
        None => vec![],
    };
    let spliced = hooks.iter().zip(&interfaces);
    let spliced: Vec<Hook<'_>> = spliced
        .map(|(hook, interface)| Hook {
            region: &hook.region,
            interface,
        })
        .collect();
    let units: Vec<u32> = hooks.iter().map(|hook| hook.unit).collect();
    let plan = Plan {
        flow: &survey.analysis.flow,
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
    for (hook, interface) in hooks.iter().zip(interfaces) {
        // Nobody else knows the hook yet.
        let _ = hook.interface.set(Ok(interface));
    }
    let mut tiering = survey.tiering(engine, hooks, placement, layout)?;
    tiering.location_numbers = location_numbers;
    tiering.targets = targets;
    Ok((instrumented, tiering))
}

/// The indirect calls whose targets tier 0 notes.
pub(crate) fn noted_targets(engine: &Inner, func: &Function) -> Vec<Inst> {
    match wants(engine, Pass::Devirtualize) {
        true => indirect_calls(func),
        false => vec![],
    }
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
pub(crate) fn allocate_regions(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
    loops: &[(LoopId, Region)],
) -> Result<Vec<LoopHook>, CompileError> {
    let mut units = write(&engine.units);
    let owner = units.function(function.unit).cloned();
    let owner = owner.ok_or(CompileError::Replaced)?;
    let mut allocated = Vec::with_capacity(loops.len());
    for (hook, (loop_id, region)) in loops.iter().enumerate() {
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
            loop_id: *loop_id,
            region: region.clone(),
            interface: OnceLock::new(),
            unit,
            slot: Releasable::new(slot),
            takeover: Releasable::default(),
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
