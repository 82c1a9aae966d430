//! When what is compiled, and how well: the cost model.
//!
//! # Purpose
//! Compiling costs time in proportion to instructions; staying at tier 0 costs time in proportion to what runs there.
//! A part is compiled at tier 1 when what tier 0 has cost it so far reaches what compiling will cost: the ski-rental
//! rule (Karlin et al., "Competitive randomized algorithms for non-uniform problems", SODA 1990, section 1), by which no
//! program pays more than twice what the best choice in hindsight would have, and what it loses while the compiler works.
//! With a compile thread that has nothing else to do, compiling costs the program next to nothing, and is begun at a fraction
//! of that. Where processors are shared, all compiling together has a budget (`threads::budget`).
//!
//! # Notation
//! All times are nanoseconds. *Instructions* are CLIF instructions.
//!
//! # Invariants
//! *harmless*: the model decides when code is compiled, never what it does.
//!
//! # Limitations
//! One fit for all machines: only ratios matter, and those are much the same.
//!
//! # Not here
//! The rule itself (`rule`), which blocks become a region (`regraft_regions::formation`), the queue (`threads`).

pub mod rule;

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::Function;
use regraft_regions::{Flow, Frequencies, LoopForest, LoopId, instruction_count};
use rule::{RULE, SMALL, Weight};
use std::time::Duration;

/// Loops and functions of fewer instructions are compiled with their cold blocks.
pub(crate) const PRUNE_FROM: usize = 1_000;

/// Before a block that never ran is called cold, the entry of its region has run so often. By the rule of three the
/// block then runs in fewer than one of 300,000 executions, with a confidence of 95 %. Tuned on a script engine, whose
/// dispatch loop is 18,000 instructions: with 20,000 executions, 216 blocks were left out, of which dozens ran later.
/// What it saved was 18 ms of compiling, what the side exits cost was 100 ms.
pub(crate) const PRUNE_AFTER: u64 = 1_000_000;

/// Whether a function starts at `speed`: where it is small.
///
/// That processors are busy is no reason: templates cost so little that waiting for the profile is cheap. When functions
/// with loops started at `speed` then, programs that end soon took 1.2 to 1.7 times as long.
pub(crate) fn starts_at_speed(func: &Function) -> bool {
    func.dfg.num_insts() <= SMALL
}

/// How long compiling a function takes at the most, unless it is kept from a processor.
pub(crate) fn compile_time(func: &Function) -> Duration {
    let instructions = func.dfg.num_insts();
    // A floating-point number that does not fit saturates.
    Duration::from_nanos((RULE.tier1.at(instructions) * 2.0) as u64)
}

/// The weights of a function and of its loops.
#[derive(Debug)]
pub(crate) struct Weights {
    pub function: Weight,
    loops: SecondaryMap<LoopId, Weight>,
}

impl Weights {
    /// The weight of a loop.
    pub fn of(&self, loop_id: LoopId) -> Weight {
        self.loops[loop_id]
    }
}

/// Weighs a function and its loops.
///
/// # Complexity
///
/// O(instructions + loops).
pub(crate) fn weigh(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    frequencies: &Frequencies,
) -> Weights {
    let mut sums: SecondaryMap<LoopId, Weight> = SecondaryMap::new();
    let mut function = Weight::default();
    for &block in flow.rpo() {
        let instructions = instruction_count(func, block);
        let executed = frequencies.block(block) * instructions as f64;
        let innermost = loops.innermost(block).map(|l| &mut sums[l]);
        for weight in innermost.into_iter().chain([&mut function]) {
            weight.executed += executed;
            weight.instructions += usize::try_from(instructions).unwrap_or(usize::MAX);
        }
    }
    for l in loops.loops().rev() {
        let inner = sums[l];
        if let Some(parent) = loops.parent(l) {
            sums[parent].executed += inner.executed;
            sums[parent].instructions += inner.instructions;
        }
        // Per execution of the header, and no longer per call of the function.
        let often = frequencies.block(loops.header(l));
        sums[l].executed = if often > 0.0 {
            inner.executed / often
        } else {
            inner.instructions as f64
        };
    }
    Weights {
        function,
        loops: sums,
    }
}
