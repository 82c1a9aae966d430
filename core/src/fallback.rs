//! The drop-in where code does not tier up: cranelift-jit's own types under the names that they have elsewhere.
//!
//! A client is written once, to what cranelift-jit offers, and compiles for every target that Cranelift has a backend
//! for. [`is_tiering_supported`](crate::is_tiering_supported) says whether its code tiers up.
//!
//! Invariants: what is here is elsewhere, too, under the same name, and does the same but for tiering up.
//!
//! Limitations: what is not cranelift-jit's is not here: `engine`, `engine_function`, `redefine_function` and
//! `remove_function` of a module, `engine` of a builder. A module is `Send` but not `Sync`. What cannot be resolved is a
//! panic of `finalize_definitions`, as in cranelift-jit, and not an error.
//!
//! Not here: the drop-in that tiers up (`jit.rs`).

pub use cranelift_jit::{
    ArenaMemoryProvider, BranchProtection, JITBuilder, JITMemoryKind, JITMemoryProvider, JITModule,
    SystemMemoryProvider, VERSION,
};
