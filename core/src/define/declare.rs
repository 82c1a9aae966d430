//! Declaring functions: a number, a slot, a name.

use crate::context::Inner;
use crate::error::Error;
use crate::units::function::FunctionUnit;
use crate::units::table::Unit;
use cranelift_codegen::ir::Signature;
use regraft_executor::locks::write;
use regraft_executor::slots::OwnedSlot;
use std::sync::Arc;

/// The function with this name, declared if need be.
pub(crate) fn declare(
    engine: &Inner,
    name: &str,
    signature: &Signature,
) -> Result<Arc<FunctionUnit>, Error> {
    let mut units = write(&engine.units);
    if let Some(function) = units.functions.get(name) {
        if function.signature != *signature {
            return Err(Error::IncompatibleSignature {
                function: name.to_string(),
                declared: Box::new(function.signature.clone()),
                found: Box::new(signature.clone()),
            });
        }
        return Ok(Arc::clone(function));
    }
    let unit = units.number().ok_or(Error::TooManyUnits)?;
    let slot = OwnedSlot::lazy(&engine.slots, unit)?;
    let signature = signature.clone();
    let function = Arc::new(FunctionUnit::new(unit, name.to_string(), signature, slot));
    units.insert(unit, Unit::Function(Arc::clone(&function)));
    units
        .functions
        .insert(name.to_string(), Arc::clone(&function));
    Ok(function)
}

/// Gives a module's function, which the engine knows by number only, a unit and a slot. Until something is published there, calls trap.
pub(crate) fn declare_local(
    engine: &Inner,
    name: &str,
    signature: &Signature,
) -> Result<Arc<FunctionUnit>, Error> {
    let mut units = write(&engine.units);
    let unit = units.number().ok_or(Error::TooManyUnits)?;
    let slot = OwnedSlot::lazy(&engine.slots, unit)?;
    let mut function = FunctionUnit::new(unit, name.to_string(), signature.clone(), slot);
    function.local = true;
    let function = Arc::new(function);
    units.insert(unit, Unit::Function(Arc::clone(&function)));
    Ok(function)
}

/// Takes a function out of the table that was never published, or that nobody can call any more.
pub(crate) fn forget_local(engine: &Inner, function: &FunctionUnit) {
    write(&engine.units).remove(function.unit);
}
