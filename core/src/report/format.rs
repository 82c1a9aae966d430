//! The data of a report, as they are written to JSON.

use super::account::AccountReport;
use super::detail::{CodeReport, DetailReport, EventsReport};
use super::memory::MemoryReport;
use super::names::{
    ExitKind, PartDecision, PartState, RegionKind, SavedState, SideExitState, found_by,
};
use crate::config::Mode;
use crate::config::detection::FoundBy;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The version of the report's format.
pub const REPORT_VERSION: u32 = 2;

/// What an engine has done so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of the format: [`REPORT_VERSION`].
    pub version: u32,
    /// The mode of the engine.
    pub mode: Mode,
    /// What finds hot parts while code runs: counters or sampling.
    pub detection: FoundBy,
    /// The target triple.
    pub target: String,
    /// What tier-1 compilation has done.
    pub workers: WorkersReport,
    /// How code and data memory are used.
    pub memory: MemoryReport,
    /// Where time went, by thread; reports of earlier versions do not say.
    #[serde(default)]
    pub account: AccountReport,
    /// What was done with what earlier runs have left; absent unless there is a place for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStartReport>,
    /// The defined functions, by name, in the order of their declaration. Where functions of modules
    /// have the same name, the number of the function follows it: `main#17`.
    pub functions: IndexMap<String, FunctionReport>,
    /// Where time went; absent unless that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<TimesReport>,
    /// What happened, in order; absent unless it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsReport>,
}

/// Where the time of threads went that called through the engine: samples of the program counter in generated code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimesReport {
    /// Samples at tier 0.
    pub tier0: u64,
    /// Samples at tier 1: regions, continuations, whole functions.
    pub tier1: u64,
}

impl TimesReport {
    /// Adds another engine's samples.
    pub fn add(&mut self, other: Self) {
        self.tier0 += other.tier0;
        self.tier1 += other.tier1;
    }
}

/// Machine code that earlier runs have left, and that is kept for later ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmStartReport {
    /// Functions whose code was loaded.
    pub loaded: u64,
    /// Functions of which there was none.
    pub missed: u64,
    /// Functions whose code was there and not used: it was damaged, or does not fit.
    pub unusable: u64,
    /// Functions whose code this run adds.
    pub kept: usize,
    /// Functions whose code cannot be kept, by reason: `copies`, `side-exits`, `nameless`, `relocation`, `too-large`.
    pub refused: IndexMap<String, u64>,
}

/// Tier-1 compilation, wherever it happens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkersReport {
    /// Compile threads that run now: none before the first job, after a shutdown, and in synchronous mode.
    pub threads: usize,
    /// Jobs finished, whatever came of them.
    pub jobs: u64,
    /// Panics that were contained. Each is a defect, of regraft, of Cranelift or of what the client plugged in.
    pub panics: u64,
    /// Jobs that wait or are in hand.
    pub queued: usize,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionReport {
    /// CLIF instructions, as the client defined them.
    pub instructions: usize,
    /// Blocks, as the client defined them.
    pub blocks: usize,
    /// The tier that a call reaches now; absent if it was never compiled.
    pub tier: Option<u8>,
    /// Why it has no code: its lazy definition or its first compilation failed. Absent otherwise.
    pub definition_error: Option<String>,
    /// Calls that reached a counting version; 0 with sampling.
    pub entries: u64,
    /// What became of its saved profile; absent if there is none.
    pub saved_profile: Option<SavedProfileReport>,
    /// Why the function itself was or was not compiled again.
    pub whole_function: PartReport,
    /// Every version of the function itself, oldest first. A function that
    /// only holds regions keeps its first.
    pub versions: Vec<VersionReport>,
    /// Compile time in microseconds by tier, regions included.
    pub compile_micros: IndexMap<String, u64>,
    /// Its loops, outer before inner, hooked or not.
    pub regions: Vec<RegionReport>,
    /// Cycles with several entries: no region can be made of them.
    pub irreducible: Vec<IrreducibleReport>,
    /// Its CLIF and its control-flow graph with counts; absent unless that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<DetailReport>,
}

/// What became of a function's saved profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedProfileReport {
    /// Whether it was used.
    pub state: SavedState,
    /// Why it is ignored, in prose; empty otherwise.
    pub reason: String,
    /// A short stable name of the reason, such as `stale-hash`; empty otherwise.
    pub reason_code: String,
}

/// One loop, and the region made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionReport {
    /// The function that holds it.
    pub function: String,
    /// The block that is its entry.
    pub header: String,
    /// What it was made of.
    pub kind: RegionKind,
    /// Nesting depth; an outermost loop has 1.
    pub loop_depth: u32,
    /// Its blocks and how often each was executed at tier 0; only the header
    /// of a loop that is refused as `too-deep`.
    pub blocks: IndexMap<String, u64>,
    /// Its share of the instructions that the function executed at tier 0.
    pub share: f64,
    /// What goes in, in order.
    pub live_ins: Vec<LiveInReport>,
    /// What can come out.
    pub live_outs: Vec<LiveOutReport>,
    /// Where control can leave.
    pub exits: Vec<ExitReport>,
    /// What was decided, and why.
    #[serde(flatten)]
    pub part: PartReport,
    /// Its compiled versions, oldest first.
    pub versions: Vec<VersionReport>,
    /// How often it was entered.
    pub entries: u64,
    /// How many of the entries were into a loop that was already running; 0
    /// with sampling, which cannot tell.
    pub entries_while_running: u64,
}

/// What has become of a part of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    /// What was decided.
    pub decision: PartDecision,
    /// The reason, in prose; empty where there is nothing to explain.
    pub reason: String,
    /// A short stable name of a refusal; empty otherwise.
    pub reason_code: String,
    /// What came of that.
    pub state: PartState,
    /// What found it hot, the first time; nothing while it is cold.
    #[serde(with = "found_by")]
    pub found_by: Option<FoundBy>,
    /// How often it was found hot.
    pub requests: u32,
    /// How often a region was formed of it.
    pub formations: usize,
    /// The blocks of the newest region.
    pub hot_blocks: Vec<String>,
    /// The cold blocks that the newest region's side exits lead to.
    pub side_exits: Vec<SideExitReport>,
    /// Why it is not re-formed, if it is not; empty otherwise.
    #[serde(rename = "settled")]
    pub given_up: String,
}

/// A cold block that was left out of a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideExitReport {
    /// The block that its side exits lead to.
    pub to: String,
    /// How often they were taken.
    pub count: u64,
    /// Whether there is a continuation: it is compiled when a side exit to it is first taken.
    pub state: SideExitState,
    /// Why it could not be compiled when that was last tried; empty otherwise. It is tried again.
    #[serde(default)]
    pub reason: String,
    /// Bytes of machine code of the continuation; 0 if there is none.
    pub code_bytes: usize,
    /// Microseconds to compile the continuation; 0 if there is none.
    pub compile_micros: u64,
    /// The text of the continuation; absent unless it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeReport>,
}

/// A parameter of a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveInReport {
    /// The value, stack slot or header parameter that it carries.
    pub value: String,
    /// Its CLIF type.
    #[serde(rename = "type")]
    pub ty: String,
}

/// A value that leaves a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveOutReport {
    /// The value that it carries.
    pub value: String,
    /// Its CLIF type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The numbers of the exits that it leaves by.
    pub exits: Vec<u32>,
}

/// An exit of a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Its number, from 1.
    pub number: u32,
    /// How control leaves by it.
    pub kind: ExitKind,
    /// The block that it leaves.
    pub from: String,
    /// The block that it goes to; absent for a return.
    pub to: Option<String>,
    /// How often the region returned by it.
    pub count: u64,
}

/// A compiled version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionReport {
    /// 0 or 1.
    pub tier: u8,
    /// CLIF instructions given to the code generator.
    pub instructions_before: usize,
    /// CLIF instructions that its optimiser left.
    pub instructions_after: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Microseconds from CLIF to linked code.
    pub compile_micros: u64,
    /// What had it compiled; nothing for a first version.
    #[serde(with = "found_by")]
    pub found_by: Option<FoundBy>,
    /// Whether it was not compiled, but left by an earlier run; absent if not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub loaded: bool,
    /// What each pass did to its CLIF before the code generator got it; passes that changed nothing are not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<PassReport>,
    /// Its text; absent unless it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeReport>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// What one pass did to a version's CLIF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    /// Its name.
    pub pass: String,
    /// The changes that it made.
    pub changes: u64,
    /// Instructions before and after.
    pub instructions: [usize; 2],
    /// Loads before and after.
    pub loads: [usize; 2],
    /// Stores before and after.
    pub stores: [usize; 2],
    /// Calls before and after.
    pub calls: [usize; 2],
}

/// A cycle with several entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IrreducibleReport {
    /// Its blocks.
    pub blocks: Vec<String>,
    /// Those that are entered from outside.
    pub entries: Vec<String>,
}
