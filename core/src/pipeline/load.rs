//! Machine code of an earlier run as a first version, in the place of compiling it.
//!
//! Invariants:
//!
//! * What is loaded goes the way of everything that is compiled, from the linker on: code map, memory, publication, redefinition and
//!   reclamation know no difference. It is a first version without counters, like that of a function that starts at `speed`.
//! * A name leads to what has it now, of the same signature, or the code is not used.
//!
//! Not here: what is kept, and why not ([`super::keep`]).

use crate::code::codemap::CodeUnit;
use crate::code::error::{CompileError, TransformError};
use crate::code::externals::Stubs;
use crate::code::kept::{KeptFunction, KeptName, library_call};
use crate::code::link::allocate;
use crate::config::warm::Digest;
use crate::context::Inner;
use crate::passes::names;
use crate::pipeline::compile::{check_reserve, link};
use crate::pipeline::keep::{code_kept, signature_hash};
use crate::units::function::{Body, FunctionUnit, References};
use crate::units::version::Version;
use cranelift_module::ModuleRelocTarget;
use regraft_executor::locks::{read, write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What an earlier run has kept of a definition.
#[derive(Debug)]
pub(crate) struct Loadable<'a> {
    function: KeptFunction,
    /// The machine code.
    code: &'a [u8],
    targets: Vec<ModuleRelocTarget>,
    pub references: References,
}

impl Loadable<'_> {
    /// Instructions and blocks of the definition.
    pub fn size(&self) -> (usize, usize) {
        self.function.size
    }

    /// Whether the source locations of the code are the numbers of its blocks.
    pub fn block_locations(&self) -> bool {
        self.function.block_locations
    }
}

/// Finds what an earlier run has kept of a definition, if it can be used for `function` now.
pub(crate) fn find<'a>(
    engine: &'a Inner,
    function: &FunctionUnit,
    key: &Digest,
) -> Option<Loadable<'a>> {
    let kept = code_kept(engine)?;
    let Some(content) = kept.find(key) else {
        kept.figures.missed.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let found = loadable(engine, content);
    if found.is_none() {
        tracing::warn!(function = %function.name, "kept code does not fit, and is not used");
        kept.reject(*key);
    }
    found
}

fn loadable<'a>(engine: &Inner, content: &'a [u8]) -> Option<Loadable<'a>> {
    let (function, code) = KeptFunction::decode(content)?;
    let mut callees = vec![];
    let mut targets = Vec::with_capacity(function.names.len());
    let mut symbols = vec![];
    let units = read(&engine.units);
    for (position, name) in function.names.iter().enumerate() {
        targets.push(match name {
            KeptName::Function(name, signature) => {
                let callee = units.functions.get(name)?;
                if signature_hash(&callee.signature) != *signature {
                    return None;
                }
                callees.push(Arc::clone(callee));
                ModuleRelocTarget::user(names::FUNCTIONS, callee.unit)
            }
            // It was data of the host then.
            KeptName::Data(name) if units.functions.contains_key(name) => return None,
            KeptName::Data(name) => {
                symbols.push((position, name.clone()));
                ModuleRelocTarget::user(names::DATA, 0)
            }
            KeptName::LibCall(name) => ModuleRelocTarget::LibCall(library_call(name)?),
        });
    }
    drop(units);
    if !symbols.is_empty() {
        let mut units = write(&engine.units);
        for (position, name) in symbols {
            let index = units.data_name(name)?;
            *targets.get_mut(position)? = ModuleRelocTarget::user(names::DATA, index);
        }
    }
    let stubs = callees.iter();
    let stubs = stubs.map(|callee| (callee.unit, callee.slot.stub_address()));
    let references = References {
        stubs: Stubs::new(stubs),
        callees,
        takes_address: function.takes_address,
        names: vec![],
        symbols: vec![],
    };
    Some(Loadable {
        function,
        code,
        targets,
        references,
    })
}

/// Makes a first version of what was found, for a definition with its references.
pub(crate) fn load(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Body,
    found: Loadable<'_>,
) -> Result<Version, CompileError> {
    let start = Instant::now();
    check_reserve(engine)?;
    let Loadable {
        function: known,
        code,
        targets,
        ..
    } = found;
    let generated = known.generated(code, &targets);
    let generated = generated.ok_or(TransformError::Missing {
        what: "meaning of kept code",
    })?;
    let allocation = allocate(&engine.arena, &generated.code)?;
    let origin = body.origin(function, CodeUnit::Function);
    let version = link(engine, allocation, &origin, generated, &[])?;
    if let Some(kept) = &engine.kept {
        kept.figures.loaded.fetch_add(1, Ordering::Relaxed);
    }
    tracing::debug!(function = %function.name, "loaded");
    Ok(Version {
        loaded: true,
        compile_time: start.elapsed(),
        ..version
    })
}
