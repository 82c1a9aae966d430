//! What generated code asks for: the code of a unit that is called for the first time, and a region for a countdown that went
//! below zero. Both come through stubs, on the thread that runs the code.
//!
//! Not here: stubs and stacks (the executor), what is done about a countdown (`tiering::hot`).

pub mod ahead;
pub mod resolve;

use crate::context::Inner;
use crate::runtime::resolve::resolve;
use crate::tiering::hot::hot;
use regraft_executor::section;
use regraft_executor::slots::Runtime;
use std::sync::{Arc, OnceLock, Weak};

/// What stubs call: the engine, as long as it exists.
#[derive(Clone, Default)]
pub(crate) struct Callbacks(Arc<OnceLock<Weak<Inner>>>);

impl Callbacks {
    /// Lets stubs call an engine, for good: a second one is not taken.
    pub fn set(&self, engine: &Arc<Inner>) {
        let _ = self.0.set(Arc::downgrade(engine));
    }

    fn engine(&self) -> Option<Arc<Inner>> {
        self.0.get()?.upgrade()
    }
}

impl Runtime for Callbacks {
    fn resolve(&self, unit: u32) -> usize {
        // The section ends before the engine may be dropped, which waits for threads.
        self.engine().map_or(0, |engine| {
            let _section = section::section();
            resolve(&engine, unit)
        })
    }

    fn hot(&self, unit: u32) -> usize {
        self.engine().map_or(0, |engine| {
            let _section = section::section();
            hot(&engine, unit)
        })
    }
}
