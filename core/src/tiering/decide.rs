//! What becomes of a part that was found hot: which region is formed of it, or that the function is compiled as a whole.
//!
//! Invariants:
//!
//! * The function that holds a region is never replaced by it.
//! * A failed compilation leaves the unit's current version in place; it is tried again, each time later,
//!   `Config::max_attempts` times in all.
//! * A decision against a region is not for ever: the countdown is armed again, eight times as long each time, and the decision
//!   taken anew.
//!
//! Not here: what finds parts hot (`detect`), the policy of formation (`regraft_regions::formation`), how what was formed is
//! compiled and published (`pipeline`).

use crate::code::error::CompileError;
use crate::code::generate::panic_message;
use crate::context::Inner;
use crate::pacing::rule::{self, Load, RULE};
use crate::pipeline;
use crate::report::{EventKind, Phase};
use crate::tiering::finding::{Cause, Evidence};
use crate::units::formed::Formed;
use crate::units::part::HotPart;
use crate::units::subject::Subject;
use crate::units::tiering::{Status, Tiering};
use cranelift_codegen::ir::{Block, Function};
use regraft_outliner::OutlineError;
use regraft_regions::{
    Decision, Flow, Formation, FunctionProfile, HotEntry, LoopId, Region, SkipReason, form,
};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Forms, compiles and publishes what a part calls for. A panic on the way counts as a failed compilation.
pub(crate) fn tier_up(engine: &Inner, subject: Subject<'_>, part: HotPart, cause: Cause) {
    if !subject.function.is_current(subject.body) {
        return;
    }
    let work = AssertUnwindSafe(|| tier_up_part(engine, subject, part, cause));
    if let Err(payload) = catch_unwind(work) {
        engine.workers.count_panic();
        let error = CompileError::Panic(panic_message(&*payload));
        subject.tiering.fail(part, error, &engine.config);
    }
}

fn tier_up_part(engine: &Inner, subject: Subject<'_>, part: HotPart, cause: Cause) {
    let Subject {
        function,
        body,
        tiering,
    } = subject;
    let finding = match cause {
        Cause::SideExit(formed) => return re_form(engine, subject, &formed),
        Cause::Found(finding) => finding,
    };
    let profile = match finding.evidence {
        Evidence::Current => Arc::new(tiering.profile(&body.source)),
        Evidence::Counts(profile) => profile,
        Evidence::Region(region) if !tiering.is_scope_of(part, &region) => {
            return tiering.skip(part, SkipReason::NoLoop, &engine.config);
        }
        Evidence::Region(region) => {
            let region = with_cold_blocks(engine, subject, *region);
            return compile(engine, subject, part, region);
        }
    };
    if prefers_whole(engine, tiering, part, &profile)
        || (part == HotPart::Function && engine.paces_by_cost())
    {
        return compile_whole(engine, subject, part, &profile);
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
    let forming = engine.enter(Phase::Form);
    let formation = form(
        &body.source,
        &analysis.flow,
        &analysis.loops,
        &profile,
        &engine.formation_policy(),
        entry,
        &hookable,
    );
    drop(forming);
    tracing::debug!(function = %function.name, ?part, whole = formation.whole_function,
        region = ?formation.region.as_ref().map(Region::entry), "formed");
    follow(engine, subject, part, formation, &profile);
}

/// Compiles and publishes a region of a part.
fn compile(engine: &Inner, subject: Subject<'_>, part: HotPart, region: Region) {
    match part {
        HotPart::Loop(hook) => pipeline::region(engine, subject, hook, region),
        HotPart::Function => pipeline::whole_function(engine, subject, region),
    }
}

/// Does what formation has decided.
fn follow(
    engine: &Inner,
    subject: Subject<'_>,
    part: HotPart,
    formation: Formation,
    profile: &FunctionProfile,
) {
    let tiering = subject.tiering;
    if let Some(region) = formation.region {
        let header = region.entry();
        let taken = tiering
            .hooks
            .iter()
            .position(|hook| hook.region.entry() == header);
        match taken {
            Some(hook) => {
                if part != HotPart::Loop(hook) {
                    tiering.skip(part, SkipReason::CoveredBy { header }, &engine.config);
                    if !tiering.claim(HotPart::Loop(hook), part) {
                        return;
                    }
                }
                let region = with_cold_blocks(engine, subject, region);
                pipeline::region(engine, subject, hook, region);
            }
            None => tiering.skip(part, SkipReason::NoLoop, &engine.config),
        }
    } else if formation.whole_function {
        compile_whole(engine, subject, part, profile);
    } else {
        let first = formation.candidates.into_iter().next();
        let skipped = first.map(|candidate| match candidate.decision {
            Decision::Skip(reason) => reason,
            Decision::Take => SkipReason::LeftToLoop {
                header: candidate.header,
            },
        });
        tiering.skip(part, skipped.unwrap_or(SkipReason::NoLoop), &engine.config);
    }
}

/// Whether a function whose loop is hot is better compiled as a whole: it is called again and again, and
/// is not much larger than the loop.
fn prefers_whole(
    engine: &Inner,
    tiering: &Tiering,
    part: HotPart,
    profile: &FunctionProfile,
) -> bool {
    let HotPart::Loop(_) = part else {
        return false;
    };
    let undecided = matches!(
        tiering.state().whole.status,
        Status::Cold | Status::Skipped(_)
    );
    let (inner, all) = (tiering.weight(part), tiering.weights.function);
    undecided && engine.paces_by_cost() && rule::prefers_whole(inner, all, profile.entries())
}

/// Compiles the function as a whole, because `part` of it is hot.
fn compile_whole(engine: &Inner, subject: Subject<'_>, part: HotPart, profile: &FunctionProfile) {
    let tiering = subject.tiering;
    if part != HotPart::Function {
        tiering.state().part_mut(part).status = Status::WholeFunction;
        if engine.paces_by_cost() {
            // An activation that stays in the loop as long again asks for the loop.
            let busy = Load {
                queued: 0,
                contended: true,
            };
            let patience = engine.config.thresholds.patience;
            let left = RULE.executions_left(tiering.weight(part), 0, busy, patience);
            tiering.arm(part, left.max(1));
        }
        if !tiering.claim(HotPart::Function, part) {
            return;
        }
    }
    match whole_region(engine, subject, profile) {
        Ok(region) => pipeline::whole_function(engine, subject, region),
        Err(error) => tiering.fail(HotPart::Function, error, &engine.config),
    }
}

/// The region of a whole function, less the blocks that its profile says are cold.
pub(crate) fn whole_region(
    engine: &Inner,
    subject: Subject<'_>,
    profile: &FunctionProfile,
) -> Result<Region, CompileError> {
    let Subject { body, tiering, .. } = subject;
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

/// The whole scope, where side exits are switched off.
fn with_cold_blocks(engine: &Inner, subject: Subject<'_>, region: Region) -> Region {
    if engine.config.side_exits || region.is_whole() {
        return region;
    }
    let scope: Vec<_> = region.scope().iter().collect();
    let flow = &subject.tiering.analysis.flow;
    let source = &subject.body.source;
    Region::pruned(source, flow, region.entry(), &scope, |_| true).unwrap_or(region)
}

/// Takes hot side exits into the region that they belong to.
fn re_form(engine: &Inner, subject: Subject<'_>, formed: &Formed) {
    let Subject {
        function,
        body,
        tiering,
    } = subject;
    let part = formed.part;
    engine.happened_to(EventKind::ReFormed, function, tiering, part);
    let flow = &tiering.analysis.flow;
    let scope: Vec<_> = formed.region.scope().iter().collect();
    let blocks = if gives_cold_blocks_back(engine, tiering, part) {
        scope.clone()
    } else {
        let threshold = tiering.side_exit_threshold(part, 1, &engine.config);
        grown_blocks(&body.source, flow, formed, threshold)
    };
    match Region::new(&body.source, flow, formed.region.entry(), scope, blocks) {
        Ok(region) => compile(engine, subject, part, region),
        Err(error) => tiering.fail(part, error.into(), &engine.config),
    }
}

/// Whether leaving cold blocks out has failed so often that the part's next region is its last, with all of them.
fn gives_cold_blocks_back(engine: &Inner, tiering: &Tiering, part: HotPart) -> bool {
    let formations = tiering.state().part_mut(part).formed.len();
    let formations = u32::try_from(formations).unwrap_or(u32::MAX);
    engine.paces_by_cost() && formations.saturating_add(1) >= engine.config.thresholds.formations
}

/// The blocks of a region that takes its hot side exits in: the old ones, and what the newly hot blocks lead to, cold blocks
/// left out again.
///
/// A side exit counts as hot here from an eighth of the threshold on, so that one formation takes in all that run about as
/// often.
fn grown_blocks(func: &Function, flow: &Flow, formed: &Formed, threshold: u64) -> Vec<Block> {
    let region = &formed.region;
    let mut taken: HashSet<Block> = region.blocks().iter().collect();
    let hot = formed.sides.iter().filter(|side| {
        let count = side.counters.entry_count();
        count > 0 && count >= threshold / 8
    });
    let mut pending: Vec<Block> = hot.map(|side| side.start).collect();
    while let Some(block) = pending.pop() {
        if !taken.insert(block) {
            continue;
        }
        let next = flow.succs(block).map(|edge| flow.edge(edge).to);
        pending.extend(next.filter(|&to| {
            region.scope().contains(to) && !taken.contains(&to) && !func.layout.is_cold(to)
        }));
    }
    let scope = region.scope().iter();
    scope.filter(|block| taken.contains(block)).collect()
}
