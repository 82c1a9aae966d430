//! Functions that a module owns: the engine knows them by number, not by name.
//!
//! ```text
//!   CLIF ── prepare ──▶ machine code with a place ── finish ──▶ a published version
//!           (errors of the compiler)                 (addresses of names)
//! ```
//!
//! From then on they are functions like any other.
//!
//! Invariants:
//!
//! * The CLIF that is kept has the module's own names; what they lead to is in [`Externals`].
//! * A function that cannot be prepared leaves nothing behind.
//!
//! Not here: names, data, and what a client sees of all this (`jit`).

use crate::baseline::{Baseline, Tiering};
use crate::codemap::{CodeUnit, Origin};
use crate::compile::{GenerateError, Generated, panic_message};
use crate::config::Mode;
use crate::engine::{Inner, write};
use crate::error::{CompileError, Error};
use crate::externals::Externals;
use crate::lazy::Lazy;
use crate::link::{ObjectCode, Place, place};
use crate::references::References;
use crate::unit::{Body, FunctionUnit, Unit};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, Signature};
use cranelift_module::ModuleRelocTarget;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

/// A function that is compiled but not linked.
#[derive(Debug)]
pub(crate) struct Prepared {
    body: Body,
    tiering: Option<Tiering>,
    generated: Generated,
    place: Place,
}

impl Prepared {
    /// The machine code.
    pub fn code(&self) -> &ObjectCode {
        &self.generated.code
    }

    /// Where it will run.
    pub fn entry(&self) -> usize {
        self.place.entry()
    }

    fn hook_units(&self) -> Vec<u32> {
        hook_units(self.tiering.as_ref())
    }
}

impl Inner {
    /// Gives a module's function a unit and a slot. Until something is published there, calls trap.
    pub fn declare_local(
        &self,
        name: &str,
        signature: &Signature,
    ) -> Result<Arc<FunctionUnit>, Error> {
        let mut units = write(&self.units);
        let unit = units.next().unwrap_or(u32::MAX);
        let function = Arc::new(FunctionUnit {
            unit,
            name: name.to_string(),
            signature: signature.clone(),
            slot: self.slots.allocate(unit)?,
            body: OnceLock::new(),
            local: true,
            lazy: Lazy::default(),
        });
        units.units.push(Unit::Function(Arc::clone(&function)));
        Ok(function)
    }

    /// Takes back the units of a function that was never published.
    pub fn withdraw_local(&self, function: &FunctionUnit, prepared: Option<&Prepared>) {
        let hooks = prepared.map(Prepared::hook_units).unwrap_or_default();
        self.withdraw(hooks.into_iter().chain([function.unit]));
    }

    fn withdraw(&self, withdrawn: impl IntoIterator<Item = u32>) {
        let mut units = write(&self.units);
        for unit in withdrawn {
            if let Some(entry) = units.units.get_mut(unit as usize) {
                let slot = mem::replace(entry, Unit::Vacant).slot();
                slot.into_iter().for_each(|slot| self.slots.free(slot));
            }
        }
    }

    /// Compiles the first version of a module's function, up to the link.
    ///
    /// `context` is the client's: it gets the machine code that will run, and keeps its own function,
    /// with the names that the machine code refers to.
    pub fn prepare(
        &self,
        function: &FunctionUnit,
        context: &mut Context,
        control: &mut ControlPlane,
    ) -> Result<Prepared, GenerateError> {
        self.check_reserve()?;
        let (tiering, generated) = self.first_code(function, context, control)?;
        let placed = place(&self.arena, &generated.code);
        let place = placed.map_err(|error| {
            self.withdraw(hook_units(tiering.as_ref()));
            CompileError::Memory(error.to_string())
        })?;
        Ok(Prepared {
            body: Body {
                source: context.func.clone(),
                block_locations: false,
                references: References::default(),
                externals: Some(Arc::new(Externals::default())),
                baseline: OnceLock::new(),
            },
            tiering,
            generated,
            place,
        })
    }

    /// Tier 0 with counters, or where that cannot be had, the function as it is at the tier-1
    /// settings.
    fn first_code(
        &self,
        function: &FunctionUnit,
        context: &mut Context,
        control: &mut ControlPlane,
    ) -> Result<(Option<Tiering>, Generated), GenerateError> {
        let name = &function.name;
        if self.config.mode != Mode::Eager {
            let instrument = AssertUnwindSafe(|| self.instrument(function, &context.func));
            let instrumented = catch_unwind(instrument)
                .unwrap_or_else(|payload| Err(CompileError::Panic(panic_message(&*payload))));
            let error = match instrumented {
                Ok((instrumented, tiering)) => {
                    match self.generate_in(0, name, context, instrumented, control) {
                        Ok(generated) => return Ok((Some(tiering), generated)),
                        Err(error) => {
                            self.withdraw(hook_units(Some(&tiering)));
                            error.into()
                        }
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(function = %name, %error, "no tier 0; compiling it as it is");
        }
        let plain = context.func.clone();
        let generated = self.generate_in(1, name, context, plain, control)?;
        Ok((None, generated))
    }

    /// Compiles `func` in a client's context, whose own function stays.
    fn generate_in(
        &self,
        tier: u8,
        name: &str,
        context: &mut Context,
        func: Function,
        control: &mut ControlPlane,
    ) -> Result<Generated, GenerateError> {
        let own = mem::replace(&mut context.func, func);
        let generated = self.generate(tier, name, context, control);
        let compiled = mem::replace(&mut context.func, own);
        if matches!(generated, Err(GenerateError::Other(CompileError::Panic(_)))) {
            let func = mem::replace(&mut context.func, Function::new());
            let want_disasm = context.want_disasm;
            *context = Context::for_function(func);
            context.want_disasm = want_disasm;
        }
        // They are those of the other function.
        context.cfg.clear();
        context.domtree.clear();
        context.loop_analysis.clear();
        for name in compiled.params.user_named_funcs().values() {
            context.func.declare_imported_user_function(name.clone());
        }
        generated
    }

    /// Links and publishes a prepared function. `addresses` are those of its names.
    pub fn finish<'a>(
        &self,
        function: &FunctionUnit,
        prepared: Prepared,
        addresses: impl IntoIterator<Item = (&'a ModuleRelocTarget, usize)>,
    ) -> Result<(), CompileError> {
        let hook_units = prepared.hook_units();
        let Prepared {
            body,
            tiering,
            generated,
            place,
        } = prepared;
        if let Some(externals) = &body.externals {
            externals.settle(addresses);
        }
        let origin = Origin::new(function, &body, CodeUnit::Function);
        let own = tiering
            .as_ref()
            .map(|tiering| tiering.own_data(function.unit));
        let linked = self.link(place, &origin, generated, own.as_slice());
        let version = linked.inspect_err(|_| self.withdraw(hook_units))?;
        let entry = version.entry;
        // Both are new: nobody else knows of this function.
        let _ = body.baseline.set(Ok(Baseline { version, tiering }));
        let _ = function.body.set(body);
        function.slot.publish(entry);
        Ok(())
    }
}

fn hook_units(tiering: Option<&Tiering>) -> Vec<u32> {
    let hooks = tiering.into_iter().flat_map(|tiering| &tiering.hooks);
    hooks.map(|hook| hook.unit).collect()
}
