//! The first version of a function, and what tiering up needs to know of it.

mod state;

use crate::code::codemap::LocationNumbers;
use crate::code::error::CompileError;
use crate::code::externals::OwnData;
use crate::config::detection::FoundBy;
use crate::pacing::Weights;
use crate::pacing::rule::{Seen, Weight};
use crate::passes::names;
use crate::units::counters::Counters;
use crate::units::formed::Formed;
use crate::units::ledger::Releasable;
use crate::units::part::HotPart;
use crate::units::samples::FunctionSamples;
use crate::units::saved::SavedUse;
use crate::units::version::Version;
use cranelift_codegen::ir::{Block, Function, Inst};
use regraft_executor::locks::{Locked, lock};
use regraft_executor::slots::OwnedSlot;
use regraft_outliner::{Interface, OutlineError};
use regraft_regions::{
    ExitKind, Flow, FunctionProfile, Known, Liveness, LoopForest, LoopId, Measured, Placement,
    Region, SkipReason, Transfer, reconstruct,
};
use regraft_template::FrameMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

/// The first version of a function.
#[derive(Debug)]
pub(crate) struct Baseline {
    /// The compiled version: tier 0, or tier 1 in eager mode.
    pub version: Version,
    /// Absent in eager mode.
    pub tiering: Option<Tiering>,
}

/// A loop that tier 0 has a hook for.
#[derive(Debug)]
pub(crate) struct LoopHook {
    pub loop_id: LoopId,
    /// The whole loop; its scope is what the interface was computed from.
    pub region: Region,
    /// The interface of the region, or why it can have none, once somebody has asked.
    pub interface: OnceLock<Result<Interface, OutlineError>>,
    /// The region's unit.
    pub unit: u32,
    /// The unit's slot, until the code that loads it is reclaimed.
    pub slot: Releasable<OwnedSlot>,
    /// The code by which the region takes over, where tier 0 was made by templates.
    pub takeover: Releasable<Version>,
}

/// Analyses, counters and state of an instrumented function.
#[derive(Debug)]
pub(crate) struct Tiering {
    pub analysis: Analysis,
    /// By the number of the loop.
    pub hooks: Vec<LoopHook>,
    /// Loops without a hook, and why, by the number of the loop.
    pub refused: Vec<(LoopId, OutlineError)>,
    /// Where tier 0 counts, if it does.
    pub placement: Option<Placement>,
    /// The indirect calls whose targets tier 0 notes.
    pub targets: Vec<Inst>,
    pub counters: Counters,
    /// Where tier 0's values are, if it was made by templates.
    pub frame: Option<FrameMap>,
    /// What was seen of tier 0, where it does not count.
    pub samples: Option<FunctionSamples>,
    /// What the source locations of tier 0 are, if not the client's or blocks.
    pub location_numbers: Option<Arc<LocationNumbers>>,
    /// How much runs each time a part is executed.
    pub weights: Weights,
    /// What became of the function's saved profile, if there is one.
    pub saved_use: OnceLock<Option<SavedUse>>,
    /// Since when it counts.
    pub since: Instant,
    pub state: Mutex<TierState>,
}

/// How far the target of an indirect call has to be ahead. Of a call that was executed thousands of times, fewer would be chance.
const LEAST_LEAD: u64 = 16;

/// What is computed from a function's CLIF: once, and liveness when somebody asks.
#[derive(Debug)]
pub(crate) struct Analysis {
    pub flow: Flow,
    pub loops: LoopForest,
    liveness: OnceLock<Liveness>,
}

impl Analysis {
    pub fn new(flow: Flow, loops: LoopForest) -> Self {
        Self {
            flow,
            loops,
            liveness: OnceLock::new(),
        }
    }

    /// What is live in `func`, which the other analyses are of.
    pub fn liveness(&self, func: &Function) -> &Liveness {
        self.liveness
            .get_or_init(|| Liveness::compute(func, &self.flow))
    }
}

/// What has become of a function's hot parts.
#[derive(Debug, Default)]
pub(crate) struct TierState {
    pub hooks: Vec<HotState>,
    pub whole: HotState,
    /// The body was freed at once, with what was retired of it: nothing of it is to wait any more.
    pub freed: bool,
}

/// What has become of one hot part.
#[derive(Debug, Default)]
pub(crate) struct HotState {
    pub status: Status,
    /// What found it hot, the last time.
    pub found_by: Option<FoundBy>,
    /// Versions compiled so far, newest last.
    pub versions: Vec<Version>,
    /// What each version was formed from; at the same positions.
    pub formed: Vec<Arc<Formed>>,
    /// Why the region is no longer re-formed, if it is not.
    pub given_up: Option<GivenUp>,
    /// How often it was found hot.
    pub asked: u32,
    /// Compilations that failed.
    pub failures: u32,
}

/// The state of one hot part.
#[derive(Debug, Default)]
pub(crate) enum Status {
    /// Not hot yet.
    #[default]
    Cold,
    /// Waiting for the compiler, or in it.
    Compiling,
    /// The slot leads to tier-1 code.
    Published,
    /// Decided against, for now.
    Skipped(SkipReason),
    /// Another part is compiled instead: the whole function.
    WholeFunction,
    /// The engine was shut down before it was compiled.
    Stopped,
    /// The compiler failed; given up when attempts are used up.
    Failed(CompileError),
}

/// Why a region is no longer re-formed. What it has stays.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum GivenUp {
    /// It was, as often as that is done.
    #[error("side exits to {to} run hot, but the region was formed {formations} times")]
    Formations { to: Block, formations: u32 },
    /// That failed.
    #[error("it could not be re-formed: {0}")]
    Failed(CompileError),
    /// The engine was shut down.
    #[error("the engine was shut down")]
    Stopped,
}

impl Tiering {
    /// The data that only code of the function with this unit knows.
    pub fn own_data(&self, unit: u32) -> OwnData {
        ((names::COUNTERS, unit), self.counters.address())
    }

    /// Locks the state; a panic elsewhere leaves it usable.
    pub fn state(&self) -> Locked<'_, TierState> {
        lock(&self.state)
    }

    /// The hook of a loop.
    pub fn hook_of(&self, loop_id: LoopId) -> Option<usize> {
        let found = self
            .hooks
            .binary_search_by_key(&loop_id, |hook| hook.loop_id);
        found.ok()
    }

    /// Why a loop has no hook, if it has none.
    pub fn refusal_of(&self, loop_id: LoopId) -> Option<&OutlineError> {
        let found = self
            .refused
            .binary_search_by_key(&loop_id, |refused| refused.0);
        let refused = found.ok().map(|at| &self.refused[at].1);
        refused.or_else(|| {
            let hook = &self.hooks[self.hook_of(loop_id)?];
            hook.interface.get()?.as_ref().err()
        })
    }

    /// The interface of a hook's region.
    ///
    /// # Errors
    ///
    /// The reason why it can have none.
    pub fn interface(&self, func: &Function, hook: usize) -> Result<&Interface, OutlineError> {
        let LoopHook {
            region, interface, ..
        } = &self.hooks[hook];
        let computed = interface.get_or_init(|| {
            let Analysis { flow, .. } = &self.analysis;
            Interface::compute(func, flow, self.analysis.liveness(func), region)
        });
        computed.as_ref().map_err(Clone::clone)
    }

    /// The interface of a formed region.
    pub fn interface_of<'a>(
        &'a self,
        func: &Function,
        formed: &'a Formed,
    ) -> Option<&'a Interface> {
        match (&formed.interface, formed.part) {
            (Some(interface), _) => Some(interface),
            (None, HotPart::Loop(hook)) => self.interface(func, hook).ok(),
            (None, HotPart::Function) => None,
        }
    }

    /// How much runs each time a part is executed once.
    pub fn weight(&self, part: HotPart) -> Weight {
        match part {
            HotPart::Loop(hook) => self.weights.of(self.hooks[hook].loop_id),
            HotPart::Function => self.weights.function,
        }
    }

    /// Whether a loop has a region at tier 1.
    pub fn has_regions(&self) -> bool {
        let state = self.state();
        state.hooks.iter().any(|hook| !hook.versions.is_empty())
    }

    /// What is counted of a part now.
    pub fn seen(&self, part: HotPart) -> Seen {
        Seen {
            age: self.since.elapsed().as_secs_f64() * 1e9,
            executions: self.executions(part),
        }
    }

    /// How often a part was executed at tier 0, where that is counted.
    pub fn executions(&self, part: HotPart) -> u64 {
        match part {
            HotPart::Loop(hook) => self.counters.hook_count(hook),
            HotPart::Function => self.counters.entry_count(),
        }
    }

    /// The indirect calls that reach one address more often than all others together, and that address.
    pub fn usual_targets(&self) -> Vec<(Inst, usize)> {
        let calls = self.targets.iter().enumerate();
        let usual = calls.filter_map(|(number, &call)| {
            let (target, lead) = self.counters.usual_target(number)?;
            (lead >= LEAST_LEAD).then_some((call, target))
        });
        usual.collect()
    }

    /// Whether tier 0 counts.
    pub fn counts(&self) -> bool {
        self.placement.is_some()
    }

    /// What is known of how often each block and edge was executed at tier 0.
    pub fn profile(&self, func: &Function) -> FunctionProfile {
        match (&self.placement, &self.samples) {
            (Some(placement), _) => self.counted(func, placement),
            (None, Some(samples)) => {
                samples.profile(func, &self.analysis.flow, &self.analysis.loops)
            }
            (None, None) => FunctionProfile::new(),
        }
    }

    /// Reads the counters and reconstructs every block and edge count.
    fn counted(&self, func: &Function, placement: &Placement) -> FunctionProfile {
        let layout = self.counters.layout();
        let mut measured = Measured {
            sites: (0..placement.sites.len())
                .map(|site| self.counters.count(layout.site(site)))
                .collect(),
            ..Measured::default()
        };
        let entry = self.analysis.flow.entry();
        measured.blocks[entry] = self.counters.entry_count();
        for (index, hook) in self.hooks.iter().enumerate() {
            let count = self.counters.hook_count(index);
            measured.blocks[hook.region.entry()] = count;
            for exit in hook.region.exits() {
                let count = self.counters.count(layout.exit(index, exit.number));
                measured.transfers.push(count);
            }
        }
        reconstruct(func, &self.analysis.flow, placement, &measured)
    }
}

/// What tier 0 counts without being asked to: hooked headers, calls, and
/// what regions hand back.
pub(crate) fn known_counts<'a>(
    flow: &Flow,
    regions: impl IntoIterator<Item = &'a Region>,
) -> Known {
    let mut known = Known::default();
    known.block_counted.insert(flow.entry());
    for region in regions {
        known.block_counted.insert(region.entry());
        for exit in region.exits() {
            known.transfers.push(Transfer {
                from: region.entry(),
                to: match exit.kind {
                    ExitKind::Edge { to, .. } => Some(to),
                    ExitKind::Return { .. } | ExitKind::TailCall { .. } => None,
                },
            });
        }
    }
    known
}
