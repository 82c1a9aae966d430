//! Tier 0 by templates, which emit counters and OSR checks themselves: no instrumented CLIF is made.
//!
//! A region that gets hot later takes over by the frame (`takeover`): values and interfaces are looked at then, and for the
//! loops that got hot only.
//!
//! Not here: tier 0 of what there are no templates for (`instrument`).

use crate::code::codemap::CodeUnit;
use crate::code::error::CompileError;
use crate::code::generate::generate_by_templates;
use crate::code::link::allocate;
use crate::config::detection::Detection;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::passes::probes::probes;
use crate::pipeline::compile::{check_reserve, fault, link};
use crate::pipeline::instrument::{Survey, allocate_regions, noted_targets};
use crate::reclaim::{forget_hooks, forget_regions, forget_units};
use crate::report::Phase;
use crate::threads::background::compute;
use crate::units::function::{Body, FunctionUnit};
use crate::units::tiering::Baseline;
use std::sync::Arc;

/// What came of a try to make tier 0 by templates.
pub(crate) enum Probed {
    /// Code.
    Version(Box<Baseline>),
    /// There are no templates for something in the function.
    Refused(Box<Survey>),
}

/// Tier 0 by templates, if there are some for everything in the function.
pub(crate) fn probed(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
    survey: Survey,
) -> Result<Probed, CompileError> {
    let target = match engine.isas.template {
        Some(target) if engine.config.templates && counts(engine) => target,
        _ => return Ok(Probed::Refused(Box::new(survey))),
    };
    check_reserve(engine)?;
    fault(engine, Stage::Codegen(0), &function.name)?;
    let hooks = allocate_regions(engine, function, body, &survey.loops);
    let hooks = hooks.inspect_err(|_| forget_regions(engine, body))?;
    let placement = survey.placement(engine, &body.source);
    let regions = hooks.iter().map(|hook| (&hook.region, hook.unit));
    let regions: Vec<_> = regions.collect();
    let flow = &survey.analysis.flow;
    let targets = noted_targets(engine, &body.source);
    let copies = engine.config.memory.counter_copies;
    let (probes, layout) = probes(flow, &regions, &placement, &targets, function.unit, copies);
    let (check, wanted) = (engine.config.testing.check, engine.observer.wanted());
    let (source, isa) = (Arc::clone(body), Arc::clone(&engine.isas.tier0));
    let generating = engine.enter(Phase::generating(0));
    let made = compute(move || {
        generate_by_templates(&source.source, &isa, &target, &probes, check, wanted)
    });
    drop(generating);
    let made = made.unwrap_or(Err(CompileError::Stopped));
    // Nobody else knows the hooks yet: their slots go with them.
    let made = made.inspect_err(|_| forget_units(engine, &hooks))?;
    let Some((generated, frame)) = made else {
        forget_units(engine, &hooks);
        return Ok(Probed::Refused(Box::new(survey)));
    };
    let tiering = survey.tiering(engine, hooks, Some(placement), layout);
    let mut tiering = tiering.inspect_err(|_| forget_regions(engine, body))?;
    tiering.frame = Some(frame);
    tiering.targets = targets;
    let own = [tiering.own_data(function.unit)];
    let origin = body.origin(function, CodeUnit::Function);
    let version = allocate(&engine.arena, &generated.code)
        .map_err(CompileError::from)
        .and_then(|allocation| link(engine, allocation, &origin, generated, &own));
    let version = version.inspect_err(|_| forget_hooks(engine, &tiering))?;
    tracing::debug!(
        function = %function.name, hooks = tiering.hooks.len(), refused = tiering.refused.len(),
        micros = version.compile_time.as_micros(), "tier 0, by templates"
    );
    Ok(Probed::Version(Box::new(Baseline {
        version,
        tiering: Some(tiering),
    })))
}

/// Whether hot code is found by counting.
fn counts(engine: &Inner) -> bool {
    engine.config.detection == Detection::Counters
}
