//! Definitions: made, compiled, and exchanged for the one before.
//!
//! Not here: how it is exchanged while others publish ([`crate::units::exchange`]).

use crate::config::Compilation;
use crate::config::warm::Digest;
use crate::context::Inner;
use crate::define::prepare::prepare;
use crate::define::resolvable::definition_changed;
use crate::error::Error;
use crate::pipeline::first::first_version;
use crate::reclaim::{free, retire};
use crate::report::EventKind;
use crate::tiering::detect::detect_saved;
use crate::units::exchange::Removed;
use crate::units::function::{Body, FunctionId, FunctionUnit};
use crate::units::retired::Retired;
use cranelift_codegen::ir::Function;
use regraft_executor::locks::lock;
use std::sync::Arc;

/// Gives a declared function its first definition; `key` is what the client knows it by, if that is more than its CLIF.
pub(crate) fn define_now(
    engine: &Arc<Inner>,
    id: FunctionId,
    func: Function,
    key: Option<Digest>,
) -> Result<(), Error> {
    let function = engine.function(id)?;
    let _changing = lock(&function.changing);
    if function.body().is_some() {
        return Err(Error::DuplicateDefinition {
            function: function.name.clone(),
        });
    }
    let body = prepare(engine, &function, func, key)?;
    if engine.config.compilation == Compilation::AtDefinition {
        compile_body(engine, &function, &body)?;
    }
    let entry = body.compiled().map(|baseline| baseline.version.entry);
    exchange_body(engine, &function, &body, entry)?;
    detect_saved(engine, &function, &body);
    Ok(())
}

/// Compiles `body` and lets calls reach it; retires what it replaces. The caller holds
/// [`FunctionUnit::changing`].
pub(crate) fn replace_definition(
    engine: &Arc<Inner>,
    function: &Arc<FunctionUnit>,
    body: Arc<Body>,
) -> Result<(), Error> {
    compile_body(engine, function, &body)?;
    let entry = body.compiled().map(|baseline| baseline.version.entry);
    function.lazy.forget();
    if let Some(old) = exchange_body(engine, function, &body, entry)? {
        retire(engine, Retired::Body(old));
    }
    detect_saved(engine, function, &body);
    Ok(())
}

/// Makes `body` the definition and `entry` what calls reach, or asks for one; returns the definition before.
pub(crate) fn exchange_body(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
    entry: Option<usize>,
) -> Result<Option<Arc<Body>>, Error> {
    let old = function.exchange(Some(Arc::clone(body)), entry);
    let old = old.map_err(|Removed| {
        // Nobody has seen it.
        free(engine, Retired::Body(Arc::clone(body)));
        Error::UnknownFunction {
            index: function.unit,
            referenced_by: None,
        }
    })?;
    definition_changed(engine, function);
    let happened = match old {
        Some(_) => EventKind::Redefined,
        None => EventKind::Defined,
    };
    engine.happened(happened, function);
    Ok(old)
}

/// Compiles the first version of a definition; an error names the function.
fn compile_body(engine: &Inner, function: &FunctionUnit, body: &Arc<Body>) -> Result<(), Error> {
    let compiled = first_version(engine, function, body);
    compiled.map(|_| ()).map_err(|source| Error::Compile {
        function: function.name.clone(),
        source,
    })
}
