//! Where time goes, by tier: samples of the program counter, counted.
//!
//! Limitations: threads are sampled that call through the engine (`tiering::detect::sampling`). Time in the host and in the
//! compiler is nobody's. That a region was entered is known from the first sample in it: up to a tick late, or never.
//!
//! Not here: who samples.

use crate::report::TimesReport;
use regraft_executor::locks::lock;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Samples so far.
#[derive(Debug, Default)]
pub(crate) struct Times {
    tiers: [AtomicU64; 2],
    /// Where versions start that were seen running.
    entered: Mutex<HashSet<usize>>,
}

impl Times {
    /// Counts a sample of a version at a tier; says whether it is the first.
    pub fn add(&self, tier: u8, start: usize) -> bool {
        self.tiers[usize::from(tier.min(1))].fetch_add(1, Ordering::Relaxed);
        lock(&self.entered).insert(start)
    }

    /// What starts there is gone.
    pub fn forget(&self, start: usize) {
        lock(&self.entered).remove(&start);
    }

    /// How many samples there are.
    pub fn report(&self) -> TimesReport {
        let [tier0, tier1] = self
            .tiers
            .each_ref()
            .map(|tier| tier.load(Ordering::Relaxed));
        TimesReport { tier0, tier1 }
    }
}
