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
//!   *section* only. A fork waits until no other
//!   thread is in one, and none begins before it is over. So no lock is held by a thread that does not exist in the
//!   child, and code that a slot leads to in the child is in the copy.
//! * A section waits for no thread that is about to begin one: not for compile threads, say.
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

use crate::arena::{Arena, CodeCopy};
use crate::locks::lock;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// How many threads are in a section.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// A thread is about to fork: no section begins.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// How long a fork waits for sections to end: longer than any function takes to compile. After that it goes on without a
/// copy rather than never: a client's callback may be waiting for something that waits for the fork.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a fork has to know.
static KNOWN: Mutex<Known> = Mutex::new(Known {
    arenas: vec![],
    engines: vec![],
});

struct Known {
    arenas: Vec<Weak<Arena>>,
    engines: Vec<Weak<dyn Forked>>,
}

thread_local! {
    /// How many sections the thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// The thread is forking, and has copied what there was.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

/// What a fork takes across, of the thread that has closed sections.
static COPIED: Mutex<Vec<Copied>> = Mutex::new(vec![]);

/// An arena, and the copy that the child is to have.
type Copied = (Arc<Arena>, io::Result<CodeCopy>);

/// The calling thread holds locks, or is about to change a slot. Sections nest.
#[derive(Debug)]
#[must_use]
pub struct Section(PhantomData<*const ()>);

/// Begins a section; waits for a fork of another thread to be over.
pub fn section() -> Section {
    let depth = DEPTH.get();
    if depth == 0 {
        enter();
    }
    DEPTH.set(depth + 1);
    Section(PhantomData)
}

impl Drop for Section {
    fn drop(&mut self) {
        restore(DEPTH.get() - 1);
    }
}

/// How many sections the thread is in, for [`restore`].
pub fn depth() -> usize {
    DEPTH.get()
}

/// How many threads are in a section.
pub fn inside() -> usize {
    INSIDE.load(Ordering::SeqCst)
}

/// Ends the sections that began after [`depth`] was read.
pub fn restore(depth: usize) {
    let before = DEPTH.replace(depth);
    if before > 0 && depth == 0 {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

fn enter() {
    #[cfg(debug_assertions)]
    if crate::priority::is_lowered() {
        crate::priority::SECTIONS_WHEN_LOWERED.fetch_add(1, Ordering::Relaxed);
    }
    loop {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if !CLOSED.load(Ordering::SeqCst) {
            return;
        }
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        wait_while(|| CLOSED.load(Ordering::SeqCst));
    }
}

/// Forks are rare, and what they wait for is short.
fn wait_while(condition: impl Fn() -> bool) {
    while condition() {
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Has the arena copied for children.
///
/// # Errors
/// The system's, where there is no memory to register what is done at a fork.
pub fn register_arena(arena: &Arc<Arena>) -> io::Result<()> {
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
    known.arenas.retain(|arena| arena.strong_count() > 0);
    known.arenas.push(Arc::downgrade(arena));
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
    if DEPTH.get() > 0 {
        // Whoever holds what this section waits for could not go on.
        return;
    }
    // One fork at a time.
    wait_while(|| CLOSED.swap(true, Ordering::SeqCst));
    let until = Instant::now() + PATIENCE;
    wait_while(|| INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < until);
    if INSIDE.load(Ordering::SeqCst) > 0 {
        CLOSED.store(false, Ordering::SeqCst);
        return;
    }
    // A section of its own, which does not wait.
    INSIDE.fetch_add(1, Ordering::SeqCst);
    DEPTH.set(1);
    PREPARED.set(true);
    let arenas: Vec<_> = lock(&KNOWN)
        .arenas
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    let copied = arenas.into_iter().map(|arena| {
        let copy = arena.copy();
        (arena, copy)
    });
    *lock(&COPIED) = copied.collect();
}

unsafe extern "C" fn in_parent() {
    if PREPARED.take() {
        let copied = std::mem::take(&mut *lock(&COPIED));
        open();
        // Not before: an arena may be gone with its last handle.
        drop(copied);
    }
}

unsafe extern "C" fn in_child() {
    // Others may have been about to enter; they do not exist here.
    let prepared = PREPARED.take();
    INSIDE.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
    if !prepared {
        // The marks of the arenas are gone.
        CLOSED.store(false, Ordering::SeqCst);
        // Held only by who makes an engine; a thread that is not here may have been.
        if let Ok(known) = KNOWN.try_lock() {
            known
                .arenas
                .iter()
                .filter_map(Weak::upgrade)
                .for_each(|arena| arena.part());
        }
        return;
    }
    for (arena, copy) in std::mem::take(&mut *lock(&COPIED)) {
        // SAFETY: no other thread exists, and the copy was made while nothing changed.
        unsafe { arena.adopt(copy) };
    }
    let engines: Vec<_> = lock(&KNOWN)
        .engines
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    engines.iter().for_each(|engine| engine.after_fork());
    crate::samples::after_fork();
    open();
}

/// Ends the section of [`prepare`], and lets others begin.
fn open() {
    restore(0);
    CLOSED.store(false, Ordering::SeqCst);
}
