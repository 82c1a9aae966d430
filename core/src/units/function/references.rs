//! The functions that a definition refers to, and the names that its numbers replaced.

use crate::code::externals::Stubs;
use crate::units::function::FunctionUnit;
use cranelift_codegen::ir::{ExternalName, FuncRef, Function, GlobalValue, GlobalValueData};
use std::sync::Arc;

/// What numbering found, and what it replaced.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// The functions that are referred to, in the order of their references: kept as long as they can be called.
    pub callees: Vec<Arc<FunctionUnit>>,
    /// Their stubs by number: names are linked to these whatever becomes of the functions.
    pub stubs: Stubs,
    /// Whether the code takes the address of a function.
    pub takes_address: bool,
    /// The names of functions before.
    pub names: Vec<(FuncRef, ExternalName)>,
    /// The names of global values before.
    pub symbols: Vec<(GlobalValue, ExternalName)>,
}

impl References {
    /// Puts the client's names back.
    pub fn restore(&self, func: &mut Function) {
        for (callee, name) in &self.names {
            func.dfg.ext_funcs[*callee].name = name.clone();
        }
        for (global, original) in &self.symbols {
            if let GlobalValueData::Symbol { name, .. } = &mut func.global_values[*global] {
                *name = original.clone();
            }
        }
    }
}
