//! A store: an engine, and everything that lives in it.
//!
//! Instances, functions, memories and tables of one store can be linked with each other. What has been
//! made lives as long as the store: a reference can be in any table. A store belongs to one thread; tier 1
//! is compiled on another, which knows code only.

use crate::compile::Compiled;
use crate::error::{Error, Trap, TrapKind, codes};
use crate::exceptions::{Exception, ExceptionData, Thrown};
use crate::func::{HostFunc, call_host, throw_from_host};
use crate::helpers::Helpers;
use crate::instance::InstanceData;
use crate::module::Module;
use crate::remote;
use crate::thunks;
use crate::types::FuncType;
use crate::vmctx::FuncRecord;
use regraft::executor::HOST_FUNCTION_FAILED;
use regraft::{Engine, FunctionId, TypedFn};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A handle of a store; cloning is cheap and gives another handle of the same store.
#[derive(Clone)]
pub struct Store {
    inner: Rc<StoreData>,
}

/// The type of `enter`: code, context and cells.
pub(crate) type Enter = TypedFn<(u64, u64, u64), ()>;

pub(crate) struct StoreData {
    engine: Engine,
    /// Tells it from the other stores of the process.
    number: u64,
    helpers: Helpers,
    /// What host functions call, where code runs in this process: the host's function, and the one that throws.
    host: Option<(FunctionId, FunctionId)>,
    types: RefCell<Types>,
    compiled: RefCell<HashMap<usize, Arc<Compiled>>>,
    regions: Cell<u32>,
    instances: RefCell<Vec<Rc<InstanceData>>>,
    hosts: RefCell<Vec<Rc<HostFunc>>>,
    known: RefCell<Known>,
    /// Why a host function failed, from then until the call of the host returns.
    failure: RefCell<Option<Error>>,
    /// Exceptions that can be referred to, by their addresses.
    exceptions: RefCell<HashMap<u64, Rc<ExceptionData>>>,
}

/// The types of the store's functions, by number, with their thunks.
#[derive(Default)]
struct Types {
    numbers: HashMap<FuncType, u64>,
    types: Vec<Thunks>,
}

struct Thunks {
    ty: FuncType,
    enter: Option<Enter>,
    enter_with_values: Option<FunctionId>,
    leave: Option<u64>,
}

/// What words of another process refer to.
#[derive(Default)]
struct Known {
    /// Instances, by their contexts.
    instances: HashMap<u64, Rc<InstanceData>>,
    /// Functions of the host, by their records.
    hosts: HashMap<u64, Rc<HostFunc>>,
    records: HashMap<u64, FuncRecord>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("instances", &self.inner.instances.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// A store with an engine of this configuration.
    ///
    /// `compilation` and `block_locations` are what suits WebAssembly, whatever `config` says: functions
    /// compile at their first call, and locations are offsets in the module.
    ///
    /// # Errors
    ///
    /// `Engine`.
    pub fn new(config: regraft::Config) -> Result<Self, Error> {
        let engine = Engine::new(
            config
                .compilation(regraft::Compilation::AtFirstCall)
                .block_locations(false),
        )?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let here = engine.config().executor.is_here();
        let inner = Rc::new(StoreData {
            number,
            helpers: Helpers::declare(&engine, number)?,
            host: here.then(|| host_functions(&engine)).transpose()?,
            engine,
            types: RefCell::default(),
            compiled: RefCell::default(),
            regions: Cell::new(crate::translate::flags::FIRST_OWN_REGION),
            instances: RefCell::default(),
            hosts: RefCell::default(),
            known: RefCell::default(),
            failure: RefCell::default(),
            exceptions: RefCell::default(),
        });
        if !here {
            remote::register(number, Rc::downgrade(&inner));
        }
        Ok(Self { inner })
    }

    /// Whether code runs in this process.
    pub(crate) fn runs_here(&self) -> bool {
        self.inner.host.is_some()
    }

    /// The engine that runs the code: for reports.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn helpers(&self) -> &Helpers {
        &self.inner.helpers
    }

    /// Whether both are handles of one store.
    pub fn same(&self, other: &Store) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn downgrade(&self) -> Weak<StoreData> {
        Rc::downgrade(&self.inner)
    }

    pub(crate) fn upgrade(inner: &Weak<StoreData>) -> Option<Self> {
        inner.upgrade().map(|inner| Self { inner })
    }

    /// The number of a type; equal types have one number.
    pub(crate) fn type_id(&self, ty: &FuncType) -> u64 {
        let mut types = self.inner.types.borrow_mut();
        if let Some(&number) = types.numbers.get(ty) {
            return number;
        }
        let number = types.types.len() as u64;
        types.numbers.insert(ty.clone(), number);
        types.types.push(Thunks {
            ty: ty.clone(),
            enter: None,
            enter_with_values: None,
            leave: None,
        });
        number
    }

    /// The type with a number that this store has given.
    pub(crate) fn type_of(&self, number: u64) -> FuncType {
        let types = self.inner.types.borrow();
        let found = types.types.get(number as usize);
        found.map_or_else(FuncType::default, |thunks| thunks.ty.clone())
    }

    /// How the host calls functions of a type.
    pub(crate) fn enter(&self, number: u64) -> Result<Enter, Error> {
        let mut types = self.inner.types.borrow_mut();
        let unknown = || Error::Internal(format!("no type {number}"));
        let thunks = types.types.get_mut(number as usize).ok_or_else(unknown)?;
        if let Some(enter) = &thunks.enter {
            return Ok(enter.clone());
        }
        let id = thunks::enter(self.engine(), number, &thunks.ty)?;
        let enter: Enter = self.engine().get(id)?;
        thunks.enter = Some(enter.clone());
        Ok(enter)
    }

    /// How the host calls functions of a type in another process.
    pub(crate) fn enter_with_values(&self, number: u64) -> Result<FunctionId, Error> {
        let mut types = self.inner.types.borrow_mut();
        let unknown = || Error::Internal(format!("no type {number}"));
        let thunks = types.types.get_mut(number as usize).ok_or_else(unknown)?;
        if let Some(enter) = thunks.enter_with_values {
            return Ok(enter);
        }
        let enter = thunks::enter_with_values(self.engine(), number, &thunks.ty)?;
        thunks.enter_with_values = Some(enter);
        Ok(enter)
    }

    /// The code of host functions of a type.
    pub(crate) fn leave(&self, number: u64) -> Result<u64, Error> {
        let mut types = self.inner.types.borrow_mut();
        let unknown = || Error::Internal(format!("no type {number}"));
        let thunks = types.types.get_mut(number as usize).ok_or_else(unknown)?;
        if let Some(leave) = thunks.leave {
            return Ok(leave);
        }
        let id = match self.inner.host {
            Some(host) => thunks::leave(self.engine(), number, &thunks.ty, host)?,
            None => remote::leave(self.engine(), number, &thunks.ty, self.inner.number)?,
        };
        let leave = self.code(id)?;
        thunks.leave = Some(leave);
        Ok(leave)
    }

    /// The address of a function, where code runs.
    pub(crate) fn code(&self, id: FunctionId) -> Result<u64, Error> {
        Ok(match self.runs_here() {
            true => self.engine().pointer(id)?.expose_provenance() as u64,
            false => self.engine().executor_address(id)?.get() as u64,
        })
    }

    /// The functions of a module, which are defined when it is first asked for.
    pub(crate) fn compiled(&self, module: &Module) -> Result<Arc<Compiled>, Error> {
        if !self.runs_here() && !module.inner.tags.is_empty() {
            return Err(Error::Unsupported {
                what: "exceptions, where code runs in another process".to_string(),
            });
        }
        let key = Arc::as_ptr(&module.inner).addr();
        let known = self.inner.compiled.borrow().get(&key).cloned();
        if let Some(compiled) = known {
            return Ok(compiled);
        }
        let serial = self.inner.compiled.borrow().len();
        let serial = u32::try_from(serial).unwrap_or(u32::MAX);
        let first = self.inner.regions.get();
        let globals = u32::try_from(module.inner.globals.len()).unwrap_or(u32::MAX);
        self.inner.regions.set(first.saturating_add(globals));
        let compiled = Compiled::new(self, &module.inner, serial, first)?;
        let mut all = self.inner.compiled.borrow_mut();
        all.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    pub(crate) fn keep_instance(&self, instance: &Rc<InstanceData>) {
        self.inner.instances.borrow_mut().push(Rc::clone(instance));
        if !self.runs_here() {
            let context = instance.context.address();
            let mut known = self.inner.known.borrow_mut();
            known.instances.insert(context, Rc::clone(instance));
        }
    }

    /// Keeps a function of the host, whose record is at `word`.
    pub(crate) fn keep_host(&self, word: u64, host: &Rc<HostFunc>) {
        self.inner.hosts.borrow_mut().push(Rc::clone(host));
        if !self.runs_here() {
            let mut known = self.inner.known.borrow_mut();
            known.hosts.insert(word, Rc::clone(host));
        }
    }

    /// Takes note of the record of a function, where code runs in another process.
    pub(crate) fn know_record(&self, word: u64, record: FuncRecord) {
        if !self.runs_here() {
            self.inner.known.borrow_mut().records.insert(word, record);
        }
    }

    /// The instance with this context in another process.
    pub(crate) fn instance_at(&self, context: u64) -> Option<Rc<InstanceData>> {
        self.inner.known.borrow().instances.get(&context).cloned()
    }

    /// The function of the host with this record in another process.
    pub(crate) fn host_at(&self, word: u64) -> Option<Rc<HostFunc>> {
        self.inner.known.borrow().hosts.get(&word).cloned()
    }

    /// The record at this address in another process.
    pub(crate) fn record_at(&self, word: u64) -> Option<FuncRecord> {
        self.inner.known.borrow().records.get(&word).copied()
    }

    pub(crate) fn keep_exception(&self, exception: &Rc<ExceptionData>) {
        let mut exceptions = self.inner.exceptions.borrow_mut();
        exceptions.insert(exception.word(), Rc::clone(exception));
    }

    /// The exception that a word of generated code refers to.
    pub(crate) fn exception_at(&self, word: u64) -> Option<Exception> {
        let data = self.inner.exceptions.borrow().get(&word).cloned()?;
        data.set_referenced();
        Some(Exception {
            store: self.clone(),
            data,
        })
    }

    /// What a program throws that it has a reference to.
    pub(crate) fn thrown_again(&self, word: u64) -> Option<Rc<ExceptionData>> {
        self.inner.exceptions.borrow().get(&word).cloned()
    }

    /// An exception was caught without making a reference to it.
    pub(crate) fn release_exception(&self, word: u64) {
        let mut exceptions = self.inner.exceptions.borrow_mut();
        if let Entry::Occupied(entry) = exceptions.entry(word)
            && !entry.get().is_referenced()
        {
            entry.remove();
        }
    }

    /// An exception that came out of a call.
    pub fn exception(&self, thrown: &Thrown) -> Option<Exception> {
        self.exception_at(thrown.word)
    }

    /// The exception that a function of the host has failed with, if it has.
    pub(crate) fn failed_with(&self) -> Option<u64> {
        match &*self.inner.failure.borrow() {
            Some(Error::Exception(thrown)) => {
                let exceptions = self.inner.exceptions.borrow();
                exceptions.contains_key(&thrown.word).then_some(thrown.word)
            }
            _ => None,
        }
    }

    pub(crate) fn forget_failure(&self) {
        *self.inner.failure.borrow_mut() = None;
    }

    pub(crate) fn fail(&self, error: Error) {
        *self.inner.failure.borrow_mut() = Some(error);
    }

    /// What a trap of generated code means.
    pub(crate) fn trapped(&self, trap: &regraft::Trap) -> Error {
        if matches!(trap.code, Some(codes::HOST | HOST_FUNCTION_FAILED))
            && let Some(error) = self.inner.failure.borrow_mut().take()
        {
            return error;
        }
        if trap.kind == regraft::TrapKind::Interrupted {
            return Error::Interrupted {
                location: trap.location.as_ref().map(ToString::to_string),
            };
        }
        let kind = match trap.kind {
            regraft::TrapKind::StackOverflow => Some(TrapKind::StackOverflow),
            _ => trap.code.and_then(TrapKind::from_code),
        };
        match kind {
            Some(kind) => Error::Trap(Trap {
                kind,
                location: trap.location.as_ref().map(ToString::to_string),
            }),
            None => Error::Internal(trap.to_string()),
        }
    }
}

/// What host functions of this process call.
fn host_functions(engine: &Engine) -> Result<(FunctionId, FunctionId), Error> {
    let address = (call_host as *const ()).expose_provenance();
    engine.symbol(
        "wasm.host",
        std::ptr::with_exposed_provenance::<u8>(address),
    )?;
    let host = engine.declare("wasm.host", &thunks::host_signature(engine))?;
    let address = (throw_from_host as *const ()).expose_provenance();
    engine.symbol(
        "wasm.host.throw",
        std::ptr::with_exposed_provenance::<u8>(address),
    )?;
    let throw = thunks::throw_signature(engine);
    let throw = engine.declare("wasm.host.throw", &throw)?;
    Ok((host, throw))
}
