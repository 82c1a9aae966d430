//! How a function will be defined when it is first called.

use crate::config::warm::Digest;
use cranelift_codegen::ir::Function;
use regraft_executor::locks::{Locked, lock};
use regraft_executor::section::section;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, TryLockError};

/// What a client's closure returns.
pub(crate) type Defined = Result<Function, Box<dyn StdError + Send + Sync>>;

/// Makes the definition: the client's closure, with the engine that it is called with.
pub(crate) type Closure = Box<dyn FnOnce() -> Defined + Send>;

/// How a function will be defined.
pub(crate) struct Pending {
    /// What the definition is known by from run to run.
    pub key: Option<Digest>,
    pub closure: Closure,
}

/// How a function will be defined, until it is.
#[derive(Default)]
pub(crate) struct Lazy {
    pub pending: Mutex<Option<Pending>>,
    /// Why the closure made no function, if it did not.
    failure: Mutex<Option<String>>,
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lazy").field(&self.is_pending()).finish()
    }
}

impl Lazy {
    /// Whether there is a closure that has not run to its end.
    pub fn is_pending(&self) -> bool {
        let _section = section();
        match self.pending.try_lock() {
            Ok(pending) => pending.is_some(),
            Err(TryLockError::Poisoned(pending)) => pending.into_inner().is_some(),
            // It is running.
            Err(TryLockError::WouldBlock) => true,
        }
    }

    /// Whether the closure runs now.
    pub fn is_running(&self) -> bool {
        let _section = section();
        matches!(self.pending.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Why the function could not be defined, if that was tried in vain.
    pub fn failure(&self) -> Option<String> {
        self.last_failure().clone()
    }

    /// Where the failure is kept.
    pub fn last_failure(&self) -> Locked<'_, Option<String>> {
        lock(&self.failure)
    }

    /// Drops the closure, if there is one that does not run.
    pub fn forget(&self) {
        let _section = section();
        if let Ok(mut pending) = self.pending.try_lock() {
            *pending = None;
        }
    }
}
