//! From the names of a module to addresses.
//!
//! ```text
//!   function, data:  defined in the module ─▶ registered symbol ─▶ lookup functions ─▶ the process
//!   library call:    the client's name for it, as a symbol ─▶ regraft's own, under its default name
//! ```
//!
//! Invariants: the client's functions are called on the thread that asks.

use super::function::Resolved;
use super::module::JITModule;
use super::resolve::ResolveError;
use crate::code::link::default_libcall_address;
use crate::units::function::FunctionUnit;
use cranelift_codegen::ir::LibCall;
use cranelift_module::{DataId, FuncId, Linkage, ModuleRelocTarget, default_libcall_names};
use std::sync::Arc;

impl JITModule {
    /// Finds the addresses of names.
    pub(super) fn resolve(&self, names: Vec<ModuleRelocTarget>) -> Result<Resolved, ResolveError> {
        let mut resolved = Resolved::default();
        for name in names {
            let address = self.find(&name)?;
            resolved.functions.extend(self.unit_of(&name));
            resolved.addresses.push((name, address));
        }
        resolved
            .functions
            .sort_unstable_by_key(|function| function.unit);
        resolved.functions.dedup_by_key(|function| function.unit);
        Ok(resolved)
    }

    /// The function of the module that a name stands for, if it is defined.
    pub(super) fn unit_of(&self, name: &ModuleRelocTarget) -> Option<Arc<FunctionUnit>> {
        let id = match *name {
            ModuleRelocTarget::User {
                namespace: 0,
                index,
            } => FuncId::from_u32(index),
            ModuleRelocTarget::FunctionOffset(id, _) => id,
            _ => return None,
        };
        let definition = self.functions.get(&id)?;
        Some(Arc::clone(&definition.unit))
    }

    /// The address of a name.
    pub(super) fn find(&self, name: &ModuleRelocTarget) -> Result<usize, ResolveError> {
        let undeclared = || ResolveError::Undeclared {
            name: name.to_string(),
        };
        match *name {
            ModuleRelocTarget::User {
                namespace: 0,
                index,
            } => {
                let id = FuncId::from_u32(index);
                if let Some(definition) = self.functions.get(&id) {
                    return Ok(definition.address());
                }
                if index >= self.declared.functions {
                    return Err(undeclared());
                }
                let declaration = self.declarations.get_function_decl(id);
                let anonymous = || declaration.linkage_name(id).into_owned();
                self.find_symbol(declaration.name.as_deref(), declaration.linkage, anonymous)
            }
            ModuleRelocTarget::User {
                namespace: 1,
                index,
            } => {
                let id = DataId::from_u32(index);
                if let Some(data) = self.data.get(&id) {
                    return Ok(data.address());
                }
                if index >= self.declared.data {
                    return Err(undeclared());
                }
                let declaration = self.declarations.get_data_decl(id);
                let anonymous = || declaration.linkage_name(id).into_owned();
                self.find_symbol(declaration.name.as_deref(), declaration.linkage, anonymous)
            }
            ModuleRelocTarget::LibCall(libcall) => self.find_libcall(libcall),
            ModuleRelocTarget::FunctionOffset(id, offset) => {
                let definition = self.functions.get(&id).ok_or_else(undeclared)?;
                Ok(definition.entry.wrapping_add(offset as usize))
            }
            ModuleRelocTarget::User { .. } | ModuleRelocTarget::KnownSymbol(_) => Err(undeclared()),
        }
    }

    fn find_symbol(
        &self,
        name: Option<&str>,
        linkage: Linkage,
        anonymous: impl FnOnce() -> String,
    ) -> Result<usize, ResolveError> {
        let Some(name) = name else {
            return Err(ResolveError::Anonymous { name: anonymous() });
        };
        match self.symbols.find(name) {
            Some(address) => Ok(address),
            None if linkage == Linkage::Preemptible => Ok(0),
            None => Err(ResolveError::Symbol {
                name: name.to_string(),
            }),
        }
    }

    fn find_libcall(&self, libcall: LibCall) -> Result<usize, ResolveError> {
        let name = (self.libcall_names)(libcall);
        if let Some(address) = self.symbols.find(&name) {
            return Ok(address);
        }
        let default = (default_libcall_names()(libcall) == name)
            .then(|| default_libcall_address(libcall))
            .flatten();
        default.ok_or(ResolveError::Libcall { libcall, name })
    }
}
