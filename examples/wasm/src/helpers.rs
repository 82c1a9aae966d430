//! Functions of the runtime that generated code calls.
//!
//! Each takes the context of its instance first. A helper neither unwinds nor traps: what fails is a
//! status, and generated code traps.
//!
//! Not here: calls of imports ([`crate::host`]).

use crate::error::{Error, TrapKind};
use crate::exceptions::{self, ExceptionData, Thrown};
use crate::instance::InstanceData;
use crate::remote;
use crate::store::Store;
use crate::thunks;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{AbiParam, Signature, Type, types};
use regraft::unwind::Handler;
use regraft::{Engine, FunctionId};
use std::rc::Rc;
use types::{I32, I64};

/// A function of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Helper {
    MemoryGrow,
    MemoryCopy,
    MemoryFill,
    MemoryInit,
    DataDrop,
    TableGrow,
    TableCopy,
    TableFill,
    TableInit,
    ElemDrop,
    ReleaseException,
    Throw,
    ThrowRef,
}

/// Name, parameters after the context, result and code of a helper.
type Description = (Helper, &'static str, &'static [Type], Option<Type>, Code);

/// A helper as generated code of this process calls it, by address, and as that of another does, with values.
struct Code {
    here: usize,
    there: There,
}

/// A helper for an instance whose code runs in another process; `None` where the values are not those of its types.
pub(crate) type There = fn(&InstanceData, &[DataValue]) -> Option<Vec<DataValue>>;

fn descriptions() -> [Description; 11] {
    const I32_3: &[Type] = &[I32; 3];
    const I32_4: &[Type] = &[I32; 4];
    const I32_5: &[Type] = &[I32; 5];
    macro_rules! code {
        ($function:ident) => {
            Code {
                here: ($function::here as *const ()).expose_provenance(),
                there: $function::there,
            }
        };
    }
    [
        (
            Helper::MemoryGrow,
            "wasm.memory.grow",
            &I32_3[..2],
            Some(I32),
            code!(memory_grow),
        ),
        (
            Helper::MemoryCopy,
            "wasm.memory.copy",
            I32_5,
            Some(I32),
            code!(memory_copy),
        ),
        (
            Helper::MemoryFill,
            "wasm.memory.fill",
            I32_4,
            Some(I32),
            code!(memory_fill),
        ),
        (
            Helper::MemoryInit,
            "wasm.memory.init",
            I32_5,
            Some(I32),
            code!(memory_init),
        ),
        (
            Helper::DataDrop,
            "wasm.data.drop",
            &I32_3[..1],
            None,
            code!(data_drop),
        ),
        (
            Helper::TableGrow,
            "wasm.table.grow",
            &[I32, I64, I32],
            Some(I32),
            code!(table_grow),
        ),
        (
            Helper::TableCopy,
            "wasm.table.copy",
            I32_5,
            Some(I32),
            code!(table_copy),
        ),
        (
            Helper::TableFill,
            "wasm.table.fill",
            &[I32, I32, I64, I32],
            Some(I32),
            code!(table_fill),
        ),
        (
            Helper::TableInit,
            "wasm.table.init",
            I32_5,
            Some(I32),
            code!(table_init),
        ),
        (
            Helper::ElemDrop,
            "wasm.elem.drop",
            &I32_3[..1],
            None,
            code!(elem_drop),
        ),
        (
            Helper::ReleaseException,
            "wasm.exception.release",
            &[I64],
            None,
            code!(release_exception),
        ),
    ]
}

/// The helpers as functions of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Helpers(Vec<FunctionId>);

impl Helpers {
    /// Declares all helpers, for the store with this number.
    pub fn declare(engine: &Engine, store: u64) -> Result<Self, Error> {
        let here = engine.config().executor.is_here();
        let mut ids = vec![];
        for (position, (helper, name, params, result, code)) in
            descriptions().into_iter().enumerate()
        {
            debug_assert_eq!(position, helper as usize);
            let mut signature = Signature::new(engine.isa().default_call_conv());
            signature.params.push(AbiParam::new(I64));
            let params = params.iter().map(|ty| AbiParam::new(*ty));
            signature.params.extend(params);
            signature.returns.extend(result.map(AbiParam::new));
            if !here {
                let there = remote::helper(engine, name, &signature, store, code.there);
                ids.push(there?);
                continue;
            }
            let symbol = format!("{name}.host");
            engine.symbol(&symbol, std::ptr::with_exposed_provenance::<u8>(code.here))?;
            let host = engine.declare(&symbol, &signature)?;
            ids.push(thunks::helper(engine, name, &signature, host)?);
        }
        let throw = (throw as *const ()).expose_provenance();
        let throw_ref = (throw_ref as *const ()).expose_provenance();
        for (name, params, address) in [
            ("wasm.throw", &[I64, I32, I64][..], throw),
            ("wasm.throw_ref", &[I64, I64], throw_ref),
        ] {
            ids.push(match here {
                true => thunks::thrower(engine, name, params, address)?,
                false => remote::absent(engine, name, &thunks::thrower_signature(params))?,
            });
        }
        Ok(Self(ids))
    }

    pub fn id(&self, helper: Helper) -> FunctionId {
        self.0[helper as usize]
    }
}

/// The instance whose context this is.
///
/// # Safety
///
/// The context is that of a living instance: what generated code passes.
unsafe fn instance<'a>(vmctx: *const u8) -> &'a InstanceData {
    // SAFETY: the first field of a context is the address of its instance, which the store keeps for as
    // long as code of it can run; nobody has a unique reference to it.
    unsafe { &*vmctx.cast::<*const InstanceData>().read() }
}

fn status(result: Result<(), TrapKind>) -> u32 {
    u32::from(result.is_err())
}

/// Grown by how much: the size before, or -1.
fn grown(before: Option<u64>) -> u32 {
    before.map_or(u32::MAX, |before| u32::try_from(before).unwrap_or(u32::MAX))
}

/// A value of a helper, as it travels between processes.
trait Travels: Sized {
    fn from_value(value: &DataValue) -> Option<Self>;
}

impl Travels for u32 {
    fn from_value(value: &DataValue) -> Option<Self> {
        match value {
            DataValue::I32(value) => Some(value.cast_unsigned()),
            _ => None,
        }
    }
}

impl Travels for u64 {
    fn from_value(value: &DataValue) -> Option<Self> {
        match value {
            DataValue::I64(value) => Some(value.cast_unsigned()),
            _ => None,
        }
    }
}

/// What a helper returns.
trait Results {
    fn values(self) -> Vec<DataValue>;
}

impl Results for () {
    fn values(self) -> Vec<DataValue> {
        vec![]
    }
}

impl Results for u32 {
    fn values(self) -> Vec<DataValue> {
        vec![DataValue::I32(self.cast_signed())]
    }
}

macro_rules! helpers {
    ($($name:ident($instance:ident, $($arg:ident: $ty:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        mod $name {
            use super::*;

            fn run($instance: &InstanceData, $($arg: $ty),*) $(-> $result)? $body

            pub extern "C" fn here(vmctx: *const u8, $($arg: $ty),*) $(-> $result)? {
                // SAFETY: generated code passes its own context.
                run(unsafe { instance(vmctx) }, $($arg),*)
            }

            pub fn there(
                instance: &InstanceData,
                arguments: &[DataValue],
            ) -> Option<Vec<DataValue>> {
                let mut arguments = arguments.iter();
                $(let $arg = <$ty>::from_value(arguments.next()?)?;)*
                Some(Results::values(run(instance, $($arg),*)))
            }
        }
    )*};
}

helpers! {
    memory_grow(instance, memory: u32, delta: u32) -> u32 {
        grown(instance.memory(memory).grow(u64::from(delta)))
    }

    memory_copy(instance, to: u32, from: u32, target: u32, source: u32, length: u32) -> u32 {
        let (to, from) = (instance.memory(to), instance.memory(from));
        status(to.copy(u64::from(target), from, u64::from(source), u64::from(length)))
    }

    memory_fill(instance, memory: u32, at: u32, value: u32, length: u32) -> u32 {
        let memory = instance.memory(memory);
        status(memory.fill(u64::from(at), value.to_le_bytes()[0], u64::from(length)))
    }

    memory_init(instance, memory: u32, segment: u32, to: u32, from: u32, length: u32) -> u32 {
        status(instance.init_memory(memory, segment, u64::from(to), from, length))
    }

    data_drop(instance, segment: u32) {
        instance.drop_data(segment);
    }

    table_grow(instance, table: u32, init: u64, delta: u32) -> u32 {
        grown(instance.table(table).grow(u64::from(delta), init))
    }

    table_copy(instance, to: u32, from: u32, target: u32, source: u32, length: u32) -> u32 {
        let (to, from) = (instance.table(to), instance.table(from));
        status(to.copy(u64::from(target), from, u64::from(source), u64::from(length)))
    }

    table_fill(instance, table: u32, at: u32, value: u64, length: u32) -> u32 {
        status(instance.table(table).fill(u64::from(at), value, u64::from(length)))
    }

    table_init(instance, table: u32, segment: u32, to: u32, from: u32, length: u32) -> u32 {
        status(instance.init_table(table, segment, u64::from(to), from, length))
    }

    elem_drop(instance, segment: u32) {
        instance.drop_elements(segment);
    }

    release_exception(instance, exception: u64) {
        if let Some(store) = Store::upgrade(&instance.store) {
            store.release_exception(exception);
        }
    }
}

/// Throws a new exception; returns where nobody handles it.
extern "C" fn throw(vmctx: *const u8, tag: u32, cells: *const u128, frame: usize) {
    let found = {
        // SAFETY: generated code passes its own context.
        let instance = unsafe { instance(vmctx) };
        let tag = instance.tag(tag);
        // SAFETY: generated code has written a cell for each value of the tag, and waits.
        let cells = unsafe { std::slice::from_raw_parts(cells, tag.ty.params.len()) };
        let exception = ExceptionData::new(tag, cells.into());
        let store = Store::upgrade(&instance.store);
        store.and_then(|store| {
            store.keep_exception(&exception);
            // SAFETY: the frame pointer is that of the function that has called this one.
            unsafe { handler(&store, &exception, frame) }
        })
    };
    if let Some((handler, word)) = found {
        // SAFETY: just found, above a frame that waits; this one owns nothing any more.
        unsafe { handler.resume([word, 0]) }
    }
}

/// Throws an exception again; returns where nobody handles it.
extern "C" fn throw_ref(vmctx: *const u8, exception: u64, frame: usize) {
    let found = {
        // SAFETY: generated code passes its own context.
        let instance = unsafe { instance(vmctx) };
        Store::upgrade(&instance.store).and_then(|store| {
            let exception = store.thrown_again(exception)?;
            // SAFETY: the frame pointer is that of the function that has called this one.
            unsafe { handler(&store, &exception, frame) }
        })
    };
    if let Some((handler, word)) = found {
        // SAFETY: just found, above a frame that waits; this one owns nothing any more.
        unsafe { handler.resume([word, 0]) }
    }
}

/// Who handles an exception, and the reference to it; where nobody does, the call of the host fails with it.
///
/// # Safety
///
/// As [`exceptions::handler`].
unsafe fn handler(
    store: &Store,
    exception: &Rc<ExceptionData>,
    frame: usize,
) -> Option<(Handler, u64)> {
    // SAFETY: the caller's contract.
    let found = unsafe { exceptions::handler(frame) };
    if found.is_none() {
        store.fail(Error::Exception(Thrown::new(exception)));
    }
    Some((found?, exception.word()))
}
