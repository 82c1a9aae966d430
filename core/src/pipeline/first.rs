//! The first version of a function: analysed, instrumented, compiled.
//!
//! Invariants:
//!
//! * It is compiled once, and kept: regions are outlined from the same CLIF.
//! * Every natural loop has a hook, or a typed reason why it has none.
//!
//! Not here: what hooks do when they fire (`tierup`).

use crate::code::codemap::{CodeUnit, Origin, Places};
use crate::code::generate::{GenerateError, Generated, Version, generate, link_version};
use crate::code::link::{Place, place};
use crate::config::Mode;
use crate::config::faults::{Faults, Stage};
use crate::engine::{Inner, OwnData};
use crate::error::CompileError;
use crate::observe::{Event, Happened};
use crate::pacing::{compile_time, starts_at_speed, weigh};
use crate::passes::instrument::{Plan, instrument};
use crate::reclaim::Releasable;
use crate::threads::background::compute;
use crate::tiering::detect::{Detection, FunctionSamples};
use crate::tiering::tierup::NEVER;
use crate::units::counters::Counters;
use crate::units::table::{Body, FunctionUnit, Unit};
use crate::units::tiering::{
    Analysis, Baseline, HotState, LoopHook, TierState, Tiering, known_counts,
};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use regraft_executor::locks::write;
use regraft_executor::slots::OwnedSlot;
use regraft_outliner::{Hook, Interface, OutlineError};
use regraft_regions::{Flow, Liveness, LoopForest, LoopId, Mode as Counting, Region, estimate};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long a thread sleeps that waits for another's first version.
const GLANCE: Duration = Duration::from_micros(50);

/// The share of code memory, as a divisor, that is kept for continuations.
const RESERVE_SHARE: usize = 32;

impl Inner {
    /// Compiles the first version of a function, once.
    pub(crate) fn compile_baseline<'b>(
        self: &Inner,
        function: &FunctionUnit,
        body: &'b Arc<Body>,
    ) -> Result<&'b Baseline, CompileError> {
        self.await_baseline(body);
        let make = || match self.config.mode {
            Mode::Eager => self.eager_version(function, body),
            Mode::Tiered if self.starts_at_speed(body) => self.eager_version(function, body),
            Mode::Tiered | Mode::Tier0 => self.instrumented_version(function, body),
        };
        // Who waited for another thread's would wait for as long as that is kept from a processor.
        body.baseline.get_or_make(make, |second| {
            if let Some(tiering) = &second.tiering {
                self.forget_hooks(tiering);
            }
        })
    }

    /// Waits for the first version if another thread makes it now and has a processor for that.
    fn await_baseline(&self, body: &Body) {
        if body.baseline.get().is_some() || !body.begin() {
            return;
        }
        let since = Instant::now();
        let patience = compile_time(&body.source);
        while body.baseline.get().is_none()
            && body.baseline.failure().is_none()
            && since.elapsed() < patience
            && !self.workers.load().contended
        {
            std::thread::sleep(GLANCE);
        }
    }

    /// Whether the first version of a definition is its last: compiled at tier 1, without counters.
    pub(crate) fn starts_at_speed(&self, body: &Body) -> bool {
        self.paces_by_cost() && starts_at_speed(&body.source, self.workers.load())
    }

    fn eager_version(
        &self,
        function: &FunctionUnit,
        body: &Body,
    ) -> Result<Baseline, CompileError> {
        let origin = Origin::new(function, body, CodeUnit::Function);
        let version = self.compile(1, &origin, body.source.clone(), &[])?;
        Ok(Baseline {
            version,
            tiering: None,
        })
    }

    /// Compiles a version of a unit, unless code memory is so full that what
    /// is left must be kept for continuations.
    pub(crate) fn compile(
        &self,
        tier: u8,
        origin: &Origin,
        func: Function,
        own: &[OwnData],
    ) -> Result<Version, CompileError> {
        self.check_reserve()?;
        self.compile_from_reserve(tier, origin, func, own)
    }

    /// Fails where code memory is so full that what is left must be kept for continuations.
    pub(crate) fn check_reserve(&self) -> Result<(), CompileError> {
        let free = self.arena.stats().code.free;
        if free < self.config.arena.code_bytes / RESERVE_SHARE {
            let what =
                format!("code memory is full: {free} bytes are left, kept for continuations");
            return Err(CompileError::Memory(what));
        }
        Ok(())
    }

    /// Compiles a version that running code waits for.
    pub(crate) fn compile_from_reserve(
        &self,
        tier: u8,
        origin: &Origin,
        func: Function,
        own: &[OwnData],
    ) -> Result<Version, CompileError> {
        let context = &mut Context::for_function(func);
        let generated = self.generate(tier, &origin.name(), context, &mut Default::default())?;
        let place = place(&self.arena, &generated.code)?;
        self.link(place, origin, generated, own)
    }

    /// The first step of a compilation: machine code.
    pub(crate) fn generate(
        &self,
        tier: u8,
        name: &str,
        context: &mut Context,
        control: &mut ControlPlane,
    ) -> Result<Generated, GenerateError> {
        // All that is needed goes along: it may be done on a thread that nobody should wait for with a lock in hand.
        let mut working = (
            std::mem::replace(context, Context::new()),
            std::mem::take(control),
        );
        let (isa, check) = (Arc::clone(self.isa(tier)), self.config.check);
        let wanted = self.observer.wanted();
        let (faults, name) = (self.config.faults.clone(), name.to_string());
        let generated = compute(move || {
            let (context, control) = &mut working;
            let generated = fault(faults.as_ref(), Stage::Codegen(tier), &name)
                .map_err(GenerateError::from)
                .and_then(|()| generate(context, &isa, tier, check, wanted, control));
            (working, generated)
        });
        let (working, generated) = generated.ok_or(CompileError::Stopped)?;
        (*context, *control) = working;
        generated
    }

    /// The second step of a compilation: a version that can run.
    pub(crate) fn link(
        &self,
        place: Place,
        origin: &Origin,
        generated: Generated,
        own: &[OwnData],
    ) -> Result<Version, CompileError> {
        let name = &origin.name();
        let tier = generated.tier;
        self.fault(Stage::Link(tier), name)?;
        let resolve = |target: &_| self.address_of(target, origin, own);
        let (version, tables, unwind) =
            link_version(place, self.isa(tier), name, generated, &resolve)?;
        let seen = self.see(&version, origin, &tables, unwind);
        let listing = self
            .codemap
            .list(version.entry, tier, origin.clone(), tables);
        let compiled = Event::new(Happened::Compiled, &origin.function, origin.unit);
        self.observer.event(Event {
            tier: Some(tier),
            micros: u64::try_from(version.compile_time.as_micros()).unwrap_or(u64::MAX),
            ..compiled
        });
        version.code.with(|code| {
            code.seen = seen;
            code.account = Some(self.reclaimer.ledger.open(tier, code.memory.size()));
            code.listing = Some(listing);
        });
        Ok(version)
    }

    /// Fails where the configuration asks for it.
    pub(crate) fn fault(&self, stage: Stage, name: &str) -> Result<(), CompileError> {
        fault(self.config.faults.as_ref(), stage, name)
    }

    fn instrumented_version(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
    ) -> Result<Baseline, CompileError> {
        let instrumented = self.instrument(function, body);
        let (instrumented, tiering) = instrumented.inspect_err(|_| self.forget_regions(body))?;
        let origin = Origin::new(function, body, CodeUnit::Function);
        let origin = origin.with_places(tiering.places.as_ref());
        let own = [tiering.own_data(function.unit)];
        let version = self.compile(0, &origin, instrumented, &own);
        let version = version.inspect_err(|_| self.forget_hooks(&tiering))?;
        tracing::debug!(
            function = %function.name, hooks = tiering.hooks.len(), refused = tiering.refused.len(),
            micros = version.compile_time.as_micros(), "tier 0"
        );
        Ok(Baseline {
            version,
            tiering: Some(tiering),
        })
    }

    /// The CLIF of a function's tier 0, and what tiering up needs; its counters are armed.
    pub(crate) fn instrument(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
    ) -> Result<(Function, Tiering), CompileError> {
        let func = &body.source;
        self.fault(Stage::Transform, &function.name)?;
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
            match hookable_loop(func, &analysis, loop_id) {
                Ok((region, interface)) => hooks.push((loop_id, region, interface)),
                Err(reason) => refused.push((loop_id, reason)),
            }
        }
        let hooks = self.allocate_regions(function, body, hooks)?;

        let frequencies = estimate(func, &analysis.flow, &analysis.loops);
        let weights = weigh(func, &analysis.flow, &analysis.loops, &frequencies);
        let known = known_counts(&analysis.flow, hooks.iter().map(|hook| &hook.region));
        let counting = self.counting(weights.function.instructions);
        let count = || regraft_regions::place(func, &analysis.flow, &frequencies, &known, counting);
        let placement = (self.config.detection == Detection::Counters).then(count);
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
            unit: function.unit,
            copies: self.config.counter_copies,
            pointer: self.isas.tier0.pointer_type(),
            call_conv: self.isas.tier0.default_call_conv(),
        };
        let numbered =
            (placement.is_none() && !body.block_locations && body.lines.is_none()).then(|| {
                let mut numbered = func.clone();
                let places = Arc::new(Places::number(&mut numbered));
                (numbered, places)
            });
        let (numbered, places) = numbered.unzip();
        let (instrumented, layout) = instrument(numbered.as_ref().unwrap_or(func), &plan)?;
        let counters = Counters::new(&self.arena, layout, hooks.len())?;
        let (calls, executions) = if self.tiers_up() {
            let config = &self.config;
            (config.entry_threshold.into(), config.loop_threshold.into())
        } else {
            (NEVER, NEVER)
        };
        counters.arm_entry(calls);
        for hook in 0..hooks.len() {
            counters.arm_hook(hook, executions);
        }
        let mut state = TierState::default();
        state.hooks.resize_with(hooks.len(), HotState::default);
        let samples = match self.config.detection {
            Detection::Sampling(sampling) => Some(FunctionSamples::new(sampling, hooks.len())),
            Detection::Counters => None,
        };
        let tiering = Tiering {
            analysis,
            hooks,
            refused,
            placement,
            counters,
            samples,
            places,
            weights,
            saved_use: OnceLock::new(),
            state: Mutex::new(state),
        };
        Ok((instrumented, tiering))
    }

    /// What tier 0 counts in a function of so many instructions.
    fn counting(&self, instructions: usize) -> Counting {
        // Nobody asks which blocks are cold where none is left out.
        match self.config.counting {
            Counting::SpanningTree if self.formation_policy().prune_from > instructions => {
                Counting::Loops
            }
            counting => counting,
        }
    }

    /// Gives each hook's region a unit with an empty slot.
    fn allocate_regions(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        hooks: Vec<(LoopId, Region, Interface)>,
    ) -> Result<Vec<LoopHook>, CompileError> {
        let mut units = write(&self.units);
        let owner = units.function(function.unit).cloned();
        let owner = owner.ok_or(CompileError::Replaced)?;
        let mut allocated = Vec::with_capacity(hooks.len());
        for (hook, (loop_id, region, interface)) in hooks.into_iter().enumerate() {
            let unit = units
                .number()
                .ok_or_else(|| CompileError::Memory("the unit table is full".into()))?;
            let slot = OwnedSlot::empty(&self.slots, unit)?;
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
}

/// Fails where it is asked for.
fn fault(faults: Option<&Faults>, stage: Stage, name: &str) -> Result<(), CompileError> {
    match faults {
        Some(faults) if faults.strikes(stage, name) => Err(CompileError::Injected(stage)),
        _ => Ok(()),
    }
}

/// The most levels of loops that a loop with a hook may have, itself included.
///
/// Each hook costs time and memory in proportion to the blocks of its loop.
/// With this limit a block is in so many hooked loops at most, and all hooks
/// together are linear in the function. What is further out has the shortest
/// trips and the least to gain.
pub(crate) const MAX_LEVELS: u32 = 64;

/// The region of a loop and its interface, or the reason why it has no hook.
pub(crate) fn hookable_loop(
    func: &Function,
    analysis: &Analysis,
    loop_id: LoopId,
) -> Result<(Region, Interface), OutlineError> {
    let Analysis {
        flow,
        loops,
        liveness,
    } = analysis;
    let levels = loops.height(loop_id);
    if levels > MAX_LEVELS {
        return Err(OutlineError::TooDeep {
            levels,
            limit: MAX_LEVELS,
        });
    }
    let region = Region::whole_loop(func, flow, loops, loop_id)?;
    let interface = Interface::compute(func, flow, liveness, &region)?;
    Ok((region, interface))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CompileMode, Config};
    use crate::engine::Engine;
    use crate::pacing::PRUNE_FROM;

    #[test]
    fn blocks_are_counted_where_somebody_asks_which_are_cold() {
        let counting = |config: Config, instructions| {
            let engine = Engine::new(config).unwrap();
            engine.inner.counting(instructions)
        };
        let small = PRUNE_FROM - 1;
        assert_eq!(counting(Config::default(), small), Counting::Loops);
        assert_eq!(
            counting(Config::default(), PRUNE_FROM),
            Counting::SpanningTree
        );
        let by_counts = Config {
            compile: CompileMode::Synchronous,
            ..Config::default()
        };
        assert_eq!(counting(by_counts, small), Counting::SpanningTree);
        let every = Config {
            counting: Counting::EveryBlock,
            ..Config::default()
        };
        assert_eq!(counting(every, small), Counting::EveryBlock);
    }
}
