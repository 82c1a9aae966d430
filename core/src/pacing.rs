//! When what is compiled, and how well: the cost model.
//!
//! # Purpose
//! Compiling costs time in proportion to instructions; staying at tier 0 costs time in proportion to what runs there.
//! A part is compiled at tier 1 when what tier 0 has cost it so far reaches what compiling will cost: the ski-rental
//! rule (Karlin et al., "Competitive randomized algorithms for non-uniform problems", SODA 1990, section 1), by which no
//! program pays more than twice what the best choice in hindsight would have. With a compile thread that has nothing
//! else to do, compiling costs the program next to nothing, and is begun at a fraction of that.
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
//! Which blocks become a region (`regraft_regions::formation`), the queue (`worker`).

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::Function;
use regraft_regions::{Flow, Frequencies, LoopForest, LoopId, instruction_count};
use std::time::Duration;

/// A time that grows with the number of instructions.
#[derive(Clone, Copy, Debug)]
struct Linear {
    fixed: f64,
    each: f64,
}

impl Linear {
    fn at(self, instructions: usize) -> f64 {
        self.fixed + self.each * instructions as f64
    }
}

/// Compiling at tier 1: `speed`, with the backtracking register allocator.
const TIER1: Linear = Linear {
    fixed: 25_000.0,
    each: 1_400.0,
};

/// What an instruction costs more at tier 0 than at tier 1 each time it runs. Tuned on ten real programs, with templates at
/// tier 0: 0.5 and 1 are within the noise of one another, with an idle processor and with none.
const LOSS: f64 = 0.8;

/// The share of a compilation's cost at which an idle compile thread begins.
const IDLE_SHARE: f64 = 1.0 / 16.0;

/// A function of so many instructions or fewer starts at `speed`: tier 0 would save less than its counters cost. With 60, as
/// long as Cranelift made tier 0, programs that end soon took up to 1.3 times as long.
const SMALL: usize = 12;

/// A function that was called so often before its loops got hot is compiled whole rather than loop by loop.
pub(crate) const CALLED_AGAIN: u64 = 4;

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
    Duration::from_nanos((TIER1.at(instructions) * 2.0) as u64)
}

/// How much runs each time a part is executed once, and how large it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weight {
    /// Instructions executed per execution of the part's entry, by estimated frequencies.
    pub executed: f64,
    /// Instructions in it.
    pub instructions: usize,
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

/// How busy the compile threads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Jobs that wait or are in hand.
    pub queued: usize,
    /// Whether they have to share processors with others.
    pub contended: bool,
}

/// How many executions more a part needs before it is compiled; 0 if it is to be compiled now. `patience` is the share
/// of its loss that is waited for.
pub(crate) fn executions_left(weight: Weight, executions: u64, load: Load, patience: f64) -> u64 {
    let share = match load.contended {
        true => 1.0,
        false => (IDLE_SHARE * (1 + load.queued) as f64).min(1.0),
    };
    let needed = TIER1.at(weight.instructions) * share * patience;
    let each = (weight.executed * LOSS).max(LOSS);
    let needed = needed / each;
    // `as` saturates.
    (needed - executions as f64).max(0.0) as u64
}

/// How much a part is worth compiling now: what it has lost at tier 0 by what compiling it costs.
pub(crate) fn urgency(weight: Weight, executions: u64) -> f64 {
    weight.executed * LOSS * executions as f64 / TIER1.at(weight.instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Load = Load {
        queued: 0,
        contended: false,
    };
    const CONTENDED: Load = Load {
        queued: 0,
        contended: true,
    };

    fn weight(executed: f64, instructions: usize) -> Weight {
        Weight {
            executed,
            instructions,
        }
    }

    #[test]
    fn a_part_is_due_when_its_loss_is_what_compiling_costs() {
        let weight = weight(100.0, 1000);
        let needed = executions_left(weight, 0, CONTENDED, 1.0);
        assert!(urgency(weight, needed) <= 1.0 && urgency(weight, needed + 1) >= 1.0);
        assert_eq!(executions_left(weight, needed + 1, CONTENDED, 1.0), 0);
        assert_eq!(
            executions_left(weight, needed / 2, CONTENDED, 1.0),
            needed - needed / 2
        );
    }

    #[test]
    fn an_idle_thread_begins_sooner_and_a_queue_makes_it_later() {
        let weight = weight(10.0, 1000);
        let left = |load| executions_left(weight, 0, load, 1.0);
        let queued = Load { queued: 3, ..IDLE };
        assert!(left(IDLE) < left(queued) && left(queued) < left(CONTENDED));
        let endless = Load {
            queued: usize::MAX / 2,
            ..IDLE
        };
        assert_eq!(left(endless), left(CONTENDED));
    }

    #[test]
    fn nothing_that_is_estimated_overflows() {
        for executed in [0.0, 1e30, f64::INFINITY] {
            for instructions in [0, usize::MAX] {
                let weight = weight(executed, instructions);
                for executions in [0, u64::MAX] {
                    executions_left(weight, executions, CONTENDED, 1.0);
                }
            }
        }
    }
}
