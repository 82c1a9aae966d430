//! Compiles the OSR entry by which a region takes over from tier 0 made by templates: with the hook's first region, once.
//!
//! Invariants:
//!
//! * It lives as long as the code of tier 0 that calls it.
//!
//! Not here: what it does (`passes::takeover`), when it is called (`regraft_template::Probes`).

use crate::code::codemap::CodeUnit;
use crate::code::error::CompileError;
use crate::context::Inner;
use crate::passes::takeover::{Baseline, take_over};
use crate::pipeline::compile::{Code, compile};
use crate::threads::background::without_partner;
use crate::units::subject::Subject;

/// Makes the code by which a hook's region takes over, if tier 0 needs some and it is not there.
pub(crate) fn make_takeover(
    engine: &Inner,
    subject: Subject<'_>,
    hook: usize,
) -> Result<(), CompileError> {
    let Subject { body, tiering, .. } = subject;
    let loop_hook = &tiering.hooks[hook];
    let made = loop_hook.takeover.with(|_| ()).is_some();
    let (Some(frame), Some(baseline), false) = (&tiering.frame, body.compiled(), made) else {
        return Ok(());
    };
    let from = Baseline {
        func: &body.source,
        flow: &tiering.analysis.flow,
        frame,
        code: baseline.version.entry,
    };
    let interface = tiering.interface(&body.source, hook)?;
    let Some(region) = loop_hook.slot.with(|slot| slot.stub_address()) else {
        // It has gone with tier 0, and nothing will be published.
        return Ok(());
    };
    let pointer = engine.isas.tier0.pointer_type();
    let func = take_over(&from, interface, region, pointer)?;
    let entry = interface.entry;
    let origin = subject.origin(CodeUnit::Region { entry });
    let code = Code {
        tier: 0,
        ..Code::new(origin, func, vec![])
    };
    // A few loads, a call and a few stores.
    let version = without_partner(|| compile(engine, code))?;
    loop_hook.takeover.set(version);
    Ok(())
}
