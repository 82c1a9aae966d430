//! Outlining single-entry regions of Cranelift IR into functions of their own.
//!
//! [`outline`] is a pure function of the IR and a [`Region`]: it returns the
//! outlined function, its [`Interface`] (live-ins as parameters, exit number
//! and live-outs as results) and the residual, which is the source with the
//! region replaced by a call. What cannot be outlined is refused with a typed
//! reason ([`OutlineError`]). The crate knows no addresses, threads, clocks or
//! JIT, and never edits its input.
//!
//! The parts are public too, for clients with a calling scheme of their own:
//! [`Interface::compute`] → [`extract_region`] / [`extract_continuation`] for
//! the callee, and [`splice`] with a [`OsrCheck`] for the caller.
//!
//! ```
//! use regraft_outliner::outline;
//! use regraft_regions::{Flow, LoopForest, Region};
//!
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
//! let functions = cranelift_reader::parse_functions(clif)?;
//! let sum = &functions[0];
//! let flow = Flow::compute(sum)?;
//! let loops = LoopForest::compute(sum, &flow);
//! let hot = loops.loops().next().expect("one loop");
//! let region = Region::whole_loop(sum, &flow, &loops, hot)?;
//! let outlined = outline(sum, &region)?;
//! assert_eq!(outlined.interface.params.len(), 3); // v2, v3 and the live-in v0
//! assert_eq!(outlined.interface.exits.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod checker;
mod edges;
mod error;
mod extract;
mod frame;
mod hookable;
mod interface;
mod legality;
mod prune;
mod remap;
mod residual;
mod splice;
pub mod ssa;
mod tables;
mod zero;

#[cfg(test)]
mod tests;

pub use checker::{
    CheckError, Meaning, Place, check_continuation, check_outlined, check_region, check_residual,
    check_side_tables,
};
pub use edges::at_edge;
pub use error::{ErrorClass, OutlineError};
pub use extract::{Extracted, extract_continuation, extract_region};
pub use hookable::{MAX_LEVELS, hookable_loop, whole_loop};
pub use interface::{
    ExitInterface, Interface, LiveOut, LiveOutSource, MAX_INTERFACE_VALUES, MAX_LEAVING_VALUES,
    Param, ParamSource, edge_args,
};
pub use legality::check_blocks;
pub use prune::prune_function;
pub use remap::{Remap, Target};
pub use residual::residual;
pub use splice::{Hook, HookBlocks, OsrCheck, UNREACHABLE_TRAP, dispatch, splice};
pub use tables::{SideTable, tabulate_side_exits};

use cranelift_codegen::ir::Function;
use regraft_regions::{Flow, Liveness, Region};

/// A function taken apart: the outlined region and what is left.
#[derive(Clone, Debug)]
pub struct Outlined {
    /// The region as a function of its own.
    pub function: Function,
    /// One function per side exit, in the order of the region's side exits.
    pub continuations: Vec<Function>,
    /// How the two sides talk.
    pub interface: Interface,
    /// The source with the region replaced by a call.
    pub residual: Function,
}

/// Outlines `region` of `func`.
///
/// # Errors
///
/// The reason why the region cannot be outlined: see [`OutlineError`].
///
/// # Complexity
///
/// O(instructions of the function + exits × live-outs).
pub fn outline(func: &Function, region: &Region) -> Result<Outlined, OutlineError> {
    let flow = Flow::compute(func)?;
    let liveness = Liveness::compute(func, &flow);
    let interface = Interface::compute(func, &flow, &liveness, region)?;
    let function = extract_region(func, &flow, &liveness, region, &interface)?.function;
    let continuation = |number| {
        extract_continuation(func, &flow, &liveness, region, &interface, number)
            .map(|extracted| extracted.function)
    };
    let side_exits = region.side_exits().iter();
    let continuations = side_exits
        .map(|side_exit| continuation(side_exit.number))
        .collect::<Result<_, _>>()?;
    let residual = residual(func, &flow, region, &interface, &function.name)?;
    Ok(Outlined {
        function,
        continuations,
        interface,
        residual,
    })
}
