//! The memory section of the report.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// How the memory of an engine is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Bytes of machine code, by tier: `tier0`, `tier1`.
    pub tiers: IndexMap<String, TierMemoryReport>,
    /// Code memory: stubs and versions.
    pub code: RangeReport,
    /// Data memory: slots and counters.
    pub data: RangeReport,
    /// Definitions, versions and functions that are retired and not freed yet.
    pub waiting: usize,
}

/// Bytes of machine code of one tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierMemoryReport {
    /// In use.
    pub live: u64,
    /// Unreachable for new calls, waiting until no thread can be inside.
    pub retired: u64,
    /// Freed so far, in total.
    pub freed: u64,
}

/// One of the two ranges of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RangeReport {
    /// Bytes that belong to somebody.
    pub live: usize,
    /// Bytes up to the highest that was ever given.
    pub touched: usize,
    /// Number of free extents.
    pub holes: usize,
    /// The share of the free bytes that lies outside the largest extent, from 0 towards 1.
    pub fragmentation: f64,
}

impl MemoryReport {
    /// Adds another engine's memory; of two fragmentations, the worse counts.
    pub fn add(&mut self, other: Self) {
        for (tier, bytes) in other.tiers {
            let sum = self.tiers.entry(tier).or_default();
            sum.live += bytes.live;
            sum.retired += bytes.retired;
            sum.freed += bytes.freed;
        }
        self.code.add(&other.code);
        self.data.add(&other.data);
        self.waiting += other.waiting;
    }
}

impl RangeReport {
    fn add(&mut self, other: &Self) {
        self.live += other.live;
        self.touched += other.touched;
        self.holes += other.holes;
        self.fragmentation = self.fragmentation.max(other.fragmentation);
    }
}
