//! Integration tests, in one binary.

mod cli;
mod conformance;
mod errors;
mod random;
mod tiering;
mod report;
