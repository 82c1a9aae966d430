//! What the simulator of `benches` needs: the rule that compiling is paced by, and what tier 0 has counted.
//!
//! Hidden: no part of the interface, and it may change at any time.
//!
//! # Invariants
//! *harmless*: counters are read, and nothing is changed.
//!
//! # Limitations
//! Counts are read while code runs: those of one function are not of one moment.
//!
//! # Not here
//! Traces and policies (`benches/pacing`).

pub use crate::pacing::rule;

use crate::context::Engine;
use crate::pacing::rule::Weight;
use crate::units::function::Body;
use crate::units::part::HotPart;
use crate::units::tiering::Tiering;
use cranelift_codegen::entity::SecondaryMap;
use regraft_regions::{LoopId, instruction_count};

/// What can get hot: the function itself, or a loop that has a hook.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The index of the loop around it, or of the function; none for the function, whose index is 0.
    pub parent: Option<usize>,
    /// How much runs each time it is executed, by estimate.
    pub weight: Weight,
}

/// A function at tier 0, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The number of the function.
    pub number: u32,
    /// Its name.
    pub name: &'a str,
    body: &'a Body,
    tiering: &'a Tiering,
}

/// Shows every function that has a version at tier 0.
pub fn each_function(engine: &Engine, visit: &mut dyn FnMut(Counted<'_>)) {
    for function in engine.inner.functions() {
        let Some(body) = function.body() else {
            continue;
        };
        if let Some(tiering) = body.tiering() {
            visit(Counted {
                number: function.unit,
                name: &function.name,
                body: &body,
                tiering,
            });
        }
    }
}

impl Counted<'_> {
    /// Its parts: the function first.
    pub fn parts(self) -> Vec<Part> {
        let loops = (0..self.tiering.hooks.len()).map(|hook| {
            let around = self.loop_around(self.tiering.hooks[hook].loop_id);
            Part {
                parent: Some(around.map_or(0, |hook| hook + 1)),
                weight: self.tiering.weight(HotPart::Loop(hook)),
            }
        });
        let function = Part {
            parent: None,
            weight: self.tiering.weight(HotPart::Function),
        };
        std::iter::once(function).chain(loops).collect()
    }

    /// How often each part was executed so far.
    pub fn executions(self) -> Vec<u64> {
        let loops = (0..self.tiering.hooks.len()).map(HotPart::Loop);
        std::iter::once(HotPart::Function)
            .chain(loops)
            .map(|part| self.tiering.executions(part))
            .collect()
    }

    /// How many instructions each part has executed so far, those of loops in it that are parts left out.
    pub fn executed(self) -> Vec<u64> {
        let source = &self.body.source;
        let profile = self.tiering.profile(source);
        let analysis = &self.tiering.analysis;
        let mut parts: SecondaryMap<LoopId, Option<usize>> = SecondaryMap::new();
        for loop_id in analysis.loops.loops() {
            let own = self.tiering.hook_of(loop_id);
            parts[loop_id] = own.or_else(|| self.loop_around(loop_id));
        }
        let mut executed = vec![0_u64; self.tiering.hooks.len() + 1];
        for &block in analysis.flow.rpo() {
            let innermost = analysis.loops.innermost(block);
            let part = innermost.and_then(|l| parts[l]).map_or(0, |hook| hook + 1);
            let count = profile.block(block);
            let weight = count.saturating_mul(instruction_count(source, block));
            executed[part] = executed[part].saturating_add(weight);
        }
        executed
    }

    /// The hook of the next loop around a loop that has one.
    fn loop_around(self, loop_id: LoopId) -> Option<usize> {
        let loops = &self.tiering.analysis.loops;
        let around = std::iter::successors(loops.parent(loop_id), |&l| loops.parent(l));
        around.into_iter().find_map(|l| self.tiering.hook_of(l))
    }
}
