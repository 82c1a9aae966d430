//! What gets hot, and what is decided about it.
//!
//! ```text
//!   hot, detect::sampling, detect::saved ──▶ detect::detected ──▶ job: queue or this thread ──▶ decide ──▶ pipeline
//! ```

pub mod decide;
pub mod detect;
pub mod finding;
pub mod hot;
pub mod job;
