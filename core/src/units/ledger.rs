//! Who owns code, and how many bytes of it there are.

use crate::code::codemap::Listing;
use crate::code::externals::Kept;
use crate::observe::Seen;
use regraft_executor::arena::{OwnedCode, RangeStats};
use regraft_executor::locks::{Locked, lock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Something that can be taken away from its owner, once.
#[derive(Debug)]
pub(crate) struct Releasable<T>(Mutex<Option<T>>);

impl<T> Releasable<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(Some(value)))
    }

    /// Works on the value, if it is still there.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = lock(&self.0);
        value.as_mut().map(work)
    }

    /// The value, if it is still there; it is not taken away meanwhile.
    pub fn lock(&self) -> Locked<'_, Option<T>> {
        lock(&self.0)
    }

    /// Puts a value in the place of what is there.
    pub fn set(&self, value: T) {
        let mut place = lock(&self.0);
        *place = Some(value);
    }

    /// Takes the value away.
    pub fn take(&self) -> Option<T> {
        let mut value = lock(&self.0);
        value.take()
    }
}

impl<T> Default for Releasable<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

/// The code of a version, as long as it is in memory.
#[derive(Debug)]
pub(crate) struct Code {
    /// Its entry in the code map, which goes before the memory can be given again.
    pub listing: Option<Listing>,
    /// What observers know of it, who are told before the memory can be given again.
    pub seen: Option<Seen>,
    /// Its place in the ledger.
    pub account: Option<Account>,
    pub memory: OwnedCode,
    /// What it refers to besides what its definition keeps.
    pub kept: Vec<Kept>,
}

/// Bytes of machine code of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierBytes {
    /// In use.
    pub live: u64,
    /// Unreachable for new calls, waiting until no thread can be inside.
    pub retired: u64,
    /// Freed so far, in total.
    pub freed: u64,
}

/// How the memory of an engine is used at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Code memory: stubs and versions.
    pub code: RangeStats,
    /// Data memory: slots and counters.
    pub data: RangeStats,
    /// Machine code of tier 0 and of tier 1.
    pub tiers: [TierBytes; 2],
    /// Definitions, versions and functions that were retired and are not freed yet.
    pub waiting: usize,
}

/// Bytes of code by tier and fate.
#[derive(Debug, Default)]
pub(crate) struct Ledger([LedgerTier; 2]);

#[derive(Debug, Default)]
struct LedgerTier {
    live: AtomicU64,
    retired: AtomicU64,
    freed: AtomicU64,
}

/// The bytes of one version in the ledger.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    tier: usize,
    bytes: u64,
    retired: bool,
}

impl Ledger {
    /// Enters a version that is in use.
    pub fn open(self: &Arc<Self>, tier: u8, bytes: usize) -> Account {
        let account = Account {
            ledger: Arc::clone(self),
            tier: usize::from(tier.min(1)),
            bytes: bytes as u64,
            retired: false,
        };
        account
            .tier()
            .live
            .fetch_add(account.bytes, Ordering::Relaxed);
        account
    }

    /// The sums of a tier.
    pub fn tier(&self, tier: usize) -> TierBytes {
        let tier = &self.0[tier.min(1)];
        TierBytes {
            live: tier.live.load(Ordering::Relaxed),
            retired: tier.retired.load(Ordering::Relaxed),
            freed: tier.freed.load(Ordering::Relaxed),
        }
    }
}

impl Account {
    fn tier(&self) -> &LedgerTier {
        &self.ledger.0[self.tier]
    }

    /// From live to retired.
    pub fn retire(&mut self) {
        if !std::mem::replace(&mut self.retired, true) {
            let tier = self.tier();
            tier.live.fetch_sub(self.bytes, Ordering::Relaxed);
            tier.retired.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let tier = self.tier();
        let from = if self.retired {
            &tier.retired
        } else {
            &tier.live
        };
        from.fetch_sub(self.bytes, Ordering::Relaxed);
        tier.freed.fetch_add(self.bytes, Ordering::Relaxed);
    }
}
