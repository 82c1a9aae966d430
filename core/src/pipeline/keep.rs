//! Machine code that outlives the process: that of whole functions at tier 1, kept for later runs.
//!
//! ```text
//!   generated ─▶ numbers become names ─▶ bytes (code::kept) ─▶ units::kept ─▶ file                 here
//!   file ─▶ digest right? ─▶ names become numbers ─▶ place, link ─▶ a first version                load
//! ```
//!
//! Invariants:
//!
//! * What has no name that means the same in every run is not kept, and the report says how often and why.
//!
//! Limitations: where people or tools look at code (`Config::observe`), where fuel is limited, and at `Mode::Tier0`, nothing is
//! kept or loaded: texts, lines and unwind information are those of a compilation. Regions and continuations are not kept.
//!
//! Not here: what a definition is known by (`define`), the file (`units::kept`).

use crate::code::codemap::Origin;
use crate::code::generate::Generated;
use crate::code::kept::{KeptFunction, KeptName, Unkept};
use crate::config::Mode;
use crate::context::Inner;
use crate::passes::names;
use crate::units::function::{Body, Key};
use crate::units::kept::Kept;
use cranelift_codegen::ir::Signature;
use cranelift_module::ModuleRelocTarget;
use regraft_executor::locks::read;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What machine code is kept in, where code is kept.
pub(crate) fn code_kept(engine: &Inner) -> Option<&Kept> {
    let kept = engine.kept.as_ref()?;
    let usable = kept.start.code
        && engine.config.mode != Mode::Tier0
        && engine.config.optimizer.fuel.0.is_none()
        && !engine.observer.looks_at_code();
    usable.then_some(kept)
}

/// Keeps code of a whole function for later runs, if it can be.
pub(crate) fn keep(engine: &Inner, body: &Body, origin: &Origin, generated: &Generated) {
    let (Some(kept), Some(Key { digest: key, .. })) = (code_kept(engine), body.key) else {
        return;
    };
    if kept.has(&key) {
        return;
    }
    match kept_function(engine, body, origin, generated) {
        Ok(content) => kept.add(key, content),
        Err(reason) => {
            tracing::debug!(function = %origin.function, %reason, "its code is not kept");
            kept.figures.refuse(reason.code());
        }
    }
}

fn kept_function(
    engine: &Inner,
    body: &Body,
    origin: &Origin,
    generated: &Generated,
) -> Result<Vec<u8>, Unkept> {
    let block_locations = origin.plain_locations().ok_or(Unkept::Copies)?;
    let callees = &body.references.callees;
    let units = read(&engine.units);
    let mut known = vec![];
    for callee in callees {
        // Its name means another function now, or none.
        let named = units.functions.get(&callee.name);
        named
            .filter(|named| named.unit == callee.unit)
            .ok_or(Unkept::Nameless)?;
        known.push(KeptName::Function(
            callee.name.clone(),
            signature_hash(&callee.signature),
        ));
    }
    let data_names = units.data_names.clone();
    drop(units);
    let name = |known: &mut Vec<KeptName>, target: &ModuleRelocTarget| {
        let (namespace, index) = match target {
            ModuleRelocTarget::User { namespace, index } => (*namespace, *index),
            ModuleRelocTarget::LibCall(libcall) => {
                return Ok(position(known, KeptName::LibCall(libcall.to_string())));
            }
            _ => return Err(Unkept::Nameless),
        };
        match namespace {
            names::FUNCTIONS => {
                let found = callees.iter().position(|callee| callee.unit == index);
                let found = found.and_then(|found| u32::try_from(found).ok());
                found.ok_or(Unkept::Nameless)
            }
            names::DATA => {
                let data = data_names.get(index as usize).ok_or(Unkept::Nameless)?;
                Ok(position(known, KeptName::Data(data.clone())))
            }
            names::COPIES => Err(Unkept::Copies),
            names::UNITS => Err(Unkept::SideExits),
            _ => Err(Unkept::Nameless),
        }
    };
    let mut function = KeptFunction::of(generated, known, name)?;
    function.block_locations = block_locations;
    function.takes_address = body.references.takes_address;
    function.callees = callees.len();
    function.size = body.size();
    function.encode(&generated.code.bytes)
}

/// The position of a name, which is added if it is not there.
fn position(known: &mut Vec<KeptName>, name: KeptName) -> u32 {
    let found = known.iter().position(|other| *other == name);
    let found = found.unwrap_or_else(|| {
        known.push(name);
        known.len() - 1
    });
    u32::try_from(found).unwrap_or(u32::MAX)
}

/// A hash of a signature that is the same in every run of one program.
pub(crate) fn signature_hash(signature: &Signature) -> u64 {
    let mut hasher = DefaultHasher::new();
    signature.hash(&mut hasher);
    hasher.finish()
}
