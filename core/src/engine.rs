//! The engine: declaring, defining and calling functions.
//!
//! Entry points for a client: [`Engine::new`], [`Engine::declare`],
//! [`Engine::define`], [`Engine::get`], [`Engine::report`]. What happens when
//! code gets hot is in `tiering`.
//!
//! Invariants:
//!
//! * A pointer that was handed out is a stub: it stays valid as long as the
//!   engine and always leads to the newest version.
//! * A failed definition or compilation changes nothing that was there.
//!
//! Not here: CLIF text (`clif`), instrumentation, placement in memory.

mod calls;
pub mod elsewhere;
mod reclamation;
mod warm;

use crate::call::invoke::{InvokeError, Invoker};
use crate::code::codemap::CodeMap;
use crate::code::isa::TierIsas;
use crate::config::{CompileMode, Config};
use crate::context::{Engine, Inner, RUNTIME_UNIT};
use crate::define::declare::declare;
use crate::define::definitions::define_now;
use crate::define::resolvable::check_resolvable;
use crate::enter::pinned;
use crate::error::Error;
use crate::observe::Observer;
use crate::observe::account::Account;
use crate::passes::names;
use crate::report::{AccountReport, Phase};
use crate::runtime::Callbacks;
use crate::threads::workers::Workers;
use crate::tiering::detect::want_samples;
use crate::typed::{ClifArgs, ClifReturn, TypedFn};
use crate::units::function::FunctionId;
use crate::units::retired::Reclaimer;
use crate::units::saved::SavedProfiles;
use crate::units::table::{Unit, UnitTable};
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{FuncRef, Function, Signature, UserFuncName};
use cranelift_codegen::isa::TargetIsa;
use regraft_executor::fork;
use regraft_executor::locks::{read, write};
use regraft_executor::session::ExecutorError;
use regraft_executor::slots::OwnedSlot;
use regraft_executor::{Executor, ExecutorAddr};
use regraft_regions::{Profile, SavedFunction};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, RwLock, Weak};

/// Where a symbol is: made from a pointer, for code that runs in this process, or from an [`ExecutorAddr`].
#[derive(Clone, Copy, Debug)]
pub struct SymbolAddress(Address);

#[derive(Clone, Copy, Debug)]
enum Address {
    Here(usize),
    There(ExecutorAddr),
}

impl<T> From<*const T> for SymbolAddress {
    fn from(pointer: *const T) -> Self {
        Self(Address::Here(pointer.expose_provenance()))
    }
}

impl From<ExecutorAddr> for SymbolAddress {
    fn from(address: ExecutorAddr) -> Self {
        Self(Address::There(address))
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

    /// An engine whose code runs in `executor`, the same as with [`Config::executor`](Config).
    ///
    /// # Errors
    ///
    /// As [`Engine::new`]; `Error::Executor`.
    pub fn with_executor(executor: Executor, config: Config) -> Result<Self, Error> {
        Self::new(config.executor(executor))
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
        if config.workers.threads == 0 && config.compile == CompileMode::Background {
            return Err(Error::NoWorkers);
        }
        let observer = Observer::new(&config.observe, config.executor.is_here())?;
        let session = config
            .executor
            .session(config.memory.arena, observer.arena_tools())?;
        let arena = Arc::clone(session.arena());
        let callbacks = Callbacks::default();
        let slots = session.slots(Box::new(callbacks.clone()))?;
        let codemap = match session.is_here() {
            true => CodeMap::new(Arc::clone(&arena), slots.trap_stub_address()),
            false => CodeMap::elsewhere(Arc::clone(&arena)),
        };
        // The runtime's entry point is an import like any other: unit 0.
        let slots = Arc::new(slots);
        let mut units = UnitTable::default();
        let number = units.number().unwrap_or(RUNTIME_UNIT);
        let runtime = OwnedSlot::lazy(&slots, number)?;
        runtime.publish(slots.hot_address());
        units.insert(number, Unit::Runtime(Arc::new(runtime)));
        let reclaimer = Reclaimer::new(config.memory.reclamation);
        let kept = warm::open(&config, &isas);
        let earlier = kept.as_ref().and_then(warm::earlier_profile);
        let saved_profiles = match &config.profile {
            Some(profile) => Some(SavedProfiles::new(Arc::clone(profile), false)),
            None => earlier.map(|profile| SavedProfiles::new(profile, true)),
        };
        let account: Arc<Account> = Arc::default();
        let inner = Arc::new(Inner {
            workers: Workers::new(
                config.workers.threads,
                config.workers.priority,
                Arc::clone(&account),
            ),
            invoker: Invoker::in_session(
                Arc::clone(&session),
                Arc::clone(&codemap),
                Arc::clone(&isas.tier0),
                &observer,
            ),
            config,
            isas,
            session,
            arena,
            slots,
            symbols: RwLock::default(),
            units: RwLock::new(units),
            codemap,
            generation: AtomicU64::new(1),
            reclaimer,
            observer,
            account,
            saved_profiles,
            kept,
            wanted: OnceLock::new(),
        });
        callbacks.set(&inner);
        let forked: Weak<Inner> = Arc::downgrade(&inner);
        fork::register_engine(forked);
        want_samples(&inner);
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

    /// Registers a symbol of the process that runs the code, for functions that are declared but not defined and for data that
    /// CLIF names. A later registration of the same name is used by what is resolved after it.
    ///
    /// # Errors
    ///
    /// `Executor` for an address of this process where code runs in another: there, register an [`ExecutorAddr`], or a
    /// [`host_function`](Engine::host_function).
    pub fn symbol(&self, name: &str, address: impl Into<SymbolAddress>) -> Result<(), Error> {
        let address = match address.into().0 {
            Address::Here(_) if !self.inner.session.is_here() => {
                return Err(unsupported("calling an address of another process"));
            }
            Address::Here(address) => address,
            Address::There(address) => address.get(),
        };
        write(&self.inner.symbols).insert(name.to_string(), address);
        Ok(())
    }

    /// Declares a function: to be defined, or to be found among the host's
    /// symbols when it is first called.
    ///
    /// # Errors
    ///
    /// `IncompatibleSignature` where it was declared differently before.
    pub fn declare(&self, name: &str, signature: &Signature) -> Result<FunctionId, Error> {
        let function = declare(&self.inner, name, signature)?;
        Ok(FunctionId::from_u32(function.unit))
    }

    /// Declares a function in the CLIF of another, which can then call it.
    ///
    /// # Errors
    ///
    /// `UnknownFunction` where the engine has no such function.
    pub fn import(&self, id: FunctionId, into: &mut Function) -> Result<FuncRef, Error> {
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
    pub fn define(&self, id: FunctionId, func: Function) -> Result<(), Error> {
        let function = self.inner.function(id)?;
        if function.lazy.is_pending() {
            return Err(Error::DuplicateDefinition {
                function: function.name.clone(),
            });
        }
        define_now(&self.inner, id, func, None)
    }

    /// Declares and defines a function under the name that it carries.
    ///
    /// # Errors
    ///
    /// As [`Engine::declare`] and [`Engine::define`].
    pub fn define_function(&self, func: Function) -> Result<FunctionId, Error> {
        let name = match &func.name {
            UserFuncName::Testcase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
            UserFuncName::User(name) => name.to_string(),
        };
        let id = self.declare(&name, &func.signature)?;
        self.define(id, func)?;
        Ok(id)
    }

    /// The function with this name, if it was declared.
    pub fn lookup(&self, name: &str) -> Option<FunctionId> {
        let units = read(&self.inner.units);
        let function = units.functions.get(name)?;
        Some(FunctionId::from_u32(function.unit))
    }

    /// The signature of a function.
    ///
    /// # Errors
    ///
    /// `UnknownFunction`.
    pub fn signature(&self, id: FunctionId) -> Result<Signature, Error> {
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
    /// reaches through calls, is neither defined nor a symbol; `Executor` where code runs in another process
    /// ([`Engine::executor_address`]).
    pub fn pointer(&self, id: FunctionId) -> Result<*const u8, Error> {
        runs_here(&self.inner, "a pointer to a function")?;
        let function = self.inner.function(id)?;
        check_resolvable(&self.inner, &function)?;
        self.inner.reclaimer.raw_pointer_escaped();
        Ok(std::ptr::with_exposed_provenance(
            function.slot.stub_address(),
        ))
    }

    /// The stable address of a function in the process that runs it, for programs and data there.
    ///
    /// # Errors
    ///
    /// As [`Engine::pointer`].
    pub fn executor_address(&self, id: FunctionId) -> Result<ExecutorAddr, Error> {
        let function = self.inner.function(id)?;
        check_resolvable(&self.inner, &function)?;
        self.inner.reclaimer.raw_pointer_escaped();
        Ok(ExecutorAddr::new(function.slot.stub_address()))
    }

    /// A function as a typed callable, which keeps the engine alive.
    ///
    /// # Errors
    ///
    /// As [`Engine::pointer`]; `Typed` where the Rust types are not those of
    /// the signature.
    pub fn get<A: ClifArgs, R: ClifReturn>(&self, id: FunctionId) -> Result<TypedFn<A, R>, Error> {
        runs_here(&self.inner, "a typed callable")?;
        let function = self.inner.function(id)?;
        check_resolvable(&self.inner, &function)?;
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
    /// As [`Engine::pointer`]; `Invoke` where the arguments do not fit; `Trap`; `Executor` where that is gone.
    pub unsafe fn call(&self, id: FunctionId, args: &[DataValue]) -> Result<Vec<DataValue>, Error> {
        let function = self.inner.function(id)?;
        check_resolvable(&self.inner, &function)?;
        let entry = function.slot.stub_address();
        let invoke = || {
            // SAFETY: the stub is callable with the function's signature; the rest
            // is the caller's contract.
            unsafe { self.inner.invoker.invoke(&function.signature, entry, args) }
        };
        let results = pinned(&self.inner, invoke);
        results.map_err(|source| match source {
            InvokeError::Trap(trap) => Error::Trap(trap),
            InvokeError::Executor(error) => Error::Executor(error),
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

    /// Where time has gone so far, by thread: the same as in the [report](Self::report).
    pub fn account(&self) -> AccountReport {
        self.inner.account.report()
    }

    /// Waits until nothing is left to compile in the background.
    pub fn wait_idle(&self) {
        let _waiting = self.inner.enter(Phase::Wait);
        self.inner.workers.wait_idle();
    }

    /// Stops tiering up, for good: what is being compiled is finished, what waits for it is not, nor what waits for a
    /// processor at a [low priority](crate::config::WorkerPriority) (that ends by itself); and the compile threads have ended when
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

/// What an executor that is another process cannot do.
pub(crate) fn unsupported(what: &'static str) -> Error {
    Error::Executor(ExecutorError::Unsupported { what })
}

/// Fails where code runs in another process.
fn runs_here(engine: &Inner, what: &'static str) -> Result<(), Error> {
    match engine.session.is_here() {
        true => Ok(()),
        false => Err(unsupported(what)),
    }
}
