//! CLIF to CLIF: what the engine makes of a function before it is compiled. Pure: no addresses, no engine.

pub mod instrument;
pub mod layout;
pub mod names;
pub mod probes;
pub mod simplify;
pub mod takeover;
