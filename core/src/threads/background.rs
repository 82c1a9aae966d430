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
//! * What takes less time than handing it over is computed by the compile thread ([`without_partner`]).
//! * A job begins when the partner has had a processor, so that a busy machine is not kept busier.
//! * Nobody waits for it to end a compile thread: what it has in hand then is abandoned, and it ends by itself.
//!
//! Limitations: the locks of the memory allocator are its own business.
//!
//! Not here: which jobs there are (`worker`), what a priority is (`priority`).

use regraft_executor::priority::WorkerPriority;
use regraft_executor::priority::lower_own_priority;
use regraft_executor::section;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

type Task = Box<dyn FnOnce() + Send>;

/// The thread that computes for a compile thread.
#[derive(Clone)]
struct Partner {
    tasks: Sender<Task>,
    /// Whether the compile thread is to end.
    stopped: Rc<dyn Fn() -> bool>,
}

/// How often a compile thread that waits for its partner looks whether it is to end.
const LOOK: Duration = Duration::from_millis(10);

thread_local! {
    /// The calling thread's partner, if it is a compile thread that has one.
    static PARTNER: RefCell<Option<Partner>> = const { RefCell::new(None) };
}

/// Runs `body`, the life of a compile thread, with a partner of this priority where that is not its own; `stopped` says
/// whether the thread is to end.
pub(crate) fn with_partner(
    priority: WorkerPriority,
    stopped: impl Fn() -> bool + 'static,
    body: impl FnOnce(),
) {
    if priority != WorkerPriority::Inherited {
        match Partner::start(priority, Rc::new(stopped)) {
            Ok(partner) => PARTNER.set(Some(partner)),
            Err(error) => {
                tracing::warn!(%error, ?priority, "no thread of this priority; compiled without");
            }
        }
    }
    body();
    // The partner ends when nothing can come any more.
    drop(PARTNER.take());
}

impl Partner {
    fn start(priority: WorkerPriority, stopped: Rc<dyn Fn() -> bool>) -> std::io::Result<Self> {
        let (tasks, next) = channel::<Task>();
        let thread = Builder::new().name("regraft-codegen".to_string());
        thread.spawn(move || {
            if let Err(error) = lower_own_priority(priority) {
                tracing::warn!(%error, ?priority, "the compile thread keeps its priority");
            }
            next.into_iter().for_each(|task| task());
        })?;
        Ok(Self { tasks, stopped })
    }
}

/// Waits until the thread's partner, if it has one, has had a processor, or the thread is to end.
pub(crate) fn wait_for_processor() {
    let _had = compute(|| ());
}

/// Runs `work` on the thread's partner, if it has one and holds no lock; else here. `None` where the partner has it and
/// the thread is to end.
///
/// # Panics
/// As `work` does.
pub(crate) fn compute<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let partner = match section::depth() {
        0 => PARTNER.try_with(|partner| partner.borrow().clone()),
        _ => Ok(None),
    };
    let Ok(Some(Partner { tasks, stopped })) = partner else {
        return Some(work());
    };
    let (done, result) = channel();
    let task = Box::new(move || {
        // Whoever asked waits, or does not want it any more.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    });
    if let Err(refused) = tasks.send(task) {
        // It does not end before its compile thread; still, nothing is lost.
        (refused.0)();
    }
    loop {
        match result.recv_timeout(LOOK) {
            Ok(Ok(result)) => return Some(result),
            Ok(Err(payload)) => resume_unwind(payload),
            Err(RecvTimeoutError::Timeout) if !stopped() => {}
            Err(_) => return None,
        }
    }
}

/// Runs `body`, which has so little to compute that handing it over would take longer, without the thread's partner.
pub(crate) fn without_partner<R>(body: impl FnOnce() -> R) -> R {
    struct Back(Option<Partner>);
    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(partner) = self.0.take() {
                let _ = PARTNER.try_with(|own| own.replace(Some(partner)));
            }
        }
    }
    let _back = Back(PARTNER.try_with(|own| own.take()).ok().flatten());
    body()
}

#[cfg(test)]
mod tests;
