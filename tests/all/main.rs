//! Integration tests, in one binary.

mod browser;
mod churn;
mod cli;
mod conformance;
mod constructs;
mod detect;
mod errors;
mod jit;
mod limits;
mod loom;
mod publication;
mod random;
mod reclaim;
mod report;
mod see;
mod threads;
mod tiering;
mod tools;
mod workers;
