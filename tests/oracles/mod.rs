//! Oracles.
pub mod plain;
