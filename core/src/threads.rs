//! The compile threads: their queue, their priority, what they may spend, and how busy the machine is.

pub mod background;
pub mod budget;
pub mod contention;
pub mod job;
pub mod queue;
pub mod serve;
pub mod workers;
