//! Integration tests, in one binary.

mod cli;
mod conformance;
mod constructs;
mod errors;
mod jit;
mod limits;
mod random;
mod report;
mod threads;
mod tiering;
