//! The compile threads: their queue, their priority, and how busy the machine is.

pub mod background;
pub mod contention;
pub mod job;
pub mod queue;
pub mod serve;
pub mod workers;
