//! What is made when it is first needed, and tried again while that fails.
//!
//! Invariants:
//!
//! * Once made, it stays as it is.
//! * After [`Made::close`] nothing is made any more: what is in the making is given back.
//! * A failure that passes, full memory for one, is not for ever: after the *n*th failure in a row, 2^*n* − 1
//!   requests are answered with it before the next is a try.
//!
//! Limitations: two threads may make it at the same time; the second result is given back.
//!
//! Not here: how it is made.

use crate::code::error::CompileError;
use regraft_executor::locks::lock;
use std::sync::{Mutex, OnceLock};

/// Something that is made when it is first needed.
#[derive(Debug)]
pub(crate) struct Made<T> {
    value: OnceLock<T>,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    last: Option<CompileError>,
    in_a_row: u32,
    /// Requests that are answered with the last failure.
    waits: u32,
    closed: bool,
}

/// The most requests between two tries, as a power of two.
const LONGEST_WAIT: u32 = 16;

impl<T> Made<T> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            value: OnceLock::new(),
            failures: Mutex::default(),
        }
    }

    /// It, if it was made.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Why it was not made when that was last tried.
    pub fn failure(&self) -> Option<CompileError> {
        match self.get() {
            Some(_) => None,
            None => lock(&self.failures).last.clone(),
        }
    }

    /// It, made by `make` if need be. What another thread has made meanwhile stays, and `discard` gets the other.
    ///
    /// # Errors
    ///
    /// Those of `make`, of this try or of the last one.
    pub fn get_or_make(
        &self,
        make: impl FnOnce() -> Result<T, CompileError>,
        discard: impl FnOnce(T),
    ) -> Result<&T, CompileError> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        self.try_now()?;
        match make() {
            Ok(value) => {
                if let Err(unwanted) = self.keep(value) {
                    discard(unwanted);
                }
            }
            // It was not tried.
            Err(CompileError::Stopped) => return Err(CompileError::Stopped),
            Err(error) => self.failed(error),
        }
        let closed = || self.failure().unwrap_or(CompileError::Replaced);
        self.get().ok_or_else(closed)
    }

    /// Lets nothing be made any more. What was made stays.
    pub fn close(&self) {
        lock(&self.failures).closed = true;
    }

    /// Keeps what was made, unless it comes second or too late.
    fn keep(&self, value: T) -> Result<(), T> {
        let failures = lock(&self.failures);
        match failures.closed {
            true => Err(value),
            false => self.value.set(value),
        }
    }

    /// Fails while another try would be too soon.
    fn try_now(&self) -> Result<(), CompileError> {
        let mut failures = lock(&self.failures);
        if failures.closed {
            return Err(CompileError::Replaced);
        }
        match (&failures.last, failures.waits.checked_sub(1)) {
            (Some(error), Some(left)) => {
                let error = error.clone();
                failures.waits = left;
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, error: CompileError) {
        let mut failures = lock(&self.failures);
        failures.last = Some(error);
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        failures.waits = (1 << failures.in_a_row.min(LONGEST_WAIT)) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::error::MemoryError;

    #[test]
    fn a_failure_is_tried_again_each_time_later() {
        let made = Made::<u32>::new();
        let mut tries = vec![];
        for request in 0..20 {
            let result = made.get_or_make(
                || {
                    tries.push(request);
                    Err(CompileError::Memory(MemoryError::Units))
                },
                drop,
            );
            assert!(matches!(result, Err(CompileError::Memory(_))));
        }
        assert_eq!(tries, [0, 2, 6, 14]);
        assert!(matches!(made.failure(), Some(CompileError::Memory(_))));
        // The next tries succeed, and are the last.
        while made.get_or_make(|| Ok(7), drop).is_err() {}
        assert_eq!(made.get_or_make(|| Ok(8), drop).ok(), Some(&7));
        assert!(made.failure().is_none());
    }

    #[test]
    fn what_came_second_is_given_back() {
        let made = Made::new();
        let mut second = None;
        let first = made.get_or_make(
            || {
                let _ = made.value.set(1);
                Ok(2)
            },
            |value| second = Some(value),
        );
        assert_eq!((first.ok(), second), (Some(&1), Some(2)));
    }

    #[test]
    fn what_is_made_while_it_is_closed_is_given_back() {
        let made = Made::new();
        let mut unwanted = None;
        let late = made.get_or_make(
            || {
                made.close();
                Ok(1)
            },
            |value| unwanted = Some(value),
        );
        assert!(matches!(late, Err(CompileError::Replaced)));
        assert_eq!(unwanted, Some(1));
        let never = made.get_or_make(|| unreachable!("it is closed"), drop);
        assert!(matches!(never, Err(CompileError::Replaced)));
        assert!(made.get().is_none());
    }
}
