//! Parts of a configuration.

use crate::config::Reclamation;
use crate::config::faults::Faults;
use regraft_executor::arena::ArenaConfig;
use regraft_executor::priority::WorkerPriority;
use regraft_regions::Counting;

/// How often something happens before something is done about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Thresholds {
    /// A loop is hot after this many executions of its header, where they are counted.
    pub loops: u32,
    /// A function is hot after this many calls, where they are counted.
    pub entries: u32,
    /// A side exit is hot when it was taken this many times; each time a
    /// region is re-formed, eight times as many.
    pub side_exits: u32,
    /// How often a region is formed at most, before its side exits are left
    /// as they are.
    pub formations: u32,
    /// How often a failed tier-1 compilation is tried again.
    pub attempts: u32,
    /// With [`Pacing::Cost`](crate::Pacing), how much of the loss is waited for at which the cost model calls a part due: 1.0 by
    /// default, less to compile sooner, 0.0 to compile when the threshold is reached.
    pub patience: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            loops: 1000,
            entries: 1000,
            side_exits: 100,
            formations: 3,
            attempts: 3,
            patience: 1.0,
        }
    }
}

/// The threads that compile in the background.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Workers {
    /// How many threads compile in the background; they start when they are first needed. At least 1: `Engine::new`
    /// refuses 0 unless `compile` is [`CompileMode::Synchronous`](crate::CompileMode), which needs no thread.
    pub threads: usize,
    /// The priority at which they generate code.
    pub priority: WorkerPriority,
    /// Whether functions that are likely to be called next are compiled before they are, by compile threads that
    /// have nothing else to do. With [`Pacing::Cost`](crate::Pacing) only. Definitions that are asked for at the first call
    /// ([`Engine::define_lazily`](crate::Engine::define_lazily)) are then asked for ahead of it.
    pub ahead: bool,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            threads: 1,
            priority: WorkerPriority::default(),
            ahead: true,
        }
    }
}

/// What memory there is, and when it is given back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Memory {
    /// The size of code and data memory.
    pub arena: ArenaConfig,
    /// When code that was replaced is freed.
    pub reclamation: Reclamation,
    /// How many copies of its counters a function has; rounded up to a power of two, 256 at most. Threads that run one
    /// function at tier 0 slow each other down by writing to the same counters: with several copies, of which each
    /// activation picks one by its stack, mostly they do not. Each copy counts to the thresholds by itself.
    pub counter_copies: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            arena: ArenaConfig::default(),
            reclamation: Reclamation::default(),
            counter_copies: 1,
        }
    }
}

/// What is checked, counted and made to fail: for tests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Testing {
    /// Failures to inject, for tests; none by default.
    pub faults: Option<Faults>,
    /// Whether everything that regraft generates is checked before it is
    /// compiled: by Cranelift's verifier, and outlined code by the symbolic
    /// checker of `regraft_outliner` too. What fails is not used, and the
    /// report says so.
    pub check: bool,
    /// Where tier 0 counts, with [`Detection::Counters`](crate::Detection). With [`Pacing::Cost`](crate::Pacing), `SpanningTree` is `Loops` in functions
    /// that are too small for cold blocks to be left out.
    pub counting: Counting,
}

impl Default for Testing {
    fn default() -> Self {
        Self {
            faults: None,
            check: false,
            counting: Counting::SpanningTree,
        }
    }
}
