//! Whether all that a function reaches by calls can be called.

use crate::context::Inner;
use crate::error::Error;
use crate::units::function::FunctionUnit;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Checks that everything `root` can reach by calls can be called.
///
/// # Complexity
///
/// O(what is reached and was not found callable before), once for each generation of definitions. Returns how many
/// functions were looked at.
pub(crate) fn check_resolvable(engine: &Inner, root: &FunctionUnit) -> Result<usize, Error> {
    let generation = engine.generation.load(Ordering::Acquire);
    let known = |function: &FunctionUnit| function.resolvable.load(Ordering::Acquire) == generation;
    if known(root) {
        return Ok(0);
    }
    let mut seen = HashSet::from([root.unit]);
    // What `function` refers to and nobody has looked at.
    let mut look = |function: &FunctionUnit, referenced_by: &str| {
        let Some(body) = function.body() else {
            let callable = || function.local || engine.symbol_address(&function.name).is_some();
            if !function.lazy.is_pending() && !callable() {
                return Err(Error::UndefinedSymbol {
                    name: function.name.clone(),
                    referenced_by: referenced_by.to_string(),
                });
            }
            return Ok(vec![]);
        };
        let callees = body.references.callees.iter();
        let new = callees.filter(|callee| !known(callee) && seen.insert(callee.unit));
        let new = new.map(|callee| (Arc::clone(callee), function.name.clone()));
        Ok(new.collect::<Vec<_>>())
    };
    let mut reached = vec![];
    let mut pending = look(root, "the client")?;
    while let Some((function, referenced_by)) = pending.pop() {
        pending.extend(look(&function, &referenced_by)?);
        reached.push(function);
    }
    // Only now: what they reach is all callable.
    for function in reached.iter().map(|function| &**function).chain([root]) {
        function.resolvable.store(generation, Ordering::Release);
    }
    Ok(reached.len() + 1)
}

/// The function is defined otherwise than before. Unless all that it now reaches is callable too, what was judged
/// by it is judged again.
pub(crate) fn definition_changed(engine: &Inner, function: &FunctionUnit) {
    let generation = engine.generation.load(Ordering::Acquire);
    // What has been judged in this generation reaches nothing that was not.
    if function.resolvable.swap(0, Ordering::AcqRel) != generation {
        return;
    }
    if check_resolvable(engine, function).is_err() {
        engine.generation.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
