//! What the unit tests of this crate's low half share: CLIF text in, running code out.

use std::sync::Arc;

use cranelift_codegen::ir::{Function, Signature};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::{CompiledCode, Context};
use cranelift_module::ModuleRelocTarget;
use cranelift_reader::parse_functions;

use super::{LinkError, Linked, ObjectCode, allocate, default_libcall_address, link};
use crate::code::isa::TierIsas;
use regraft_executor::arena::{Arena, ArenaConfig};

/// An arena of a size for tests.
pub(crate) fn arena() -> Arc<Arena> {
    Arena::new(ArenaConfig {
        code_bytes: 1 << 20,
        data_bytes: 1 << 20,
    })
    .unwrap()
}

/// Both tiers, `i128` in every convention.
pub(crate) fn isas() -> TierIsas {
    TierIsas::native(&[("enable_llvm_abi_extensions", "true")]).unwrap()
}

/// Parses and compiles one function.
pub(crate) fn compile(isa: &OwnedTargetIsa, clif: &str) -> (CompiledCode, Function) {
    let function = parse_functions(clif).unwrap().remove(0);
    let mut context = Context::for_function(function);
    context.compile(&**isa, &mut Default::default()).unwrap();
    let code = context.take_compiled_code().unwrap();
    (code, context.func)
}

/// Parses, compiles and links one function. `names` gives the address of `u0:<index>`.
pub(crate) fn try_link(
    arena: &Arc<Arena>,
    isa: &OwnedTargetIsa,
    clif: &str,
    names: &dyn Fn(u32) -> Option<usize>,
) -> Result<(Linked, Signature), LinkError> {
    let (code, function) = compile(isa, clif);
    let resolve = |target: &ModuleRelocTarget| match target {
        ModuleRelocTarget::User { index, .. } => names(*index),
        ModuleRelocTarget::LibCall(libcall) => default_libcall_address(*libcall),
        _ => None,
    };
    let object = ObjectCode::of(&code, &function, None);
    let linked = link(allocate(arena, &object)?, isa, "test", &object, &resolve)?;
    Ok((linked, function.signature.clone()))
}

/// [`try_link`] for a function that refers to nothing outside.
pub(crate) fn link_alone(
    arena: &Arc<Arena>,
    isa: &OwnedTargetIsa,
    clif: &str,
) -> (Linked, Signature) {
    try_link(arena, isa, clif, &|_| None).unwrap()
}

/// An address as a function pointer.
///
/// # Safety
/// `F` is a function pointer type that fits the code at `address`.
pub(crate) unsafe fn function<F: Copy>(address: usize) -> F {
    let pointer = std::ptr::with_exposed_provenance::<()>(address);
    assert_eq!(size_of::<F>(), size_of_val(&pointer));
    // SAFETY: sizes agree; the rest is the caller's contract.
    unsafe { std::mem::transmute_copy(&pointer) }
}
