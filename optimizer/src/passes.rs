//! The passes: each a free function that changes a function's CLIF.

pub(crate) mod dead;
pub(crate) mod devirtualize;
pub(crate) mod forward;
pub(crate) mod hoist;
pub(crate) mod inline;
pub(crate) mod invert;
