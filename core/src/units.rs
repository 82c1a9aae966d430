//! What the engine keeps of functions: units, definitions, versions, tiering state. Plain data.

pub mod copies;
pub mod counters;
pub mod exchange;
pub mod formed;
pub mod function;
pub mod kept;
pub mod lazy;
pub mod ledger;
pub mod made;
pub mod part;
pub mod retired;
pub mod samples;
pub mod saved;
pub mod subject;
pub mod table;
pub mod tiering;
pub mod version;
