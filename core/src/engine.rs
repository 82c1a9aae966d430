//! The engine: declaring, defining and calling functions.
//!
//! Entry points for a client: [`Engine::new`], [`Engine::declare`],
//! [`Engine::define`], [`Engine::get`], [`Engine::report`]. What happens when
//! code gets hot is in `tierup`.
//!
//! Invariants:
//!
//! * A pointer that was handed out is a stub: it stays valid as long as the
//!   engine and always leads to the newest version.
//! * A failed definition or compilation changes nothing that was there.
//!
//! Not here: CLIF text (`clif`), instrumentation, placement in memory.

use crate::arena::Arena;
use crate::codemap::{CodeMap, locate_by_block};
use crate::config::{Compilation, CompileMode, Config, Mode};
use crate::detect::{SavedProfiles, Wanted};
use crate::error::Error;
use crate::externals::Externals;
use crate::invoke::{InvokeError, Invoker};
use crate::isa::TierIsas;
use crate::link::{default_libcall_address, process_symbol};
use crate::names;
use crate::reclaim::Reclaimer;
use crate::slots::{OwnedSlot, Runtime, SlotRef, SlotTable};
use crate::typed::{ClifArgs, ClifReturn, TypedFn};
use crate::unit::{Body, FuncId, FunctionUnit, Unit, UnitTable};
use crate::worker::Workers;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{FuncRef, Function, Signature, UserFuncName};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_module::ModuleRelocTarget;
use regraft_regions::{Profile, SavedFunction};
use std::collections::{HashMap, HashSet};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

/// A tier-up JIT engine.
///
/// Cloning is cheap and gives another handle of the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub config: Config,
    pub isas: TierIsas,
    pub arena: Arc<Arena>,
    pub slots: Arc<SlotTable>,
    pub invoker: Invoker,
    pub symbols: RwLock<HashMap<String, usize>>,
    pub units: RwLock<UnitTable>,
    pub workers: Workers,
    pub codemap: Arc<CodeMap>,
    pub reclaimer: Reclaimer,
    /// What an earlier run has left.
    pub saved_profiles: Option<SavedProfiles>,
    /// Set where samples are wanted.
    pub wanted: OnceLock<Wanted>,
}

impl Drop for Inner {
    /// Functions that call each other hold each other. Samples are refused before the range of the code is
    /// given up, which another engine may get.
    fn drop(&mut self) {
        drop(self.wanted.take());
        for function in self.functions() {
            function.replace_body(None);
        }
    }
}

/// What cells call back: the engine, as long as it exists.
#[derive(Clone, Default)]
struct Callbacks(Arc<OnceLock<Weak<Inner>>>);

impl Callbacks {
    fn engine(&self) -> Option<Arc<Inner>> {
        self.0.get()?.upgrade()
    }
}

impl Runtime for Callbacks {
    fn resolve(&self, unit: u32) -> usize {
        self.engine().map_or(0, |inner| inner.resolve(unit))
    }

    fn hot(&self, unit: u32) -> usize {
        self.engine().map_or(0, |inner| inner.hot(unit))
    }
}

impl Engine {
    /// An engine for the host.
    ///
    /// # Errors
    ///
    /// `Error::Isa` for an unknown setting or host; `Error::Arena` where
    /// address space cannot be reserved; `Error::NoWorkers`.
    pub fn new(config: Config) -> Result<Self, Error> {
        let settings = config.settings.iter();
        let settings: Vec<(&str, &str)> =
            settings.map(|(name, value)| (&**name, &**value)).collect();
        let isas = TierIsas::native(&settings)?;
        Self::with_tiers(isas, config)
    }

    /// An engine with the target and the settings of `isa`; the tiers choose
    /// optimisation level and register allocator themselves.
    ///
    /// # Errors
    ///
    /// As [`Engine::new`]; `Error::Isa` for a foreign target.
    pub fn with_isa(isa: &dyn TargetIsa, config: Config) -> Result<Self, Error> {
        Self::with_tiers(TierIsas::from_isa(isa)?, config)
    }

    fn with_tiers(isas: TierIsas, config: Config) -> Result<Self, Error> {
        if config.workers == 0 && config.compile == CompileMode::Background {
            return Err(Error::NoWorkers);
        }
        let arena = Arena::new(config.arena)?;
        let callbacks = Callbacks::default();
        let slots = SlotTable::new(Arc::clone(&arena), Box::new(callbacks.clone()))?;
        let codemap = CodeMap::new(Arc::clone(&arena), slots.trap_stub_address());
        // The runtime's entry point is an import like any other: unit 0.
        let slots = Arc::new(slots);
        let mut units = UnitTable::default();
        let number = units.number().unwrap_or(RUNTIME_UNIT);
        let runtime = OwnedSlot::lazy(&slots, number)?;
        runtime.publish(slots.hot_address());
        units.insert(number, Unit::Runtime(Arc::new(runtime)));
        let reclaimer = Reclaimer::new(config.reclamation);
        let saved_profiles = config.profile.clone().map(SavedProfiles::new);
        let inner = Arc::new(Inner {
            workers: Workers::new(config.workers, config.worker_priority),
            invoker: Invoker::new(Arc::clone(&arena), Arc::clone(&isas.tier0)),
            config,
            isas,
            arena,
            slots,
            symbols: RwLock::default(),
            units: RwLock::new(units),
            codemap,
            reclaimer,
            saved_profiles,
            wanted: OnceLock::new(),
        });
        // Nothing has set it before: the callbacks are new.
        let _ = callbacks.0.set(Arc::downgrade(&inner));
        inner.want_samples();
        Ok(Self { inner })
    }

    /// The instruction set that functions are compiled for, at tier 1.
    pub fn isa(&self) -> &dyn TargetIsa {
        &*self.inner.isas.tier1
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Registers a host symbol, for functions that are declared but not
    /// defined and for data that CLIF names. A later registration of the same
    /// name is used by what is resolved after it.
    pub fn symbol(&self, name: &str, address: *const u8) {
        let mut symbols = write(&self.inner.symbols);
        symbols.insert(name.to_string(), address.expose_provenance());
    }

    /// Declares a function: to be defined, or to be found among the host's
    /// symbols when it is first called.
    ///
    /// # Errors
    ///
    /// `IncompatibleSignature` where it was declared differently before.
    pub fn declare(&self, name: &str, signature: &Signature) -> Result<FuncId, Error> {
        let function = self.inner.declare(name, signature)?;
        Ok(FuncId::from_u32(function.unit))
    }

    /// Declares a function in the CLIF of another, which can then call it.
    ///
    /// # Errors
    ///
    /// `UnknownFunction` where the engine has no such function.
    pub fn import(&self, id: FuncId, into: &mut Function) -> Result<FuncRef, Error> {
        let function = self.inner.function(id)?;
        let signature = function.signature.clone();
        Ok(names::function(
            into,
            names::FUNCTIONS,
            id.as_u32(),
            signature,
        ))
    }

    /// Defines a declared function.
    ///
    /// # Errors
    ///
    /// `DuplicateDefinition`, `IncompatibleSignature`, `Verifier`,
    /// `UnknownFunction` for a reference to nobody; with
    /// [`Compilation::AtDefinition`] also `Compile`.
    pub fn define(&self, id: FuncId, func: Function) -> Result<(), Error> {
        let function = self.inner.function(id)?;
        if function.lazy.is_pending() {
            return Err(Error::DuplicateDefinition {
                function: function.name.clone(),
            });
        }
        self.inner.define_now(id, func)
    }

    /// Declares and defines a function under the name that it carries.
    ///
    /// # Errors
    ///
    /// As [`Engine::declare`] and [`Engine::define`].
    pub fn define_function(&self, func: Function) -> Result<FuncId, Error> {
        let name = match &func.name {
            UserFuncName::Testcase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
            UserFuncName::User(name) => name.to_string(),
        };
        let id = self.declare(&name, &func.signature)?;
        self.define(id, func)?;
        Ok(id)
    }

    /// The function with this name, if it was declared.
    pub fn lookup(&self, name: &str) -> Option<FuncId> {
        let units = read(&self.inner.units);
        let function = units.functions.get(name)?;
        Some(FuncId::from_u32(function.unit))
    }

    /// The signature of a function.
    ///
    /// # Errors
    ///
    /// `UnknownFunction`.
    pub fn signature(&self, id: FuncId) -> Result<Signature, Error> {
        Ok(self.inner.function(id)?.signature.clone())
    }

    /// The stable address of a function: valid until the function is removed or
    /// the engine is gone, and always leading to the newest version.
    ///
    /// Calls of it are not pinned: see [`Reclamation`](crate::Reclamation).
    ///
    /// # Errors
    ///
    /// `UnknownFunction`; `UndefinedSymbol` where the function, or one that it
    /// reaches through calls, is neither defined nor a symbol.
    pub fn pointer(&self, id: FuncId) -> Result<*const u8, Error> {
        let function = self.inner.function(id)?;
        self.inner.check_resolvable(&function)?;
        self.inner.reclaimer.pointer_left();
        Ok(std::ptr::with_exposed_provenance(
            function.slot.stub_address(),
        ))
    }

    /// A function as a typed callable, which keeps the engine alive.
    ///
    /// # Errors
    ///
    /// As [`Engine::pointer`]; `Typed` where the Rust types are not those of
    /// the signature.
    pub fn get<A: ClifArgs, R: ClifReturn>(&self, id: FuncId) -> Result<TypedFn<A, R>, Error> {
        let function = self.inner.function(id)?;
        self.inner.check_resolvable(&function)?;
        let host = self.inner.isas.tier1.default_call_conv();
        // The function first: its slot goes back to the engine's table.
        let keepalive = Arc::new((Arc::clone(&function), Arc::<Inner>::clone(&self.inner)));
        let address = function.slot.stub_address();
        let typed = TypedFn::new(address, &function.signature, host, keepalive);
        let typed = typed.map_err(|source| Error::Typed {
            function: function.name.clone(),
            source,
        })?;
        Ok(typed.pinned_by(Arc::<Inner>::clone(&self.inner)))
    }

    /// Calls a function of any signature with values; a trap in generated
    /// code ends the call.
    ///
    /// # Safety
    ///
    /// The code that runs was written by the client: what it reads, writes and
    /// jumps to must be sound for these arguments.
    ///
    /// # Errors
    ///
    /// As [`Engine::pointer`]; `Invoke` where the arguments do not fit; `Trap`.
    pub unsafe fn call(&self, id: FuncId, args: &[DataValue]) -> Result<Vec<DataValue>, Error> {
        let function = self.inner.function(id)?;
        self.inner.check_resolvable(&function)?;
        let entry = function.slot.stub_address();
        let invoke = || {
            // SAFETY: the stub is callable with the function's signature; the rest
            // is the caller's contract.
            unsafe { self.inner.invoker.invoke(&function.signature, entry, args) }
        };
        let results = self.inner.pinned(invoke);
        results.map_err(|source| match source {
            InvokeError::Trap(trap) => Error::Trap(trap),
            source => Error::Invoke {
                function: function.name.clone(),
                source,
            },
        })
    }

    /// The profile of all functions that started at tier 0: what was counted or sampled there, and the regions
    /// that were formed. For [`Config::profile`](Config) of a later run.
    pub fn profile(&self) -> Profile {
        let mut profile = Profile::new();
        for function in self.inner.functions() {
            let Some(body) = function.body() else {
                continue;
            };
            let Some(tiering) = body.tiering() else {
                continue;
            };
            let counts = tiering.profile(&body.source);
            let mut saved =
                SavedFunction::from_profile(&body.source, &tiering.analysis.flow, &counts);
            saved.hash = body.client_hash();
            saved.regions = tiering.state().regions();
            let name = function.unique_name(|name| profile.functions.contains_key(name));
            profile.functions.insert(name, saved);
        }
        profile
    }

    /// Waits until nothing is left to compile in the background.
    pub fn wait_idle(&self) {
        self.inner.workers.wait_idle();
    }

    /// Stops tiering up, for good: what is being compiled is finished, what waits for it is not, and the compile
    /// threads have ended when this returns.
    ///
    /// Code keeps running at the tier that it has reached. Functions and continuations that were never compiled still
    /// are, when they are first called. To have all that is hot compiled before, [`wait_idle`](Self::wait_idle) first.
    pub fn shutdown(&self) {
        self.inner.workers.stop();
        // Another thread may be at it, or run a job itself.
        self.inner.workers.wait_idle();
    }
}

/// The unit of the runtime's entry point.
const RUNTIME_UNIT: u32 = 0;

impl Inner {
    pub fn function(&self, id: FuncId) -> Result<Arc<FunctionUnit>, Error> {
        let units = read(&self.units);
        let function = units.function(id.as_u32()).cloned();
        function.ok_or(Error::UnknownFunction {
            index: id.as_u32(),
            referenced_by: None,
        })
    }

    /// All functions, in the order of their declaration.
    pub fn functions(&self) -> Vec<Arc<FunctionUnit>> {
        let units = read(&self.units);
        let functions = units.iter().filter_map(|unit| match unit {
            Unit::Function(function) => Some(Arc::clone(function)),
            _ => None,
        });
        functions.collect()
    }

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
        function.replace_body(Some(Arc::clone(&body)));
        if let Some(baseline) = body.compiled() {
            // A call from another thread may have published a newer version.
            let entry = baseline.version.entry;
            function.slot.replace(function.slot.lazy_address(), entry);
        }
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
        let references = crate::references::number_references(self, &function.name, &mut func)?;
        if references.takes_address {
            self.reclaimer.pointer_left();
        }
        let block_locations = self.config.block_locations && locate_by_block(&mut func);
        Ok(Arc::new(Body {
            source: func,
            block_locations,
            references,
            externals: None,
            baseline: OnceLock::new(),
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

    /// Finds the code of a unit whose lazy stub was called; 0 if there is none.
    fn resolve(self: &Arc<Self>, unit: u32) -> usize {
        let unit = read(&self.units).get(unit).cloned();
        let function = match unit {
            Some(Unit::Function(function)) => function,
            Some(Unit::Continuation {
                function,
                body,
                formed,
                side,
                slot,
            }) => {
                let alive = body.upgrade().zip(formed.upgrade());
                return alive.map_or(0, |(body, formed)| {
                    self.resolve_continuation(&function, &body, &formed, side, slot)
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
            let address = self.symbol_address(&function.name).unwrap_or(0);
            if address == 0 {
                tracing::error!(function = %function.name, "called, but never defined");
            } else {
                // A redefinition may have been published meanwhile.
                function.slot.replace(function.slot.lazy_address(), address);
                return function.slot.current();
            }
            return 0;
        };
        match self.compile_baseline(&function, &body) {
            Ok(baseline) => {
                // A newer version may have been published meanwhile.
                let entry = baseline.version.entry;
                function.slot.replace(function.slot.lazy_address(), entry);
                self.detect_saved(&function, &body);
                function.slot.current()
            }
            Err(error) => {
                tracing::error!(function = %function.name, %error, "cannot be compiled");
                0
            }
        }
    }

    /// The address of a host symbol: registered, or found by the dynamic linker.
    pub fn symbol_address(&self, name: &str) -> Option<usize> {
        let registered = read(&self.symbols).get(name).copied();
        registered.or_else(|| process_symbol(name))
    }

    /// Checks that everything `root` can reach by calls can be called.
    fn check_resolvable(&self, root: &Arc<FunctionUnit>) -> Result<(), Error> {
        let mut seen = HashSet::from([root.unit]);
        let mut pending = vec![(Arc::clone(root), "the client".to_string())];
        while let Some((function, referenced_by)) = pending.pop() {
            let Some(body) = function.body() else {
                let known = || function.local || self.symbol_address(&function.name).is_some();
                if !function.lazy.is_pending() && !known() {
                    return Err(Error::UndefinedSymbol {
                        name: function.name.clone(),
                        referenced_by,
                    });
                }
                continue;
            };
            for callee in &body.references.callees {
                if seen.insert(callee.unit) {
                    pending.push((Arc::clone(callee), function.name.clone()));
                }
            }
        }
        Ok(())
    }

    /// The address behind an external name, for the linker. `externals` are what the client's names
    /// lead to, if they are not the engine's. `own` is data that only the code being linked knows, by
    /// namespace and index.
    pub fn address_of(
        &self,
        target: &ModuleRelocTarget,
        externals: Option<&Externals>,
        own: &[OwnData],
    ) -> Option<usize> {
        if let Some(address) = externals.and_then(|externals| externals.address_of(target)) {
            return Some(address);
        }
        let (namespace, index) = match *target {
            ModuleRelocTarget::User { namespace, index } => (namespace, index),
            ModuleRelocTarget::LibCall(libcall) => return default_libcall_address(libcall),
            _ => return None,
        };
        let slot = |unit: u32| Some(read(&self.units).get(unit)?.slot());
        match namespace {
            names::FUNCTIONS if externals.is_some() => None,
            names::FUNCTIONS | names::UNITS => slot(index).map(SlotRef::stub_address),
            names::CELLS => slot(index).map(SlotRef::cell_address),
            names::COUNTERS | names::TABLES => {
                let mut own = own.iter();
                own.find(|own| own.0 == (namespace, index)).map(|own| own.1)
            }
            names::RUNTIME => slot(RUNTIME_UNIT).map(SlotRef::stub_address),
            names::DATA => {
                let name = read(&self.units).data_names.get(index as usize)?.clone();
                self.symbol_address(&name)
            }
            _ => None,
        }
    }

    /// The ISA of a tier.
    pub fn isa(&self, tier: u8) -> &OwnedTargetIsa {
        match tier {
            0 => &self.isas.tier0,
            _ => &self.isas.tier1,
        }
    }

    pub fn synchronous(&self) -> bool {
        self.config.compile == CompileMode::Synchronous
    }

    pub fn tiers_up(&self) -> bool {
        self.config.mode == Mode::Tiered
    }
}

/// Data of one version: namespace and index of its name, and its address.
pub(crate) type OwnData = ((u32, u32), usize);

/// Locks for reading; a panic elsewhere leaves the data usable.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing; a panic elsewhere leaves the data usable.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Locks; a panic elsewhere leaves the data usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
