//! How a client calls generated code: by values, and with traps as errors; and how exceptions leave it. (By Rust types:
//! `typed`.)

pub mod invoke;
pub mod mismatch;
pub mod trap;
pub mod unwind;
