//! What a client chooses when it builds an engine.

pub mod detection;
pub mod faults;
pub mod optimizer;

use crate::config::detection::Detection;
use crate::config::faults::Faults;
use crate::config::optimizer::Optimizer;
use regraft_executor::Executor;
use regraft_executor::arena::ArenaConfig;
use regraft_executor::priority::WorkerPriority;
use regraft_regions::{Mode as Counting, Policy, Profile};
use regraft_symbols::Perf;
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

/// The configuration of an engine.
///
/// ```
/// let config = regraft::Config {
///     loop_threshold: 100,
///     compile: regraft::CompileMode::Synchronous,
///     ..regraft::Config::default()
/// };
/// let engine = regraft::Engine::new(config)?;
/// # Ok::<(), regraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// How functions are compiled.
    pub mode: Mode,
    /// Where tier-1 compilation happens.
    pub compile: CompileMode,
    /// How many threads compile in the background; they start when they are first needed. At least 1: `Engine::new`
    /// refuses 0 unless `compile` is [`CompileMode::Synchronous`], which needs no thread.
    pub workers: usize,
    /// The priority at which they generate code.
    pub worker_priority: WorkerPriority,
    /// When tier-0 compilation happens.
    pub compilation: Compilation,
    /// When parts are compiled at tier 1, and at which tier a function starts.
    pub pacing: Pacing,
    /// With [`Pacing::Cost`], how much of the loss is waited for at which the cost model calls a part due: 1.0 by
    /// default, less to compile sooner, 0.0 to compile when the threshold is reached.
    pub patience: f64,
    /// Whether functions that are likely to be called next are compiled before they are, by compile threads that
    /// have nothing else to do. With [`Pacing::Cost`] only. Definitions that are asked for at the first call
    /// ([`Engine::define_lazily`](crate::Engine::define_lazily)) are then asked for ahead of it.
    pub ahead: bool,
    /// A loop is hot after this many executions of its header, where they are counted.
    pub loop_threshold: u32,
    /// A function is hot after this many calls, where they are counted.
    pub entry_threshold: u32,
    /// What becomes a region.
    pub policy: Policy,
    /// What finds hot parts while code runs.
    pub detection: Detection,
    /// The profile of an earlier run ([`Engine::profile`](crate::Engine::profile)): what it shows hot is compiled
    /// when it is defined. Where it does not fit it is ignored, and the report says why.
    pub profile: Option<Arc<Profile>>,
    /// Where tier 0 counts, with [`Detection::Counters`]. With [`Pacing::Cost`], `SpanningTree` is `Loops` in functions
    /// that are too small for cold blocks to be left out.
    pub counting: Counting,
    /// How many copies of its counters a function has; rounded up to a power of two, 256 at most. Threads that run one
    /// function at tier 0 slow each other down by writing to the same counters: with several copies, of which each
    /// activation picks one by its stack, mostly they do not. Each copy counts to the thresholds by itself.
    pub counter_copies: u32,
    /// The size of code and data memory.
    pub arena: ArenaConfig,
    /// Cranelift settings and ISA flags, by name, for an engine on the native
    /// ISA. `opt_level` and `regalloc_algorithm` are the tiers' own.
    pub settings: Vec<(String, String)>,
    /// How often a failed tier-1 compilation is tried again.
    pub max_attempts: u32,
    /// A side exit is hot when it was taken this many times; each time a
    /// region is formed again, eight times as many.
    pub side_exit_threshold: u32,
    /// How often a region is formed at most, before its side exits are left
    /// as they are.
    pub max_formations: u32,
    /// Failures to inject, for tests; none by default.
    pub faults: Option<Faults>,
    /// Whether everything that regraft generates is checked before it is
    /// compiled: by Cranelift's verifier, and outlined code by the symbolic
    /// checker of `regraft_outliner` too. What fails is not used, and the
    /// report says so.
    pub check: bool,
    /// Whether cold blocks are left out of regions, as side exits.
    pub side_exits: bool,
    /// Whether functions without source locations get the numbers of their
    /// blocks as such, so that a trap can be located.
    pub block_locations: bool,
    /// Whether tier 0 is made by templates in one pass (x86-64), where there is one for everything in a function; else by
    /// Cranelift without optimisation.
    pub templates: bool,
    /// When code that was replaced is freed.
    pub reclamation: Reclamation,
    /// What is made visible to people and tools: nothing by default.
    pub observe: Observe,
    /// The process that runs the code: this one by default.
    pub executor: Executor,
    /// What is done to code before the code generator's own optimiser: nothing by default, as no gain on real programs has
    /// been measured yet.
    pub optimizer: Optimizer,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            compile: CompileMode::default(),
            workers: 1,
            worker_priority: WorkerPriority::default(),
            compilation: Compilation::default(),
            pacing: Pacing::default(),
            patience: 1.0,
            ahead: true,
            loop_threshold: 1000,
            entry_threshold: 1000,
            policy: Policy::default(),
            detection: Detection::default(),
            profile: None,
            counting: Counting::SpanningTree,
            counter_copies: 1,
            arena: ArenaConfig::default(),
            settings: vec![],
            max_attempts: 3,
            side_exit_threshold: 100,
            max_formations: 3,
            faults: None,
            check: false,
            side_exits: true,
            block_locations: true,
            templates: true,
            reclamation: Reclamation::default(),
            observe: Observe::default(),
            executor: Executor::default(),
            optimizer: Optimizer::off(),
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
