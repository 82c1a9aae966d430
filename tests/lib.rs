//! Oracles and generators shared by the integration tests.

#![deny(missing_docs)]

pub mod generate;
pub mod oracles;
