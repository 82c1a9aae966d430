//! The way of a function from CLIF to published code.
//!
//! ```text
//!   tier 0   prepare ──▶ instrument ──▶ generate ──▶ link ──▶ publish      first::first_version
//!            define       instrument     compile      compile  units::exchange
//!                         probe: both in one, where there are templates
//!
//!   tier 1   extract ──▶ inline ──▶ optimise ──▶ generate ──▶ link ──▶ publish        region, whole_function
//!            extract      inline     optimize     compile      compile  publish
//! ```
//!
//! Each step is a function in the module named below it. What they work on is a [`Subject`], and [`Code`] between the steps.
//!
//! Invariants:
//!
//! * Publication is the last step: code is complete, placed and synchronised before the cell changes, and the state is on
//!   record before that.
//! * What cannot be compiled leaves the current version in place, and nothing of itself.
//!
//! Not here: what is worth compiling (`tiering`), when that pays (`pacing`), definitions (`define`).

pub mod addresses;
pub mod compile;
pub mod continuation;
pub mod extract;
pub mod first;
pub mod inline;
pub mod instrument;
pub mod keep;
pub mod load;
pub mod optimize;
pub mod probe;
pub mod publish;
pub mod takeover;

use crate::code::error::CompileError;
use crate::context::Inner;
use crate::pipeline::compile::{Code, compile};
use crate::pipeline::continuation::make_formed;
use crate::pipeline::publish::publish;
use crate::reclaim::discard;
use crate::report::Phase;
use crate::units::formed::Formed;
use crate::units::part::HotPart;
use crate::units::subject::Subject;
use crate::units::version::Version;
use regraft_regions::Region;
use std::sync::Arc;

/// Compiles the region of a hook at tier 1, and lets the loop enter it.
pub(crate) fn region(engine: &Inner, subject: Subject<'_>, hook: usize, region: Region) {
    subject.body.save_text();
    let part = HotPart::Loop(hook);
    let compiled = make_formed(engine, subject, part, region, None).and_then(|formed| {
        let code = takeover::make_takeover(engine, subject, hook)
            .and_then(|()| extract::region(engine, subject, hook, &formed));
        compile_formed(engine, formed, code)
    });
    conclude(engine, subject, part, compiled);
}

/// Compiles the whole function at tier 1, less the blocks that are not in `region` if they can be left out, and lets calls
/// reach it.
pub(crate) fn whole_function(engine: &Inner, subject: Subject<'_>, region: Region) {
    subject.body.save_text();
    let part = HotPart::Function;
    let compiled = extract::prunable(subject, region).and_then(|(region, interface)| {
        let formed = make_formed(engine, subject, part, region, interface)?;
        let code = extract::function(engine, subject, &formed);
        compile_formed(engine, formed, code)
    });
    conclude(engine, subject, part, compiled);
}

/// Compiles what was extracted of a formed region; gives back what its side exits have if that fails.
fn compile_formed(
    engine: &Inner,
    formed: Arc<Formed>,
    code: Result<Code, CompileError>,
) -> Result<(Arc<Formed>, Version), CompileError> {
    let code = code.and_then(|code| {
        let _optimizing = engine.enter(Phase::Optimize);
        inline::inline(engine, code)
    });
    match code.and_then(|code| compile(engine, code)) {
        Ok(version) => Ok((formed, version)),
        Err(error) => {
            discard(engine, &formed);
            Err(error)
        }
    }
}

/// Publishes what was compiled of a part, or puts on record why it was not.
fn conclude(
    engine: &Inner,
    subject: Subject<'_>,
    part: HotPart,
    compiled: Result<(Arc<Formed>, Version), CompileError>,
) {
    match compiled {
        Ok((formed, version)) => {
            tracing::debug!(
                function = %subject.function.name, ?part, entry = %formed.region.entry(),
                side_exits = formed.sides.len(), micros = version.compile_time.as_micros(), "at tier 1"
            );
            publish(engine, subject, version, formed);
        }
        Err(error) => subject.tiering.fail(part, error, &engine.config),
    }
}
