//! Injected failures, for tests of what happens when a step fails.

use std::fmt;
use std::sync::Arc;

/// A step of compilation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Instrumentation or outlining.
    Transform,
    /// Slots and counters.
    Memory,
    /// The code generator, at this tier.
    Codegen(u8),
    /// A compile job, before compilation begins.
    Job,
    /// Placing the code, at this tier.
    Link(u8),
}

type Strikes = dyn Fn(Stage, &str) -> bool + Send + Sync;

/// Decides, for a stage and the name of the unit, whether it fails.
#[derive(Clone)]
pub struct Faults(Arc<Strikes>);

impl Faults {
    /// Stages fail for which `fails` is true.
    pub fn new(fails: impl Fn(Stage, &str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(fails))
    }

    /// Whether this stage fails for this unit.
    pub fn strikes(&self, stage: Stage, name: &str) -> bool {
        (self.0)(stage, name)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}
