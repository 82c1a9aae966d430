//! Functions of the runtime that generated code calls.
//!
//! Each takes the context of its instance first. A helper neither unwinds nor traps: what fails is a
//! status, and generated code traps.
//!
//! Not here: calls of imports ([`crate::host`]).

use crate::error::{Error, TrapKind};
use crate::instance::InstanceData;
use crate::thunks;
use cranelift_codegen::ir::{AbiParam, Signature, Type, types};
use regraft::{Engine, FuncId};
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
}

/// Name, parameters after the context, result and address of a helper.
type Description = (Helper, &'static str, &'static [Type], Option<Type>, usize);

fn descriptions() -> [Description; 10] {
    const I32_3: &[Type] = &[I32; 3];
    const I32_4: &[Type] = &[I32; 4];
    const I32_5: &[Type] = &[I32; 5];
    macro_rules! address {
        ($function:ident) => {
            ($function as *const ()).expose_provenance()
        };
    }
    [
        (
            Helper::MemoryGrow,
            "wasm.memory.grow",
            &I32_3[..2],
            Some(I32),
            address!(memory_grow),
        ),
        (
            Helper::MemoryCopy,
            "wasm.memory.copy",
            I32_5,
            Some(I32),
            address!(memory_copy),
        ),
        (
            Helper::MemoryFill,
            "wasm.memory.fill",
            I32_4,
            Some(I32),
            address!(memory_fill),
        ),
        (
            Helper::MemoryInit,
            "wasm.memory.init",
            I32_5,
            Some(I32),
            address!(memory_init),
        ),
        (
            Helper::DataDrop,
            "wasm.data.drop",
            &I32_3[..1],
            None,
            address!(data_drop),
        ),
        (
            Helper::TableGrow,
            "wasm.table.grow",
            &[I32, I64, I32],
            Some(I32),
            address!(table_grow),
        ),
        (
            Helper::TableCopy,
            "wasm.table.copy",
            I32_5,
            Some(I32),
            address!(table_copy),
        ),
        (
            Helper::TableFill,
            "wasm.table.fill",
            &[I32, I32, I64, I32],
            Some(I32),
            address!(table_fill),
        ),
        (
            Helper::TableInit,
            "wasm.table.init",
            I32_5,
            Some(I32),
            address!(table_init),
        ),
        (
            Helper::ElemDrop,
            "wasm.elem.drop",
            &I32_3[..1],
            None,
            address!(elem_drop),
        ),
    ]
}

/// The helpers as functions of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Helpers(Vec<FuncId>);

impl Helpers {
    /// Declares all helpers.
    pub fn declare(engine: &Engine) -> Result<Self, Error> {
        let mut ids = vec![];
        for (position, (helper, name, params, result, address)) in
            descriptions().into_iter().enumerate()
        {
            debug_assert_eq!(position, helper as usize);
            let symbol = format!("{name}.host");
            engine.symbol(&symbol, std::ptr::with_exposed_provenance(address));
            let mut signature = Signature::new(engine.isa().default_call_conv());
            signature.params.push(AbiParam::new(I64));
            let params = params.iter().map(|ty| AbiParam::new(*ty));
            signature.params.extend(params);
            signature.returns.extend(result.map(AbiParam::new));
            let host = engine.declare(&symbol, &signature)?;
            ids.push(thunks::helper(engine, name, &signature, host)?);
        }
        Ok(Self(ids))
    }

    pub fn id(&self, helper: Helper) -> FuncId {
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

macro_rules! helpers {
    ($($name:ident($instance:ident, $($arg:ident: $ty:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        extern "C" fn $name(vmctx: *const u8, $($arg: $ty),*) $(-> $result)? {
            // SAFETY: generated code passes its own context.
            let $instance = unsafe { instance(vmctx) };
            $body
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
}
