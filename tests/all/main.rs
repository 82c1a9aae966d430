//! Integration tests, in one binary.

mod cli;
mod conformance;
mod constructs;
mod errors;
mod limits;
mod loom;
mod random;
mod report;
mod threads;
mod tiering;
mod workers;
