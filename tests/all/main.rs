//! Integration tests, in one binary.

mod cli;
mod conformance;
mod constructs;
mod errors;
mod random;
mod tiering;
mod report;
