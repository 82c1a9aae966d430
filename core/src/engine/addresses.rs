//! From units and names to addresses.

use crate::code::codemap::Origin;
use crate::code::externals::OwnData;
use crate::code::link::library_call;
use crate::context::{Inner, RUNTIME_UNIT};
use crate::error::Error;
use crate::passes::names;
use crate::units::function::FunctionUnit;
use crate::units::table::Unit;
use cranelift_module::ModuleRelocTarget;
use regraft_executor::ExecutorAddr;
use regraft_executor::locks::read;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// Finds the code of a unit whose lazy stub was called; 0 if there is none.
    pub(crate) fn resolve(self: &Arc<Self>, unit: u32) -> usize {
        let found = read(&self.units).get(unit).cloned();
        let function = match found {
            Some(Unit::Function(function)) => function,
            Some(Unit::Continuation {
                function,
                body,
                formed,
                side,
                ..
            }) => {
                let alive = body.upgrade().zip(formed.upgrade());
                return alive.map_or(0, |(body, formed)| {
                    self.resolve_continuation(&function, &body, &formed, side)
                });
            }
            _ => return 0,
        };
        if function.body().is_none() {
            self.define_pending(&function);
        }
        let Some(body) = function.body() else {
            if function.local {
                tracing::error!(function = %function.name, "called before its module was finalized");
                return 0;
            }
            let symbol = self.symbol_address(&function.name);
            if !function.bind(symbol) {
                // Somebody has defined or removed it meanwhile.
                return self.resolve(unit);
            }
            if symbol.is_none() {
                tracing::error!(function = %function.name, "called, but never defined");
                return 0;
            }
            return function.slot.current();
        };
        match self.compile_baseline(&function, &body) {
            Ok(baseline) => {
                if function.publish_first(&body, baseline.version.entry) {
                    self.detect_saved(&function, &body);
                    self.expect_callees(&body);
                }
                function.slot.current()
            }
            // What has replaced it needs no asking.
            Err(_) if !function.is_current(&body) => function.slot.current(),
            Err(error) => {
                tracing::error!(function = %function.name, %error, "cannot be compiled");
                0
            }
        }
    }

    /// The address of a host symbol: registered, or found by the dynamic linker.
    pub fn symbol_address(&self, name: &str) -> Option<usize> {
        let registered = read(&self.symbols).get(name).copied();
        registered.or_else(|| self.session.symbol(name).map(ExecutorAddr::get))
    }

    /// Checks that everything `root` can reach by calls can be called.
    ///
    /// # Complexity
    ///
    /// O(what is reached and was not found callable before), once for each generation of definitions. Returns how many
    /// functions were looked at.
    pub(crate) fn check_resolvable(&self, root: &FunctionUnit) -> Result<usize, Error> {
        let generation = self.generation.load(Ordering::Acquire);
        let known =
            |function: &FunctionUnit| function.resolvable.load(Ordering::Acquire) == generation;
        if known(root) {
            return Ok(0);
        }
        let mut seen = HashSet::from([root.unit]);
        // What `function` refers to and nobody has looked at.
        let mut look = |function: &FunctionUnit, referenced_by: &str| {
            let Some(body) = function.body() else {
                let callable = || function.local || self.symbol_address(&function.name).is_some();
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
    pub fn definition_changed(&self, function: &FunctionUnit) {
        let generation = self.generation.load(Ordering::Acquire);
        // What has been judged in this generation reaches nothing that was not.
        if function.resolvable.swap(0, Ordering::AcqRel) != generation {
            return;
        }
        if self.check_resolvable(function).is_err() {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The address behind an external name, for the linker. `origin` is whose code is linked. `own` is data that
    /// only this code knows, by namespace and index.
    pub fn address_of(
        &self,
        target: &ModuleRelocTarget,
        origin: &Origin,
        own: &[OwnData],
    ) -> Option<usize> {
        let externals = origin.externals();
        if let Some(address) = externals.and_then(|externals| externals.address_of(target)) {
            return Some(address);
        }
        let (namespace, index) = match *target {
            ModuleRelocTarget::User { namespace, index } => (namespace, index),
            ModuleRelocTarget::LibCall(libcall) => {
                return library_call(&*self.session, libcall);
            }
            _ => return None,
        };
        let slot = |unit: u32| Some(read(&self.units).get(unit)?.slot());
        match namespace {
            names::FUNCTIONS if externals.is_some() => None,
            // The table does not know functions any more that were removed: calls of them trap.
            names::FUNCTIONS => origin.stubs().find(index),
            names::UNITS => slot(index).map(|slot| slot.stub),
            names::CELLS => slot(index).map(|slot| slot.cell),
            names::COUNTERS | names::TABLES => {
                let mut own = own.iter();
                own.find(|own| own.0 == (namespace, index)).map(|own| own.1)
            }
            names::RUNTIME => slot(RUNTIME_UNIT).map(|slot| slot.stub),
            names::DATA => {
                let name = read(&self.units).data_names.get(index as usize)?.clone();
                self.symbol_address(&name)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
