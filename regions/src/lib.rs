//! Control flow, loops, liveness, profiles and region formation over Cranelift IR.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod blocks;
pub mod flow;
pub mod liveness;
pub mod loops;
pub mod region;

#[cfg(test)]
mod testing;

pub use blocks::BlockSet;
pub use flow::{Edge, Flow, FlowEdge, FlowError};
pub use liveness::Liveness;
pub use loops::{IrreducibleCycle, LoopForest, LoopId};
pub use region::{Exit, ExitKind, MAX_EXITS, Region, RegionError, RegionKind, SideExit};
