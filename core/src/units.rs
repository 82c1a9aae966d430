//! What the engine keeps of functions: units, definitions, versions, tiering state. Plain data.

pub mod counters;
pub mod exchange;
pub mod externals;
pub mod made;
pub mod references;
pub mod table;
pub mod tiering;
