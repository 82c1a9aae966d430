//! What finds hot parts, as a client chooses it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What finds hot parts while code runs.
///
/// A saved profile ([`Config::profile`](field@crate::Config::profile)) finds them before, beside either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detection {
    /// Counters in tier-0 code: exact, soon, and in every iteration.
    #[default]
    Counters,
    /// Samples of the program counter: tier-0 code does not count.
    Sampling(Sampling),
}

/// What found a hot part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FoundBy {
    /// A counter, of tier 0 or of a side exit.
    Counters,
    /// Samples of the program counter.
    Sampling,
    /// A saved profile.
    Profile,
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counters => "counters",
            Self::Sampling => "sampling",
            Self::Profile => "profile",
        })
    }
}

/// How threads are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// The processor time of a thread from one sample to the next. The kernel does not sample more often
    /// than it ticks: every 1 to 10 ms.
    pub interval: Duration,
    /// A loop, or what of a function is in no loop, is hot after this many samples.
    pub samples: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(1),
            samples: 2,
        }
    }
}
