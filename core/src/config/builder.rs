//! Setting one field of a configuration after the other.

use crate::config::detection::Detection;
use crate::config::faults::Faults;
use crate::config::optimizer::Optimizer;
use crate::config::warm::WarmStart;
use crate::config::{Compilation, CompileMode, Config, Mode, Observe, Pacing, Reclamation};
use regraft_executor::Executor;
use regraft_executor::arena::ArenaConfig;
use regraft_executor::priority::WorkerPriority;
use regraft_regions::{Counting, Policy, Profile};
use std::sync::Arc;

impl Config {
    /// Sets [`mode`](field@Config::mode).
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets [`compile`](field@Config::compile).
    #[must_use]
    pub fn compile(mut self, compile: CompileMode) -> Self {
        self.compile = compile;
        self
    }

    /// Sets [`workers.threads`](crate::config::Workers::threads).
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers.threads = workers;
        self
    }

    /// Sets [`workers.priority`](crate::config::Workers::priority).
    #[must_use]
    pub fn worker_priority(mut self, worker_priority: WorkerPriority) -> Self {
        self.workers.priority = worker_priority;
        self
    }

    /// Sets [`compilation`](field@Config::compilation).
    #[must_use]
    pub fn compilation(mut self, compilation: Compilation) -> Self {
        self.compilation = compilation;
        self
    }

    /// Sets [`pacing`](field@Config::pacing).
    #[must_use]
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// Sets [`thresholds.patience`](crate::config::Thresholds::patience).
    #[must_use]
    pub fn patience(mut self, patience: f64) -> Self {
        self.thresholds.patience = patience;
        self
    }

    /// Sets [`workers.ahead`](crate::config::Workers::ahead).
    #[must_use]
    pub fn ahead(mut self, ahead: bool) -> Self {
        self.workers.ahead = ahead;
        self
    }

    /// Sets [`thresholds.loops`](crate::config::Thresholds::loops).
    #[must_use]
    pub fn loop_threshold(mut self, loop_threshold: u32) -> Self {
        self.thresholds.loops = loop_threshold;
        self
    }

    /// Sets [`thresholds.entries`](crate::config::Thresholds::entries).
    #[must_use]
    pub fn entry_threshold(mut self, entry_threshold: u32) -> Self {
        self.thresholds.entries = entry_threshold;
        self
    }

    /// Sets [`policy`](field@Config::policy).
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets [`detection`](field@Config::detection).
    #[must_use]
    pub fn detection(mut self, detection: Detection) -> Self {
        self.detection = detection;
        self
    }

    /// Sets [`profile`](field@Config::profile).
    #[must_use]
    pub fn profile(mut self, profile: Option<Arc<Profile>>) -> Self {
        self.profile = profile;
        self
    }

    /// Sets [`warm_start`](field@Config::warm_start).
    #[must_use]
    pub fn warm_start(mut self, warm_start: Option<WarmStart>) -> Self {
        self.warm_start = warm_start;
        self
    }

    /// Sets [`testing.counting`](crate::config::Testing::counting).
    #[must_use]
    pub fn counting(mut self, counting: Counting) -> Self {
        self.testing.counting = counting;
        self
    }

    /// Sets [`memory.counter_copies`](crate::config::Memory::counter_copies).
    #[must_use]
    pub fn counter_copies(mut self, counter_copies: u32) -> Self {
        self.memory.counter_copies = counter_copies;
        self
    }

    /// Sets [`memory.arena`](crate::config::Memory::arena).
    #[must_use]
    pub fn arena(mut self, arena: ArenaConfig) -> Self {
        self.memory.arena = arena;
        self
    }

    /// Sets [`settings`](field@Config::settings).
    #[must_use]
    pub fn settings(mut self, settings: Vec<(String, String)>) -> Self {
        self.settings = settings;
        self
    }

    /// Sets [`thresholds.attempts`](crate::config::Thresholds::attempts).
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.thresholds.attempts = max_attempts;
        self
    }

    /// Sets [`thresholds.side_exits`](crate::config::Thresholds::side_exits).
    #[must_use]
    pub fn side_exit_threshold(mut self, side_exit_threshold: u32) -> Self {
        self.thresholds.side_exits = side_exit_threshold;
        self
    }

    /// Sets [`thresholds.formations`](crate::config::Thresholds::formations).
    #[must_use]
    pub fn max_formations(mut self, max_formations: u32) -> Self {
        self.thresholds.formations = max_formations;
        self
    }

    /// Sets [`testing.faults`](crate::config::Testing::faults).
    #[must_use]
    pub fn faults(mut self, faults: Option<Faults>) -> Self {
        self.testing.faults = faults;
        self
    }

    /// Sets [`testing.check`](crate::config::Testing::check).
    #[must_use]
    pub fn check(mut self, check: bool) -> Self {
        self.testing.check = check;
        self
    }

    /// Sets [`side_exits`](field@Config::side_exits).
    #[must_use]
    pub fn side_exits(mut self, side_exits: bool) -> Self {
        self.side_exits = side_exits;
        self
    }

    /// Sets [`block_locations`](field@Config::block_locations).
    #[must_use]
    pub fn block_locations(mut self, block_locations: bool) -> Self {
        self.block_locations = block_locations;
        self
    }

    /// Sets [`templates`](field@Config::templates).
    #[must_use]
    pub fn templates(mut self, templates: bool) -> Self {
        self.templates = templates;
        self
    }

    /// Sets [`memory.reclamation`](crate::config::Memory::reclamation).
    #[must_use]
    pub fn reclamation(mut self, reclamation: Reclamation) -> Self {
        self.memory.reclamation = reclamation;
        self
    }

    /// Sets [`observe`](field@Config::observe).
    #[must_use]
    pub fn observe(mut self, observe: Observe) -> Self {
        self.observe = observe;
        self
    }

    /// Sets [`executor`](field@Config::executor).
    #[must_use]
    pub fn executor(mut self, executor: Executor) -> Self {
        self.executor = executor;
        self
    }

    /// Sets [`optimizer`](field@Config::optimizer).
    #[must_use]
    pub fn optimizer(mut self, optimizer: Optimizer) -> Self {
        self.optimizer = optimizer;
        self
    }
}
