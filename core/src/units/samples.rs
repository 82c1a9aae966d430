//! The samples of a function at tier 0.

use crate::config::detection::Sampling;
use crate::units::part::{BACKOFF_SHIFT, HotPart};
use cranelift_codegen::ir::{Block, Function};
use regraft_executor::locks::lock;
use regraft_regions::{Flow, FunctionProfile, LoopForest, Samples, from_samples};
use std::sync::Mutex;

/// The samples of a function.
#[derive(Debug)]
pub(crate) struct FunctionSamples {
    config: Sampling,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    blocks: Samples,
    /// The function itself, then its hooks.
    parts: Vec<PartSamples>,
}

#[derive(Clone, Debug)]
struct PartSamples {
    /// Since the part was last found hot.
    count: u64,
    /// How many make it hot the next time.
    enough: u64,
}

impl FunctionSamples {
    /// No samples yet of a function with this many hooks.
    pub fn new(config: Sampling, hooks: usize) -> Self {
        let part = PartSamples {
            count: 0,
            enough: u64::from(config.samples.max(1)),
        };
        Self {
            config,
            seen: Mutex::new(Seen {
                blocks: Samples::new(),
                parts: vec![part; hooks + 1],
            }),
        }
    }

    /// Adds a sample of a block; returns `part`, which the block is in, if that is hot now.
    pub fn add(&self, part: HotPart, block: Block) -> Option<HotPart> {
        let mut seen = lock(&self.seen);
        seen.blocks.add(block, 1);
        let index = match part {
            HotPart::Function => 0,
            HotPart::Loop(hook) => hook + 1,
        };
        let samples = seen.parts.get_mut(index)?;
        samples.count += 1;
        if samples.count < samples.enough {
            return None;
        }
        samples.count = 0;
        samples.enough = samples.enough.saturating_mul(1 << BACKOFF_SHIFT);
        Some(part)
    }

    /// What the samples say about how often blocks ran: about an instruction each nanosecond.
    pub fn profile(&self, func: &Function, flow: &Flow, loops: &LoopForest) -> FunctionProfile {
        let instructions = u64::try_from(self.config.interval.as_nanos()).unwrap_or(u64::MAX);
        let seen = lock(&self.seen);
        from_samples(func, flow, loops, &seen.blocks, instructions)
    }
}
