//! The external names that regraft itself puts into CLIF.
//!
//! A client names functions as `cranelift-module` does: user namespace 0, the
//! function's number as index (or by a `%name`). Instrumented and outlined
//! code names units, cells, counters and runtime entry points symbolically, in
//! namespaces of its own, so that passes stay pure and their snapshots stable;
//! the linker turns the names into addresses.

use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, Function, GlobalValue, GlobalValueData, Signature,
    UserExternalName,
};
use cranelift_module::ModuleRelocTarget;

/// The namespace of functions that the client declared.
pub const FUNCTIONS: u32 = 0;
/// Stubs of units that the client does not see: regions, continuations.
pub const UNITS: u32 = 0x7267_0000;
/// Cells of units.
pub const CELLS: u32 = 0x7267_0001;
/// Counter blocks, by function.
pub const COUNTERS: u32 = 0x7267_0002;
/// Entry points of the runtime.
pub const RUNTIME: u32 = 0x7267_0003;

/// Data symbols of the host, by number in the engine's table of names.
pub const DATA: u32 = 0x7267_0004;

/// Tables of continuations, by number among those of the code being linked.
pub const TABLES: u32 = 0x7267_0005;

/// What copies of other functions refer to, by number among the addresses of the code being linked.
pub const COPIES: u32 = 0x7267_0006;

/// The runtime entry point that a counter below zero calls: takes the
/// address of a unit's cell, returns a region's entry address or 0.
pub const RUNTIME_HOT: u32 = 0;

/// What the namespaces above have in common.
const OWN: u32 = 0x7267_0000;

/// Whether a name is one of regraft's own.
pub fn is_own(name: &ModuleRelocTarget) -> bool {
    matches!(name, ModuleRelocTarget::User { namespace, .. } if namespace & 0xffff_0000 == OWN)
}

/// Declares the data symbol `namespace:index` in `func`.
pub fn symbol(func: &mut Function, namespace: u32, index: u32) -> GlobalValue {
    let name = UserExternalName::new(namespace, index);
    let name = func.declare_imported_user_function(name);
    func.create_global_value(GlobalValueData::Symbol {
        name: ExternalName::user(name),
        offset: 0.into(),
        colocated: false,
        tls: false,
    })
}

/// Declares the function `namespace:index` in `func`.
pub fn function(func: &mut Function, namespace: u32, index: u32, signature: Signature) -> FuncRef {
    let signature = func.import_signature(signature);
    let name = UserExternalName::new(namespace, index);
    let name = func.declare_imported_user_function(name);
    func.import_function(ExtFuncData {
        name: ExternalName::user(name),
        signature,
        colocated: false,
        patchable: false,
    })
}
