//! The first version of a function.
//!
//! Invariants:
//!
//! * It is compiled once, and kept: regions are outlined from the same CLIF.
//!
//! Not here: what is published of it, and when (`define`, `runtime`).

use crate::code::codemap::CodeUnit;
use crate::code::error::CompileError;
use crate::config::Mode;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::pacing;
use crate::pipeline::compile::{Code, compile, fault, generate, set_reach};
use crate::pipeline::instrument::{Survey, instrument};
use crate::pipeline::keep::keep;
use crate::pipeline::load::{find, load};
use crate::pipeline::optimize::optimize;
use crate::pipeline::probe::{Probed, probed};
use crate::reclaim::{forget_hooks, forget_regions};
use crate::report::Phase;
use crate::units::function::{Body, FunctionUnit};
use crate::units::tiering::Baseline;
use cranelift_codegen::Context;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a thread sleeps that waits for another's first version.
const GLANCE: Duration = Duration::from_micros(50);

/// Compiles the first version of a function, once.
pub(crate) fn first_version<'b>(
    engine: &Inner,
    function: &FunctionUnit,
    body: &'b Arc<Body>,
) -> Result<&'b Baseline, CompileError> {
    await_other(engine, body);
    let make = || match engine.config.mode {
        _ if let Some(loaded) = loaded(engine, function, body) => Ok(loaded),
        Mode::Eager => eager(engine, function, body),
        Mode::Tiered if starts_at_speed(engine, body) => eager(engine, function, body),
        Mode::Tiered | Mode::Tier0 => counted(engine, function, body),
    };
    // Who waited for another thread's would wait for as long as that is kept from a processor.
    body.baseline.get_or_make(make, |second| {
        if let Some(tiering) = &second.tiering {
            forget_hooks(engine, tiering);
        }
    })
}

/// Waits for the first version if another thread makes it now and has a processor for that.
fn await_other(engine: &Inner, body: &Body) {
    if body.baseline.get().is_some() || !body.begin() {
        return;
    }
    let _waiting = engine.enter(Phase::Wait);
    let since = Instant::now();
    let patience = pacing::compile_time(&body.source);
    while body.baseline.get().is_none()
        && body.baseline.failure().is_none()
        && since.elapsed() < patience
        && !engine.workers.load().contended
    {
        std::thread::sleep(GLANCE);
    }
}

/// Whether the first version of a definition is its last: compiled at tier 1, without counters.
pub(crate) fn starts_at_speed(engine: &Inner, body: &Body) -> bool {
    engine.paces_by_cost() && pacing::starts_at_speed(&body.source)
}

/// What an earlier run has left of a definition that was made.
fn loaded(engine: &Inner, function: &FunctionUnit, body: &Body) -> Option<Baseline> {
    let key = body.key.filter(|key| !key.clients)?;
    let found = find(engine, function, &key.digest)?;
    match load(engine, function, body, found) {
        Ok(version) => Some(Baseline {
            version,
            tiering: None,
        }),
        Err(error) => {
            tracing::warn!(function = %function.name, %error, "kept code cannot be used");
            None
        }
    }
}

/// Compiles a function for later runs only, as it is.
pub(crate) fn compile_to_keep(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Body,
) -> Result<(), CompileError> {
    let origin = body.origin(function, CodeUnit::Function);
    let mut func = body.source.clone();
    optimize(engine, &function.name, &mut func)?;
    set_reach(engine, 1, &mut func, &origin, &[]);
    let context = &mut Context::for_function(func);
    let control = &mut Default::default();
    let generated = generate(engine, 1, &function.name, context, true, control)?;
    keep(engine, body, &origin, &generated);
    Ok(())
}

/// The function as it is, at tier 1.
fn eager(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
) -> Result<Baseline, CompileError> {
    body.save_text();
    let origin = body.origin(function, CodeUnit::Function);
    let code = Code::new(origin, body.source.clone(), vec![]).whole_of(body);
    Ok(Baseline {
        version: compile(engine, code)?,
        tiering: None,
    })
}

/// The function with hooks and counters, at tier 0.
fn counted(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
) -> Result<Baseline, CompileError> {
    let _analyzing = engine.enter(Phase::Analyze);
    fault(engine, Stage::Transform, &function.name)?;
    if engine.config.mode == Mode::Tier0 {
        // Nothing gets hot.
        body.save_text();
    }
    let survey = match probed(engine, function, body, Survey::of(&body.source)?)? {
        Probed::Version(baseline) => return Ok(*baseline),
        Probed::Refused(survey) => survey,
    };
    let instrumented = instrument(engine, function, body, *survey);
    let (func, tiering) = instrumented.inspect_err(|_| forget_regions(engine, body))?;
    let origin = body.origin(function, CodeUnit::Function);
    let origin = origin.with_location_numbers(tiering.location_numbers.as_ref());
    let code = Code {
        tier: 0,
        ..Code::new(origin, func, vec![tiering.own_data(function.unit)])
    };
    let version = compile(engine, code).inspect_err(|_| forget_hooks(engine, &tiering))?;
    tracing::debug!(
        function = %function.name, hooks = tiering.hooks.len(), refused = tiering.refused.len(),
        micros = version.compile_time.as_micros(), "tier 0"
    );
    Ok(Baseline {
        version,
        tiering: Some(tiering),
    })
}
