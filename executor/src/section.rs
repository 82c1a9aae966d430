//! What a fork waits for: no lock of the library is held, and no slot's word changes, outside of a section.
//!
//! Invariants:
//!
//! * A fork that has closed sections finds no other thread in one, and none begins before it opens them.
//! * A section waits for no thread that is about to begin one: not for compile threads, say.
//!
//! Not here: what a fork does meanwhile ([`crate::fork`]).

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many threads are in a section.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// A thread is about to fork: no section begins.
static CLOSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How many sections the thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

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

/// Lets no section begin, waits until no other thread is in one, and begins one of its own, which does not wait. Says `false`,
/// and nothing is closed, where the thread is in a section, or others stay in theirs for longer than there is `patience`.
pub(crate) fn close(patience: Duration) -> bool {
    if DEPTH.get() > 0 {
        // Whoever holds what this section waits for could not go on.
        return false;
    }
    // One fork at a time.
    wait_while(|| CLOSED.swap(true, Ordering::SeqCst));
    let until = Instant::now() + patience;
    wait_while(|| INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < until);
    if INSIDE.load(Ordering::SeqCst) > 0 {
        CLOSED.store(false, Ordering::SeqCst);
        return false;
    }
    INSIDE.fetch_add(1, Ordering::SeqCst);
    DEPTH.set(1);
    true
}

/// Ends the section of [`close`], and lets others begin.
pub(crate) fn open() {
    restore(0);
    CLOSED.store(false, Ordering::SeqCst);
}

/// In the child of a fork, where only the calling thread is left; `closed` says whether it had closed sections.
pub(crate) fn after_fork(closed: bool) {
    // Others may have been about to enter; they do not exist here.
    INSIDE.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
    if !closed {
        CLOSED.store(false, Ordering::SeqCst);
    }
}
