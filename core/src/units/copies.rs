//! What copies of a definition look at before they run, in code of other functions: a word that is 0 as long as the
//! definition is its function's.
//!
//! ```text
//!   copy wanted ──▶ is it replaced? ─ no ─▶ the word, made when it is first wanted ──▶ code that looks at it
//!   redefined, removed: the word is 1, before that returns
//! ```
//!
//! Invariants:
//!
//! * Whoever has the word before the definition is replaced sees that it is, and nobody gets it afterwards.
//! * A call that begins after the replacement has returned looks at the word after that, and finds 1: the word is
//!   stored in the one order of all such stores and never changes again.
//!
//! Not here: who copies (`pipeline::inline`).

use crate::passes::layout::CACHE_LINE;
use regraft_executor::arena::{Arena, ArenaError, OwnedData};
use regraft_executor::locks::lock;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Whether there are copies of a definition, and what they look at.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    /// There may be some.
    Guarded(Arc<OwnedData>),
    /// There is another definition, or none any more.
    Replaced,
}

impl Copies {
    /// The word that a copy has to look at; none if the definition was replaced.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] when data memory is full.
    pub fn guard(&self, arena: &Arc<Arena>) -> Result<Option<Arc<OwnedData>>, ArenaError> {
        let mut state = lock(&self.0);
        match &*state {
            State::Guarded(word) => Ok(Some(Arc::clone(word))),
            State::Replaced => Ok(None),
            State::None => {
                // A cache line of its own: what lies beside would be written, and this is only read.
                let word = Arc::new(OwnedData::new(arena, CACHE_LINE, CACHE_LINE)?);
                *state = State::Guarded(Arc::clone(&word));
                Ok(Some(word))
            }
        }
    }

    /// Whether there is another definition, or none any more.
    pub fn are_replaced(&self) -> bool {
        matches!(&*lock(&self.0), State::Replaced)
    }

    /// Lets calls pass by the copies from now on: the definition was replaced.
    pub fn replaced(&self) {
        let state = std::mem::replace(&mut *lock(&self.0), State::Replaced);
        if let State::Guarded(word) = state
            && let Some(word) = word.block().and_then(|block| block.word(0))
        {
            word.store(1, Ordering::SeqCst);
        }
    }
}
