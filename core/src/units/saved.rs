//! The profile of an earlier run.

use regraft_regions::{Profile, ProfileError, SavedFunction};
use std::collections::HashMap;
use std::sync::Arc;

/// What became of the saved profile of a function.
pub(crate) type SavedUse = Result<(), ProfileError>;

/// The saved profile of an engine, by what functions are known by.
#[derive(Debug)]
pub(crate) struct SavedProfiles {
    profile: Arc<Profile>,
    /// Whether functions are known by their keys, and not by their CLIF.
    pub by_key: bool,
    /// Positions, by hash; of several with the same hash, the first.
    by_hash: HashMap<u64, usize>,
}

impl SavedProfiles {
    pub fn new(profile: Arc<Profile>, by_key: bool) -> Self {
        let mut by_hash = HashMap::new();
        for (position, saved) in profile.functions.values().enumerate() {
            by_hash.entry(saved.hash).or_insert(position);
        }
        Self {
            profile,
            by_key,
            by_hash,
        }
    }

    /// How many functions come before the one with this hash, in the order of what compiling them gained; `None` if there is
    /// no such function.
    pub fn rank(&self, hash: u64) -> Option<usize> {
        self.by_hash.get(&hash).copied()
    }

    /// The profile.
    #[cfg(feature = "json")]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What is saved of a function: under its hash or else, and then it will not fit, under its name.
    pub fn find(&self, name: &str, hash: u64) -> Option<&SavedFunction> {
        let functions = &self.profile.functions;
        let named = functions.get(name);
        if named.is_some_and(|named| named.hash == hash) {
            return named;
        }
        let hashed = self.by_hash.get(&hash);
        let hashed = hashed.and_then(|&position| functions.get_index(position));
        hashed.map(|(_, saved)| saved).or(named)
    }
}
