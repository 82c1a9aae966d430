//! What a client chooses before it has a module.

use super::symbols::{Lookup, Symbols};
use crate::context::Engine;
use cranelift_codegen::ir::LibCall;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_jit::JITMemoryProvider;
use cranelift_module::ModuleResult;
use std::fmt;

pub(super) type LibcallNames = Box<dyn Fn(LibCall) -> String + Send + Sync>;

/// A builder of a [`JITModule`](super::JITModule).
pub struct JITBuilder {
    pub(super) isa: OwnedTargetIsa,
    pub(super) symbols: Symbols,
    pub(super) libcall_names: LibcallNames,
    pub(super) memory: Option<Box<dyn JITMemoryProvider + Send>>,
    pub(super) engine: Option<Engine>,
}

impl fmt::Debug for JITBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JITBuilder")
            .field("isa", &self.isa.triple().to_string())
            .field("symbols", &self.symbols)
            .finish_non_exhaustive()
    }
}

impl JITBuilder {
    /// A builder for the host, with Cranelift's default settings.
    ///
    /// `libcall_names` names the functions that Cranelift calls on its own account;
    /// [`cranelift_module::default_libcall_names`] does for most clients.
    ///
    /// # Errors
    ///
    /// As [`JITBuilder::with_flags`].
    pub fn new(libcall_names: LibcallNames) -> ModuleResult<Self> {
        Self::with_flags(&[], libcall_names)
    }

    /// A builder for the host, with these settings of Cranelift.
    ///
    /// # Errors
    ///
    /// `Flag` for an unknown setting or value; `Compilation` where settings contradict each other.
    ///
    /// # Panics
    ///
    /// If Cranelift does not support the host.
    pub fn with_flags(flags: &[(&str, &str)], libcall_names: LibcallNames) -> ModuleResult<Self> {
        let mut builder = settings::builder();
        let own = [("use_colocated_libcalls", "false"), ("is_pic", "false")];
        for (name, value) in flags.iter().chain(&own) {
            builder.set(name, value)?;
        }
        let host = cranelift_native::builder()
            .unwrap_or_else(|reason| panic!("the host is not supported: {reason}"));
        let isa = host.finish(settings::Flags::new(builder))?;
        Ok(Self::with_isa(isa, libcall_names))
    }

    /// A builder for a target with all its settings. Its tiers are rebuilt from it: `opt_level` and
    /// `regalloc_algorithm` are theirs.
    pub fn with_isa(isa: OwnedTargetIsa, libcall_names: LibcallNames) -> Self {
        Self {
            isa,
            symbols: Symbols::default(),
            libcall_names,
            memory: None,
            engine: None,
        }
    }

    /// Registers a host symbol, for what is declared but not defined in the module. The last
    /// registration of a name counts. What is not registered is asked of the lookup functions, then of
    /// the process.
    pub fn symbol<K>(&mut self, name: K, ptr: *const u8) -> &mut Self
    where
        K: Into<String>,
    {
        self.symbols.insert(name.into(), ptr);
        self
    }

    /// Registers host symbols, as [`JITBuilder::symbol`] does.
    pub fn symbols<It, K>(&mut self, symbols: It) -> &mut Self
    where
        It: IntoIterator<Item = (K, *const u8)>,
        K: Into<String>,
    {
        for (name, ptr) in symbols {
            self.symbols.insert(name.into(), ptr);
        }
        self
    }

    /// Adds a function that finds symbols which are not registered. The last one added is asked first;
    /// what it finds is remembered.
    pub fn symbol_lookup_fn(&mut self, symbol_lookup_fn: Lookup) -> &mut Self {
        self.symbols.add_lookup(symbol_lookup_fn);
        self
    }

    /// Sets where the memory of data objects comes from; [`SystemMemoryProvider`](super::SystemMemoryProvider)
    /// by default. Code is in the engine's memory in any case.
    pub fn memory_provider(&mut self, provider: Box<dyn JITMemoryProvider + Send>) -> &mut Self {
        self.memory = Some(provider);
        self
    }

    /// Sets the engine that compiles and runs the module's functions. Not in cranelift-jit.
    ///
    /// Without it, the module shares an engine with all modules of the same target and settings, which
    /// lives as long as the process. Functions of a module with an engine of its own live as long as that
    /// engine, which must have been made for the same target and settings.
    pub fn engine(&mut self, engine: Engine) -> &mut Self {
        self.engine = Some(engine);
        self
    }
}
