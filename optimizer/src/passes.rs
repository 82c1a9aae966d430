//! The passes: each a free function that changes a function's CLIF.

pub mod checks;
pub(crate) mod dead;
pub(crate) mod devirtualize;
pub(crate) mod forward;
pub(crate) mod hoist;
pub(crate) mod inline;
pub(crate) mod invert;
pub(crate) mod select;
pub(crate) mod strength;
pub(crate) mod thread;
pub(crate) mod unroll;
