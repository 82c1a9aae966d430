//! Integration tests, in one binary.

mod browser;
mod churn;
mod cli;
mod conformance;
mod constructs;
mod corpus;
mod detect;
mod errors;
mod inline;
mod jit;
mod layers;
mod limits;
mod loom;
mod packages;
mod publication;
mod random;
mod reclaim;
mod remote;
mod report;
mod see;
mod threads;
mod tiering;
mod tools;
mod warm;
mod workers;
