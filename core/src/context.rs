//! What an engine consists of: the state that every step of a compilation works on.
//!
//! Not here: what is done with it (`engine`, `define`, `tiering`, `pipeline`, `reclaim`).

use crate::call::invoke::Invoker;
use crate::code::codemap::{CodeMap, CodeUnit};
use crate::code::isa::TierIsas;
use crate::config::detection::{self, Detection};
use crate::config::{CompileMode, Config, Mode, Pacing};
use crate::error::Error;
use crate::observe::account::{Account, InPhase};
use crate::observe::{Event, Observer};
use crate::pacing::{PRUNE_AFTER, PRUNE_FROM};
use crate::report::{EventKind, Phase};
use crate::threads::workers::Workers;
use crate::units::function::{FunctionId, FunctionUnit};
use crate::units::kept::Kept;
use crate::units::part::HotPart;
use crate::units::retired::Reclaimer;
use crate::units::saved::SavedProfiles;
use crate::units::table::{Unit, UnitTable};
use crate::units::tiering::Tiering;
use cranelift_codegen::isa::OwnedTargetIsa;
use regraft_executor::ExecutorAddr;
use regraft_executor::arena::Arena;
use regraft_executor::locks::read;
use regraft_executor::session::{Sampling, Session};
use regraft_executor::slots::SlotTable;
use regraft_regions::Policy;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, RwLock};

impl Inner {
    /// The calling thread is in `phase` until what is returned is dropped.
    pub fn enter(&self, phase: Phase) -> InPhase {
        self.account.enter(phase)
    }

    /// Something happened to a function.
    pub fn happened(&self, what: EventKind, function: &FunctionUnit) {
        let event = Event::new(what, &function.name, CodeUnit::Function);
        self.observer.event(event);
    }

    /// Something happened to a part of a function.
    pub fn happened_to(
        &self,
        what: EventKind,
        function: &FunctionUnit,
        tiering: &Tiering,
        part: HotPart,
    ) {
        let unit = match part {
            HotPart::Function => CodeUnit::Function,
            HotPart::Loop(hook) => CodeUnit::Region {
                entry: tiering.hooks[hook].region.entry(),
            },
        };
        self.observer.event(Event::new(what, &function.name, unit));
    }
}

/// A tier-up JIT engine.
///
/// Cloning is cheap and gives another handle of the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub config: Config,
    pub isas: TierIsas,
    pub session: Arc<dyn Session>,
    pub arena: Arc<Arena>,
    pub slots: Arc<SlotTable>,
    pub invoker: Invoker,
    pub symbols: RwLock<HashMap<String, usize>>,
    pub units: RwLock<UnitTable>,
    pub workers: Workers,
    pub codemap: Arc<CodeMap>,
    /// The generation of definitions: from 1, and higher whenever one changes that others were judged by.
    pub generation: AtomicU64,
    pub reclaimer: Reclaimer,
    pub observer: Observer,
    /// Where time goes.
    pub account: Arc<Account>,
    /// What an earlier run has left.
    pub saved_profiles: Option<SavedProfiles>,
    /// What is kept from run to run.
    pub kept: Option<Kept>,
    /// Set where samples are wanted.
    pub wanted: OnceLock<Box<dyn Sampling>>,
}

impl Drop for Inner {
    /// Functions that call each other hold each other. Samples are refused before the range of the code is
    /// given up, which another engine may get.
    fn drop(&mut self) {
        drop(self.wanted.take());
        self.observer.forget_stubs();
        for function in self.functions() {
            function.give_up();
        }
    }
}

/// The unit of the runtime's entry point.
pub(crate) const RUNTIME_UNIT: u32 = 0;

impl Inner {
    pub fn function(&self, id: FunctionId) -> Result<Arc<FunctionUnit>, Error> {
        let units = read(&self.units);
        let function = units.function(id.as_u32()).cloned();
        function.ok_or(Error::UnknownFunction {
            index: id.as_u32(),
            referenced_by: None,
        })
    }

    /// All functions, in the order of their declaration.
    pub fn functions(&self) -> Vec<Arc<FunctionUnit>> {
        let units = read(&self.units);
        let functions = units.iter().filter_map(|unit| match unit {
            Unit::Function(function) => Some(Arc::clone(function)),
            _ => None,
        });
        functions.collect()
    }

    /// The ISA of a tier.
    pub fn isa(&self, tier: u8) -> &OwnedTargetIsa {
        match tier {
            0 => &self.isas.tier0,
            _ => &self.isas.tier1,
        }
    }

    /// How often threads are sampled, if they are: to find what is hot, or because it is to be known where time goes.
    pub fn sampling(&self) -> Option<detection::Sampling> {
        match self.config.detection {
            Detection::Sampling(sampling) if self.config.mode != Mode::Eager => Some(sampling),
            _ => self
                .observer
                .wants_times()
                .then(detection::Sampling::default),
        }
    }

    pub fn synchronous(&self) -> bool {
        self.config.compile == CompileMode::Synchronous
    }

    /// Whether the cost model decides, and not the thresholds alone.
    pub fn paces_by_cost(&self) -> bool {
        self.config.pacing == Pacing::Cost
            && self.tiers_up()
            && !self.synchronous()
            && self.config.detection == Detection::Counters
    }

    pub fn tiers_up(&self) -> bool {
        self.config.mode == Mode::Tiered
    }

    /// What decides which region a part becomes.
    pub fn formation_policy(&self) -> Policy {
        let mut policy = self.config.policy.clone();
        if self.paces_by_cost() {
            policy.prune_from = policy.prune_from.max(PRUNE_FROM);
            policy.prune_after = policy.prune_after.max(PRUNE_AFTER);
            policy.max_region_instructions = usize::MAX;
        }
        policy
    }

    /// The address of a host symbol: registered, or found by the dynamic linker.
    pub fn symbol_address(&self, name: &str) -> Option<usize> {
        let registered = read(&self.symbols).get(name).copied();
        registered.or_else(|| self.session.symbol(name).map(ExecutorAddr::get))
    }
}
