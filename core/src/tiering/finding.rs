//! What a detector found, and why a part is compiled.

use crate::config::detection::FoundBy;
use crate::units::formed::Formed;
use regraft_regions::Region;
use std::sync::Arc;

/// Why a part is compiled.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// It was found hot.
    Found(Finding),
    /// A side exit of what it was formed to is taken often.
    SideExit(Arc<Formed>),
}

/// What formation goes by for a part that was found.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// What tier 0 knows when the part's turn comes.
    Current,
    /// Counts from elsewhere.
    Counts(Arc<regraft_regions::FunctionProfile>),
    /// A region that was formed before: the policy has had its say.
    Region(Box<Region>),
}

/// A part that was found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub by: FoundBy,
    pub evidence: Evidence,
}
