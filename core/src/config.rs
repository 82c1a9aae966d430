//! What a client chooses when it builds an engine.

mod builder;
pub(crate) mod detection;
pub(crate) mod faults;
mod groups;
pub(crate) mod optimizer;
pub mod warm;

pub use detection::Detection;
pub use detection::{FoundBy, Sampling};
pub use faults::{Faults, Stage};
pub use groups::{Memory, Testing, Thresholds, Workers};
pub use optimizer::{Optimizer, SharedFuel};
pub use regraft_executor::arena::ArenaConfig;
pub use regraft_executor::priority::WorkerPriority;
pub use warm::{Digest, WarmStart};

use regraft_executor::Executor;
use regraft_regions::{Policy, Profile};
pub use regraft_symbols::Perf;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// When parts are compiled at tier 1, and at which tier a function starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// By estimated cost and gain: a function that tier 0 would hardly be cheaper for starts at `speed`; a part is
    /// compiled when that is likely to pay; cold blocks are left out when the profile is long enough to know them.
    /// The thresholds say when the engine first looks. Needs [`CompileMode::Background`](crate::CompileMode) and
    /// [`Detection::Counters`](crate::Detection); elsewhere it is the same as `Counts`.
    #[default]
    Cost,
    /// By the thresholds alone, and every function starts at tier 0: deterministic.
    Counts,
}

/// How functions are compiled and when they are compiled again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Tier 0 with counters first, tier 1 for what gets hot.
    #[default]
    Tiered,
    /// Tier 0 with counters, never more.
    Tier0,
    /// Whole functions at the tier-1 settings, without counters: what a
    /// client has without regraft.
    Eager,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tiered => "tiered",
            Self::Tier0 => "tier0",
            Self::Eager => "eager",
        })
    }
}

/// Where tier-1 compilation happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompileMode {
    /// On a worker thread; the running code goes on at tier 0 meanwhile.
    #[default]
    Background,
    /// On the thread that found the hot code, which waits: deterministic.
    Synchronous,
}

/// When `Engine::define` compiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compilation {
    /// At once: errors of the code generator are errors of `define`.
    #[default]
    AtDefinition,
    /// At the first call, through the lazy stub. A function that the code
    /// generator rejects then traps when it is called.
    AtFirstCall,
}

/// When code that was replaced is freed.
///
/// It can be freed when no thread is inside it. The engine knows that of calls through
/// [`TypedFn`](crate::TypedFn), [`Engine::call`](crate::Engine::call), [`Engine::catch`](crate::Engine::catch) and
/// [`Engine::pinned`](crate::Engine::pinned); it cannot know of calls through raw pointers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reclamation {
    /// By itself, as long as no raw pointer was handed out: by [`Engine::pointer`](crate::Engine::pointer), by
    /// [`TypedFn::address`](crate::TypedFn::address), or to generated code that takes the address of a function.
    /// After that, as with `Announced`.
    #[default]
    Automatic,
    /// By itself. The client calls raw pointers, and addresses that generated code took, inside of
    /// [`Engine::pinned`](crate::Engine::pinned) or of safe calls only.
    Pinned,
    /// When the client says that no thread is inside: [`Engine::quiescent`](crate::Engine::quiescent). Calls cost
    /// nothing more than a call.
    Announced,
}

/// The configuration of an engine: a default, and what differs from it.
///
/// ```
/// let config = regraft::Config::default()
///     .loop_threshold(100)
///     .compile(regraft::CompileMode::Synchronous);
/// let engine = regraft::Engine::new(config)?;
/// # Ok::<(), regraft::Error>(())
/// ```
///
/// What belongs together is in a group of its own; each field has a method here that sets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How functions are compiled.
    pub mode: Mode,
    /// Where tier-1 compilation happens.
    pub compile: CompileMode,
    /// When tier-0 compilation happens.
    pub compilation: Compilation,
    /// When parts are compiled at tier 1, and at which tier a function starts.
    pub pacing: Pacing,
    /// What becomes a region.
    pub policy: Policy,
    /// What finds hot parts while code runs.
    pub detection: Detection,
    /// The profile of an earlier run ([`Engine::profile`](crate::Engine::profile)): what it shows hot is compiled
    /// when it is defined. Where it does not fit it is ignored, and the report says why.
    pub profile: Option<Arc<Profile>>,
    /// Where earlier runs have left a profile and machine code, and later ones will find them: nowhere by default.
    pub warm_start: Option<WarmStart>,
    /// Cranelift settings and ISA flags, by name, for an engine on the native
    /// ISA. `opt_level` and `regalloc_algorithm` are the tiers' own.
    pub settings: Vec<(String, String)>,
    /// Whether cold blocks are left out of regions, as side exits.
    pub side_exits: bool,
    /// Whether functions without source locations get the numbers of their
    /// blocks as such, so that a trap can be located.
    pub block_locations: bool,
    /// Whether tier 0 is made by templates in one pass (x86-64), where there is one for everything in a function; else by
    /// Cranelift without optimisation.
    pub templates: bool,
    /// What is made visible to people and tools: nothing by default.
    pub observe: Observe,
    /// The process that runs the code: this one by default.
    pub executor: Executor,
    /// What is done to code before the code generator's own optimiser: nothing by default, as no gain on real programs has
    /// been measured yet.
    pub optimizer: Optimizer,
    /// How often something happens before something is done about it.
    pub thresholds: Thresholds,
    /// The threads that compile in the background.
    pub workers: Workers,
    /// What memory there is, and when it is given back.
    pub memory: Memory,
    /// What is checked, counted and made to fail: for tests.
    pub testing: Testing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            compile: CompileMode::default(),
            compilation: Compilation::default(),
            pacing: Pacing::default(),
            policy: Policy::default(),
            detection: Detection::default(),
            profile: None,
            warm_start: None,
            settings: vec![],
            side_exits: true,
            block_locations: true,
            templates: true,
            observe: Observe::default(),
            executor: Executor::default(),
            optimizer: Optimizer::off(),
            thresholds: Thresholds::default(),
            workers: Workers::default(),
            memory: Memory::default(),
            testing: Testing::default(),
        }
    }
}

/// What is made visible of an engine; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observe {
    /// The report has the CLIF of every function, with counts of blocks and edges; for each version the CLIF that was
    /// compiled, what the optimiser left of it, and the machine code; and the events. Takes memory in proportion to
    /// all code that was ever compiled.
    pub inspect: bool,
    /// What a profiler is told of generated code: perf, samply and others then know names of functions, regions and
    /// continuations. Also switched on by the environment, `REGRAFT_PERF=map` or `REGRAFT_PERF=jitdump`.
    pub perf: Option<Perf>,
    /// Whether a debugger knows generated code, by GDB's interface for compilers at run time: names, lines of the
    /// CLIF, unwind information. Also switched on by the environment, `REGRAFT_GDB=1`. Needs the feature `debug`. Code
    /// memory is writable where it runs, then, since breakpoints are written there.
    pub debugger: bool,
    /// Whether the unwinder of the system's runtime library knows generated code, so that backtraces in callbacks go
    /// through it (`std::backtrace`, crash handlers). Needs the feature `debug`, and the GNU C library.
    pub unwinder: bool,
    /// Where jitdumps and the CLIF of functions are saved, for debugger and jitdump; by default the directory of
    /// temporary files.
    pub directory: Option<PathBuf>,
}
