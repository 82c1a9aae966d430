//! The costs of all loops, the rules applied to one loop, and the survey of a function.
//!
//! # Purpose
//! [`Judge`] adds up instructions and weights of all loops once, so that looking at a nest of thousands of loops
//! takes linear time, and then answers what [`super::form`] and [`survey`] ask about one loop.
//!
//! # Rules of the survey
//! Inner hooks fire first, so loops are judged from the inside out: a suitable loop that runs long enough is
//! taken, and a loop around it only if enough is left beside what was taken.
//!
//! # Not here
//! The climb from one hot header ([`super::form`]). Its answer can differ from the survey's: there the caller has
//! seen the header run hot.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function};

use super::{Candidate, Decision, Formation, Hookable, Policy, SkipReason};
use crate::flow::Flow;
use crate::loops::{LoopForest, LoopId};
use crate::profile::{FunctionProfile, instruction_count, share};
use crate::region::{Region, RegionError};

/// Decide for every loop and every irreducible cycle whether it would become a region, and why not.
///
/// Loops come outer before inner, then the irreducible cycles.
///
/// # Complexity
/// O(instructions + blocks log blocks), if no loop is over the size limit.
pub fn survey(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    profile: &FunctionProfile,
    policy: &Policy,
    hookable: Hookable<'_>,
) -> Vec<Candidate> {
    Judge::new(func, flow, loops, profile, policy, hookable).survey()
}

/// As [`survey`], with the region of each loop that would become one.
///
/// # Complexity
/// As [`survey`], and O(blocks) for each region: loops that are nested in each other hold the same blocks.
pub fn survey_regions(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    profile: &FunctionProfile,
    policy: &Policy,
    hookable: Hookable<'_>,
) -> Vec<(Candidate, Option<Region>)> {
    let judge = Judge::new(func, flow, loops, profile, policy, hookable);
    let candidates = judge.survey().into_iter();
    let with_region = candidates.map(|mut candidate| {
        let taken = candidate.decision == Decision::Take;
        let region = candidate.loop_id.filter(|_| taken).map(|l| judge.region(l));
        let region = region.transpose().unwrap_or_else(|error| {
            candidate.decision = Decision::Skip(SkipReason::Refused(error.to_string()));
            None
        });
        (candidate, region)
    });
    with_region.collect()
}

/// Instructions, all and executed, of a loop with everything nested in it.
#[derive(Clone, Copy, Default)]
struct Cost {
    instructions: u64,
    weight: u64,
}

/// Everything that decisions are based on.
pub(super) struct Judge<'a> {
    func: &'a Function,
    pub(super) flow: &'a Flow,
    pub(super) loops: &'a LoopForest,
    profile: &'a FunctionProfile,
    pub(super) policy: &'a Policy,
    hookable: Hookable<'a>,
    costs: SecondaryMap<LoopId, Cost>,
    /// Of the whole function.
    total: Cost,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        func: &'a Function,
        flow: &'a Flow,
        loops: &'a LoopForest,
        profile: &'a FunctionProfile,
        policy: &'a Policy,
        hookable: Hookable<'a>,
    ) -> Self {
        let mut costs: SecondaryMap<LoopId, Cost> = SecondaryMap::new();
        let mut total = Cost::default();
        for &block in flow.rpo() {
            let instructions = instruction_count(func, block);
            let weight = profile.block(block).saturating_mul(instructions);
            let innermost = loops.innermost(block).map(|l| &mut costs[l]);
            for cost in innermost.into_iter().chain([&mut total]) {
                cost.instructions += instructions;
                cost.weight = cost.weight.saturating_add(weight);
            }
        }
        for l in loops.loops().rev() {
            if let Some(parent) = loops.parent(l) {
                let inner = costs[l];
                costs[parent].instructions += inner.instructions;
                costs[parent].weight = costs[parent].weight.saturating_add(inner.weight);
            }
        }
        Self {
            func,
            flow,
            loops,
            profile,
            policy,
            hookable,
            costs,
            total,
        }
    }

    /// Why `l` cannot be taken whatever is around it. If it `holds_too_large` a loop, it is not measured again.
    pub(super) fn unsuitable(&self, l: LoopId, holds_too_large: bool) -> Option<SkipReason> {
        if let Err(reason) = (self.hookable)(l) {
            return Some(SkipReason::Refused(reason));
        }
        let limit = self.policy.max_region_instructions;
        let instructions = if holds_too_large {
            self.costs[l].instructions as usize
        } else {
            self.compiled_instructions(l)
        };
        if instructions > limit {
            return Some(SkipReason::TooLarge {
                instructions,
                limit,
            });
        }
        self.low_share(self.share(l))
    }

    /// The reason if a share is too low. Where nothing was counted, nothing is low.
    fn low_share(&self, share: f64) -> Option<SkipReason> {
        let limit = self.policy.min_share;
        (self.total.weight > 0 && share < limit).then_some(SkipReason::LowShare { share, limit })
    }

    /// The instructions that a region of `l` would have.
    fn compiled_instructions(&self, l: LoopId) -> usize {
        let whole = self.costs[l].instructions as usize;
        if whole <= self.policy.max_region_instructions {
            return whole;
        }
        let hot = self.hot(l);
        let blocks = self.loops.blocks(l).into_iter().filter(|&b| hot(b));
        blocks
            .map(|b| instruction_count(self.func, b) as usize)
            .sum()
    }

    /// Which blocks are hot in a region of `l`.
    fn hot(&self, l: LoopId) -> impl Fn(Block) -> bool + '_ {
        let entry_count = self.profile.block(self.loops.header(l));
        let instructions = self.costs[l].instructions as usize;
        self.policy.hot(self.profile, entry_count, instructions)
    }

    /// The region of `l` without its cold blocks.
    pub(super) fn region(&self, l: LoopId) -> Result<Region, RegionError> {
        let header = self.loops.header(l);
        let scope = self.loops.blocks(l);
        Region::pruned(self.func, self.flow, header, &scope, self.hot(l))
    }

    /// The part of the function's executed instructions that lies in `l`.
    fn share(&self, l: LoopId) -> f64 {
        share(self.costs[l].weight, self.total.weight)
    }

    /// The part of the function's executed instructions that lies in `block`.
    pub(super) fn share_of_block(&self, block: Block) -> f64 {
        let weight = self.profile.block_weight(self.func, block);
        share(weight, self.total.weight)
    }

    /// Mean trips of `l` per entry; infinite if it runs but was not seen being entered.
    fn trips(&self, l: LoopId) -> Option<f64> {
        let runs = self.profile.block(self.loops.header(l));
        let entries = self.loops.entry_edges(l, self.flow);
        let entered: u64 = entries
            .iter()
            .fold(0, |sum: u64, &e| sum.saturating_add(self.profile.edge(e)));
        (runs > 0).then(|| runs as f64 / entered as f64)
    }

    /// Whether `l` need not give way to the loop around it.
    pub(super) fn runs_long_enough(&self, l: LoopId) -> bool {
        self.trips(l)
            .is_none_or(|trips| trips >= self.policy.min_trip_count)
    }

    /// The decision that `inner` gives way to `outer`.
    pub(super) fn small_trip_count(&self, inner: LoopId, outer: LoopId) -> Decision {
        Decision::Skip(SkipReason::SmallTripCount {
            trips: self.trips(inner).unwrap_or(0.0),
            around: self.loops.header(outer),
        })
    }

    pub(super) fn candidate(&self, l: LoopId, decision: Decision) -> Candidate {
        Candidate {
            loop_id: Some(l),
            header: self.loops.header(l),
            depth: self.loops.depth(l),
            trips: self.trips(l),
            share: self.share(l),
            decision,
        }
    }

    /// The candidate that says why a hot block does not start a region.
    pub(super) fn no_loop(&self, block: Block) -> Candidate {
        let mut cycles = self.loops.irreducible().iter();
        let reason = match cycles.any(|cycle| cycle.blocks.contains(&block)) {
            true => SkipReason::Irreducible,
            false => SkipReason::NoLoop,
        };
        let mut candidate = Candidate::of_block(block, self.share_of_block(block), reason);
        let around = self.loops.innermost(block);
        candidate.depth = around.map_or(0, |l| self.loops.depth(l));
        candidate
    }

    /// Recompile the whole function, unless it is too large.
    pub(super) fn whole_function_instead(&self, mut candidates: Vec<Candidate>) -> Formation {
        let instructions = self.total.instructions as usize;
        let limit = self.policy.max_region_instructions;
        let reason = SkipReason::TooLarge {
            instructions,
            limit,
        };
        let mut function = Candidate::of_block(self.flow.entry(), 1.0, reason);
        let whole_function = instructions <= limit;
        if whole_function {
            function.decision = Decision::Take;
        }
        candidates.push(function);
        Formation {
            region: None,
            whole_function,
            candidates,
        }
    }

    /// See [`survey`].
    pub(super) fn survey(&self) -> Vec<Candidate> {
        let mut decisions = self.decide_inside_out();
        self.note_covered(&mut decisions);
        let mut candidates: Vec<Candidate> = self
            .loops
            .loops()
            .map(|l| self.candidate(l, decisions[l].clone().unwrap_or(Decision::Take)))
            .collect();
        for cycle in self.loops.irreducible() {
            candidates.extend(self.irreducible(cycle, &decisions));
        }
        candidates
    }

    /// First pass of the survey, inner loops first. `None` stands for [`Decision::Take`].
    fn decide_inside_out(&self) -> SecondaryMap<LoopId, Option<Decision>> {
        let unsuitable = self.unsuitable_loops();
        // The nearest suitable loop around each loop.
        let mut around: SecondaryMap<LoopId, Option<LoopId>> = SecondaryMap::new();
        for l in self.loops.loops() {
            around[l] = self.loops.parent(l).and_then(|parent| {
                let taken = unsuitable[parent].is_none();
                if taken { Some(parent) } else { around[parent] }
            });
        }
        let mut decisions: SecondaryMap<LoopId, Option<Decision>> = SecondaryMap::new();
        // Of each loop, the weight of what has been taken in it, and a header of that.
        let mut taken: SecondaryMap<LoopId, (u64, Option<Block>)> = SecondaryMap::new();
        for l in self.loops.loops().rev() {
            let (inside, inner) = taken[l];
            let rest = share(
                self.costs[l].weight.saturating_sub(inside),
                self.total.weight,
            );
            let decision = match (&unsuitable[l], around[l], inner) {
                (Some(reason), _, _) => Some(Decision::Skip(reason.clone())),
                (None, _, Some(header)) if self.low_share(rest).is_some() => {
                    Some(Decision::Skip(SkipReason::InnerTaken { header }))
                }
                (None, Some(outer), _) if !self.runs_long_enough(l) => {
                    Some(self.small_trip_count(l, outer))
                }
                _ => None,
            };
            if decision.is_none() {
                taken[l] = (self.costs[l].weight, Some(self.loops.header(l)));
            }
            if let Some(parent) = self.loops.parent(l) {
                let (weight, header) = taken[l];
                taken[parent].0 = taken[parent].0.saturating_add(weight);
                taken[parent].1 = taken[parent].1.or(header);
            }
            decisions[l] = decision;
        }
        decisions
    }

    /// For each loop, why it cannot be taken. What is around a loop that is too large is not measured again.
    fn unsuitable_loops(&self) -> SecondaryMap<LoopId, Option<SkipReason>> {
        let mut unsuitable: SecondaryMap<LoopId, Option<SkipReason>> = SecondaryMap::new();
        let mut too_large_inside: SecondaryMap<LoopId, bool> = SecondaryMap::new();
        for l in self.loops.loops().rev() {
            unsuitable[l] = self.unsuitable(l, too_large_inside[l]);
            if let Some(parent) = self.loops.parent(l) {
                let too_large = matches!(unsuitable[l], Some(SkipReason::TooLarge { .. }));
                too_large_inside[parent] |= too_large || too_large_inside[l];
            }
        }
        unsuitable
    }

    /// Second pass, outer loops first: a small share inside a region that is taken is covered.
    fn note_covered(&self, decisions: &mut SecondaryMap<LoopId, Option<Decision>>) {
        let mut taken_around: SecondaryMap<LoopId, Option<Block>> = SecondaryMap::new();
        for l in self.loops.loops() {
            let Some(parent) = self.loops.parent(l) else {
                continue;
            };
            taken_around[l] = match decisions[parent] {
                None => Some(self.loops.header(parent)),
                Some(_) => taken_around[parent],
            };
            if let (Some(header), Some(Decision::Skip(SkipReason::LowShare { .. }))) =
                (taken_around[l], &decisions[l])
            {
                decisions[l] = Some(Decision::Skip(SkipReason::CoveredBy { header }));
            }
        }
    }

    /// An irreducible cycle can only be covered by a loop around it.
    fn irreducible(
        &self,
        cycle: &crate::loops::IrreducibleCycle,
        decisions: &SecondaryMap<LoopId, Option<Decision>>,
    ) -> Option<Candidate> {
        let &header = cycle.entries.first().or(cycle.blocks.first())?;
        let mut outer = self.loops.innermost(header);
        for &block in &cycle.blocks {
            while let Some(l) = outer.filter(|&l| !self.loops.contains(l, block)) {
                outer = self.loops.parent(l);
            }
        }
        let covering = std::iter::successors(outer, |&l| self.loops.parent(l))
            .find(|&l| decisions[l].is_none());
        let reason = match covering {
            Some(l) => SkipReason::CoveredBy {
                header: self.loops.header(l),
            },
            None => SkipReason::Irreducible,
        };
        let share = cycle.blocks.iter().map(|&b| self.share_of_block(b)).sum();
        let mut candidate = Candidate::of_block(header, share, reason);
        candidate.depth = outer.map_or(0, |l| self.loops.depth(l)) + 1;
        Some(candidate)
    }
}
