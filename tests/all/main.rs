//! Integration tests, in one binary.

mod conformance;
