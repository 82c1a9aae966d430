//! What the compile threads run.
//!
//! Not here: which jobs there are (`tiering`, `define`).

use std::fmt::Debug;

/// Something to be compiled.
pub(crate) trait Job: Debug + Send {
    /// How much it is worth to be run now: the most urgent job comes first.
    fn urgency(&self) -> f64;

    /// How many instructions it compiles, where it has to be afforded.
    fn to_afford(&self) -> Option<usize> {
        None
    }

    /// Whether what it is for has gone cold since it was queued.
    fn has_gone_cold(&self) -> bool {
        false
    }

    /// Whether what it is for is there no more: then it is dropped.
    fn is_obsolete(&self) -> bool {
        false
    }

    /// It is not run: leaves its part in a state in which it may be found again.
    fn forget(self: Box<Self>) {}

    /// Runs it, or leaves its part in a state that says that it was not run, where the threads are `stopped`.
    fn run(self: Box<Self>, stopped: bool) -> Ended;

    /// What is to be done a while after it has run, if anything is.
    fn afterwards(&self) -> Option<Afterwards> {
        None
    }
}

/// What is done a while after a job.
pub(crate) type Afterwards = Box<dyn FnOnce()>;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In one way or another, by itself.
    Done,
    /// By a panic, which is contained.
    Panicked,
}
