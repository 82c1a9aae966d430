//! What happens when the process forks.
//!
//! ```text
//!   fork() ─▶ prepare: nobody is in a section; code memory is copied ─▶ fork ─┬▶ parent: the copies are dropped
//!                                                                            └▶ child: runs and writes the copies
//! ```
//!
//! Code memory is a file that is mapped, which a child would share: what the parent frees or compiles later would
//! change under its feet, and the other way round. So the child gets a copy, at the same addresses. And it has one
//! thread only: what other threads held, waited for or had promised is gone there.
//!
//! Invariants:
//!
//! * A lock of the library is held, something is made that others wait for, and a slot's word changes, in a
//!   [`section`] only. A fork waits until no other
//!   thread is in one, and none begins before it is over. So no lock is held by a thread that does not exist in the
//!   child, and code that a slot leads to in the child is in the copy.
//! * Without a copy, the child never writes to code memory: it fails to compile with
//!   [`ArenaError::Forked`](crate::arena::ArenaError::Forked), and frees nothing.
//! * Of memory in which another process runs code, a child writes to pages of its own, and can call nothing there.
//!
//! Limitations: a thread that forks in the middle of a section (the closure of a `define_lazily`) gets a child without
//! a copy; so does a child that was made past the C library's `fork`. What other threads had under way is not
//! finished in the child, and that of background compilation begins anew. Each fork copies all code: some
//! milliseconds for 10 MiB.
//!
//! Not here: the copy ([`crate::arena`]); what an engine puts in order in the child ([`Forked`]).

use crate::locks::lock;
use crate::section;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

/// How long a fork waits for sections to end: longer than any function takes to compile. After that it goes on without a
/// copy rather than never: a client's callback may be waiting for something that waits for the fork.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a fork has to know.
static KNOWN: Mutex<Known> = Mutex::new(Known {
    memory: vec![],
    engines: vec![],
});

struct Known {
    memory: Vec<Weak<dyn Copied>>,
    engines: Vec<Weak<dyn Forked>>,
}

thread_local! {
    /// The thread is forking, and has copied what there was.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

/// Code memory, of which a child gets a copy.
pub trait Copied: Send + Sync {
    /// Copies what is in it.
    ///
    /// # Errors
    /// The system's; that nothing can be copied in a process that does not own the memory.
    fn copy(&self) -> io::Result<File>;

    /// Replaces it by a copy, or gives up writing to it where there is none.
    ///
    /// # Safety
    /// The process is the child of a fork, no other thread exists, and the copy is of what is mapped.
    unsafe fn adopt(&self, copy: io::Result<File>);

    /// In the child of a fork: has it write to pages of its own, where another process runs code in what is mapped. A process
    /// that cannot have them ends, before it changes what another runs.
    fn part(&self);
}

/// Memory, and the copy that the child is to have.
type MemoryCopy = (Arc<dyn Copied>, io::Result<File>);

/// What a fork takes across, of the thread that has closed sections.
static COPIES: Mutex<Vec<MemoryCopy>> = Mutex::new(vec![]);

/// Has the memory copied for children.
///
/// # Errors
/// The system's, where there is no memory to register what is done at a fork.
pub fn register_memory(memory: Weak<dyn Copied>) -> io::Result<()> {
    /// The system's answer.
    static REGISTERED: OnceLock<libc::c_int> = OnceLock::new();
    let mut known = lock(&KNOWN);
    let answer = *REGISTERED.get_or_init(|| {
        // SAFETY: the handlers do not unwind; they are part of the program, which is not unloaded.
        unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) }
    });
    if answer != 0 {
        return Err(io::Error::from_raw_os_error(answer));
    }
    known.memory.retain(|memory| memory.strong_count() > 0);
    known.memory.push(memory);
    Ok(())
}

/// What has something to put in order in the child of a fork.
pub trait Forked: Send + Sync {
    /// Only the calling thread is left, and nobody else is inside generated code.
    fn after_fork(&self);
}

/// Has the engine put in order in children.
pub fn register_engine(engine: Weak<dyn Forked>) {
    let mut known = lock(&KNOWN);
    known.engines.retain(|engine| engine.strong_count() > 0);
    known.engines.push(engine);
}

unsafe extern "C" fn prepare() {
    if !section::close(PATIENCE) {
        return;
    }
    PREPARED.set(true);
    let memory: Vec<_> = lock(&KNOWN)
        .memory
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    let copied = memory.into_iter().map(|memory| {
        let copy = memory.copy();
        (memory, copy)
    });
    *lock(&COPIES) = copied.collect();
}

unsafe extern "C" fn in_parent() {
    if PREPARED.take() {
        let copied = std::mem::take(&mut *lock(&COPIES));
        section::open();
        // Not before: an arena may be gone with its last handle.
        drop(copied);
    }
}

unsafe extern "C" fn in_child() {
    let prepared = PREPARED.take();
    section::after_fork(prepared);
    if !prepared {
        // The marks of the arenas are gone.
        // Held only by who makes an engine; a thread that is not here may have been.
        if let Ok(known) = KNOWN.try_lock() {
            known
                .memory
                .iter()
                .filter_map(Weak::upgrade)
                .for_each(|memory| memory.part());
        }
        return;
    }
    for (memory, copy) in std::mem::take(&mut *lock(&COPIES)) {
        // SAFETY: no other thread exists, and the copy was made while nothing changed.
        unsafe { memory.adopt(copy) };
    }
    let engines: Vec<_> = lock(&KNOWN)
        .engines
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    engines.iter().for_each(|engine| engine.after_fork());
    crate::samples::after_fork();
    section::open();
}
