//! Declaring and defining functions.

use super::{Inner, lock, write};
use crate::code::codemap::locate_by_block;
use crate::config::{Compilation, Mode};
use crate::error::Error;
use crate::observe::Lines;
use crate::passes::simplify::remove_constant_parameters;
use crate::units::made::Made;
use crate::units::table::{Body, FuncId, FunctionUnit, Unit};
use cranelift_codegen::ir::{Function, Signature};
use regraft_executor::slots::OwnedSlot;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

impl Inner {
    pub fn declare(&self, name: &str, signature: &Signature) -> Result<Arc<FunctionUnit>, Error> {
        let mut units = write(&self.units);
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
        let slot = OwnedSlot::lazy(&self.slots, unit)?;
        let signature = signature.clone();
        let function = Arc::new(FunctionUnit::new(unit, name.to_string(), signature, slot));
        units.insert(unit, Unit::Function(Arc::clone(&function)));
        units
            .functions
            .insert(name.to_string(), Arc::clone(&function));
        Ok(function)
    }

    pub fn define_now(self: &Arc<Self>, id: FuncId, func: Function) -> Result<(), Error> {
        let function = self.function(id)?;
        let _changing = lock(&function.changing);
        if function.body().is_some() {
            return Err(Error::DuplicateDefinition {
                function: function.name.clone(),
            });
        }
        let body = self.make_body(&function, func)?;
        if self.config.compilation == Compilation::AtDefinition {
            self.compile_body(&function, &body)?;
        }
        let entry = body.compiled().map(|baseline| baseline.version.entry);
        self.exchange_body(&function, &body, entry)?;
        self.detect_saved(&function, &body);
        Ok(())
    }

    /// Checks a definition and turns its names into numbers.
    pub fn make_body(
        &self,
        function: &FunctionUnit,
        mut func: Function,
    ) -> Result<Arc<Body>, Error> {
        if function.signature != func.signature {
            return Err(Error::IncompatibleSignature {
                function: function.name.clone(),
                declared: Box::new(function.signature.clone()),
                found: Box::new(func.signature.clone()),
            });
        }
        if self.isas.verify {
            let verified = cranelift_codegen::verify_function(&func, &*self.isas.tier1);
            verified.map_err(|errors| Error::Verifier {
                function: function.name.clone(),
                errors: errors.to_string(),
            })?;
        }
        let profiled = self.saved_profiles.is_some();
        let written_hash = profiled.then(|| regraft_regions::function_hash(&func));
        if self.config.mode != Mode::Eager {
            remove_constant_parameters(&mut func, &*self.isas.tier0);
        }
        let lines = self.observer.lines(&function.name, &func);
        let references =
            crate::units::references::number_references(self, &function.name, &mut func)?;
        if references.takes_address {
            self.reclaimer.pointer_left();
        }
        let block_locations = match lines {
            Some(_) => {
                Lines::number(&mut func);
                false
            }
            None => self.config.block_locations && locate_by_block(&mut func),
        };
        Ok(Arc::new(Body {
            source: func,
            written_hash,
            block_locations,
            lines,
            references,
            externals: None,
            baseline: Made::new(),
            begun: AtomicBool::new(false),
        }))
    }

    /// Compiles the first version of a definition; an error names the function.
    pub fn compile_body(&self, function: &FunctionUnit, body: &Arc<Body>) -> Result<(), Error> {
        let compiled = self.compile_baseline(function, body);
        compiled.map(|_| ()).map_err(|source| Error::Compile {
            function: function.name.clone(),
            source,
        })
    }
}
