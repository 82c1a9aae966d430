//! Why a function could not be optimized.

use crate::pass::Pass;
use regraft_outliner::OutlineError;
use regraft_regions::FlowError;

/// An error of a pass. The function is as good as lost: whoever wants to go on has a copy.
#[derive(Debug, thiserror::Error)]
pub enum OptimizeError {
    /// The function is not well formed.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// A value has no definition on a path to its use.
    #[error(transparent)]
    Values(#[from] OutlineError),
}

/// A name that no pass has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no pass `{name}`, but {}", known())]
pub struct UnknownPass {
    /// The name.
    pub name: String,
}

fn known() -> String {
    let names = Pass::ALL.map(Pass::name);
    names.join(", ")
}
