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

mod addresses;
mod definitions;

use crate::call::invoke::{InvokeError, Invoker};
use crate::call::typed::{ClifArgs, ClifReturn, TypedFn};
use crate::code::codemap::CodeMap;
use crate::code::isa::TierIsas;
use crate::config::{CompileMode, Config, Mode};
use crate::error::Error;
use crate::observe::Observer;
use crate::pacing::Pacing;
use crate::passes::names;
use crate::reclaim::Reclaimer;
use crate::threads::workers::Workers;
use crate::tiering::detect::{Detection, SavedProfiles, Wanted};
use crate::units::table::{FuncId, FunctionUnit, Unit, UnitTable};
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{FuncRef, Function, Signature, UserFuncName};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use regraft_executor::arena::Arena;
use regraft_executor::fork;
use regraft_executor::locks::{lock, read, write};
use regraft_executor::slots::{OwnedSlot, Runtime, SlotTable};
use regraft_regions::{Profile, SavedFunction};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, RwLock, Weak};

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
    /// The generation of definitions: from 1, and higher whenever one changes that others were judged by.
    pub generation: AtomicU64,
    pub reclaimer: Reclaimer,
    pub observer: Observer,
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
        self.observer.forget_stubs();
        for function in self.functions() {
            function.give_up();
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
        // The section ends before the engine may be dropped, which waits for threads.
        self.engine().map_or(0, |inner| {
            let _section = fork::section();
            inner.resolve(unit)
        })
    }

    fn hot(&self, unit: u32) -> usize {
        self.engine().map_or(0, |inner| {
            let _section = fork::section();
            inner.hot(unit)
        })
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
        let observer = Observer::new(&config.observe)?;
        let arena = Arena::for_tools(config.arena, observer.arena_tools())?;
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
            invoker: Invoker::new(Arc::clone(&arena), Arc::clone(&isas.tier0))
                .observed_by(&observer),
            config,
            isas,
            arena,
            slots,
            symbols: RwLock::default(),
            units: RwLock::new(units),
            codemap,
            generation: AtomicU64::new(1),
            reclaimer,
            observer,
            saved_profiles,
            wanted: OnceLock::new(),
        });
        // Nothing has set it before: the callbacks are new.
        let _ = callbacks.0.set(Arc::downgrade(&inner));
        let forked: Weak<Inner> = Arc::downgrade(&inner);
        fork::register_engine(forked);
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
    /// [`Compilation::AtDefinition`](crate::Compilation::AtDefinition) also `Compile`.
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

    /// Stops tiering up, for good: what is being compiled is finished, what waits for it is not, nor what waits for a
    /// processor at a [low priority](crate::WorkerPriority) (that ends by itself); and the compile threads have ended when
    /// this returns.
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

    /// Whether the cost model decides, and not the thresholds alone.
    pub fn paces_by_cost(&self) -> bool {
        self.config.pacing == Pacing::Cost
            && self.tiers_up()
            && !self.synchronous()
            && self.config.detection == Detection::Counters
    }

    pub fn tiers_up(&self) -> bool {
        self.config.mode == Mode::Tiered
    }
}

/// Data of one version: namespace and index of its name, and its address.
pub(crate) type OwnData = ((u32, u32), usize);
