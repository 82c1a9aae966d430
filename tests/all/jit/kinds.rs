//! The modules that a scenario runs on, behind one trait.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_module::{DataId, FuncId, Module, ModuleRelocTarget, default_libcall_names};
use regraft::{CompileMode, Config, Engine};

/// A way to make modules.
pub(crate) trait Kind {
    type Module: Finalized;
    /// A module with these symbols, for a target if it matters.
    fn make(isa: Option<OwnedTargetIsa>, symbols: &[(&'static str, *const u8)]) -> Self::Module;
    fn module() -> Self::Module {
        Self::make(None, &[])
    }
}

/// What a scenario asks of a module besides [`Module`].
pub(crate) trait Finalized: Module {
    fn finalize(&mut self);
    fn code(&self, id: FuncId) -> *const u8;
    fn contents(&self, id: DataId) -> (*const u8, usize);
    fn address(&self, name: &ModuleRelocTarget) -> *const u8;
    /// # Safety
    /// As `free_memory` of the module.
    unsafe fn free(self);
}

macro_rules! finalized {
    ($module:ty) => {
        impl Finalized for $module {
            fn finalize(&mut self) {
                self.finalize_definitions().unwrap();
            }
            fn code(&self, id: FuncId) -> *const u8 {
                self.get_finalized_function(id)
            }
            fn contents(&self, id: DataId) -> (*const u8, usize) {
                self.get_finalized_data(id)
            }
            fn address(&self, name: &ModuleRelocTarget) -> *const u8 {
                self.get_address(name)
            }
            unsafe fn free(self) {
                // SAFETY: the caller's contract.
                unsafe { self.free_memory() }
            }
        }
    };
}

finalized!(cranelift_jit::JITModule);
finalized!(regraft::jit::JITModule);

macro_rules! builder {
    ($jit:ident, $isa:ident, $symbols:ident) => {{
        let names = default_libcall_names();
        let mut builder = match $isa {
            Some(isa) => $jit::JITBuilder::with_isa(isa, names),
            None => $jit::JITBuilder::new(names).unwrap(),
        };
        builder.symbols($symbols.iter().copied());
        builder
    }};
}

/// cranelift-jit's own.
pub(crate) struct Original;

impl Kind for Original {
    type Module = cranelift_jit::JITModule;
    fn make(isa: Option<OwnedTargetIsa>, symbols: &[(&'static str, *const u8)]) -> Self::Module {
        Self::Module::new(builder!(cranelift_jit, isa, symbols))
    }
}

use regraft::jit;

/// Ours, with the engine that modules share.
pub(crate) struct DropIn;

impl Kind for DropIn {
    type Module = jit::JITModule;
    fn make(isa: Option<OwnedTargetIsa>, symbols: &[(&'static str, *const u8)]) -> Self::Module {
        Self::Module::new(builder!(jit, isa, symbols))
    }
}

/// Ours, where everything is hot at once and compiled at once.
pub(crate) struct AtThresholdOne;

impl Kind for AtThresholdOne {
    type Module = jit::JITModule;
    fn make(isa: Option<OwnedTargetIsa>, symbols: &[(&'static str, *const u8)]) -> Self::Module {
        let mut builder = builder!(jit, isa, symbols);
        builder.engine(engine_at_threshold_one());
        Self::Module::new(builder)
    }
}

/// An engine where everything is hot at once. Never dropped: code of its modules is called when those
/// are gone.
pub(crate) fn engine_at_threshold_one() -> Engine {
    let engine = Engine::new(
        Config::default()
            .pacing(regraft::Pacing::Counts)
            .loop_threshold(1)
            .entry_threshold(1)
            .compile(CompileMode::Synchronous)
            .check(true),
    );
    let engine = engine.unwrap();
    std::mem::forget(engine.clone());
    engine
}

/// Tests of one scenario on every kind.
macro_rules! on_every_kind {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            use crate::jit::kinds::{AtThresholdOne, DropIn, Original};
            #[test]
            fn cranelift_jit() {
                super::$scenario::<Original>();
            }
            #[test]
            fn drop_in() {
                super::$scenario::<DropIn>();
            }
            #[test]
            fn at_threshold_one() {
                super::$scenario::<AtThresholdOne>();
            }
        }
    )*};
}
pub(crate) use on_every_kind;
