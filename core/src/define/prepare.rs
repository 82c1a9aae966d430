//! The first step of a definition: checked, simplified, its names turned into numbers.
//!
//! Not here: functions of modules, whose names stay (`local`).

use crate::code::codemap::locate_by_block;
use crate::code::lines::Lines;
use crate::config::Mode;
use crate::context::Inner;
use crate::define::numbering::number_references;
use crate::error::Error;
use crate::passes::simplify::remove_constant_parameters;
use crate::pipeline::optimize::improve;
use crate::report::Phase;
use crate::units::copies::Copies;
use crate::units::function::{Body, FunctionUnit};
use crate::units::made::Made;
use cranelift_codegen::ir::Function;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// Checks a definition and turns its names into numbers.
pub(crate) fn prepare(
    engine: &Inner,
    function: &FunctionUnit,
    mut func: Function,
) -> Result<Arc<Body>, Error> {
    let _analyzing = engine.enter(Phase::Analyze);
    if function.signature != func.signature {
        return Err(Error::IncompatibleSignature {
            function: function.name.clone(),
            declared: Box::new(function.signature.clone()),
            found: Box::new(func.signature.clone()),
        });
    }
    if engine.isas.verify {
        let verified = cranelift_codegen::verify_function(&func, &*engine.isas.tier1);
        verified.map_err(|errors| Error::Verifier {
            function: function.name.clone(),
            errors: Box::new(errors),
        })?;
    }
    let profiled = engine.saved_profiles.is_some();
    let written_hash = profiled.then(|| regraft_regions::function_hash(&func));
    if engine.config.mode != Mode::Eager {
        improve(engine, &function.name, &mut func);
        remove_constant_parameters(&mut func, &*engine.isas.tier0);
    }
    let lines = engine.observer.lines(&function.name, &func);
    let references = number_references(engine, &function.name, &mut func)?;
    if references.takes_address {
        engine.reclaimer.raw_pointer_escaped();
    }
    let block_locations = match lines {
        Some(_) => {
            Lines::number(&mut func);
            false
        }
        None => engine.config.block_locations && locate_by_block(&mut func),
    };
    Ok(Arc::new(Body {
        // It is kept, and whoever built it made room for more.
        source: func.clone(),
        written_hash,
        block_locations,
        lines,
        references,
        copies: Copies::default(),
        copied_size: OnceLock::new(),
        externals: None,
        baseline: Made::new(),
        begun: AtomicBool::new(false),
    }))
}
