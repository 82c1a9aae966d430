//! The way of a function from CLIF to published code, at both tiers.

pub mod first;
pub mod optimize;
pub mod side_exits;
pub mod tier1;
