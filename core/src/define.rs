//! Declaring, defining, replacing and removing functions.

pub mod lazy;
pub mod local;
pub mod numbering;
pub mod redefine;
