//! Integration tests, in one binary.

mod cli;
mod conformance;
mod constructs;
mod detect;
mod errors;
mod limits;
mod random;
mod report;
mod threads;
mod tiering;
