//! What a report has only where it is asked for ([`Observe::inspect`](crate::Observe::inspect)): texts, the
//! control-flow graph with counts, events.

use super::names::EventKind;
use serde::{Deserialize, Serialize};

/// The CLIF of a function, and how often what of it was executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetailReport {
    /// The CLIF, as the client defined it, less block parameters that have one value only.
    pub clif: String,
    /// The blocks that can be reached, in reverse postorder.
    pub blocks: Vec<BlockReport>,
}

/// A block of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockReport {
    /// Its name.
    pub name: String,
    /// How often it was executed at tier 0.
    pub count: u64,
    /// Its CLIF instructions.
    pub instructions: u64,
    /// How many loops it is in.
    pub loop_depth: u32,
    /// The edges that leave it.
    pub to: Vec<EdgeReport>,
}

/// An edge of a control-flow graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeReport {
    /// The block that it leads to.
    pub to: String,
    /// How often it was taken at tier 0.
    pub count: u64,
}

/// The text of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeReport {
    /// The CLIF that was given to the code generator: instrumented at tier 0, outlined at tier 1.
    pub clif: String,
    /// The CLIF that its optimiser left.
    pub optimized: String,
    /// The machine code, as the code generator prints it.
    pub machine: String,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsReport {
    /// The first events.
    pub list: Vec<EventReport>,
    /// How many more there were.
    pub left_out: u64,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReport {
    /// When it began, in microseconds from a moment that all engines of the process share.
    pub at_micros: u64,
    /// How long it took; 0 for a moment.
    pub micros: u64,
    /// The thread that did it.
    pub thread: String,
    /// What happened.
    pub event: EventKind,
    /// The function that it happened to.
    pub function: String,
    /// What of the function.
    pub unit: String,
    /// The tier of the code; absent where there is no code.
    pub tier: Option<u8>,
}
