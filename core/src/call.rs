//! How a client calls generated code: by values, and with traps as errors. (By Rust types: `typed`.)

pub mod invoke;
pub mod mismatch;
pub mod trap;
