//! The region report: what an engine has done, as data.
//!
//! The report serialises to JSON with a stable key order; every field is
//! described in `core/report.schema.json` and in the README. Counts are those
//! of tier 0: code that has moved to tier 1 no longer counts. With sampling
//! they are estimates.

mod detail;

use crate::config::detection::{Detection, FoundBy};
use crate::context::Engine;
use crate::report::{
    FunctionReport, IrreducibleReport, PartReport, REPORT_VERSION, RegionReport, Report,
    SavedProfileReport, SideExitReport, VersionReport, WarmStartReport, WorkersReport,
};
use crate::report::{MemoryReport, PassReport, RangeReport, TierMemoryReport};
use crate::report::{PartDecision, PartState, RegionKind, SavedState, SideExitState};
use crate::report::{report_exits, report_live_ins, report_live_outs};
use crate::threads::queue::WorkerFigures;
use crate::units::formed::Side;
use crate::units::function::FunctionUnit;
use crate::units::kept::Kept;
use crate::units::ledger::MemoryStats;
use crate::units::saved::SavedUse;
use crate::units::tiering::{Analysis, HotState, LoopHook, Status, Tiering};
use crate::units::version::Version;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function};
use detail::report_detail;
use indexmap::IndexMap;
use regraft_executor::arena::RangeStats;
use regraft_executor::locks::lock;
use regraft_optimizer::Effort;
use regraft_outliner::{Interface, OutlineError};
use regraft_regions::{Exit, FunctionProfile, LoopId, ProfileError, instruction_count as insts};
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Engine {
    /// What the engine has done so far.
    pub fn report(&self) -> Report {
        let mut functions = IndexMap::new();
        for function in self.inner.functions() {
            if let Some(report) = report_function(&function, self.inner.observer.inspects()) {
                let name = function.unique_name(|name| functions.contains_key(name));
                functions.insert(name, report);
            }
        }
        Report {
            version: REPORT_VERSION,
            mode: self.inner.config.mode,
            detection: match self.inner.config.detection {
                Detection::Counters => FoundBy::Counters,
                Detection::Sampling(_) => FoundBy::Sampling,
            },
            target: self.inner.isas.triple().to_string(),
            memory: report_memory(&self.memory()),
            workers: report_workers(self.inner.workers.figures()),
            account: self.inner.account.report(),
            warm_start: self.inner.kept.as_ref().map(report_warm_start),
            functions,
            times: self.inner.observer.times(),
            events: self.inner.observer.events(),
        }
    }
}

fn report_warm_start(kept: &Kept) -> WarmStartReport {
    let figures = &kept.figures;
    let refused = lock(&figures.refused);
    WarmStartReport {
        loaded: figures.loaded.load(Ordering::Relaxed),
        missed: figures.missed.load(Ordering::Relaxed),
        unusable: figures.unusable.load(Ordering::Relaxed),
        kept: kept.added(),
        refused: refused
            .iter()
            .map(|(&reason, &count)| (reason.to_string(), count))
            .collect(),
    }
}

fn report_workers(figures: WorkerFigures) -> WorkersReport {
    WorkersReport {
        threads: figures.threads,
        jobs: figures.finished,
        panics: figures.panics,
        queued: figures.open,
    }
}

fn report_function(function: &FunctionUnit, inspect: bool) -> Option<FunctionReport> {
    let Some(body) = function.body() else {
        let failure = function.lazy.failure()?;
        return Some(FunctionReport {
            definition_error: Some(failure),
            ..empty_function()
        });
    };
    let mut report = FunctionReport {
        instructions: body.size().0,
        blocks: body.size().1,
        detail: inspect.then(|| report_detail(&body, body.tiering())),
        ..empty_function()
    };
    if let Some(error) = body.baseline.failure() {
        report.definition_error = Some(error.to_string());
    }
    let mut micros_by_tier = [0, 0];
    if let Some(baseline) = body.compiled() {
        report.tier = Some(baseline.version.tier);
        add_version(&mut report.versions, &mut micros_by_tier, &baseline.version);
    }
    if let Some(tiering) = body.tiering() {
        report.entries = tiering.counters.entry_count();
        report.saved_profile = tiering.saved_use.get().and_then(report_saved);
        let profile = tiering.profile(&body.source);
        let state = tiering.state();
        report.whole_function = report_part(&state.whole);
        let parts = state.hooks.iter().chain([&state.whole]);
        for side in parts
            .flat_map(|part| &part.formed)
            .flat_map(|formed| &formed.sides)
        {
            if let Some(version) = side.version.get() {
                micros_by_tier[usize::from(version.tier.min(1))] += micros(version.compile_time);
            }
        }
        for version in &state.whole.versions {
            report.tier = Some(version.tier);
            add_version(&mut report.versions, &mut micros_by_tier, version);
        }
        let total = profile.total(&body.source);
        let executed = executed_in_loops(&body.source, tiering, &profile);
        for loop_id in tiering.analysis.loops.loops() {
            let hook = tiering.hook_of(loop_id);
            let interface = hook.and_then(|hook| tiering.interface(&body.source, hook).ok());
            let mut region = match hook.zip(interface) {
                Some((hook, interface)) => report_hook(
                    tiering,
                    hook,
                    interface,
                    &state.hooks[hook],
                    &mut micros_by_tier,
                ),
                _ => report_refusal(tiering, loop_id),
            };
            region.function.clone_from(&function.name);
            region.loop_depth = tiering.analysis.loops.depth(loop_id);
            region.share = share(executed[loop_id], total);
            for block in listed_blocks(tiering, loop_id) {
                let count = profile.block(block);
                region.blocks.insert(block.to_string(), count);
            }
            report.regions.push(region);
        }
        for cycle in tiering.analysis.loops.irreducible() {
            let names = |blocks: &[Block]| blocks.iter().map(ToString::to_string).collect();
            report.irreducible.push(IrreducibleReport {
                blocks: names(&cycle.blocks),
                entries: names(&cycle.entries),
            });
        }
    }
    for (tier, &micros) in micros_by_tier.iter().enumerate() {
        let used = report
            .versions
            .iter()
            .any(|version| usize::from(version.tier) == tier);
        if used || micros > 0 {
            report.compile_micros.insert(format!("tier{tier}"), micros);
        }
    }
    Some(report)
}

fn empty_function() -> FunctionReport {
    FunctionReport {
        instructions: 0,
        blocks: 0,
        tier: None,
        definition_error: None,
        entries: 0,
        saved_profile: None,
        whole_function: undecided(),
        versions: vec![],
        compile_micros: IndexMap::new(),
        regions: vec![],
        irreducible: vec![],
        detail: None,
    }
}

/// How many instructions were executed in each loop, nested loops included.
fn executed_in_loops(
    func: &Function,
    tiering: &Tiering,
    profile: &FunctionProfile,
) -> SecondaryMap<LoopId, u64> {
    let Analysis { flow, loops, .. } = &tiering.analysis;
    let mut executed: SecondaryMap<LoopId, u64> = SecondaryMap::new();
    for &block in flow.rpo() {
        if let Some(innermost) = loops.innermost(block) {
            let weight = profile.block(block).saturating_mul(insts(func, block));
            executed[innermost] = executed[innermost].saturating_add(weight);
        }
    }
    // Parents have smaller numbers.
    for loop_id in loops.loops().rev() {
        if let Some(parent) = loops.parent(loop_id) {
            executed[parent] = executed[parent].saturating_add(executed[loop_id]);
        }
    }
    executed
}

/// The blocks that the report lists for a loop: all of them, but for a loop
/// that is refused since it is too deep only its header: the nest's blocks
/// would be listed thousands of times.
fn listed_blocks(tiering: &Tiering, loop_id: LoopId) -> Vec<Block> {
    let loops = &tiering.analysis.loops;
    match tiering.refusal_of(loop_id) {
        Some(OutlineError::TooDeep { .. }) => vec![loops.header(loop_id)],
        _ => loops.blocks(loop_id),
    }
}

fn share(executed: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    // Four decimals: the rest is noise.
    (executed as f64 / total as f64 * 1e4).round() / 1e4
}

fn pass_report(effort: &Effort) -> PassReport {
    let (before, after) = (effort.before, effort.after);
    PassReport {
        pass: effort.pass.name().to_string(),
        changes: effort.changes,
        instructions: [before.instructions, after.instructions],
        loads: [before.loads, after.loads],
        stores: [before.stores, after.stores],
        calls: [before.calls, after.calls],
    }
}

fn add_version(list: &mut Vec<VersionReport>, total: &mut [u64; 2], version: &Version) {
    let report = VersionReport {
        tier: version.tier,
        instructions_before: version.instructions_before,
        instructions_after: version.instructions_after,
        code_bytes: version.code_bytes,
        compile_micros: micros(version.compile_time),
        found_by: version.found_by,
        loaded: version.loaded,
        passes: version.passes.iter().map(pass_report).collect(),
        code: version.text.as_deref().cloned(),
    };
    total[usize::from(version.tier.min(1))] += report.compile_micros;
    list.push(report);
}

fn undecided() -> PartReport {
    PartReport {
        decision: PartDecision::None,
        reason: String::new(),
        reason_code: String::new(),
        state: PartState::Cold,
        found_by: None,
        requests: 0,
        formations: 0,
        hot_blocks: vec![],
        side_exits: vec![],
        given_up: String::new(),
    }
}

fn report_part(hot: &HotState) -> PartReport {
    let newest = hot.formed.last();
    let (decision, reason, state) = match &hot.status {
        Status::Cold => (PartDecision::None, String::new(), PartState::Cold),
        Status::Compiling => (PartDecision::Take, String::new(), PartState::Compiling),
        Status::Published => (PartDecision::Take, String::new(), PartState::Published),
        Status::Skipped(reason) => (PartDecision::Skip, reason.to_string(), PartState::Skipped),
        Status::WholeFunction => (
            PartDecision::Skip,
            "the whole function is compiled at tier 1 instead".to_string(),
            PartState::Superseded,
        ),
        Status::Stopped => (
            PartDecision::None,
            "the engine was shut down before it was compiled".to_string(),
            PartState::Stopped,
        ),
        Status::Failed(error) => (PartDecision::Take, error.to_string(), PartState::Failed),
    };
    PartReport {
        decision,
        reason,
        reason_code: String::new(),
        state,
        found_by: match hot.versions.first() {
            Some(version) => version.found_by,
            None => hot.found_by,
        },
        requests: hot.asked,
        formations: hot.formed.len(),
        hot_blocks: newest
            .map(|formed| {
                formed
                    .region
                    .blocks()
                    .iter()
                    .map(|block| block.to_string())
                    .collect()
            })
            .unwrap_or_default(),
        side_exits: newest
            .map(|formed| formed.sides.iter().map(report_side).collect())
            .unwrap_or_default(),
        given_up: hot
            .given_up
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    }
}

fn report_saved(saved: &Option<SavedUse>) -> Option<SavedProfileReport> {
    let ignored = saved.as_ref()?.as_ref().err();
    Some(SavedProfileReport {
        state: match ignored {
            None => SavedState::Used,
            Some(_) => SavedState::Ignored,
        },
        reason: ignored.map_or_else(String::new, ToString::to_string),
        reason_code: ignored.map_or("", ProfileError::code).to_string(),
    })
}

fn report_side(side: &Side) -> SideExitReport {
    let compiled = side.version.get();
    let failure = side.version.failure();
    SideExitReport {
        to: side.start.to_string(),
        count: side.counters.entry_count(),
        state: match (compiled, &failure) {
            (None, None) => SideExitState::Lazy,
            (Some(_), _) => SideExitState::Compiled,
            (None, Some(_)) => SideExitState::Failed,
        },
        reason: failure.map_or_else(String::new, |error| error.to_string()),
        code_bytes: compiled.map_or(0, |version| version.code_bytes),
        compile_micros: compiled.map_or(0, |version| micros(version.compile_time)),
        code: compiled.and_then(|version| version.text.as_deref().cloned()),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn empty_region(header: String) -> RegionReport {
    RegionReport {
        function: String::new(),
        header,
        kind: RegionKind::Loop,
        loop_depth: 0,
        blocks: IndexMap::new(),
        share: 0.0,
        live_ins: vec![],
        live_outs: vec![],
        exits: vec![],
        part: undecided(),
        versions: vec![],
        entries: 0,
        entries_while_running: 0,
    }
}

fn report_refusal(tiering: &Tiering, loop_id: LoopId) -> RegionReport {
    let header = tiering.analysis.loops.header(loop_id);
    let mut region = empty_region(header.to_string());
    if let Some(reason) = tiering.refusal_of(loop_id) {
        region.part.decision = PartDecision::Refuse;
        region.part.reason = reason.to_string();
        region.part.reason_code = reason.code().to_string();
        region.part.state = PartState::Refused;
    }
    region
}

fn report_hook(
    tiering: &Tiering,
    index: usize,
    interface: &Interface,
    hot: &HotState,
    total: &mut [u64; 2],
) -> RegionReport {
    let LoopHook { region, .. } = &tiering.hooks[index];
    let layout = tiering.counters.layout();
    let mut report = empty_region(region.entry().to_string());
    report.part = report_part(hot);
    report.live_ins = report_live_ins(interface);
    report.live_outs = report_live_outs(interface);
    let count = |exit: &Exit| tiering.counters.count(layout.exit(index, exit.number));
    report.exits = report_exits(region, count);
    for version in &hot.versions {
        add_version(&mut report.versions, total, version);
    }
    report.entries = tiering.counters.count(layout.entries(index));
    report.entries_while_running = tiering.counters.count(layout.running(index));
    report
}

/// The figures of an engine, for the report.
fn report_memory(stats: &MemoryStats) -> MemoryReport {
    let tiers = stats.tiers.iter().enumerate().map(|(tier, bytes)| {
        let report = TierMemoryReport {
            live: bytes.live,
            retired: bytes.retired,
            freed: bytes.freed,
        };
        (format!("tier{tier}"), report)
    });
    let range = |range: &RangeStats| RangeReport {
        live: range.live,
        touched: range.touched,
        holes: range.holes,
        // Six decimals: the rest is noise.
        fragmentation: (range.fragmentation() * 1e6).round() / 1e6,
    };
    MemoryReport {
        tiers: tiers.collect(),
        code: range(&stats.code),
        data: range(&stats.data),
        waiting: stats.waiting,
    }
}
