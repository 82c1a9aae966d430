//! Integration tests, in one binary.

mod conformance;
mod errors;
mod tiering;
