//! Parts of functions that can get hot, and how long their countdowns are.

/// A part of a function that can get hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HotPart {
    /// The loop of a hook.
    Loop(usize),
    /// The function itself, by its calls.
    Function,
}

/// How much longer a countdown gets each time it is armed again in vain.
pub(crate) const BACKOFF_SHIFT: u32 = 3;

/// The longest countdown that is armed again, in executions.
pub(crate) const LONGEST_COUNTDOWN: u64 = 1 << 32;

/// A countdown that never fires but still counts.
pub(crate) const NEVER: u64 = 1 << 60;

/// While code is compiled in the background, a hook asks again after this
/// many executions, unless it is opened first.
pub(crate) const PENDING_COUNTDOWN: u64 = 4096;
