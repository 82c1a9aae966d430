//! The compile threads: their queue, their priority, and how busy the machine is.

pub mod background;
pub mod contention;
pub mod workers;
