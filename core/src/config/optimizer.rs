//! Which passes of `regraft_optimizer` run: plain data.
//!
//! Not here: running them (`pipeline::optimize`).

use regraft_optimizer::{Fuel, Passes, Policy};
use std::sync::{Arc, Mutex};

/// Which passes run, and how far they go.
#[derive(Clone, Debug, Default)]
pub struct Optimizer {
    /// The passes.
    pub passes: Passes,
    /// Their limits.
    pub policy: Policy,
    /// How many changes they may make in the whole engine: to find the one that breaks a program.
    pub fuel: SharedFuel,
}

impl Optimizer {
    /// No pass runs.
    pub fn off() -> Self {
        Self {
            passes: Passes::NONE,
            ..Self::default()
        }
    }
}

/// Fuel that all compilations of an engine burn.
#[derive(Clone, Debug, Default)]
pub struct SharedFuel(pub(crate) Option<Arc<Mutex<Fuel>>>);

impl SharedFuel {
    /// At most this many changes.
    pub fn limited(changes: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(Fuel::limited(changes)))))
    }
}
