//! What is retired, and who decides when it is freed: see `reclaim`.

use crate::config::Reclamation;
use crate::units::function::{Body, FunctionUnit};
use crate::units::ledger::Ledger;
use crate::units::part::HotPart;
use regraft_executor::epoch::Epochs;
use regraft_executor::locks::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// What waits until no thread can be inside.
#[derive(Debug)]
pub(crate) enum Retired {
    /// All of a function's definition, redefined or removed.
    Body(Arc<Body>),
    /// The first version and the hooks, after the whole function went to tier 1.
    Baseline(Arc<Body>),
    /// A version of a part, which was re-formed.
    Formation {
        body: Arc<Body>,
        part: HotPart,
        /// The position among the part's versions.
        version: usize,
    },
    /// A function that was removed.
    Function(Arc<FunctionUnit>),
}

impl Retired {
    /// The definition that it is, or is part of.
    pub fn body(&self) -> Option<&Arc<Body>> {
        match self {
            Self::Body(body) | Self::Baseline(body) | Self::Formation { body, .. } => Some(body),
            Self::Function(_) => None,
        }
    }
}

/// What is retired, and who decides when it is freed.
#[derive(Debug)]
pub(crate) struct Reclaimer {
    pub epochs: Arc<Epochs>,
    pub ledger: Arc<Ledger>,
    policy: Reclamation,
    /// A raw pointer was handed out, whose calls are not pinned.
    raw: AtomicBool,
    waiting: Mutex<VecDeque<(u64, Retired)>>,
    /// How many more threads leave generated code before one collects; 0 if there is nothing to free.
    pub due: AtomicU32,
}

/// How many calls return, while what is retired cannot be freed, before one looks again.
pub(crate) const PATIENCE: u32 = 1024;

impl Reclaimer {
    pub fn new(policy: Reclamation) -> Self {
        Self {
            epochs: Epochs::new(),
            ledger: Arc::default(),
            policy,
            raw: AtomicBool::new(false),
            waiting: Mutex::default(),
            due: AtomicU32::new(0),
        }
    }

    /// Whether a thread that has left generated code is to see what can be freed: after each retirement one,
    /// and then now and then, since others may be inside for long.
    pub fn is_due(&self) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        if due != 0 {
            // Two threads may count as one.
            self.due.store(due - 1, Ordering::Relaxed);
        }
        due == 1
    }

    /// Takes note of a pointer that is called without the engine's knowledge.
    pub fn raw_pointer_escaped(&self) {
        self.raw.store(true, Ordering::Relaxed);
    }

    /// Whether pins say everything about who is inside.
    pub fn automatic(&self) -> bool {
        match self.policy {
            Reclamation::Automatic => !self.raw.load(Ordering::Relaxed),
            Reclamation::Pinned => true,
            Reclamation::Announced => false,
        }
    }

    pub fn push(&self, retired: Retired) {
        let mut waiting = lock(&self.waiting);
        // Under the lock, so that the queue is in the order of the epochs.
        let epoch = self.epochs.retire();
        waiting.push_back((epoch, retired));
        self.due.store(1, Ordering::Relaxed);
    }

    /// What was retired before the epoch.
    pub fn take_reclaimable(&self, oldest: u64) -> Vec<Retired> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.partition_point(|&(epoch, _)| epoch < oldest);
        waiting.drain(..count).map(|(_, retired)| retired).collect()
    }

    /// Takes out what is part of certain definitions.
    pub fn take(&self, of: impl Fn(&Arc<Body>) -> bool) -> Vec<Retired> {
        let mut waiting = lock(&self.waiting);
        let (taken, left) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, retired)| retired.body().is_some_and(&of));
        *waiting = left;
        taken.into_iter().map(|(_, retired)| retired).collect()
    }

    /// How much is waiting.
    pub fn waiting(&self) -> usize {
        let waiting = lock(&self.waiting);
        waiting.len()
    }
}
