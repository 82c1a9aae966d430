//! Integration tests, in one binary.

mod cli;
mod conformance;
mod errors;
mod tiering;
mod report;
