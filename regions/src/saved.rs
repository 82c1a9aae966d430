//! Profiles that outlive the process: JSON, and the check that they still fit.
//!
//! # Purpose
//! A client saves a [`Profile`] when it ends and loads it when it starts again, to compile what was hot at once.
//!
//! # Format
//! ```json
//! { "version": 1,
//!   "functions": {
//!     "name": { "hash": "16 hex digits", "entries": 7,
//!       "blocks": { "block0": 7 },
//!       "edges": [ { "from": "block0", "index": 0, "to": "block1", "count": 7 } ],
//!       "regions": [ { "entry": "block1", "blocks": [ "block1" ] } ] } } }
//! ```
//! An edge is named by its source block and its position in the source's terminator ([`crate::flow`]); `to` is
//! there for readers and is checked. Blocks and edges that were not executed are left out. `"exact": false`
//! marks counts that do not obey flow conservation. `regions`, which may be absent, are those that ran at tier 1
//! ([`SavedRegion`]). Functions keep their order.
//!
//! # Invariants
//! * *fits or refused*: [`SavedFunction::to_profile`] gives counts for this very CLIF, or an error.
//! * *idempotent*: loading and saving again gives the same text.
//!
//! # Limitations
//! The hash covers the CLIF text, so an edit that renumbers values makes a profile stale although its counts
//! might still apply.
//!
//! # Not here
//! Files: what is read and written are strings.

mod regions;

#[cfg(feature = "json")]
mod json;

use std::fmt::{self, Write};

use cranelift_codegen::ir::{Block, Function};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::flow::Flow;
use crate::profile::FunctionProfile;
use crate::region::RegionError;

pub use regions::SavedRegion;

/// The format version that this library writes and reads.
pub const PROFILE_VERSION: u32 = 1;

/// Why a saved profile cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The text is not JSON, or not of the format.
    #[error("malformed profile at line {line}, column {column}: {message}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The profile has another format version.
    #[error("the profile has version {found}; this library reads version {supported}")]
    BadVersion {
        /// The version in the text.
        found: u64,
        /// The version that is understood.
        supported: u32,
    },
    /// The function has changed since the profile was saved.
    #[error(
        "the profile was taken of a function with hash {saved:016x}, and this one has {current:016x}"
    )]
    StaleHash {
        /// The hash in the profile.
        saved: u64,
        /// The hash of the function at hand.
        current: u64,
    },
    /// The function has no such block.
    #[error("the profile counts {name}, which the function does not have")]
    UnknownBlock {
        /// The block's name in the profile.
        name: String,
    },
    /// The function has no such edge.
    #[error("the profile counts edge {index} of {from} to {to}, which the function does not have")]
    UnknownEdge {
        /// The source's name in the profile.
        from: String,
        /// Position in the source's terminator.
        index: u32,
        /// The target's name in the profile.
        to: String,
    },
    /// A saved region starts at a block that is neither a loop's header nor the function's entry.
    #[error("the profile has a region at {entry}, which is no loop's header")]
    NoLoop {
        /// The region's entry in the profile.
        entry: String,
    },
    /// The blocks of a saved region are none.
    #[error("the profile has a region at {entry} that is none: {reason}")]
    IllegalRegion {
        /// The region's entry in the profile.
        entry: String,
        /// Why it is none.
        reason: RegionError,
    },
}

impl ProfileError {
    /// A short stable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::BadVersion { .. } => "bad-version",
            Self::StaleHash { .. } => "stale-hash",
            Self::UnknownBlock { .. } => "unknown-block",
            Self::UnknownEdge { .. } => "unknown-edge",
            Self::NoLoop { .. } => "no-loop",
            Self::IllegalRegion { .. } => "illegal-region",
        }
    }
}

/// The saved profiles of many functions, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    version: u32,
    /// The functions, in the order they were added.
    pub functions: IndexMap<String, SavedFunction>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            version: PROFILE_VERSION,
            functions: IndexMap::new(),
        }
    }
}

/// The saved profile of one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFunction {
    /// [`function_hash`] of the function that was counted.
    #[serde(with = "hex")]
    pub hash: u64,
    /// How often it was entered.
    pub entries: u64,
    /// Whether the counts obey flow conservation.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub exact: bool,
    /// Block counts by block name.
    pub blocks: IndexMap<String, u64>,
    /// Edge counts.
    pub edges: Vec<SavedEdge>,
    /// The regions that ran at tier 1, as they were last formed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<SavedRegion>,
}

/// The saved count of one edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedEdge {
    /// Name of the source block.
    pub from: String,
    /// Position in the source's terminator.
    pub index: u32,
    /// Name of the target block.
    pub to: String,
    /// How often the edge was taken.
    pub count: u64,
}

impl Profile {
    /// An empty profile.
    pub fn new() -> Self {
        Self::default()
    }
}

impl SavedFunction {
    /// Name the counts of `profile` by blocks and edges of `func`; without regions.
    pub fn from_profile(func: &Function, flow: &Flow, profile: &FunctionProfile) -> SavedFunction {
        let blocks = func
            .layout
            .blocks()
            .map(|block| (block.to_string(), profile.block(block)))
            .filter(|&(_, count)| count > 0)
            .collect();
        let edges = flow
            .edges()
            .filter(|&(number, _)| profile.edge(number) > 0)
            .map(|(number, edge)| SavedEdge {
                from: edge.from.to_string(),
                index: edge.index,
                to: edge.to.to_string(),
                count: profile.edge(number),
            })
            .collect();
        SavedFunction {
            hash: function_hash(func),
            entries: profile.entries(),
            exact: profile.is_exact(),
            blocks,
            edges,
            regions: Vec::new(),
        }
    }

    /// Find the counted blocks and edges in `func` again.
    ///
    /// # Errors
    /// [`ProfileError::StaleHash`]: `func` is not the function that was counted. [`ProfileError::UnknownBlock`],
    /// [`ProfileError::UnknownEdge`]: the hash fits but a name does not, so the profile was edited.
    pub fn to_profile(
        &self,
        func: &Function,
        flow: &Flow,
    ) -> Result<FunctionProfile, ProfileError> {
        self.check_hash(func)?;
        let mut profile = FunctionProfile::new();
        profile.set_entries(self.entries).set_exact(self.exact);
        for (name, &count) in &self.blocks {
            profile.set_block(find_block(func, name)?, count);
        }
        for saved in &self.edges {
            let from = find_block(func, &saved.from)?;
            let to = find_block(func, &saved.to)?;
            let edge = flow
                .find_edge(from, saved.index)
                .filter(|&edge| flow.edge(edge).to == to);
            let Some(edge) = edge else {
                return Err(ProfileError::UnknownEdge {
                    from: saved.from.clone(),
                    index: saved.index,
                    to: saved.to.clone(),
                });
            };
            profile.set_edge(edge, saved.count);
        }
        Ok(profile)
    }

    fn check_hash(&self, func: &Function) -> Result<(), ProfileError> {
        let current = function_hash(func);
        match current == self.hash {
            true => Ok(()),
            false => Err(ProfileError::StaleHash {
                saved: self.hash,
                current,
            }),
        }
    }
}

/// The block of `func` that CLIF prints as `name`.
fn find_block(func: &Function, name: &str) -> Result<Block, ProfileError> {
    name.strip_prefix("block")
        .and_then(|number| number.parse::<u32>().ok())
        // `from_u32` wants less than `u32::MAX`; the printed form has no sign and no leading zero.
        .filter(|&number| number < u32::MAX)
        .map(Block::from_u32)
        .filter(|&block| func.layout.is_block_inserted(block) && block.to_string() == name)
        .ok_or_else(|| ProfileError::UnknownBlock {
            name: name.to_string(),
        })
}

/// A hash of a function's CLIF text that is the same in every process: 64-bit FNV-1a.
///
/// The function's name is left out, as the profile knows functions by name already; the signature, the
/// declarations and the body are in.
///
/// # Complexity
/// O(length of the text); the text is not stored.
///
/// # Reference
/// G. Fowler, L. C. Noll, K.-P. Vo, D. Eastlake, "The FNV non-cryptographic hash algorithm", IETF draft.
pub fn function_hash(func: &Function) -> u64 {
    let mut hash = Fnv1a {
        state: 0xcbf2_9ce4_8422_2325,
        skip_line: false,
    };
    // `Fnv1a` takes every write, so the results hold no information.
    let _ = write!(hash, "{}", func.signature);
    hash.skip_line = true;
    let _ = write!(hash, "{}", func.display());
    hash.state
}

/// Hashes what is written to it, without the rest of the first line if asked.
struct Fnv1a {
    state: u64,
    skip_line: bool,
}

impl fmt::Write for Fnv1a {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.skip_line {
                self.skip_line = byte != b'\n';
            } else {
                self.state = (self.state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_yes(exact: &bool) -> bool {
    *exact
}

/// A `u64` as 16 hexadecimal digits: JSON numbers are not exact beyond 2^53 everywhere.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub fn serialize<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{hash:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(&text, 16) {
            Ok(hash) if digits => Ok(hash),
            _ => Err(D::Error::custom(format_args!(
                "the hash {text:?} is not 16 hexadecimal digits"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
