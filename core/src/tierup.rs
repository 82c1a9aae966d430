//! Tiering up: what happens when a countdown goes below zero.
//!
//! ```text
//!   tier-0 code ──▶ hot(unit) ──▶ queue or this thread ──▶ form ──▶ extract ──▶ compile
//!        ▲              │                                                         │
//!        └── re-arm ◀───┘            cell of the region ◀── publish, pin ◀────────┘
//! ```
//!
//! Invariants:
//!
//! * The function that holds a region is never replaced by it.
//! * A failed compilation leaves the unit's current version in place; it is
//!   tried again, each time later, `Config::max_attempts` times in all.
//! * A decision against a region is not for ever: the countdown is armed
//!   again, eight times as long each time, and the decision taken anew.
//!
//! Not here: which region (`regraft_regions::formation`), how it is cut out
//! (`regraft_outliner`), how machine code is made (`compile`).

use crate::baseline::{Analysis, Baseline, HotState, LoopHook, Status, TierState, Tiering, known_counts};
use crate::cells::Counters;
use crate::compile::{Version, compile};
use crate::config::Mode;
use crate::engine::{Inner, tiered, write};
use crate::error::CompileError;
use crate::formed::{Formed, grown_blocks};
use crate::instrument::{Plan, instrument};
use crate::unit::{Body, FunctionUnit, Unit};
use crate::worker::{Job, Worker};
use cranelift_codegen::ir::Function;
use regraft_outliner::{Extracted, Hook, Interface, OutlineError, extract_region, prune_function};
use regraft_regions::{
    Flow, Formation, HotEntry, Liveness, LoopForest, LoopId, Region, SkipReason, estimate, form,
    place,
};
use std::sync::{Arc, Mutex};

/// A part of a function that can get hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HotPart {
    /// The loop of a hook.
    Loop(usize),
    /// The function itself, by its calls.
    Function,
}

/// Why a part is compiled.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// Its countdown went below zero.
    Hot,
    /// A side exit of what it was formed to is taken often.
    SideExit(Arc<Formed>),
}

/// How much longer a countdown gets each time it is armed again in vain.
const BACKOFF_SHIFT: u32 = 3;

/// The longest countdown that is armed again, in executions.
const LONGEST_COUNTDOWN: u64 = 1 << 32;

/// A countdown that never fires but still counts.
const NEVER: u64 = 1 << 60;

/// While code is compiled in the background, a hook asks again after this
/// many executions, unless it is pinned first.
const PENDING_COUNTDOWN: u64 = 4096;

impl Inner {
    /// Compiles the first version of a function, once.
    pub(crate) fn compile_baseline<'b>(
        self: &Inner,
        function: &FunctionUnit,
        body: &'b Body,
    ) -> Result<&'b Baseline, CompileError> {
        let baseline = body.baseline.get_or_init(|| match self.config.mode {
            Mode::Eager => self.eager_version(function, body),
            Mode::Tiered | Mode::Tier0 => self.instrumented_version(function, body),
        });
        baseline.as_ref().map_err(Clone::clone)
    }

    fn eager_version(
        &self,
        function: &FunctionUnit,
        body: &Body,
    ) -> Result<Baseline, CompileError> {
        let version = self.compile(1, &function.name, body.source.clone(), 0)?;
        Ok(Baseline {
            version,
            tiering: None,
        })
    }

    pub(crate) fn compile(
        &self,
        tier: u8,
        name: &str,
        func: Function,
        counters: usize,
    ) -> Result<Version, CompileError> {
        let resolve = |target: &_| self.address_of(target, counters);
        compile(
            &self.arena,
            self.isa(tier),
            tier,
            name,
            func,
            self.config.check,
            &resolve,
        )
    }

    fn instrumented_version(
        &self,
        function: &FunctionUnit,
        body: &Body,
    ) -> Result<Baseline, CompileError> {
        let func = &body.source;
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
        let hooks = self.allocate_regions(function, hooks)?;

        let frequencies = estimate(func, &analysis.flow, &analysis.loops);
        let known = known_counts(&analysis.flow, hooks.iter().map(|hook| &hook.region));
        let counting = self.config.counting;
        let placement = place(func, &analysis.flow, &frequencies, &known, counting);
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
            placement: &placement,
            unit: function.unit,
            pointer: self.isas.tier0.pointer_type(),
            call_conv: self.isas.tier0.default_call_conv(),
        };
        let (instrumented, layout) = instrument(func, &plan)?;
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
        let version = self.compile(0, &function.name, instrumented, counters.address())?;
        tracing::debug!(
            function = %function.name, hooks = hooks.len(), refused = refused.len(),
            micros = version.compile_time.as_micros(), "tier 0"
        );
        let mut state = TierState::default();
        state.hooks.resize_with(hooks.len(), HotState::default);
        Ok(Baseline {
            version,
            tiering: Some(Tiering {
                analysis,
                hooks,
                refused,
                placement,
                counters,
                state: Mutex::new(state),
            }),
        })
    }

    /// Gives each hook's region a unit with an empty slot.
    fn allocate_regions(
        &self,
        function: &FunctionUnit,
        hooks: Vec<(LoopId, Region, Interface)>,
    ) -> Result<Vec<LoopHook>, CompileError> {
        let mut units = write(&self.units);
        let owner = units.function(function.unit).cloned();
        let owner = owner.ok_or_else(|| CompileError::Memory("the unit table is full".into()))?;
        let mut allocated = Vec::with_capacity(hooks.len());
        for (hook, (loop_id, region, interface)) in hooks.into_iter().enumerate() {
            let unit = units
                .next()
                .ok_or_else(|| CompileError::Memory("the unit table is full".into()))?;
            let slot = self.slots.allocate_empty(unit)?;
            units.units.push(Unit::Region {
                function: Arc::clone(&owner),
                hook,
                slot,
            });
            allocated.push(LoopHook {
                loop_id,
                region,
                interface,
                unit,
            });
        }
        Ok(allocated)
    }

    /// A countdown has gone below zero. Returns the entry address of the
    /// region if the caller can enter it now, else 0.
    pub(crate) fn hot(self: &Arc<Inner>, unit: u32) -> usize {
        let Some(unit) = crate::engine::read(&self.units).get(unit).cloned() else {
            return 0;
        };
        let (function, part, slot) = match unit {
            Unit::Function(function) => (function, HotPart::Function, None),
            Unit::Region {
                function,
                hook,
                slot,
            } => (function, HotPart::Loop(hook), Some(slot)),
            Unit::Continuation {
                function,
                formed,
                side,
                ..
            } => {
                self.hot_side_exit(function, formed, side);
                return 0;
            }
            Unit::Runtime(_) => return 0,
        };
        let Some((_, _, tiering)) = tiered(&function) else {
            return 0;
        };
        let compile = {
            let mut state = tiering.state();
            let hot = state.part_mut(part);
            hot.asked += 1;
            match hot.status {
                Status::Published => {
                    tiering.pin(part);
                    return slot.map_or(0, |slot| slot.current());
                }
                Status::Compiling => {
                    tiering.arm(part, PENDING_COUNTDOWN);
                    false
                }
                Status::WholeFunction => {
                    tiering.arm(part, NEVER);
                    false
                }
                Status::Failed(_) if hot.failures >= self.config.max_attempts => {
                    tiering.arm(part, NEVER);
                    false
                }
                Status::Cold | Status::Skipped(_) | Status::Failed(_) => {
                    hot.status = Status::Compiling;
                    tiering.arm(part, PENDING_COUNTDOWN);
                    true
                }
            }
        };
        if compile {
            self.compile_later(function, part, Cause::Hot);
        }
        slot.map_or(0, |slot| slot.current())
    }

    /// A continuation was called often: its region is formed again, unless
    /// that has happened often enough.
    fn hot_side_exit(
        self: &Arc<Inner>,
        function: Arc<FunctionUnit>,
        formed: Arc<Formed>,
        side: usize,
    ) {
        let counters = &formed.sides[side].counters;
        let Some((_, _, tiering)) = tiered(&function) else {
            return;
        };
        counters.arm_entry(NEVER);
        {
            let mut state = tiering.state();
            let hot = state.part_mut(formed.part);
            let newest = hot.formed.last();
            if !newest.is_some_and(|newest| Arc::ptr_eq(newest, &formed)) || hot.settled.is_some() {
                return;
            }
            let formations = u32::try_from(hot.formed.len()).unwrap_or(u32::MAX);
            if formations >= self.config.max_formations {
                hot.settled = Some(format!(
                    "side exits to {} run hot, but the region was formed {formations} times",
                    formed.sides[side].start
                ));
                return;
            }
            if !matches!(hot.status, Status::Published) {
                return;
            }
            hot.status = Status::Compiling;
        }
        let part = formed.part;
        self.compile_later(function, part, Cause::SideExit(formed));
    }

    fn compile_later(
        self: &Arc<Inner>,
        function: Arc<FunctionUnit>,
        part: HotPart,
        cause: Cause,
    ) {
        if self.synchronous() {
            return self.tier_up(&function, part, cause);
        }
        let worker = self.worker.get_or_init(|| match Worker::start() {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::error!(%error, "no compile thread; compiling in the calling thread");
                None
            }
        });
        let job = Job {
            engine: Arc::downgrade(self),
            function,
            part,
            cause,
        };
        match worker {
            Some(worker) => worker.send(job),
            None => job.run(),
        }
    }

    /// Forms, compiles and publishes what `part` of `function` calls for.
    pub(crate) fn tier_up(&self, function: &FunctionUnit, part: HotPart, cause: Cause) {
        let Some((body, _, tiering)) = tiered(function) else {
            return;
        };
        if let Cause::SideExit(formed) = cause {
            return self.form_again(function, body, tiering, &formed);
        }
        let profile = tiering.profile(&body.source);
        let entry = match part {
            HotPart::Loop(hook) => HotEntry::Header(tiering.hooks[hook].region.entry()),
            HotPart::Function => HotEntry::Function,
        };
        let analysis = &tiering.analysis;
        let hookable = |loop_id: LoopId| match tiering.refused.iter().find(|(id, _)| *id == loop_id)
        {
            Some((_, reason)) => Err(reason.to_string()),
            None => Ok(()),
        };
        let formation = form(
            &body.source,
            &analysis.flow,
            &analysis.loops,
            &profile,
            &self.config.policy,
            entry,
            &hookable,
        );
        tracing::debug!(function = %function.name, ?part, whole = formation.whole_function,
            region = ?formation.region.as_ref().map(Region::entry), "formed");
        self.carry_out(function, body, tiering, part, formation);
    }

    fn carry_out(
        &self,
        function: &FunctionUnit,
        body: &Body,
        tiering: &Tiering,
        part: HotPart,
        formation: Formation,
    ) {
        if let Some(region) = formation.region {
            let header = region.entry();
            let taken = tiering.hooks.iter().position(|hook| hook.region.entry() == header);
            match taken {
                Some(hook) => {
                    if part != HotPart::Loop(hook) {
                        tiering.skip(part, SkipReason::CoveredBy { header }, self);
                        if !tiering.state().claim(HotPart::Loop(hook)) {
                            return;
                        }
                    }
                    let region = self.with_cold_blocks(body, tiering, region);
                    self.publish_region(function, body, tiering, hook, region);
                }
                None => tiering.skip(part, SkipReason::NoLoop, self),
            }
        } else if formation.whole_function {
            if part != HotPart::Function {
                tiering.state().part_mut(part).status = Status::WholeFunction;
                if !tiering.state().claim(HotPart::Function) {
                    return;
                }
            }
            self.publish_function(function, body, tiering, None);
        } else {
            let skipped = formation.candidates.into_iter().find_map(|candidate| {
                match candidate.decision {
                    regraft_regions::Decision::Skip(reason) => Some(reason),
                    regraft_regions::Decision::Take => Some(SkipReason::LeftToLoop {
                        header: candidate.header,
                    }),
                }
            });
            tiering.skip(part, skipped.unwrap_or(SkipReason::NoLoop), self);
        }
    }

    /// The whole scope, where side exits are switched off.
    fn with_cold_blocks(&self, body: &Body, tiering: &Tiering, region: Region) -> Region {
        if self.config.side_exits || region.is_whole() {
            return region;
        }
        let scope: Vec<_> = region.scope().iter().collect();
        let flow = &tiering.analysis.flow;
        Region::pruned(&body.source, flow, region.entry(), &scope, |_| true).unwrap_or(region)
    }

    /// Takes hot side exits into the region that they belong to.
    fn form_again(
        &self,
        function: &FunctionUnit,
        body: &Body,
        tiering: &Tiering,
        formed: &Formed,
    ) {
        let flow = &tiering.analysis.flow;
        let threshold = self.side_exit_threshold(tiering, formed.part, 1);
        let blocks = grown_blocks(&body.source, flow, formed, threshold);
        let scope: Vec<_> = formed.region.scope().iter().collect();
        match Region::new(&body.source, flow, formed.region.entry(), scope, blocks) {
            Ok(region) => match formed.part {
                HotPart::Loop(hook) => self.publish_region(function, body, tiering, hook, region),
                HotPart::Function => self.publish_function(function, body, tiering, Some(region)),
            },
            Err(error) => {
                let error = CompileError::Transform(error.to_string());
                tiering.fail(formed.part, error, self);
            }
        }
    }

    /// How often a side exit of the part's next region may be taken.
    fn side_exit_threshold(&self, tiering: &Tiering, part: HotPart, back: usize) -> u64 {
        let formations = tiering.state().part_mut(part).formed.len();
        let shift = u32::try_from(formations.saturating_sub(back)).unwrap_or(8).min(8);
        u64::from(self.config.side_exit_threshold) << (shift * BACKOFF_SHIFT)
    }

    fn publish_region(
        &self,
        function: &FunctionUnit,
        body: &Body,
        tiering: &Tiering,
        hook: usize,
        region: Region,
    ) {
        let part = HotPart::Loop(hook);
        let threshold = self.side_exit_threshold(tiering, part, 0);
        let compiled = self
            .make_formed(function, part, region, None, threshold)
            .and_then(|formed| {
                let version = self.compile_region(function, body, tiering, hook, &formed)?;
                Ok((formed, version))
            });
        let unit = tiering.hooks[hook].unit;
        let slot = crate::engine::read(&self.units).get(unit).map(Unit::slot);
        match (compiled, slot) {
            (Ok((formed, version)), Some(slot)) => {
                tracing::debug!(
                    function = %function.name, header = %formed.region.entry(),
                    side_exits = formed.sides.len(),
                    micros = version.compile_time.as_micros(), "region at tier 1"
                );
                let entry = version.entry;
                tiering.state().part_mut(part).published(version, formed);
                slot.publish(entry);
                tiering.pin(part);
            }
            (Err(error), _) => tiering.fail(part, error, self),
            (Ok(_), None) => {}
        }
    }

    fn compile_region(
        &self,
        function: &FunctionUnit,
        body: &Body,
        tiering: &Tiering,
        hook: usize,
        formed: &Formed,
    ) -> Result<Version, CompileError> {
        let Analysis { flow, liveness, .. } = &tiering.analysis;
        let interface = &tiering.hooks[hook].interface;
        let mut extracted =
            extract_region(&body.source, flow, liveness, &formed.region, interface)?;
        self.name_side_calls(&mut extracted, formed)?;
        let name = format!("{}_{}", function.name, formed.region.entry());
        self.compile(1, &name, extracted.function, 0)
    }

    /// Compiles the whole function at tier 1: less its cold blocks, if they
    /// can be left out.
    fn publish_function(
        &self,
        function: &FunctionUnit,
        body: &Body,
        tiering: &Tiering,
        region: Option<Region>,
    ) {
        let part = HotPart::Function;
        let region = region.map_or_else(|| whole_region(self, body, tiering), Ok);
        let threshold = self.side_exit_threshold(tiering, part, 0);
        let compiled = region.and_then(|region| {
            let Analysis { flow, liveness, .. } = &tiering.analysis;
            let interface = match region.is_whole() {
                true => None,
                false => Interface::compute(&body.source, flow, liveness, &region).ok(),
            };
            let Some(interface) = interface else {
                let version = self.compile(1, &function.name, body.source.clone(), 0)?;
                let sides_off = Region::pruned(&body.source, flow, region.entry(), flow.rpo(), |_| true)
                    .map_err(OutlineError::from)?;
                let formed = self.make_formed(function, part, sides_off, None, threshold)?;
                return Ok((formed, version));
            };
            let formed = self.make_formed(function, part, region, Some(interface), threshold)?;
            let mut pruned: Extracted = match &formed.interface {
                Some(interface) => {
                    prune_function(&body.source, flow, liveness, &formed.region, interface)?
                }
                None => return Err(CompileError::Transform("an interface was lost".into())),
            };
            self.name_side_calls(&mut pruned, &formed)?;
            let version = self.compile(1, &function.name, pruned.function, 0)?;
            Ok((formed, version))
        });
        match compiled {
            Ok((formed, version)) => {
                let entry = version.entry;
                tiering.state().part_mut(part).published(version, formed);
                function.slot.publish(entry);
                tiering.pin(part);
            }
            Err(error) => tiering.fail(part, error, self),
        }
    }
}

/// The region of a whole function, less the blocks that its profile says are
/// cold.
fn whole_region(
    engine: &Inner,
    body: &Body,
    tiering: &Tiering,
) -> Result<Region, CompileError> {
    let flow = &tiering.analysis.flow;
    let profile = tiering.profile(&body.source);
    let least = profile.entries() as f64 * engine.config.policy.cold_share;
    let prune = engine.config.side_exits && profile.entries() > 0;
    let hot = |block| {
        let count = profile.block(block);
        !prune || (count > 0 && count as f64 >= least)
    };
    Region::pruned(&body.source, flow, flow.entry(), flow.rpo(), hot)
        .map_err(|error| CompileError::from(OutlineError::from(error)))
}

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
    let region = Region::whole_loop(func, flow, loops, loop_id)?;
    let interface = Interface::compute(func, flow, liveness, &region)?;
    Ok((region, interface))
}

impl HotState {
    fn published(&mut self, version: Version, formed: Arc<Formed>) {
        self.versions.push(version);
        self.formed.push(formed);
        self.status = Status::Published;
    }
}

impl TierState {
    fn part_mut(&mut self, part: HotPart) -> &mut HotState {
        match part {
            HotPart::Loop(hook) => &mut self.hooks[hook],
            HotPart::Function => &mut self.whole,
        }
    }

    /// Takes on the compilation of a part that did not ask for it itself.
    fn claim(&mut self, part: HotPart) -> bool {
        let hot = self.part_mut(part);
        let free = matches!(hot.status, Status::Cold | Status::Skipped(_));
        if free {
            hot.status = Status::Compiling;
        }
        free
    }
}

impl Tiering {
    fn arm(&self, part: HotPart, amount: u64) {
        match part {
            HotPart::Loop(hook) => self.counters.arm_hook(hook, amount),
            HotPart::Function => self.counters.arm_entry(amount),
        }
    }

    /// Lets the code get in at its next execution.
    fn pin(&self, part: HotPart) {
        match part {
            HotPart::Loop(hook) => self.counters.pin_hook(hook),
            // Calls reach the new version through the slot; what still runs
            // the old one need not ask again.
            HotPart::Function => self.counters.arm_entry(NEVER),
        }
    }

    fn skip(&self, part: HotPart, reason: SkipReason, engine: &Inner) {
        let mut state = self.state();
        let hot = state.part_mut(part);
        hot.status = Status::Skipped(reason);
        let tries = hot.asked;
        self.back_off(part, tries, engine);
    }

    fn fail(&self, part: HotPart, error: CompileError, engine: &Inner) {
        tracing::warn!(?part, %error, "tier 1 failed");
        let mut state = self.state();
        let hot = state.part_mut(part);
        // A region that could not be formed again stays as it is.
        if hot.versions.is_empty() {
            hot.status = Status::Failed(error);
        } else {
            hot.status = Status::Published;
            hot.settled = Some(format!("it could not be formed again: {error}"));
        }
        hot.failures += 1;
        let tries = hot.failures;
        if hot.versions.is_empty() {
            self.back_off(part, tries, engine);
        }
    }

    fn back_off(&self, part: HotPart, tries: u32, engine: &Inner) {
        let threshold = match part {
            HotPart::Loop(_) => engine.config.loop_threshold,
            HotPart::Function => engine.config.entry_threshold,
        };
        let shift = (tries * BACKOFF_SHIFT).min(32);
        let amount = u64::from(threshold.max(1)) << shift;
        self.arm(part, amount.min(LONGEST_COUNTDOWN));
    }
}
