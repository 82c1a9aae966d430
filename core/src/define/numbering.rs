//! Turning the names in a client's CLIF into numbers.
//!
//! CLIF can name a function as `%name` or as `u0:number`. The engine knows
//! units by number: names are declared (a function) or entered into the table
//! of data names (a global value) and replaced.

use crate::code::externals::Stubs;
use crate::context::Inner;
use crate::define::declare::declare;
use crate::error::Error;
use crate::passes::names;
use crate::units::function::FunctionUnit;
use crate::units::function::References;
use cranelift_codegen::ir::{
    ExternalName, FuncRef, Function, GlobalValue, GlobalValueData, Opcode, Signature,
    UserExternalName,
};
use regraft_executor::locks::{read, write};
use std::collections::HashSet;
use std::sync::Arc;

/// Numbers every reference of `func`; returns the functions it refers to.
///
/// # Errors
///
/// `UnknownFunction` for a number that nobody declared;
/// `IncompatibleSignature` where a callee was declared differently.
pub(crate) fn number_references(
    engine: &Inner,
    name: &str,
    func: &mut Function,
) -> Result<References, Error> {
    let mut references = vec![];
    let mut originals = vec![];
    let callees: Vec<FuncRef> = func.dfg.ext_funcs.keys().collect();
    for callee in callees {
        let data = &func.dfg.ext_funcs[callee];
        let signature = func.dfg.signatures[data.signature].clone();
        let function = match &data.name {
            ExternalName::TestCase(callee) => {
                let callee = String::from_utf8_lossy(callee.raw()).into_owned();
                declare(engine, &callee, &signature)?
            }
            ExternalName::User(reference) => {
                let user = func.params.user_named_funcs().get(*reference);
                match user {
                    Some(user) if user.namespace == names::FUNCTIONS => {
                        check_declared(engine, name, user.index, &signature)?
                    }
                    user => {
                        return Err(Error::UnknownFunction {
                            index: user.map_or(u32::MAX, |user| user.index),
                            referenced_by: Some(name.to_string()),
                        });
                    }
                }
            }
            ExternalName::LibCall(_) | ExternalName::KnownSymbol(_) => continue,
        };
        let user = UserExternalName::new(names::FUNCTIONS, function.unit);
        references.push(function);
        let user = func.declare_imported_user_function(user);
        let name = &mut func.dfg.ext_funcs[callee].name;
        originals.push((callee, std::mem::replace(name, ExternalName::user(user))));
    }
    let symbols = number_data(engine, name, func, &mut references)?;
    let takes_address = references.len() > originals.len() || takes_address(func);
    let mut seen = HashSet::new();
    references.retain(|function| seen.insert(function.unit));
    let stubs = references.iter();
    let stubs = stubs.map(|function| (function.unit, function.slot.stub_address()));
    Ok(References {
        stubs: Stubs::new(stubs),
        callees: references,
        takes_address,
        names: originals,
        symbols,
    })
}

fn check_declared(
    engine: &Inner,
    name: &str,
    index: u32,
    signature: &Signature,
) -> Result<Arc<FunctionUnit>, Error> {
    let units = read(&engine.units);
    let callee = units.function(index).ok_or(Error::UnknownFunction {
        index,
        referenced_by: Some(name.to_string()),
    })?;
    if callee.signature != *signature {
        return Err(Error::IncompatibleSignature {
            function: callee.name.clone(),
            declared: Box::new(callee.signature.clone()),
            found: Box::new(signature.clone()),
        });
    }
    Ok(Arc::clone(callee))
}

/// Whether an instruction takes the address of a function.
fn takes_address(func: &Function) -> bool {
    let blocks = func.layout.blocks();
    let mut insts = blocks.flat_map(|block| func.layout.block_insts(block));
    insts.any(|inst| func.dfg.insts[inst].opcode() == Opcode::FuncAddr)
}

/// Symbols that are global values: data of the host, or functions whose
/// address is taken.
fn number_data(
    engine: &Inner,
    name: &str,
    func: &mut Function,
    references: &mut Vec<Arc<FunctionUnit>>,
) -> Result<Vec<(GlobalValue, ExternalName)>, Error> {
    let mut renamed = vec![];
    for (global, data) in func.global_values.iter() {
        let GlobalValueData::Symbol { name: symbol, .. } = data else {
            continue;
        };
        match symbol {
            ExternalName::TestCase(symbol) => {
                let symbol = String::from_utf8_lossy(symbol.raw()).into_owned();
                let mut units = write(&engine.units);
                let function = units.functions.get(&symbol).cloned();
                let user = match function {
                    Some(function) => {
                        let user = UserExternalName::new(names::FUNCTIONS, function.unit);
                        references.push(function);
                        user
                    }
                    None => {
                        let index = units.data_name(symbol).unwrap_or(u32::MAX);
                        UserExternalName::new(names::DATA, index)
                    }
                };
                renamed.push((global, user));
            }
            ExternalName::User(reference) => {
                let user = func.params.user_named_funcs().get(*reference);
                let index = user.map_or(u32::MAX, |user| user.index);
                let function = user
                    .filter(|user| user.namespace == names::FUNCTIONS)
                    .and_then(|_| read(&engine.units).function(index).cloned());
                references.push(function.ok_or_else(|| Error::UnknownFunction {
                    index,
                    referenced_by: Some(name.to_string()),
                })?);
            }
            ExternalName::LibCall(_) | ExternalName::KnownSymbol(_) => {}
        }
    }
    let mut originals = vec![];
    for (global, user) in renamed {
        let user = func.declare_imported_user_function(user);
        if let GlobalValueData::Symbol { name, .. } = &mut func.global_values[global] {
            let original = std::mem::replace(name, ExternalName::user(user));
            originals.push((global, original));
        }
    }
    Ok(originals)
}
