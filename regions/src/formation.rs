//! Which regions are worth compiling: all of the policy, and nothing but policy.
//!
//! # Purpose
//! [`form`] answers a hot entry with a region, with "recompile the whole function", or with nothing, and says for
//! each loop it looked at what it decided and why. [`survey`] does the same for a whole function before anything
//! runs hot.
//!
//! # Notation
//! The *trips* of a loop are its header's count divided by the number of times it was entered. A loop is
//! *hookable* if the caller can put a region hook at its header. *Share* is a part of the function's executed
//! instructions.
//!
//! # Rules
//! 1. Start at the loop whose header is hot; for a block that is no header, at the innermost loop around it.
//! 2. A loop that is not hookable or has too small a share gives way to the loop around it. One that is too large
//!    ends the search: what is around it is larger.
//! 3. A loop with fewer trips than [`Policy::min_trip_count`] gives way to a suitable loop around it, if there is
//!    one: entering a region costs something each time.
//! 4. Of the chosen loop, blocks run less often than [`Policy::cold_share`] of the header's count are left out, if
//!    the loop is large enough for that to pay and the profile long enough to know ([`Policy::hot`]).
//! 5. If no loop can be taken because there is none, or none is hookable, the whole function is to be recompiled.
//!
//! # Invariants
//! *harmless*: the profile decides what is chosen, never whether it is right; [`Region::new`] has the last word.
//!
//! # Limitations
//! Trip counts are means.
//!
//! # Not here
//! When a loop counts as hot, how often to try again, and what has been compiled already: the caller knows.

mod decision;
mod survey;

use cranelift_codegen::ir::{Block, Function};

use crate::flow::Flow;
use crate::loops::{LoopForest, LoopId};
use crate::profile::FunctionProfile;
use crate::region::Region;

pub use decision::{Candidate, Decision, SkipReason};
pub use survey::{survey, survey_regions};

/// The thresholds of region formation.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// An inner loop whose mean trips per entry are below gives way to the loop around it.
    pub min_trip_count: f64,
    /// The most instructions a region, or a function recompiled as a whole, may have.
    pub max_region_instructions: usize,
    /// A region has to hold at least this share of the function's executed instructions.
    pub min_share: f64,
    /// Blocks executed less often than this share of the region entry's count are left out; 0.0 leaves out only
    /// what was never executed.
    pub cold_share: f64,
    /// Loops and functions of fewer instructions keep their cold blocks: leaving them out saves little.
    pub prune_from: usize,
    /// Blocks are left out only once the region's entry was executed so often. By the rule of three (Hanley and
    /// Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983), a block that was not executed
    /// once in *n* executions of the entry runs in fewer than 3/*n* of them, with a confidence of 95 %.
    pub prune_after: u64,
}

impl Policy {
    /// Which blocks of a loop or function belong to its region. `entry_count` and `instructions` are its own.
    ///
    /// Where the profile says too little, or there is little to gain, all do.
    pub fn hot<'p>(
        &self,
        profile: &'p FunctionProfile,
        entry_count: u64,
        instructions: usize,
    ) -> impl Fn(Block) -> bool + use<'p> {
        let all =
            entry_count == 0 || entry_count < self.prune_after || instructions < self.prune_from;
        let least = entry_count as f64 * self.cold_share;
        move |block| {
            let count = profile.block(block);
            all || (count > 0 && count as f64 >= least)
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_trip_count: 16.0,
            max_region_instructions: 20_000,
            min_share: 0.01,
            cold_share: 0.001,
            prune_from: 0,
            prune_after: 0,
        }
    }
}

/// What has become hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotEntry {
    /// A loop, by its header.
    Header(Block),
    /// The function: it is called often.
    Function,
}

/// The answer of [`form`].
#[derive(Clone, Debug)]
pub struct Formation {
    /// The region to compile.
    pub region: Option<Region>,
    /// Whether to recompile the whole function instead.
    pub whole_function: bool,
    /// What was looked at, in this order.
    pub candidates: Vec<Candidate>,
}

/// Whether a loop can have a hook at its header, and if not, why.
pub type Hookable<'a> = &'a dyn Fn(LoopId) -> Result<(), String>;

/// Choose a region for a hot entry.
///
/// `hookable` says for each loop whether a region hook can be put at its header, or why not.
///
/// # Complexity
/// O(instructions + blocks log blocks).
pub fn form(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    profile: &FunctionProfile,
    policy: &Policy,
    hot: HotEntry,
    hookable: Hookable<'_>,
) -> Formation {
    let judge = survey::Judge::new(func, flow, loops, profile, policy, hookable);
    match hot {
        HotEntry::Header(header) => form_at_header(&judge, header),
        HotEntry::Function => form_function(&judge),
    }
}

/// Climb from the hot loop outwards to the best loop, and make it a region.
fn form_at_header(judge: &survey::Judge<'_>, header: Block) -> Formation {
    let mut candidates: Vec<Candidate> = Vec::new();
    if judge.loops.loop_of_header(header).is_none() {
        candidates.push(judge.no_loop(header));
    }
    let mut best: Option<(usize, LoopId)> = None;
    let mut refused_only = true;
    for l in judge.loops.around(header) {
        let decision = match judge.unsuitable(l, false) {
            None => Decision::Take,
            Some(reason) => Decision::Skip(reason),
        };
        refused_only &= matches!(decision, Decision::Skip(SkipReason::Refused(_)));
        let too_large = matches!(decision, Decision::Skip(SkipReason::TooLarge { .. }));
        let taken = decision == Decision::Take;
        candidates.push(judge.candidate(l, decision));
        if too_large {
            break;
        }
        if taken {
            if let Some((position, inner)) = best {
                candidates[position].decision = judge.small_trip_count(inner, l);
            }
            best = Some((candidates.len() - 1, l));
            if judge.runs_long_enough(l) {
                break;
            }
        }
    }
    let Some((position, l)) = best else {
        return match refused_only {
            true => judge.whole_function_instead(candidates),
            false => Formation {
                region: None,
                whole_function: false,
                candidates,
            },
        };
    };
    match judge.region(l) {
        Ok(region) => Formation {
            region: Some(region),
            whole_function: false,
            candidates,
        },
        Err(error) => {
            candidates[position].decision = Decision::Skip(SkipReason::Refused(error.to_string()));
            judge.whole_function_instead(candidates)
        }
    }
}

/// Leave a function that is called often to the hooks of its loops if they will do, and else recompile it.
fn form_function(judge: &survey::Judge<'_>) -> Formation {
    let candidates = judge.survey();
    let left_to = candidates.iter().find(|candidate| {
        candidate.decision == Decision::Take
            && candidate
                .trips
                .is_some_and(|trips| trips >= judge.policy.min_trip_count)
    });
    match left_to.map(|candidate| candidate.header) {
        Some(header) => {
            let mut candidates = candidates;
            let reason = SkipReason::LeftToLoop { header };
            candidates.insert(0, Candidate::of_block(judge.flow.entry(), 1.0, reason));
            Formation {
                region: None,
                whole_function: false,
                candidates,
            }
        }
        None => judge.whole_function_instead(candidates),
    }
}

#[cfg(test)]
mod tests;
