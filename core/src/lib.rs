//! Tier-up for everyone who generates code with Cranelift.
//!
//! A client hands over Cranelift IR and gets pointers that it can call.
//! Functions run at once at tier 0, with counters; hot loops *inside* them are
//! outlined, compiled again at a high level, and entered at their next back
//! edge, while they run. The function that holds a loop is not replaced.
//!
//! ```
//! use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, UserFuncName, types};
//! use cranelift_codegen::isa::CallConv;
//! use regraft::{Config, Engine};
//!
//! let engine = Engine::new(Config::default())?;
//! let clif = "
//! function %sum(i64) -> i64 system_v {
//! block0(v0: i64):
//!     v1 = iconst.i64 0
//!     jump block1(v1, v1)
//! block1(v2: i64, v3: i64):
//!     v4 = iadd v3, v2
//!     v5 = iconst.i64 1
//!     v6 = iadd v2, v5
//!     v7 = icmp ult v6, v0
//!     brif v7, block1(v6, v4), block2
//! block2:
//!     return v4
//! }";
//! let function = cranelift_reader::parse_functions(clif)?.remove(0);
//! let sum = engine.define_function(function)?;
//! let sum = engine.get::<(i64,), i64>(sum)?;
//! // SAFETY: the code above touches no memory.
//! assert_eq!(unsafe { sum.call((100_000,)) }, 4_999_950_000);
//! println!("{}", engine.report().to_json());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What the engine does with hot code is in [`Report`]; what the client can
//! choose is in [`Config`]. The pure halves, [`regions`] and [`outliner`], can
//! be used without running anything.
//!
//! On Linux on x86-64, AArch64 and RISC-V (64 bits) there is all of it. On any other target there are the pure halves and
//! [`jit`], which compiles code once there, by cranelift-jit itself: [`is_tiering_supported`] says which it is.

#![deny(missing_docs)]

cfg_if::cfg_if! {
    if #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))] {
        mod call;
        mod code;
        pub mod config;
        mod context;
        mod define;
        mod engine;
        mod enter;
        pub mod error;
        #[cfg(test)]
        mod executor_tests;
        pub mod jit;
        mod observe;
        mod pacing;
        mod passes;
        mod pipeline;
        mod reclaim;
        pub mod report;
        mod reporting;
        mod runtime;
        #[doc(hidden)]
        pub mod simulation;
        mod threads;
        mod tiering;
        pub mod typed;
        mod units;

        pub use call::trap::{Trap, TrapKind};
        pub use call::unwind;
        pub use code::error::CompileError;
        pub use code::isa;
        pub use config::{
            Compilation, CompileMode, Config, Detection, Mode, Observe, Pacing, Reclamation, Sampling,
        };
        pub use context::Engine;
        pub use engine::SymbolAddress;
        pub use error::Error;
        pub use regraft_executor::session::ExecutorError;
        pub use regraft_executor::trap::Interrupter;
        pub use regraft_executor::{Executor, ExecutorAddr};
        pub use report::Report;
        pub use tiering::detect::SampledThread;
        pub use typed::TypedFn;
        pub use units::function::FunctionId;

        /// What a program needs whose code runs in another process.
        pub mod executor {
            pub use crate::engine::elsewhere::{HOST_FUNCTION_FAILED, ProgramMemory, ProgramRange};
            #[cfg(feature = "remote")]
            pub use regraft_executor::remote::Program;
            pub use regraft_executor::session::GoneCause;
        }

        /// What later runs start with.
        pub mod warm {
            pub use crate::config::warm::{Digest, WarmStart};
        }

        /// What is known of an address in generated code.
        pub mod location {
            pub use crate::code::codemap::{CodeLocation, CodeUnit, locate};
        }

        /// How much memory an engine has.
        pub mod memory {
            pub use crate::units::ledger::{MemoryStats, TierBytes};
            pub use regraft_executor::arena::RangeStats;
        }

        const TIERS_UP: bool = true;
    } else {
        #[path = "fallback.rs"]
        pub mod jit;

        const TIERS_UP: bool = false;
    }
}

pub use regraft_optimizer as optimizer;
pub use regraft_outliner as outliner;
pub use regraft_regions as regions;

/// Whether code tiers up on this target: on Linux on x86-64, AArch64 and RISC-V with 64 bits.
///
/// Elsewhere there are [`jit`], which is cranelift-jit's own then, [`regions`] and [`outliner`]; there is no [`Engine`],
/// and nothing that needs one.
#[must_use]
pub const fn is_tiering_supported() -> bool {
    TIERS_UP
}
