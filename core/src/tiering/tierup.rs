//! Tiering up: what happens when a countdown goes below zero, and with what a detector found.
//!
//! ```text
//!   tier-0 code ──▶ hot(unit) ──▶ found: queue or this thread ──▶ form ──▶ extract ──▶ compile
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
//! Not here: what finds parts hot (`detect`), which region (`regraft_regions::formation`), how it is cut out
//! and compiled (`publish`), the first version (`tier0`).

use crate::code::error::CompileError;
use crate::code::generate::panic_message;
use crate::config::detection::FoundBy;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::observe::Happened;
use crate::pacing::{CALLED_AGAIN, Load, PRUNE_AFTER, PRUNE_FROM, executions_left};
use crate::pipeline::tier1::whole_region;
use crate::tiering::detect::Countdown;
use crate::tiering::finding::{Cause, Evidence};
use crate::tiering::job::TierUp;
use crate::units::formed::Formed;
use crate::units::function::{Body, FunctionUnit};
use crate::units::part::{HotPart, NEVER, PENDING_COUNTDOWN};
use crate::units::table::Unit;
use crate::units::tiering::{Status, Tiering};
use regraft_regions::{
    Decision, Formation, FunctionProfile, HotEntry, LoopId, Policy, Region, SkipReason, form,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl Inner {
    /// A countdown has gone below zero. Returns the entry address of the
    /// region if the caller can enter it now, else 0.
    pub(crate) fn hot(self: &Arc<Inner>, unit: u32) -> usize {
        let Some(unit) = regraft_executor::locks::read(&self.units)
            .get(unit)
            .cloned()
        else {
            return 0;
        };
        let (function, body, part) = match unit {
            Unit::Function(function) => {
                let body = function.body();
                (function, body, HotPart::Function)
            }
            Unit::Region {
                function,
                body,
                hook,
                ..
            } => (function, body.upgrade(), HotPart::Loop(hook)),
            Unit::Continuation {
                function,
                body,
                formed,
                side,
                ..
            } => {
                if let Some((body, formed)) = body.upgrade().zip(formed.upgrade()) {
                    self.hot_side_exit(function, body, formed, side);
                }
                return 0;
            }
            Unit::Runtime(_) => return 0,
        };
        let Some(body) = body else {
            return 0;
        };
        let Some(tiering) = body.tiering() else {
            return 0;
        };
        let entry = || match part {
            HotPart::Loop(hook) => tiering.hooks[hook].slot.with(|slot| slot.current()),
            HotPart::Function => None,
        };
        if let Some(left) = self.too_soon(tiering, part) {
            tiering.arm(part, left);
            return entry().unwrap_or(0);
        }
        self.detected(&function, &body, &Countdown { part });
        let mut state = tiering.state();
        let hot = state.part_mut(part);
        match hot.status {
            Status::Published => tiering.pin(part),
            Status::Compiling => tiering.arm(part, PENDING_COUNTDOWN),
            Status::WholeFunction if self.paces_by_cost() => {}
            Status::WholeFunction | Status::Stopped => tiering.arm(part, NEVER),
            Status::Failed(_) if hot.failures >= self.config.max_attempts => {
                tiering.arm(part, NEVER);
            }
            // Armed anew by what was decided, or not found hot.
            Status::Cold | Status::Skipped(_) | Status::Failed(_) => {}
        }
        drop(state);
        entry().unwrap_or(0)
    }

    /// How many executions a part that nothing was decided about has to run before it pays to compile it.
    fn too_soon(&self, tiering: &Tiering, part: HotPart) -> Option<u64> {
        let undecided = matches!(
            tiering.state().part_mut(part).status,
            Status::Cold | Status::Skipped(_)
        );
        if !undecided || !self.paces_by_cost() {
            return None;
        }
        let (weight, executions) = (tiering.weight(part), tiering.executions(part));
        let (load, patience) = (self.workers.load(), self.config.patience);
        let left = executions_left(weight, executions, load, patience);
        (left > 0).then_some(left)
    }

    /// What decides which region a part becomes.
    pub(crate) fn formation_policy(&self) -> Policy {
        let mut policy = self.config.policy.clone();
        if self.paces_by_cost() {
            policy.prune_from = policy.prune_from.max(PRUNE_FROM);
            policy.prune_after = policy.prune_after.max(PRUNE_AFTER);
            policy.max_region_instructions = usize::MAX;
        }
        policy
    }

    /// Whether a function whose loop is hot is better compiled as a whole: it is called again and again, and
    /// is not much larger than the loop.
    fn prefers_whole(&self, tiering: &Tiering, part: HotPart, profile: &FunctionProfile) -> bool {
        let HotPart::Loop(_) = part else {
            return false;
        };
        let undecided = matches!(
            tiering.state().whole.status,
            Status::Cold | Status::Skipped(_)
        );
        let (inner, all) = (tiering.weight(part), tiering.weights.function);
        undecided
            && self.paces_by_cost()
            && profile.entries() >= CALLED_AGAIN
            && all.instructions <= inner.instructions.saturating_mul(4).max(500)
    }

    /// A continuation was called often: its region is formed again, unless
    /// that has happened often enough.
    fn hot_side_exit(
        self: &Arc<Inner>,
        function: Arc<FunctionUnit>,
        body: Arc<Body>,
        formed: Arc<Formed>,
        side: usize,
    ) {
        let counters = &formed.sides[side].counters;
        let Some(tiering) = body.tiering() else {
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
            hot.found_by = Some(FoundBy::Counters);
        }
        self.happened_to(Happened::SideExitHot, &function, tiering, formed.part);
        let part = formed.part;
        self.compile_later(function, Arc::clone(&body), part, Cause::SideExit(formed));
    }

    pub(crate) fn compile_later(
        self: &Arc<Inner>,
        function: Arc<FunctionUnit>,
        body: Arc<Body>,
        part: HotPart,
        cause: Cause,
    ) {
        if let Some(tiering) = body.tiering()
            && !self.synchronous()
        {
            self.happened_to(Happened::Queued, &function, tiering, part);
        }
        let job = Box::new(TierUp {
            engine: Arc::downgrade(self),
            function,
            body,
            part,
            cause,
        });
        match self.synchronous() {
            true => self.workers.run(job),
            false => self.workers.send(job),
        }
    }

    /// Carries a job out, unless a fault strikes before.
    pub(crate) fn run_job(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        part: HotPart,
        cause: Cause,
    ) {
        match self.fault(Stage::Job, &function.name) {
            Ok(()) => self.tier_up(function, body, part, cause),
            Err(error) => self.record_failure(body, part, error),
        }
    }

    /// Records that a job failed.
    pub(crate) fn record_failure(&self, body: &Body, part: HotPart, error: CompileError) {
        if let Some(tiering) = body.tiering() {
            tiering.record_failure(part, error, &self.config);
        }
    }

    /// Forms, compiles and publishes what `part` of `function` calls for. A
    /// panic on the way counts as a failed compilation.
    fn tier_up(&self, function: &FunctionUnit, body: &Arc<Body>, part: HotPart, cause: Cause) {
        let Some(tiering) = body.tiering() else {
            return;
        };
        if !function.is_current(body) {
            return;
        }
        let work = AssertUnwindSafe(|| self.tier_up_part(function, body, tiering, part, cause));
        if let Err(payload) = catch_unwind(work) {
            self.workers.count_panic();
            let error = CompileError::Panic(panic_message(&*payload));
            tiering.fail(part, error, &self.config);
        }
    }

    fn tier_up_part(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        tiering: &Tiering,
        part: HotPart,
        cause: Cause,
    ) {
        let finding = match cause {
            Cause::SideExit(formed) => return self.form_again(function, body, tiering, &formed),
            Cause::Found(finding) => finding,
        };
        let profile = match finding.evidence {
            Evidence::Current => Arc::new(tiering.profile(&body.source)),
            Evidence::Counts(profile) => profile,
            Evidence::Region(region) if !tiering.is_scope_of(part, &region) => {
                return tiering.skip(part, SkipReason::NoLoop, &self.config);
            }
            Evidence::Region(region) => {
                let region = self.with_cold_blocks(body, tiering, *region);
                return match part {
                    HotPart::Loop(hook) => {
                        self.publish_region(function, body, tiering, hook, region);
                    }
                    HotPart::Function => self.publish_function(function, body, tiering, region),
                };
            }
        };
        if self.prefers_whole(tiering, part, &profile)
            || (part == HotPart::Function && self.paces_by_cost())
        {
            return self.compile_whole(function, body, tiering, part, &profile);
        }
        let entry = match part {
            HotPart::Loop(hook) => HotEntry::Header(tiering.hooks[hook].region.entry()),
            HotPart::Function => HotEntry::Function,
        };
        let analysis = &tiering.analysis;
        let hookable = |loop_id: LoopId| match tiering.refusal_of(loop_id) {
            Some(reason) => Err(reason.to_string()),
            None => Ok(()),
        };
        let formation = form(
            &body.source,
            &analysis.flow,
            &analysis.loops,
            &profile,
            &self.formation_policy(),
            entry,
            &hookable,
        );
        tracing::debug!(function = %function.name, ?part, whole = formation.whole_function,
            region = ?formation.region.as_ref().map(Region::entry), "formed");
        self.carry_out(function, body, tiering, part, formation, &profile);
    }

    /// Compiles the function as a whole, because `part` of it is hot.
    fn compile_whole(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        tiering: &Tiering,
        part: HotPart,
        profile: &FunctionProfile,
    ) {
        if part != HotPart::Function {
            tiering.state().part_mut(part).status = Status::WholeFunction;
            if self.paces_by_cost() {
                // An activation that stays in the loop as long again asks for the loop.
                let busy = Load {
                    queued: 0,
                    contended: true,
                };
                tiering.arm(
                    part,
                    executions_left(tiering.weight(part), 0, busy, self.config.patience).max(1),
                );
            }
            if !tiering.claim(HotPart::Function, part) {
                return;
            }
        }
        match whole_region(self, body, tiering, profile) {
            Ok(region) => self.publish_function(function, body, tiering, region),
            Err(error) => tiering.fail(HotPart::Function, error, &self.config),
        }
    }

    fn carry_out(
        &self,
        function: &FunctionUnit,
        body: &Arc<Body>,
        tiering: &Tiering,
        part: HotPart,
        formation: Formation,
        profile: &FunctionProfile,
    ) {
        if let Some(region) = formation.region {
            let header = region.entry();
            let taken = tiering
                .hooks
                .iter()
                .position(|hook| hook.region.entry() == header);
            match taken {
                Some(hook) => {
                    if part != HotPart::Loop(hook) {
                        tiering.skip(part, SkipReason::CoveredBy { header }, &self.config);
                        if !tiering.claim(HotPart::Loop(hook), part) {
                            return;
                        }
                    }
                    let region = self.with_cold_blocks(body, tiering, region);
                    self.publish_region(function, body, tiering, hook, region);
                }
                None => tiering.skip(part, SkipReason::NoLoop, &self.config),
            }
        } else if formation.whole_function {
            self.compile_whole(function, body, tiering, part, profile);
        } else {
            let first = formation.candidates.into_iter().next();
            let skipped = first.map(|candidate| match candidate.decision {
                Decision::Skip(reason) => reason,
                Decision::Take => SkipReason::LeftToLoop {
                    header: candidate.header,
                },
            });
            tiering.skip(part, skipped.unwrap_or(SkipReason::NoLoop), &self.config);
        }
    }
}
