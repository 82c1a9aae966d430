//! What has become of the hot parts of a function: decisions, failures, countdowns.

use crate::code::error::CompileError;
use crate::config::Config;
use crate::units::formed::Formed;
use crate::units::part::{BACKOFF_SHIFT, HotPart, LONGEST_COUNTDOWN, NEVER, PENDING_COUNTDOWN};
use crate::units::tiering::{GivenUp, HotState, Status, TierState, Tiering};
use crate::units::version::Version;
use regraft_regions::{Region, SavedRegion, SkipReason};
use std::sync::Arc;

impl HotState {
    /// Puts a version on record; returns the position of the one that it replaces.
    pub(crate) fn published(&mut self, mut version: Version, formed: Arc<Formed>) -> Option<usize> {
        let replaced = self.versions.len().checked_sub(1);
        version.found_by = self.found_by;
        self.versions.push(version);
        self.formed.push(formed);
        self.status = Status::Published;
        replaced
    }
}

impl TierState {
    /// The regions that reached tier 1, as they were last formed.
    pub(crate) fn regions(&self) -> Vec<SavedRegion> {
        let parts = std::iter::once(&self.whole).chain(&self.hooks);
        let newest = parts.filter_map(|part| part.formed.last());
        newest
            .map(|formed| SavedRegion::from_region(&formed.region))
            .collect()
    }

    pub(crate) fn part_mut(&mut self, part: HotPart) -> &mut HotState {
        match part {
            HotPart::Loop(hook) => &mut self.hooks[hook],
            HotPart::Function => &mut self.whole,
        }
    }
}

impl Tiering {
    /// Whether a region can be that of a part: its scope is the part's.
    pub(crate) fn is_scope_of(&self, part: HotPart, region: &Region) -> bool {
        match part {
            HotPart::Loop(hook) => region.scope() == self.hooks[hook].region.scope(),
            HotPart::Function => {
                let flow = &self.analysis.flow;
                region.entry() == flow.entry() && region.scope().len() == flow.rpo().len()
            }
        }
    }

    /// Takes on the compilation of a part instead of the one that was `found`.
    pub(crate) fn claim(&self, part: HotPart, found: HotPart) -> bool {
        let mut state = self.state();
        let found_by = state.part_mut(found).found_by;
        let hot = state.part_mut(part);
        let free = matches!(hot.status, Status::Cold | Status::Skipped(_));
        if free {
            hot.status = Status::Compiling;
            hot.found_by = found_by;
            // Bounds how long the part waits if its opening is lost.
            self.arm(part, PENDING_COUNTDOWN);
        }
        free
    }

    /// Nothing is compiled any more: the part keeps what it has, and does not ask again.
    pub(crate) fn stop(&self, part: HotPart) {
        let mut state = self.state();
        let hot = state.part_mut(part);
        if hot.versions.is_empty() {
            hot.status = Status::Stopped;
            self.arm(part, NEVER);
        } else {
            hot.status = Status::Published;
            hot.given_up = Some(GivenUp::Stopped);
        }
    }

    /// Takes a part back that was to be compiled: it is found again after so many executions.
    pub(crate) fn forget(&self, part: HotPart, executions: u64) {
        let mut state = self.state();
        let hot = state.part_mut(part);
        if matches!(hot.status, Status::Compiling) && hot.versions.is_empty() {
            hot.status = Status::Cold;
            self.arm(part, executions.max(1));
        }
    }

    /// In the child of a fork: what other threads were compiling is not compiled, and may be found again.
    pub(crate) fn after_fork(&self) {
        let mut state = self.state();
        let hooks = (0..state.hooks.len()).map(HotPart::Loop);
        for part in hooks.chain([HotPart::Function]) {
            let hot = state.part_mut(part);
            if matches!(hot.status, Status::Compiling) {
                hot.status = match hot.versions.is_empty() {
                    true => Status::Cold,
                    false => Status::Published,
                };
            }
        }
    }

    /// Opens the published hooks whose opening was lost.
    pub(crate) fn reopen(&self) {
        let state = self.state();
        let published = |hot: &HotState| matches!(hot.status, Status::Published);
        for (hook, _) in (0..).zip(&state.hooks).filter(|(_, hot)| published(hot)) {
            self.counters.open_hook(hook);
        }
    }

    /// Lets the published region of a part take over at its header.
    pub(crate) fn let_take_over(&self, part: HotPart) {
        if let HotPart::Loop(hook) = part
            && let Some(entry) = self.hooks[hook].takeover.with(|version| version.entry)
        {
            self.counters.succeed(hook, entry);
        }
    }

    pub(crate) fn arm(&self, part: HotPart, amount: u64) {
        match part {
            HotPart::Loop(hook) => self.counters.arm_hook(hook, amount),
            HotPart::Function => self.counters.arm_entry(amount),
        }
    }

    /// Lets the code get in at its next execution.
    pub(crate) fn open(&self, part: HotPart) {
        match part {
            HotPart::Loop(hook) => self.counters.open_hook(hook),
            // Calls reach the new version through the slot; what still runs
            // the old one need not ask again.
            HotPart::Function => self.counters.arm_entry(NEVER),
        }
    }

    pub(crate) fn skip(&self, part: HotPart, reason: SkipReason, config: &Config) {
        let mut state = self.state();
        let hot = state.part_mut(part);
        hot.status = Status::Skipped(reason);
        let tries = hot.asked;
        self.back_off(part, tries, config);
    }

    pub(crate) fn fail(&self, part: HotPart, error: CompileError, config: &Config) {
        tracing::warn!(?part, %error, "tier 1 failed");
        self.record_failure(part, error, config);
    }

    pub(crate) fn record_failure(&self, part: HotPart, error: CompileError, config: &Config) {
        if let CompileError::Stopped = error {
            return self.stop(part);
        }
        let mut state = self.state();
        let hot = state.part_mut(part);
        // A region that could not be re-formed stays as it is.
        if hot.versions.is_empty() {
            hot.status = Status::Failed(error);
        } else {
            hot.status = Status::Published;
            hot.given_up = Some(GivenUp::Failed(error));
        }
        hot.failures += 1;
        let tries = hot.failures;
        if hot.versions.is_empty() {
            self.back_off(part, tries, config);
        }
    }

    /// How often a side exit of a part's next region may be taken; `back` formations are not counted.
    pub(crate) fn side_exit_threshold(&self, part: HotPart, back: usize, config: &Config) -> u64 {
        let formations = self.state().part_mut(part).formed.len();
        let shift = u32::try_from(formations.saturating_sub(back)).unwrap_or(8);
        u64::from(config.thresholds.side_exits) << (shift.min(8) * BACKOFF_SHIFT)
    }

    pub(crate) fn back_off(&self, part: HotPart, tries: u32, config: &Config) {
        let threshold = match part {
            HotPart::Loop(_) => config.thresholds.loops,
            HotPart::Function => config.thresholds.entries,
        };
        let shift = (tries * BACKOFF_SHIFT).min(32);
        let amount = u64::from(threshold.max(1)) << shift;
        self.arm(part, amount.min(LONGEST_COUNTDOWN));
    }
}
