//! Integration tests, in one binary.

mod churn;
mod cli;
mod conformance;
mod constructs;
mod errors;
mod jit;
mod limits;
mod random;
mod reclaim;
mod report;
mod threads;
mod tiering;
