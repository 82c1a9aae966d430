//! What gets hot, and what is decided about it.

pub mod ahead;
pub mod detect;
pub mod finding;
pub mod job;
pub mod tierup;
