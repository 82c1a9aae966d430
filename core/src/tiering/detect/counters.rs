//! The detector that tier-0 code carries: countdowns at hooked headers and at the function's entry.
//!
//! Not here: the countdowns themselves (`instrument`, `cells`), and when they are armed again
//! (`hot`).

use super::{Detector, Evidence, FoundBy};
use crate::units::part::HotPart;
use crate::units::tiering::Tiering;

/// A countdown that has gone below zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Countdown {
    /// The part that it counts executions of.
    pub part: HotPart,
}

impl Detector for Countdown {
    fn found_by(&self) -> FoundBy {
        FoundBy::Counters
    }

    fn hot_parts(&self, _tiering: &Tiering) -> Vec<HotPart> {
        vec![self.part]
    }

    fn evidence(&self, _part: HotPart) -> Evidence {
        Evidence::Current
    }
}
