//! How a client calls generated code: by Rust types, by values, and with traps as errors; and how exceptions leave it.

pub mod invoke;
pub mod trap;
pub mod typed;
pub mod unwind;
