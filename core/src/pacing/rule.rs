//! The rule by which parts are compiled: numbers in, a decision out.
//!
//! # Purpose
//! What the engine goes by, and what the simulator of `benches` replays over recorded programs: the same code, so that
//! what was tuned there holds here.
//!
//! # Notation
//! All times are nanoseconds. *Instructions* are CLIF instructions. What a part has *lost* is what its executions took
//! longer at tier 0 than they would have at tier 1.
//!
//! # Invariants
//! *harmless*: whatever comes in, no panic, and times saturate.
//!
//! # Not here
//! How functions are weighed (`pacing`), who has the clocks (`threads`).

/// A time that grows with the number of instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// For however little.
    pub fixed: f64,
    /// For each instruction.
    pub each: f64,
}

impl Linear {
    /// The time for so many instructions.
    pub fn at(self, instructions: usize) -> f64 {
        self.fixed + self.each * instructions as f64
    }
}

/// How much runs each time a part is executed once, and how large it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weight {
    /// Instructions executed per execution of the part's entry, by estimated frequencies.
    pub executed: f64,
    /// Instructions in it.
    pub instructions: usize,
}

/// How busy the compile threads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait or are in hand.
    pub queued: usize,
    /// Whether they have to share processors with others.
    pub contended: bool,
}

/// What the rule takes things to cost, and what it is willing to spend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Compiling at tier 1: `speed`, with the backtracking register allocator.
    pub tier1: Linear,
    /// What an instruction costs more at tier 0 than at tier 1 each time it runs.
    pub loss: f64,
    /// The share of a compilation's cost at which an idle compile thread begins.
    pub idle_share: f64,
    /// The share of its loss that is waited for where compile threads have to share processors.
    pub busy_share: f64,
    /// How much of the time that the program has run compile threads may take where they have to share processors.
    pub budget: f64,
    /// A part has gone cold that was executed at less than this share of its pace before it was queued.
    pub cold_share: f64,
}

/// What was counted of a part when.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// How long its function had been there, in nanoseconds.
    pub age: f64,
    /// How often it was executed by then.
    pub executions: u64,
}

/// The rule that the engine goes by.
pub const RULE: Rule = Rule {
    // With this fixed time, recorded programs that were compiled whole say 900 to 2,200 an instruction, 1,500 in the middle. Functions of
    // more than 3,000 instructions cost more than the line says (`cargo bench --bench costs -- fit`).
    tier1: Linear {
        fixed: 25_000.0,
        each: 1_400.0,
    },
    // By the recorded runs of fifteen real programs at either tier: 0 to 0.07, 0.02 in most.
    loss: 0.05,
    // An idle processor compiles for nothing, but for what waits behind. From a fifth of this to all of the cost: replayed
    // means differ by 2 %, and less is better.
    idle_share: 1.0 / 256.0,
    busy_share: 1.0,
    // Replayed, where two processors are shared with another program: 0.1, 0.15, 0.3 and 0.5 are 0.5 to 3 % slower in the
    // mean and 3 to 11 % in the worst case.
    budget: 0.2,
    cold_share: 0.3,
};

/// What was executed less often since it was queued, in the time between, says nothing of its pace.
const TOO_SHORT: f64 = 5e6;

/// A function of so many instructions or fewer starts at `speed`: tier 0 would save less than its counters cost. With 60, as
/// long as Cranelift made tier 0, programs that end soon took up to 1.3 times as long.
pub const SMALL: usize = 12;

/// A function that was called so often before its loops got hot is compiled whole rather than loop by loop.
pub const CALLED_AGAIN: u64 = 4;

impl Rule {
    /// How many executions more a part needs before it is compiled; 0 if it is to be compiled now. `patience` is the share
    /// of its loss that is waited for.
    pub fn executions_left(
        &self,
        weight: Weight,
        executions: u64,
        load: Load,
        patience: f64,
    ) -> u64 {
        let share = match load.contended {
            true => self.busy_share,
            false => (self.idle_share * (1 + load.queued) as f64).min(1.0),
        };
        let needed = self.tier1.at(weight.instructions) * share * patience;
        let each = (weight.executed * self.loss).max(self.loss);
        let needed = needed / each;
        // `as` saturates.
        (needed - executions as f64).max(0.0) as u64
    }

    /// How much a part is worth compiling now: what it has lost at tier 0 by what compiling it costs.
    pub fn urgency(&self, weight: Weight, executions: u64) -> f64 {
        weight.executed * self.loss * executions as f64 / self.tier1.at(weight.instructions)
    }

    /// Whether compile threads that have taken `spent` of the processors may begin with a part of so many instructions, where
    /// the program has run for `ran` and they have to share.
    pub fn affords(&self, spent: f64, ran: f64, instructions: usize) -> bool {
        spent + self.tier1.at(instructions) <= self.budget * ran
    }

    /// Whether a part has gone cold that was `queued` then and is as it is `now`.
    pub fn has_gone_cold(&self, queued: Seen, now: Seen) -> bool {
        let time = now.age - queued.age;
        let executions = now.executions.saturating_sub(queued.executions) as f64;
        let before = queued.executions as f64 / queued.age.max(1.0);
        time >= TOO_SHORT && executions < before * time * self.cold_share
    }
}

/// Whether a function of which a loop is hot is better compiled as a whole: it was called `entries` times, again and again,
/// and is not much larger than the loop.
pub fn prefers_whole(inner: Weight, function: Weight, entries: u64) -> bool {
    entries >= CALLED_AGAIN
        && function.instructions <= inner.instructions.saturating_mul(4).max(500)
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
        let needed = RULE.executions_left(weight, 0, CONTENDED, 1.0);
        assert!(RULE.urgency(weight, needed) <= 1.0 && RULE.urgency(weight, needed + 1) >= 1.0);
        assert_eq!(RULE.executions_left(weight, needed + 1, CONTENDED, 1.0), 0);
        assert_eq!(
            RULE.executions_left(weight, needed / 2, CONTENDED, 1.0),
            needed - needed / 2
        );
    }

    #[test]
    fn an_idle_thread_begins_sooner_and_a_queue_makes_it_later() {
        let weight = weight(10.0, 1000);
        let left = |load| RULE.executions_left(weight, 0, load, 1.0);
        let queued = Load { queued: 3, ..IDLE };
        assert!(left(IDLE) < left(queued) && left(queued) < left(CONTENDED));
        let endless = Load {
            queued: usize::MAX / 2,
            ..IDLE
        };
        assert_eq!(left(endless), left(CONTENDED));
    }

    #[test]
    fn compiling_is_paid_for_by_running() {
        let cost = RULE.tier1.at(1000);
        let enough = cost / RULE.budget + 1.0;
        assert!(RULE.affords(0.0, enough, 1000) && !RULE.affords(0.0, enough - 2.0, 1000));
        assert!(!RULE.affords(cost, enough, 1000) && RULE.affords(cost, 2.0 * enough, 1000));
        assert!(!RULE.affords(0.0, 0.0, 0) && !RULE.affords(0.0, enough, usize::MAX));
    }

    #[test]
    fn cold_is_what_runs_far_slower_than_before_it_was_queued() {
        let seen = |age, executions| Seen { age, executions };
        let queued = seen(10e6, 1_000);
        let cold = |now| RULE.has_gone_cold(queued, now);
        // At a tenth of its pace, and at all of it.
        assert!(cold(seen(110e6, 2_000)) && !cold(seen(110e6, 11_000)));
        assert!(cold(seen(110e6, 1_000)));
        // Not yet, not for one that never ran, and not where clocks went back.
        assert!(!cold(seen(10.1e6, 1_000)) && !cold(seen(0.0, 0)));
        assert!(!RULE.has_gone_cold(Seen::default(), seen(100e6, 0)));
    }

    #[test]
    fn nothing_that_is_estimated_overflows() {
        for executed in [0.0, 1e30, f64::INFINITY] {
            for instructions in [0, usize::MAX] {
                let weight = weight(executed, instructions);
                for executions in [0, u64::MAX] {
                    RULE.executions_left(weight, executions, CONTENDED, 1.0);
                }
            }
        }
    }
}
