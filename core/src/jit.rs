//! A drop-in for cranelift-jit: the same names, and code that tiers up.
//!
//! A client changes one line:
//!
//! ```
//! // use cranelift_jit::{JITBuilder, JITModule};
//! use regraft::jit::{JITBuilder, JITModule};
//! use cranelift_codegen::ir::{AbiParam, InstBuilder, types};
//! use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
//! use cranelift_module::{Linkage, Module, default_libcall_names};
//!
//! let mut module = JITModule::new(JITBuilder::new(default_libcall_names())?);
//! let mut context = module.make_context();
//! context.func.signature.params.push(AbiParam::new(types::I64));
//! context.func.signature.returns.push(AbiParam::new(types::I64));
//! let mut builder_context = FunctionBuilderContext::new();
//! let mut builder = FunctionBuilder::new(&mut context.func, &mut builder_context);
//! let block = builder.create_block();
//! builder.append_block_params_for_function_params(block);
//! builder.switch_to_block(block);
//! let argument = builder.block_params(block)[0];
//! let doubled = builder.ins().iadd(argument, argument);
//! builder.ins().return_(&[doubled]);
//! builder.seal_all_blocks();
//! builder.finalize(module.target_config());
//!
//! let double = module.declare_function("double", Linkage::Export, &context.func.signature)?;
//! module.define_function(double, &mut context)?;
//! module.finalize_definitions()?;
//! let code = module.get_finalized_function(double);
//! // SAFETY: this is the signature above, and the code touches no memory.
//! let double: extern "C" fn(i64) -> i64 = unsafe { std::mem::transmute(code) };
//! assert_eq!(double(21), 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ```text
//!   JITModule ──┐   names, data,          define_function      tier-0 code, not linked
//!   JITModule ──┼─▶ declarations    ──▶   finalize_definitions linked, published
//!   JITModule ──┘   of its own            running              engine: counters, regions, tier 1
//!        └───────────── one engine per target and settings ─────────────┘
//! ```
//!
//! What is the same: every method, error and panic of cranelift-jit's `JITModule`, but for what
//! follows. A module that is dropped leaves its code callable;
//! [`free_memory`](JITModule::free_memory) frees it.
//!
//! What is different:
//!
//! * A function pointer is the address of a *stub* that leads to the newest version; it never changes.
//!   Offsets from [`Context::compiled_code`](cranelift_codegen::Context::compiled_code), which is that
//!   of tier 0, are not offsets from it: unwind information that a client registers itself does not fit.
//!   Functions with user stack maps or `try_call`s, and machine code of the client
//!   (`define_function_bytes`), have one version whose address is the pointer: they do not tier up, and
//!   offsets fit.
//! * `define_function` leaves the client's function in the context, not what the optimiser made of it.
//! * The target's `opt_level` and register allocator are not used: tier 0 compiles fast, tier 1 well.
//! * All code is in the engine's code memory, whatever the memory provider; data are in the provider's.
//!   Machine code of the client that refers to data by distance may be too far from them: that is an
//!   error of `finalize_definitions`.
//! * What [`finalize_definitions`](JITModule::finalize_definitions) cannot resolve is an error instead of
//!   a panic, with the same words. Panics of the code generator are errors.
//! * Library calls that the process does not export, and whose names are the default ones, are regraft's.
//! * `cranelift-jit`'s feature `wasmtime-unwinder` is not there.
//!
//! Modules with the same target and settings share an engine that lives as long as the process, so that
//! one module per function is cheap. The environment variable `REGRAFT_THRESHOLD`, read when such an
//! engine is made, sets how many calls or loop iterations make code hot.
//!
//! Not here: how code gets hot and is compiled again (the engine).

#![expect(clippy::result_large_err, reason = "the error is cranelift-module's")]

mod builder;
mod data;
mod define;
mod engines;
mod extensions;
mod function;
mod module;
mod resolve;
mod symbols;

pub use builder::JITBuilder;
pub use cranelift_jit::{
    ArenaMemoryProvider, BranchProtection, JITMemoryKind, JITMemoryProvider, SystemMemoryProvider,
    VERSION,
};
pub use function::FixedCodeError;
pub use module::JITModule;
pub use resolve::ResolveError;
