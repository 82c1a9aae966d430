//! Counters and on-stack replacement (OSR): what a function counts while it runs, and where other code can take over from it.
//! [`Probes`] are an input of code generation, the [`FrameMap`] is an output.
//!
//! ```text
//!   header:  countdown -= 1; below zero? ──▶ probe: successor = cell; none? ──▶ tell the runtime ──┐
//!   body:    …                                      resume = successor(frame pointer); jump to it  │
//!     ▲                                                                                            │
//!     └────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What takes over at a loop's header gets the frame pointer. By the [`FrameMap`] it knows where in the frame each value is,
//! stores there what the function needs to go on, and returns the address at which that is.
//!
//! Invariants:
//!
//! * At a header, every value that is live is where the map says, or is a constant.
//! * Code at an address of the map assumes nothing of registers but the frame pointer.
//!
//! Not here: what takes over.

use cranelift_codegen::ir::{Block, Inst, UserExternalName, Value};

/// What to count, and where.
#[derive(Clone, Debug)]
pub struct Probes {
    /// The first of the counters; offsets are in bytes from there.
    pub counters: UserExternalName,
    /// Of several copies of the counters, each activation picks one.
    pub copies: Option<Copies>,
    /// The function of the runtime that is called with a cell when a countdown goes below zero.
    pub runtime: UserExternalName,
    /// Of calls of the function.
    pub calls: Countdown,
    /// Headers at which other code can take over; no two are the same block.
    pub loops: Vec<LoopProbe>,
    /// Other counters.
    pub sites: Vec<(Site, i32)>,
    /// Indirect calls whose targets are noted.
    pub targets: Vec<TargetProbe>,
}

/// An indirect call whose most frequent target is noted: a vote, in which each call of another target takes back what one of
/// the candidate gave (R. S. Boyer, J. S. Moore, "MJRTY: A Fast Majority Vote Algorithm", 1991).
#[derive(Clone, Copy, Debug)]
pub struct TargetProbe {
    /// The call.
    pub call: Inst,
    /// Where the candidate's address is.
    pub target: i32,
    /// Where it is how many votes it is ahead.
    pub lead: i32,
}

/// Copies of the counters, one behind the other; which one an activation uses depends on where its stack is.
///
/// ```text
///   copy = low half of (stack pointer >> granule) × spread, its topmost bits        base = first copy + copy × stride
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// The binary logarithm of how many there are, from 1 to 31.
    pub bits: u8,
    /// From one copy to the next, in bytes.
    pub stride: i32,
    /// The binary logarithm of the bytes of stack that share a copy, below 64.
    pub granule: u8,
    /// What spreads numbers of granules: odd.
    pub spread: i32,
}

/// A counter that counts down.
#[derive(Clone, Debug)]
pub struct Countdown {
    /// Where the counter is.
    pub offset: i32,
    /// What the runtime is called with.
    pub cell: UserExternalName,
}

/// A header at which other code can take over.
#[derive(Clone, Debug)]
pub struct LoopProbe {
    /// The header.
    pub header: Block,
    /// Of executions of the header.
    pub countdown: Countdown,
    /// Where the countdown is copied to when the loop is entered.
    pub mark: i32,
    /// The edges by which the loop is entered.
    pub arrivals: Vec<Edge>,
    /// Where the address is of what takes over; 0: nothing does.
    pub successor: i32,
    /// Where control can come back to.
    pub exits: Vec<Leave>,
}

/// A branch and the position of one of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The branch.
    pub inst: Inst,
    /// Of a `brif` 0 or 1; of a `br_table` 0 is the default.
    pub index: u32,
}

/// Where a counter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// To the start of a block.
    Block(Block),
    /// To an edge.
    Edge(Edge),
}

/// Where control can come back to from what took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The start of a block.
    Block(Block),
    /// A return or tail call, with its arguments in the frame.
    Inst(Inst),
}

/// Where a function keeps its values, and where it can be gone on with.
#[derive(Clone, Debug, Default)]
pub struct FrameMap {
    /// By value: bytes from the frame pointer.
    pub(crate) homes: Box<[(Value, i32)]>,
    /// By number of the stack slot.
    pub(crate) slots: Box<[i32]>,
    /// By block: offset in the code.
    pub(crate) blocks: Box<[(Block, u32)]>,
    pub(crate) leaving: Box<[Leaving]>,
}

/// A return or tail call that can be gone on with.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub inst: Inst,
    pub offset: u32,
    /// By position of the argument: bytes from the frame pointer; constants have none.
    pub args: Box<[Option<i32>]>,
}

impl FrameMap {
    /// Where the frame holds a value, in bytes from the frame pointer. Constants, addresses of symbols and of stack slots
    /// are nowhere, nor are values that nothing uses outside their block.
    pub fn home(&self, value: Value) -> Option<i32> {
        let found = self.homes.binary_search_by_key(&value, |home| home.0);
        found.ok().map(|at| self.homes[at].1)
    }

    /// Where a stack slot is, in bytes from the frame pointer.
    pub fn slot(&self, slot: cranelift_codegen::ir::StackSlot) -> Option<i32> {
        self.slots.get(slot.as_u32() as usize).copied()
    }

    /// The offset in the code at which a block starts that some [`Leave::Block`] names.
    pub fn block(&self, block: Block) -> Option<u32> {
        let found = self.blocks.binary_search_by_key(&block, |start| start.0);
        found.ok().map(|at| self.blocks[at].1)
    }

    /// The offset in the code at which a return or tail call starts that some [`Leave::Inst`] names, and where the frame
    /// holds its arguments by then, in bytes from the frame pointer; constants are nowhere.
    pub fn leaving(&self, inst: Inst) -> Option<(u32, &[Option<i32>])> {
        let found = self.leaving.iter().find(|leaving| leaving.inst == inst)?;
        Some((found.offset, &found.args))
    }
}
