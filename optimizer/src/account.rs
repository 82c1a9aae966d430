//! What passes are allowed to do, and what they did.

use crate::pass::Pass;
use cranelift_codegen::ir::Function;

/// How many changes may still be made.
///
/// To find the change that breaks a program, halve the fuel until one unit more breaks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fuel {
    left: Option<u64>,
    burnt: u64,
}

impl Fuel {
    /// As many changes as there are.
    pub const UNLIMITED: Self = Self {
        left: None,
        burnt: 0,
    };

    /// At most this many changes.
    pub fn limited(changes: u64) -> Self {
        Self {
            left: Some(changes),
            burnt: 0,
        }
    }

    /// Takes a unit for one change; false if there is none.
    pub(crate) fn burn(&mut self) -> bool {
        if self.left == Some(0) {
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        self.burnt += 1;
        true
    }

    /// How many changes were made.
    pub fn burnt(&self) -> u64 {
        self.burnt
    }
}

/// The instructions of a function by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub instructions: usize,
    /// Loads.
    pub loads: usize,
    /// Stores.
    pub stores: usize,
    /// Calls, tail calls included.
    pub calls: usize,
}

impl Tally {
    /// Counts the instructions of `func`.
    pub fn of(func: &Function) -> Self {
        let mut tally = Self::default();
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                let opcode = func.dfg.insts[inst].opcode();
                tally.instructions += 1;
                if opcode.is_call() {
                    tally.calls += 1;
                } else if opcode.can_store() {
                    tally.stores += 1;
                } else if opcode.can_load() {
                    tally.loads += 1;
                }
            }
        }
        tally
    }
}

/// What one run of a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// The pass.
    pub pass: Pass,
    /// The changes that it made.
    pub changes: u64,
    /// The function before.
    pub before: Tally,
    /// The function after.
    pub after: Tally,
}

/// What all passes did, in the order in which they ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// One entry for each run of a pass that changed something.
    pub efforts: Vec<Effort>,
}

impl Summary {
    /// The changes of all passes.
    pub fn changes(&self) -> u64 {
        self.efforts.iter().map(|effort| effort.changes).sum()
    }
}
