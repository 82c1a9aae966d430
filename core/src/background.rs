//! Code generation at a lower priority than the rest of background compilation.
//!
//! ```text
//!   compile thread ── job ─▶ form, extract ─▶ compute ─┐           ┌─▶ place, link, publish
//!   its partner, of low priority                       └─ Cranelift ┘
//! ```
//!
//! A thread of low priority can be kept from a processor for as long as others run. If it held a lock then, whoever runs
//! generated code and needs that lock would wait as long, whatever its own priority; and an unprivileged thread cannot
//! raise its priority again while it holds one. So compile threads keep the priority of who starts them, and each has a
//! partner that only computes.
//!
//! Invariants:
//!
//! * The partner takes no lock of the library, and owns what it works on.
//! * Nobody waits for it who holds a lock: what is compiled in a section ([`crate::fork`]) is compiled at once.
//! * A job begins when the partner has had a processor, so that a busy machine is not kept busier.
//!
//! Limitations: the locks of the memory allocator are its own business.
//!
//! Not here: which jobs there are (`worker`), what a priority is (`priority`).

use crate::config::WorkerPriority;
use crate::fork;
use crate::priority::lower_own_priority;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

type Task = Box<dyn FnOnce() + Send>;

/// The thread that computes for a compile thread.
#[derive(Debug)]
struct Partner {
    tasks: Sender<Task>,
    thread: JoinHandle<()>,
}

thread_local! {
    /// The calling thread's partner, if it is a compile thread that has one.
    static PARTNER: RefCell<Option<Partner>> = const { RefCell::new(None) };
}

/// Runs `body`, the life of a compile thread, with a partner of this priority where that is not its own.
pub(crate) fn with_partner(priority: WorkerPriority, body: impl FnOnce()) {
    if priority != WorkerPriority::Inherited {
        match Partner::start(priority) {
            Ok(partner) => PARTNER.set(Some(partner)),
            Err(error) => {
                tracing::warn!(%error, ?priority, "no thread of this priority; compiled without");
            }
        }
    }
    body();
    if let Some(Partner { tasks, thread }) = PARTNER.take() {
        // It ends when nothing can come any more.
        drop(tasks);
        // Panics are contained.
        let _ = thread.join();
    }
}

impl Partner {
    fn start(priority: WorkerPriority) -> std::io::Result<Self> {
        let (tasks, next) = channel::<Task>();
        let thread = Builder::new().name("regraft-codegen".to_string());
        let thread = thread.spawn(move || {
            if let Err(error) = lower_own_priority(priority) {
                tracing::warn!(%error, ?priority, "the compile thread keeps its priority");
            }
            next.into_iter().for_each(|task| task());
        })?;
        Ok(Self { tasks, thread })
    }
}

/// Waits until the thread's partner, if it has one, has had a processor.
pub(crate) fn wait_for_processor() {
    compute(|| ());
}

/// Runs `work` on the thread's partner, if it has one and holds no lock; else here.
///
/// # Panics
/// As `work` does.
pub(crate) fn compute<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let tasks = match fork::depth() {
        0 => PARTNER.try_with(|partner| Some(partner.borrow().as_ref()?.tasks.clone())),
        _ => Ok(None),
    };
    let Ok(Some(tasks)) = tasks else {
        return work();
    };
    let (done, result) = channel();
    let task = Box::new(move || {
        // Whoever asked waits.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    });
    if let Err(refused) = tasks.send(task) {
        // It does not end before its compile thread; still, nothing is lost.
        (refused.0)();
    }
    match result.recv() {
        Ok(Ok(result)) => result,
        Ok(Err(payload)) => resume_unwind(payload),
        Err(_) => resume_unwind(Box::new("the thread that generates code has ended")),
    }
}

#[cfg(test)]
mod tests;
