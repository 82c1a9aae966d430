//! Control flow, loops, liveness, profiles and region formation over Cranelift IR.
//!
//! This crate knows CLIF and counts. It never changes a function, and it knows no addresses, threads, clocks or
//! code generation. What it computes, in the order in which it is used:
//!
//! | module | question |
//! |---|---|
//! | [`flow`] | Which edges are there? (one per `BlockCall`) |
//! | [`loops`] | Which natural loops, how nested, and which cycles are none? |
//! | [`liveness`] | Which values are live into a block? |
//! | [`frequency`] | How often will blocks run, as far as the graph tells? |
//! | [`counters`] | Where to count, and how do all counts follow? |
//! | [`profile`], [`saved`] | How often did blocks run, now and in an earlier process? |
//! | [`sampled`] | How often did blocks run, judging by where a timer found the thread? |
//! | [`region`] | Is this set of blocks a region, and how does control leave it? |
//! | [`formation`] | Which region is worth compiling? |
//! | [`dot`] | What does the graph look like? |
//!
//! # Example
//!
//! ```
//! use regraft_regions::*;
//!
//! let text = "function %sum(i64) -> i64 {
//!     block0(v0: i64):
//!         v1 = iconst.i64 0
//!         jump block1(v0, v1)
//!     block1(v2: i64, v3: i64):
//!         v4 = iadd v3, v2
//!         v5 = isub v2, v4
//!         brif v5, block1(v5, v4), block2
//!     block2:
//!         return v4
//!     }";
//! let func = &cranelift_reader::parse_functions(text)?[0];
//!
//! // Analyse.
//! let flow = Flow::compute(func)?;
//! let loops = LoopForest::compute(func, &flow);
//! let the_loop = loops.loops().next().unwrap();
//! assert_eq!(loops.header(the_loop).to_string(), "block1");
//!
//! // Count: one counter is enough for three blocks and three edges, besides the hook's at the header.
//! let frequencies = estimate(func, &flow, &loops);
//! let mut known = Known::default();
//! known.block_counted.insert(loops.header(the_loop));
//! let placement = place(func, &flow, &frequencies, &known, Counting::SpanningTree);
//! assert_eq!(placement.sites.len(), 1);
//! let mut measured = Measured { sites: vec![10], ..Measured::default() };
//! measured.blocks[loops.header(the_loop)] = 5_000;
//! let profile = reconstruct(func, &flow, &placement, &measured);
//! assert_eq!(profile.entries(), 10);
//! assert_eq!(profile.edge(loops.back_edges(the_loop)[0]), 4_990);
//!
//! // Form a region where it is hot.
//! let hot = HotEntry::Header(loops.header(the_loop));
//! let policy = Policy::default();
//! let formation = form(func, &flow, &loops, &profile, &policy, hot, &|_| Ok(()));
//! let region = formation.region.unwrap();
//! assert_eq!(region.exits().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Scale
//! All analyses take time and memory close to linear in the size of the function, but for the lists that
//! [`Liveness`] gives for every block; none recurses. Functions with 100,000 blocks and nests of thousands of loops
//! are in the tests. Unreachable blocks are legal everywhere: they are in no loop and count 0.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod blocks;
pub mod counters;
pub mod dot;
pub mod flow;
pub mod formation;
pub mod frequency;
pub mod liveness;
pub mod loops;
pub mod profile;
pub mod region;
pub mod sampled;
pub mod saved;

#[cfg(test)]
mod scale;
#[cfg(test)]
mod testing;

pub use blocks::BlockSet;
pub use counters::{Counting, Known, Measured, Placement, Site, Transfer, place, reconstruct};
pub use dot::to_dot;
pub use flow::{Edge, Flow, FlowEdge, FlowError};
pub use formation::{
    Candidate, Decision, Formation, Hookable, HotEntry, Policy, SkipReason, form, survey,
    survey_regions,
};
pub use frequency::{Frequencies, estimate};
pub use liveness::Liveness;
pub use loops::{IrreducibleCycle, LoopForest, LoopId};
pub use profile::{FunctionProfile, instruction_count};
pub use region::{Exit, ExitKind, MAX_EXITS, Region, RegionError, RegionKind, SideExit};
pub use sampled::{Samples, from_samples};
pub use saved::{
    PROFILE_VERSION, Profile, ProfileError, SavedEdge, SavedFunction, SavedRegion, function_hash,
};
