//! Regions that a run formed, to be re-formed at once in the next.
//!
//! A profile says what was counted at tier 0, which is little of what a program did once its hot loops had left tier
//! 0. What became of them is the better guide: the blocks of each region as it was last formed, with those that it
//! took in because its side exits ran hot.
//!
//! # Invariants
//! * *legal or refused*: [`SavedFunction::to_regions`] gives what [`Region::new`] accepts, or an error.
//!
//! # Not here
//! Whether a region is still worth compiling: the caller has the policy.

use cranelift_codegen::ir::{Block, Function};
use serde::{Deserialize, Serialize};

use super::{ProfileError, SavedFunction, find_block};
use crate::flow::Flow;
use crate::loops::LoopForest;
use crate::region::Region;

/// A region by the names of its blocks.
///
/// Its scope is the loop of its entry, or the whole function if that is the function's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRegion {
    /// Its entry.
    pub entry: String,
    /// The blocks that were compiled, in reverse postorder.
    pub blocks: Vec<String>,
}

impl SavedRegion {
    /// Name the blocks of a region.
    pub fn from_region(region: &Region) -> SavedRegion {
        SavedRegion {
            entry: region.entry().to_string(),
            blocks: region.blocks().iter().map(|b| b.to_string()).collect(),
        }
    }

    fn to_region(
        &self,
        func: &Function,
        flow: &Flow,
        loops: &LoopForest,
    ) -> Result<Region, ProfileError> {
        let entry = find_block(func, &self.entry)?;
        let blocks = self.blocks.iter().map(|name| find_block(func, name));
        let blocks = blocks.collect::<Result<Vec<Block>, _>>()?;
        let scope = match loops.loop_of_header(entry) {
            Some(l) => loops.blocks(l),
            None if entry == flow.entry() => flow.rpo().to_vec(),
            None => {
                return Err(ProfileError::NoLoop {
                    entry: self.entry.clone(),
                });
            }
        };
        Region::new(func, flow, entry, scope, blocks).map_err(|reason| {
            ProfileError::IllegalRegion {
                entry: self.entry.clone(),
                reason,
            }
        })
    }
}

impl SavedFunction {
    /// Form the saved regions of `func` again, in the order in which they were saved.
    ///
    /// # Errors
    /// As [`SavedFunction::to_profile`], and [`ProfileError::NoLoop`], [`ProfileError::IllegalRegion`]: a region was
    /// edited.
    pub fn to_regions(
        &self,
        func: &Function,
        flow: &Flow,
        loops: &LoopForest,
    ) -> Result<Vec<Region>, ProfileError> {
        self.check_hash(func)?;
        let regions = self.regions.iter();
        regions
            .map(|region| region.to_region(func, flow, loops))
            .collect()
    }
}
