//! Who answers what generated code of a session asks.
//!
//! Invariants: what an executor says is looked up, and answered by 0 or nothing where it stands for nothing.

use crate::session::HostFunction;
use crate::slots::{Runtime, entered};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Locks without a section: who waits for an executor does not hold up a fork.
pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who answers what generated code of a session asks.
#[derive(Default)]
pub struct Answers {
    runtime: OnceLock<Box<dyn Runtime>>,
    functions: Mutex<Vec<Arc<HostFunction>>>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("functions", &hold(&self.functions).len())
            .finish_non_exhaustive()
    }
}

impl Answers {
    /// Lets a runtime answer; `false` if there is one.
    pub fn set(&self, runtime: Box<dyn Runtime>) -> bool {
        self.runtime.set(runtime).is_ok()
    }

    /// Adds a function of this process; `None` if there are no numbers left.
    pub fn add(&self, function: Arc<HostFunction>) -> Option<u32> {
        let mut functions = hold(&self.functions);
        let number = u32::try_from(functions.len()).ok()?;
        functions.push(function);
        Some(number)
    }

    pub fn resolve(&self, unit: u32) -> usize {
        let runtime = self.runtime.get();
        runtime.map_or(0, |runtime| entered(|| runtime.resolve(unit), unit))
    }

    pub fn hot(&self, unit: u32) -> usize {
        let runtime = self.runtime.get();
        runtime.map_or(0, |runtime| entered(|| runtime.hot(unit), unit))
    }

    pub fn function(&self, function: u32) -> Option<Arc<HostFunction>> {
        let functions = hold(&self.functions);
        functions.get(function as usize).map(Arc::clone)
    }
}
