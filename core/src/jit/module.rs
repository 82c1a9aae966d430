//! The module: declarations, definitions, and their addresses.
//!
//! Invariants:
//!
//! * A function has a unit, and so its final address, as soon as it is defined.
//! * What a definition refers to gets its address when the module is finalized, on the client's thread;
//!   the client's functions are not called later.
//!
//! Not here: the trait `Module` (`define`), how names are found (`find`).

use super::builder::{JITBuilder, LibcallNames};
use super::data::DataObject;
use super::function::{Definition, engine_error};
use super::symbols::Symbols;
use super::{SystemMemoryProvider, engines};
use crate::context::Engine;
use crate::define::declare::forget_local;
use crate::define::local;
use crate::error::Error;
use crate::units::function::FunctionUnit;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_jit::{BranchProtection, JITMemoryProvider};
use cranelift_module::{
    DataId, FuncId, ModuleDeclarations, ModuleReloc, ModuleRelocTarget, ModuleResult,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Functions and data that were compiled together, with names of their own; implements
/// [`Module`](cranelift_module::Module).
///
/// Made from a [`JITBuilder`]. Once it is finalized, its code runs and tiers up on any number of threads,
/// also when the module is behind an `Arc` or gone.
pub struct JITModule {
    pub(super) isa: OwnedTargetIsa,
    pub(super) engine: Result<Engine, Arc<Error>>,
    pub(super) symbols: Symbols,
    pub(super) libcall_names: LibcallNames,
    memory: Mutex<Memory>,
    pub(super) declarations: ModuleDeclarations,
    pub(super) declared: Declared,
    pub(super) functions: BTreeMap<FuncId, Definition>,
    pub(super) data: BTreeMap<DataId, DataObject>,
    pub(super) functions_to_finalize: Vec<FuncId>,
    pub(super) data_to_finalize: Vec<(DataId, Box<[ModuleReloc]>)>,
    /// The functions that data refer to, kept as long as those.
    functions_in_data: Vec<Arc<FunctionUnit>>,
}

/// How many functions and data objects are declared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Declared {
    pub functions: u32,
    pub data: u32,
}

/// The memory of data objects.
struct Memory {
    provider: Box<dyn JITMemoryProvider + Send>,
    /// Whether there is anything to finalize: always, for a provider of the client.
    pending: bool,
    of_the_client: bool,
}

impl fmt::Debug for JITModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JITModule")
            .field("isa", &self.isa.triple().to_string())
            .field("symbols", &self.symbols)
            .field("declared", &self.declared)
            .finish_non_exhaustive()
    }
}

impl JITModule {
    /// A module as the builder describes it.
    ///
    /// Where there can be no engine, because the target is not the host or address space is short, that
    /// is the error of everything that is defined.
    ///
    /// # Panics
    ///
    /// If the builder's target makes position-independent code.
    pub fn new(builder: JITBuilder) -> Self {
        let JITBuilder {
            isa,
            symbols,
            libcall_names,
            memory,
            engine,
        } = builder;
        assert!(
            !isa.flags().is_pic(),
            "cranelift-jit needs is_pic=false, and so does regraft"
        );
        let engine = match engine {
            Some(engine) => engines::check_target(&engine, &*isa).map(|()| engine),
            None => engines::shared(&isa),
        };
        let of_the_client = memory.is_some();
        let provider = memory.unwrap_or_else(|| Box::new(SystemMemoryProvider::new()));
        Self {
            isa,
            engine: engine.map_err(Arc::new),
            symbols,
            libcall_names,
            memory: Mutex::new(Memory {
                provider,
                pending: false,
                of_the_client,
            }),
            declarations: ModuleDeclarations::default(),
            declared: Declared::default(),
            functions: BTreeMap::new(),
            data: BTreeMap::new(),
            functions_to_finalize: vec![],
            data_to_finalize: vec![],
            functions_in_data: vec![],
        }
    }

    /// Frees the code and the data of the module.
    ///
    /// # Safety
    ///
    /// No function of the module is running, on any thread, and nobody uses a pointer to its functions or
    /// data any more: neither the host nor code of other modules.
    pub unsafe fn free_memory(mut self) {
        self.free_functions();
        self.functions_in_data.clear();
        let memory = self.memory.get_mut();
        let memory = memory.unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller's contract.
        unsafe { memory.provider.free_memory() };
    }

    /// Gives everything of the module's functions back to the engine.
    fn free_functions(&mut self) {
        let Ok(engine) = &self.engine else { return };
        let pending = std::mem::take(&mut self.functions_to_finalize);
        for id in pending {
            if let Some(definition) = self.functions.remove(&id) {
                definition.abandon(engine);
            }
        }
        let definitions = std::mem::take(&mut self.functions);
        let definitions: Vec<_> = definitions.into_values().collect();
        let units = definitions
            .iter()
            .map(|definition| Arc::clone(&definition.unit));
        let older = definitions.iter().flat_map(|definition| &definition.older);
        let older: Vec<_> = older.cloned().collect();
        local::free_functions(&engine.inner, units, &older);
    }

    /// The address that a name in this module stands for.
    ///
    /// That of a function or data object of the module as soon as it is defined; else that of a host
    /// symbol, or null for what is preemptible.
    ///
    /// # Panics
    ///
    /// If nobody knows it.
    pub fn get_address(&self, name: &ModuleRelocTarget) -> *const u8 {
        match self.find(name) {
            Ok(address) => std::ptr::with_exposed_provenance(address),
            Err(error) => panic!("{error}"),
        }
    }

    /// The address of a function: valid until [`free_memory`](Self::free_memory), and always leading to
    /// the newest version.
    ///
    /// # Panics
    ///
    /// If the function is not defined, or not finalized since.
    pub fn get_finalized_function(&self, func_id: FuncId) -> *const u8 {
        let pending = self.functions_to_finalize.contains(&func_id);
        assert!(!pending, "function not yet finalized");
        match self.functions.get(&func_id) {
            Some(definition) => std::ptr::with_exposed_provenance(definition.address()),
            None => panic!("function must be compiled before it can be finalized"),
        }
    }

    /// The address and the size of a data object: valid until [`free_memory`](Self::free_memory).
    ///
    /// # Panics
    ///
    /// If it is not defined, or not finalized since.
    pub fn get_finalized_data(&self, data_id: DataId) -> (*const u8, usize) {
        let pending = self.data_to_finalize.iter().any(|(id, _)| *id == data_id);
        assert!(!pending, "data object not yet finalized");
        match self.data.get(&data_id) {
            Some(data) => (
                std::ptr::with_exposed_provenance(data.address()),
                data.size(),
            ),
            None => panic!("data object must be compiled before it can be finalized"),
        }
    }

    /// Gives everything that was defined since the last time its final form: from now on it can be used.
    ///
    /// # Errors
    ///
    /// `Backend` with a [`ResolveError`](super::ResolveError) for a name that nobody knows: the definition that needs it, and
    /// those after it, wait for the next time. `Backend` for machine code of the client that does not
    /// reach what it refers to, and `Allocation`: that definition is gone.
    pub fn finalize_definitions(&mut self) -> ModuleResult<()> {
        let pending = std::mem::take(&mut self.functions_to_finalize);
        for (at, &id) in pending.iter().enumerate() {
            if let Err(error) = self.finalize_function(id) {
                let rest = pending[at..].iter().copied();
                let rest = rest.filter(|id| self.functions.contains_key(id));
                self.functions_to_finalize = rest.collect();
                return Err(error);
            }
        }
        let mut pending = std::mem::take(&mut self.data_to_finalize);
        for (at, (id, relocs)) in pending.iter().enumerate() {
            let functions = relocs.iter().filter_map(|reloc| self.unit_of(&reloc.name));
            let functions: Vec<_> = functions.collect();
            self.functions_in_data.extend(functions);
            let pointer_bytes = self.isa.pointer_bytes();
            let data = self.data.get(id);
            let relocated =
                data.map(|data| data.relocate(relocs, pointer_bytes, |name| self.find(name)));
            if let Some(Err(error)) = relocated {
                self.data_to_finalize = pending.split_off(at);
                return Err(error.into());
            }
        }
        let protection = branch_protection(&self.isa);
        self.with_memory(|memory| {
            if memory.pending || memory.of_the_client {
                memory.provider.finalize(protection)?;
                memory.pending = false;
            }
            Ok(())
        })
    }

    /// Links and publishes a function. One that cannot be linked is not defined any more.
    fn finalize_function(&mut self, id: FuncId) -> ModuleResult<()> {
        let Some(definition) = self.functions.get(&id) else {
            return Ok(());
        };
        let names = self.resolve(definition.state.names())?;
        let engine = self.engine.as_ref().map_err(engine_error)?;
        let Some(definition) = self.functions.get_mut(&id) else {
            return Ok(());
        };
        let finished = definition.finish(engine, names);
        if finished.is_err() {
            forget_local(&engine.inner, &definition.unit);
            self.functions.remove(&id);
        }
        finished
    }

    /// Allocates data memory.
    pub(super) fn allocate_data<T>(
        &mut self,
        allocate: impl FnOnce(&mut dyn JITMemoryProvider) -> ModuleResult<T>,
    ) -> ModuleResult<T> {
        self.with_memory(|memory| {
            memory.pending = true;
            allocate(&mut *memory.provider)
        })
    }

    fn with_memory<T>(&mut self, use_it: impl FnOnce(&mut Memory) -> T) -> T {
        let memory = self.memory.get_mut();
        use_it(memory.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for JITModule {
    /// What was finalized stays. What was not goes.
    fn drop(&mut self) {
        // The data stay too.
        std::mem::forget(std::mem::take(&mut self.functions_in_data));
        let Ok(engine) = &self.engine else { return };
        for id in &self.functions_to_finalize {
            if let Some(definition) = self.functions.remove(id) {
                definition.abandon(engine);
            }
        }
        let finalized = std::mem::take(&mut self.functions);
        finalized.into_values().for_each(Definition::leave);
    }
}

/// The branch protection that the target asks for.
fn branch_protection(isa: &OwnedTargetIsa) -> BranchProtection {
    let flags = isa.isa_flags();
    let bti = flags.iter().find(|flag| flag.name == "use_bti");
    match bti.and_then(|flag| flag.as_bool()) {
        Some(true) if cfg!(target_arch = "aarch64") => BranchProtection::BTI,
        _ => BranchProtection::None,
    }
}

/// Counts a declaration.
pub(super) fn declared(count: &mut u32, index: u32) {
    *count = (*count).max(index.saturating_add(1));
}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<JITModule>();
    const fn is_send<T: Send>() {}
    is_send::<JITBuilder>();
};
