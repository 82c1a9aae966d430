//! The atomic types of the protocols that are model-checked.
//!
//! `entry` and `countdown` name their types `super::atomic::…`. Here these are the standard library's; the tests
//! compile the same files a second time, where they are those of a model checker (`tests/all/loom.rs`).
//!
//! Not here: anything else that is atomic, such as statistics.

pub use std::sync::atomic::*;
