//! What the page needs of a report. `core/report.schema.json` describes all of it.

use crate::PageError;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The version of the format that is read.
const VERSION: u64 = 2;

#[derive(Debug, Deserialize)]
pub struct Report {
    pub mode: String,
    pub detection: String,
    pub target: String,
    pub workers: Workers,
    pub memory: Memory,
    pub functions: IndexMap<String, Function>,
    #[serde(default)]
    pub times: Option<Times>,
    pub events: Option<Events>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Workers {
    pub jobs: u64,
    pub panics: u64,
    pub queued: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Memory {
    pub tiers: IndexMap<String, TierMemory>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TierMemory {
    pub live: u64,
    pub retired: u64,
    pub freed: u64,
}

#[derive(Debug, Deserialize)]
pub struct Function {
    pub instructions: u64,
    pub blocks: u64,
    pub tier: Option<u8>,
    pub definition_error: Option<String>,
    pub entries: u64,
    pub whole_function: Part,
    pub versions: Vec<Version>,
    pub compile_micros: IndexMap<String, u64>,
    pub regions: Vec<Region>,
    pub irreducible: Vec<Irreducible>,
    pub detail: Option<Detail>,
}

#[derive(Debug, Deserialize)]
pub struct Region {
    pub header: String,
    pub loop_depth: u32,
    pub blocks: IndexMap<String, u64>,
    pub share: f64,
    #[serde(flatten)]
    pub part: Part,
    pub versions: Vec<Version>,
    pub entries: u64,
    pub entries_while_running: u64,
}

#[derive(Debug, Deserialize)]
pub struct Part {
    pub decision: String,
    pub reason: String,
    pub reason_code: String,
    pub state: String,
    pub found_by: String,
    pub formations: u64,
    pub hot_blocks: Vec<String>,
    pub side_exits: Vec<SideExit>,
    pub settled: String,
}

#[derive(Debug, Deserialize)]
pub struct SideExit {
    pub to: String,
    pub count: u64,
    pub state: String,
    #[serde(default)]
    pub reason: String,
    pub code_bytes: u64,
    pub compile_micros: u64,
    pub code: Option<Code>,
}

#[derive(Debug, Deserialize)]
pub struct Version {
    pub tier: u8,
    pub instructions_before: u64,
    pub instructions_after: u64,
    pub code_bytes: u64,
    pub compile_micros: u64,
    #[serde(default)]
    pub passes: Vec<Pass>,
    pub code: Option<Code>,
}

/// What a pass did.
#[derive(Debug, Deserialize, Serialize)]
pub struct Pass {
    pub pass: String,
    pub changes: u64,
    pub instructions: [u64; 2],
    pub loads: [u64; 2],
    pub stores: [u64; 2],
    pub calls: [u64; 2],
}

#[derive(Debug, Deserialize)]
pub struct Irreducible {
    pub blocks: Vec<String>,
    pub entries: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Detail {
    pub clif: String,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Deserialize)]
pub struct Block {
    pub name: String,
    pub count: u64,
    pub instructions: u64,
    pub loop_depth: u32,
    pub to: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
pub struct Edge {
    pub to: String,
    pub count: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Code {
    pub clif: String,
    pub optimized: String,
    pub machine: String,
}

/// Where time went: samples.
#[derive(Debug, Deserialize, Serialize)]
pub struct Times {
    pub tier0: u64,
    pub tier1: u64,
}

#[derive(Debug, Deserialize)]
pub struct Events {
    pub list: Vec<Event>,
    pub left_out: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Event {
    pub at_micros: u64,
    pub micros: u64,
    pub thread: String,
    pub event: String,
    pub function: String,
    pub unit: String,
    pub tier: Option<u8>,
}

impl Report {
    /// Reads a report of the version that is known.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        #[derive(Deserialize)]
        struct Versioned<'a> {
            #[serde(borrow)]
            version: &'a serde_json::value::RawValue,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        let found = serde_json::from_str::<u64>(version.get())?;
        if found != VERSION {
            let (line, column) = place(text, version.get());
            return Err(PageError::Version {
                found,
                known: VERSION,
                line,
                column,
            });
        }
        Ok(serde_json::from_str(text)?)
    }
}

/// Line and column, from 1, of a part of a text.
fn place(text: &str, part: &str) -> (usize, usize) {
    let offset = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}
