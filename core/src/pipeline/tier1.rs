//! Tier 1: regions and whole functions extracted, compiled and published.
//!
//! Invariants:
//!
//! * Publication is the last step: code is complete, placed and synchronised
//!   before the cell changes, and the state is on record before that.
//! * It happens while the body is the function's definition (`exchange`).
//! * What cannot be compiled leaves the current version in place.
//!
//! Not here: what is worth compiling (`tierup`, `regraft_regions`).

use crate::code::codemap::CodeUnit;
use crate::code::error::CompileError;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::observe::Happened;
use crate::passes::instrument::{HookCounters, count_region};
use crate::passes::names;
use crate::pipeline::side_exits::grown_blocks;
use crate::units::exchange::Publish;
use crate::units::formed::Formed;
use crate::units::function::{Body, FunctionUnit};
use crate::units::part::{BACKOFF_SHIFT, HotPart};
use crate::units::retired::Retired;
use crate::units::tiering::{Analysis, Status, TierState, Tiering};
use crate::units::version::Version;
use cranelift_codegen::ir::Function;
use regraft_executor::locks::Locked;
use regraft_executor::slots::OwnedSlot;
use regraft_outliner::{
    Extracted, Interface, OutlineError, check_region, check_side_tables, extract_region,
    prune_function, tabulate_side_exits,
};
use regraft_regions::{FunctionProfile, Region};
use std::sync::Arc;

impl Inner {
    /// The whole scope, where side exits are switched off.
    pub(crate) fn with_cold_blocks(
        &self,
        body: &Body,
        tiering: &Tiering,
        region: Region,
    ) -> Region {
        if self.config.side_exits || region.is_whole() {
            return region;
        }
        let scope: Vec<_> = region.scope().iter().collect();
        let flow = &tiering.analysis.flow;
        Region::pruned(&body.source, flow, region.entry(), &scope, |_| true).unwrap_or(region)
    }

    /// Takes hot side exits into the region that they belong to.
    pub(crate) fn form_again(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        tiering: &Tiering,
        formed: &Formed,
    ) {
        self.happened_to(Happened::FormedAgain, function, tiering, formed.part);
        let flow = &tiering.analysis.flow;
        let scope: Vec<_> = formed.region.scope().iter().collect();
        let blocks = if self.gives_cold_blocks_back(tiering, formed.part) {
            scope.clone()
        } else {
            let threshold = self.side_exit_threshold(tiering, formed.part, 1);
            grown_blocks(&body.source, flow, formed, threshold)
        };
        match Region::new(&body.source, flow, formed.region.entry(), scope, blocks) {
            Ok(region) => match formed.part {
                HotPart::Loop(hook) => self.publish_region(function, body, tiering, hook, region),
                HotPart::Function => self.publish_function(function, body, tiering, region),
            },
            Err(error) => {
                let error = CompileError::Transform(error.to_string());
                tiering.fail(formed.part, error, &self.config);
            }
        }
    }

    /// Whether leaving cold blocks out has failed so often that the part's next region is its last, with all of them.
    fn gives_cold_blocks_back(&self, tiering: &Tiering, part: HotPart) -> bool {
        let formations = tiering.state().part_mut(part).formed.len();
        let formations = u32::try_from(formations).unwrap_or(u32::MAX);
        self.paces_by_cost() && formations.saturating_add(1) >= self.config.max_formations
    }

    /// How often a side exit of the part's next region may be taken.
    fn side_exit_threshold(&self, tiering: &Tiering, part: HotPart, back: usize) -> u64 {
        let formations = tiering.state().part_mut(part).formed.len();
        let shift = u32::try_from(formations.saturating_sub(back))
            .unwrap_or(8)
            .min(8);
        u64::from(self.config.side_exit_threshold) << (shift * BACKOFF_SHIFT)
    }

    pub(crate) fn publish_region(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        tiering: &Tiering,
        hook: usize,
        region: Region,
    ) {
        let part = HotPart::Loop(hook);
        let threshold = self.side_exit_threshold(tiering, part, 0);
        let compiled = self
            .make_formed(function, body, part, region, None, threshold)
            .and_then(|formed| {
                let version = self.compile_region(function, body, tiering, hook, &formed);
                self.or_discard(formed, version)
            });
        match compiled {
            Ok((formed, version)) => {
                tracing::debug!(
                    function = %function.name, header = %formed.region.entry(),
                    side_exits = formed.sides.len(),
                    micros = version.compile_time.as_micros(), "region at tier 1"
                );
                self.publish(function, body, tiering, version, formed);
            }
            Err(error) => tiering.fail(part, error, &self.config),
        }
    }

    /// Lets calls reach a version, unless its body was retired meanwhile; retires what it replaces.
    fn publish(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        tiering: &Tiering,
        version: Version,
        formed: Arc<Formed>,
    ) {
        let part = formed.part;
        let entry = version.entry;
        let mut replaced = None;
        let record = || {
            let mut state = tiering.state();
            let slot = match part {
                HotPart::Function => PartSlot::Function(&function.slot),
                HotPart::Loop(hook) => PartSlot::Hook(tiering.hooks[hook].slot.lock()),
            };
            // It may have gone with the function's tier 0.
            slot.get()?;
            replaced = state.part_mut(part).published(version, Arc::clone(&formed));
            let _state = state;
            Some(Recorded { slot, _state })
        };
        if !function.publish_newer(body, entry, record) {
            tiering.state().part_mut(part).status = Status::WholeFunction;
            self.discard(&formed);
            return;
        }
        self.happened_to(Happened::Published, function, tiering, part);
        tiering.pin(part);
        let body = || Arc::clone(body);
        match (replaced, part) {
            (Some(version), _) => self.retire(Retired::Formation {
                body: body(),
                part,
                version,
            }),
            (None, HotPart::Function) => self.retire(Retired::Baseline(body())),
            (None, HotPart::Loop(_)) => {}
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
        self.fault(Stage::Transform, &function.name)?;
        let mut extracted =
            extract_region(&body.source, flow, liveness, &formed.region, interface)?;
        if self.config.check {
            let Extracted {
                function,
                side_calls,
                ..
            } = &extracted;
            check_region(
                &body.source,
                &formed.region,
                interface,
                function,
                side_calls,
            )
            .map_err(|error| CompileError::Check(error.to_string()))?;
        }
        let plain = self.config.check.then(|| extracted.clone());
        tabulate_side_exits(&mut extracted, self.isas.tier1.pointer_type());
        if let Some(plain) = plain {
            check_side_tables(&plain, &extracted)
                .map_err(|error| CompileError::Check(error.to_string()))?;
        }
        self.name_side_calls(&mut extracted, formed)?;
        let mut own = self.fill_side_tables(&mut extracted, formed)?;
        let entry = formed.region.entry();
        let origin = body.origin(function, CodeUnit::Region { entry });
        let hook = HookCounters {
            unit: function.unit,
            layout: tiering.counters.layout(),
            hook,
            pointer: self.isas.tier1.pointer_type(),
            arrivals: tiering.counts(),
        };
        count_region(&mut extracted.function, hook);
        own.push(((names::COUNTERS, function.unit), tiering.counters.address()));
        self.compile(1, &origin, extracted.function, &own)
    }

    /// The function less the cold blocks that `formed` leaves out.
    fn prune(
        &self,
        body: &Body,
        tiering: &Tiering,
        formed: &Formed,
    ) -> Result<Function, CompileError> {
        let Some(interface) = &formed.interface else {
            return Ok(body.source.clone());
        };
        let Analysis { flow, liveness, .. } = &tiering.analysis;
        let mut pruned = prune_function(&body.source, flow, liveness, &formed.region, interface)?;
        self.name_side_calls(&mut pruned, formed)?;
        Ok(pruned.function)
    }

    /// Takes the slots of a formed region back if its code did not come to be.
    fn or_discard(
        &self,
        formed: Arc<Formed>,
        version: Result<Version, CompileError>,
    ) -> Result<(Arc<Formed>, Version), CompileError> {
        match version {
            Ok(version) => Ok((formed, version)),
            Err(error) => {
                self.discard(&formed);
                Err(error)
            }
        }
    }

    /// Compiles the whole function at tier 1: less the blocks that are not in
    /// the region, if they can be left out.
    pub(crate) fn publish_function(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        tiering: &Tiering,
        region: Region,
    ) {
        let part = HotPart::Function;
        let origin = body.origin(function, CodeUnit::Function);
        let threshold = self.side_exit_threshold(tiering, part, 0);
        let compile = |region: Region| {
            let Analysis { flow, liveness, .. } = &tiering.analysis;
            // What cannot be outlined is compiled with its cold blocks.
            let interface = match region.is_whole() {
                true => None,
                false => Interface::compute(&body.source, flow, liveness, &region).ok(),
            };
            let region = match interface {
                Some(_) => region,
                None => Region::pruned(&body.source, flow, region.entry(), flow.rpo(), |_| true)
                    .map_err(OutlineError::from)?,
            };
            let formed = self.make_formed(function, body, part, region, interface, threshold)?;
            let version = self
                .prune(body, tiering, &formed)
                .and_then(|pruned| self.compile(1, &origin, pruned, &[]));
            self.or_discard(formed, version)
        };
        match compile(region) {
            Ok((formed, version)) => {
                tracing::debug!(
                    function = %function.name, side_exits = formed.sides.len(),
                    micros = version.compile_time.as_micros(), "function at tier 1"
                );
                self.publish(function, body, tiering, version, formed);
            }
            Err(error) => tiering.fail(part, error, &self.config),
        }
    }
}

/// The slot of a part.
enum PartSlot<'a> {
    Function(&'a OwnedSlot),
    Hook(Locked<'a, Option<OwnedSlot>>),
}

impl PartSlot<'_> {
    fn get(&self) -> Option<&OwnedSlot> {
        match self {
            PartSlot::Function(slot) => Some(slot),
            PartSlot::Hook(slot) => slot.as_ref(),
        }
    }
}

/// A version that is on record, which stays locked until its entry is stored in the slot.
struct Recorded<'a> {
    slot: PartSlot<'a>,
    _state: Locked<'a, TierState>,
}

impl Publish for Recorded<'_> {
    fn publish(&self, entry: usize) {
        if let Some(slot) = self.slot.get() {
            slot.publish(entry);
        }
    }
}

/// The region of a whole function, less the blocks that its profile says are
/// cold.
pub(crate) fn whole_region(
    engine: &Inner,
    body: &Body,
    tiering: &Tiering,
    profile: &FunctionProfile,
) -> Result<Region, CompileError> {
    let flow = &tiering.analysis.flow;
    let instructions = tiering.weights.function.instructions;
    let policy = engine.formation_policy();
    let hot = policy.hot(profile, profile.entries(), instructions);
    // What regions have taken over does not count any more: its blocks look cold.
    let counts = !engine.paces_by_cost() || !tiering.has_regions();
    let hot = |block| !engine.config.side_exits || !counts || hot(block);
    Region::pruned(&body.source, flow, flow.entry(), flow.rpo(), hot)
        .map_err(|error| CompileError::from(OutlineError::from(error)))
}
