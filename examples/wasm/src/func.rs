//! Functions as the host sees them: to call, and to provide.

use crate::error::Error;
use crate::exceptions;
use crate::instance::InstanceData;
use crate::memory::Memory;
use crate::remote;
use crate::space::Cells;
use crate::store::{Store, StoreData};
use crate::types::FuncType;
use crate::value::Value;
use crate::vmctx::{FuncRecord, RECORD_CODE, RECORD_SIZE, RECORD_TYPE, RECORD_VMCTX};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};

/// A function of a store.
#[derive(Clone)]
pub struct Func {
    pub(crate) store: Store,
    /// The address of its record, which the store keeps: the reference to it, as generated code has it.
    pub(crate) word: u64,
    record: FuncRecord,
    /// Set where it was made by [`Func::new`].
    host: Option<Rc<HostFunc>>,
}

impl std::fmt::Debug for Func {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Func").field("ty", &self.ty()).finish()
    }
}

/// What a word of another process refers to that refers to no function.
const NO_RECORD: FuncRecord = FuncRecord {
    code: 0,
    vmctx: 0,
    ty: u64::MAX,
};

/// What a host function does.
type Closure = dyn Fn(&Caller, &[Value], &mut [Value]) -> Result<(), Error>;

/// A function of the host. The context that its code runs with is its address here, and its record where code runs in
/// another process.
pub(crate) struct HostFunc {
    record: Cells,
    closure: Rc<Closure>,
    ty: FuncType,
    store: Weak<StoreData>,
    /// Who has imported it.
    importer: Option<Rc<InstanceData>>,
}

/// Who calls a host function.
#[derive(Debug)]
pub struct Caller {
    store: Store,
    importer: Option<Rc<InstanceData>>,
}

impl Caller {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The memory that the instance that imports the function exports as `memory`, or its first one.
    ///
    /// # Errors
    ///
    /// `NoExport` where it has no memory.
    pub fn memory(&self) -> Result<Memory, Error> {
        let importer = self.importer.as_ref();
        let memory = importer.and_then(|instance| instance.default_memory());
        let inner = memory.ok_or_else(|| Error::NoExport {
            kind: "memory",
            name: "memory".to_string(),
        })?;
        Ok(Memory {
            store: self.store.clone(),
            inner,
        })
    }
}

impl Func {
    /// A function of the host. It gets its arguments, and a place for its results: zeros of their types.
    ///
    /// An error ends the call of WebAssembly that is running, and comes out of it; so does a panic, as
    /// an error. A closure that holds a handle of the store keeps it for ever.
    ///
    /// # Errors
    ///
    /// `Engine`.
    pub fn new(
        store: &Store,
        ty: FuncType,
        closure: impl Fn(&Caller, &[Value], &mut [Value]) -> Result<(), Error> + 'static,
    ) -> Result<Self, Error> {
        Self::with_closure(store, ty, Rc::new(closure), None)
    }

    fn with_closure(
        store: &Store,
        ty: FuncType,
        closure: Rc<Closure>,
        importer: Option<Rc<InstanceData>>,
    ) -> Result<Self, Error> {
        let number = store.type_id(&ty);
        let code = store.leave(number)?;
        let host = Rc::new(HostFunc {
            record: Cells::new(store.engine(), RECORD_SIZE)?,
            closure,
            ty,
            store: store.downgrade(),
            importer,
        });
        let word = host.record.address();
        let record = FuncRecord {
            code,
            vmctx: match host.record {
                Cells::Here(_) => Rc::as_ptr(&host).expose_provenance() as u64,
                Cells::There(_) => word,
            },
            ty: number,
        };
        host.record.set_word(RECORD_CODE as usize, record.code);
        host.record.set_word(RECORD_VMCTX as usize, record.vmctx);
        host.record.set_word(RECORD_TYPE as usize, record.ty);
        store.keep_host(word, &host);
        store.know_record(word, record);
        Ok(Self {
            store: store.clone(),
            word,
            record,
            host: Some(host),
        })
    }

    /// The function as `importer` imports it: a host function learns who calls it.
    pub(crate) fn imported_by(&self, importer: &Rc<InstanceData>) -> Result<Self, Error> {
        match &self.host {
            Some(host) if host.importer.is_none() => Self::with_closure(
                &self.store,
                host.ty.clone(),
                Rc::clone(&host.closure),
                Some(Rc::clone(importer)),
            ),
            _ => Ok(self.clone()),
        }
    }

    /// The function that a word of generated code refers to. Of another process it may refer to none: such a function has no
    /// type, and cannot be called.
    pub(crate) fn from_word(store: &Store, word: u64) -> Self {
        let record = match store.runs_here() {
            true => {
                let record = std::ptr::with_exposed_provenance::<FuncRecord>(word as usize);
                // SAFETY: generated code of this process has addresses of records only, which the store keeps.
                unsafe { record.read() }
            }
            false => store.record_at(word).unwrap_or(NO_RECORD),
        };
        Self {
            store: store.clone(),
            word,
            record,
            host: None,
        }
    }

    pub(crate) fn record(&self) -> FuncRecord {
        self.record
    }

    /// Its type.
    pub fn ty(&self) -> FuncType {
        self.store.type_of(self.record().ty)
    }

    /// Calls it.
    ///
    /// # Errors
    ///
    /// `Arguments`; `OtherStore`; `Trap`, `Exit` or `Host`, for what ended the call.
    pub fn call(&self, arguments: &[Value]) -> Result<Vec<Value>, Error> {
        let ty = self.ty();
        ty.check_arguments(arguments)?;
        let mut cells = vec![0u128; ty.params.len().max(ty.results.len())];
        for (cell, argument) in cells.iter_mut().zip(arguments) {
            *cell = argument.to_cell(&self.store)?;
        }
        self.call_cells(&mut cells)?;
        let results = ty.results.iter().zip(&cells);
        Ok(results
            .map(|(ty, cell)| Value::from_cell(*ty, *cell, &self.store))
            .collect())
    }

    /// Calls it with arguments of the right types, and as many cells as it has parameters or results.
    fn call_cells(&self, cells: &mut [u128]) -> Result<(), Error> {
        let record = self.record();
        if !self.store.runs_here() {
            return remote::call(&self.store, record, cells);
        }
        let enter = self.store.enter(record.ty)?;
        let cells = cells.as_mut_ptr().expose_provenance() as u64;
        let arguments = (record.code, record.vmctx, cells);
        // SAFETY: code and context are those of a function of this type, kept by the store; there are
        // enough cells. Generated code accesses what its instance owns and nothing else, and host
        // functions in between are entered again through `try_call` only.
        let called = unsafe { enter.try_call(arguments) };
        called.map_err(|trap| self.store.trapped(&trap))
    }
}

/// Calls the host function `host` with the arguments in `cells`; 0 if it did not fail.
pub(crate) extern "C" fn call_host(host: *const HostFunc, cells: *mut u128) -> u32 {
    // SAFETY: generated code passes the context of a host function: its address, kept by the store.
    let host = unsafe { &*host };
    let Some(store) = Store::upgrade(&host.store) else {
        return 1;
    };
    let count = host.ty.params.len().max(host.ty.results.len());
    // SAFETY: generated code has made as many cells as there are parameters or results, and waits. They are
    // bytes of its frame, of which a value's own are read and no others mean anything.
    let cells = unsafe { std::slice::from_raw_parts_mut(cells, count) };
    u32::from(!host.called(&store, cells))
}

/// Throws the exception that a function of the host has failed with, if somebody handles it: then this does not return.
/// `frame` is the frame pointer of the function of generated code that has called the host.
pub(crate) extern "C" fn throw_from_host(host: *const HostFunc, frame: usize) {
    // SAFETY: as in `call_host`.
    let host = unsafe { &*host };
    let found = Store::upgrade(&host.store).and_then(|store| {
        let word = store.failed_with()?;
        // SAFETY: the frame is one of generated code, which waits for this function.
        let handler = unsafe { exceptions::handler(frame) }?;
        store.forget_failure();
        Some((handler, word))
    });
    if let Some((handler, word)) = found {
        // SAFETY: just found, above a frame that waits; this one owns nothing any more.
        unsafe { handler.resume([word, 0]) }
    }
}

impl HostFunc {
    /// Calls it with arguments in cells, and puts its results there; says whether it did not fail. The store knows why it did.
    pub(crate) fn called(&self, store: &Store, cells: &mut [u128]) -> bool {
        let done = catch_unwind(AssertUnwindSafe(|| self.call(store, cells)));
        let error = match done {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                Error::Host(format!(
                    "a function of the host panicked: {}",
                    text.unwrap_or_default()
                ))
            }
        };
        store.fail(error);
        false
    }

    pub(crate) fn ty(&self) -> &FuncType {
        &self.ty
    }

    fn call(&self, store: &Store, cells: &mut [u128]) -> Result<(), Error> {
        let params = self.ty.params.iter().zip(cells.iter());
        let arguments: Vec<Value> = params
            .map(|(ty, cell)| Value::from_cell(*ty, *cell, store))
            .collect();
        let results = self.ty.results.iter();
        let mut results: Vec<Value> = results.map(|ty| Value::zero(*ty)).collect();
        let caller = Caller {
            store: store.clone(),
            importer: self.importer.clone(),
        };
        (self.closure)(&caller, &arguments, &mut results)?;
        for ((cell, value), ty) in cells.iter_mut().zip(&results).zip(&self.ty.results) {
            if value.ty() != *ty {
                return Err(Error::Host(format!(
                    "a function of the host returned a {} for a {ty}",
                    value.ty()
                )));
            }
            *cell = value.to_cell(store)?;
        }
        Ok(())
    }
}
