//! Declaring, defining, replacing and removing functions.

pub mod declare;
pub mod definitions;
mod expected;
pub mod lazy;
pub mod local;
pub mod numbering;
pub mod prepare;
pub mod redefine;
pub mod resolvable;
