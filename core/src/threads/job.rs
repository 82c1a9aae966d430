//! What the compile threads run.
//!
//! Not here: which jobs there are (`tiering`, `define`).

use std::fmt::Debug;

/// Something to be compiled.
pub(crate) trait Job: Debug + Send {
    /// How much it is worth to be run now: the most urgent job comes first.
    fn urgency(&self) -> f64;

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
