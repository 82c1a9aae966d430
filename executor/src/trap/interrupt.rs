//! Ending a safe call from another thread, at no cost to code that runs.
//!
//! ```text
//!   another thread: request ─▶ signal ─▶ handler, on the thread: in generated code? ─▶ the landing, as for a trap
//!        ▲                                   │ elsewhere: nothing
//!        └── a millisecond later, again ◀────┘
//! ```
//!
//! Invariants:
//!
//! * A thread is interrupted at an instruction of generated code only, where a trap could be: nothing is owned or locked
//!   there. Code of the host and of the runtime is never left in the middle.
//! * One request ends one call.
//! * A signal is sent to a thread that exists: it says when it ends, under the lock under which signals are sent.
//!
//! Limitations: a thread that stays in the host is not interrupted; system calls go on after the signal (`SA_RESTART`). A
//! thread that blocks the signal is not interrupted.

use super::activation::{Activation, Caught, Site, innermost};
use crate::arch::{Interrupted, RUNTIME_CODE_SIZE, landing_address};
use crate::locks::lock;
use crate::ranges::find as find_range;
use crate::section;
use crate::signals;
use std::cell::{Cell, OnceCell};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

/// How long a thread has to come to generated code before it is asked again.
const AGAIN: Duration = Duration::from_millis(1);

/// The signal, and who handled it before.
static INSTALLED: OnceLock<(libc::c_int, libc::sigaction)> = OnceLock::new();

/// A thread that can be interrupted.
#[derive(Debug)]
struct Target {
    process: u32,
    thread: libc::pid_t,
    requested: AtomicBool,
    alive: Mutex<bool>,
}

/// What the thread itself has of it; dropped when the thread ends.
#[derive(Debug)]
struct Own(Arc<Target>);

thread_local! {
    /// For the handler.
    static TARGET: Cell<*const Target> = const { Cell::new(ptr::null()) };
    static OWN: OnceCell<Own> = const { OnceCell::new() };
}

impl Drop for Own {
    fn drop(&mut self) {
        TARGET.set(ptr::null());
        *lock(&self.0.alive) = false;
    }
}

/// Ends safe calls of one thread from any other.
#[derive(Clone, Debug)]
pub struct Interrupter(Arc<Target>);

impl Interrupter {
    /// For the calling thread; nothing where the thread is ending.
    pub fn this_thread() -> Option<Self> {
        install();
        let make = || {
            Own(Arc::new(Target {
                process: std::process::id(),
                // SAFETY: it has no preconditions.
                thread: unsafe { libc::gettid() },
                requested: AtomicBool::new(false),
                alive: Mutex::new(true),
            }))
        };
        let target = OWN.try_with(|own| Arc::clone(&own.get_or_init(make).0));
        let target = target.ok()?;
        TARGET.set(Arc::as_ptr(&target));
        Some(Self(target))
    }

    /// Ends the innermost safe call of the thread as soon as it is in generated code, and says whether it was, within `patience`.
    /// If it was not, the request is taken back.
    pub fn interrupt(&self, patience: Duration) -> bool {
        let target = &*self.0;
        let since = Instant::now();
        target.requested.store(true, Ordering::SeqCst);
        while target.requested.load(Ordering::SeqCst) {
            if !target.send() || since.elapsed() >= patience {
                return !target.requested.swap(false, Ordering::SeqCst);
            }
            std::thread::sleep(AGAIN);
        }
        true
    }
}

impl Target {
    /// Sends the signal; says whether there is a thread to send it to.
    fn send(&self) -> bool {
        let alive = lock(&self.alive);
        let Some((signal, _)) = INSTALLED.get() else {
            return false;
        };
        // The child of a fork has the record, but not the thread.
        if !*alive || self.process != std::process::id() {
            return false;
        }
        let process = self.process.cast_signed();
        // SAFETY: the thread exists, as the lock is held, and the signal has a handler.
        unsafe { libc::syscall(libc::SYS_tgkill, process, self.thread, *signal) == 0 }
    }
}

/// Installs the handler for a signal that nobody handles, once.
fn install() {
    // No fork comes in between, whose child would wait for ever.
    let _section = section::section();
    static HANDLED: Once = Once::new();
    HANDLED.call_once(|| {
        let unused =
            |&signal: &libc::c_int| signals::action_of(signal).sa_sigaction == libc::SIG_DFL;
        // Emulators keep some of the highest for themselves.
        let found = (libc::SIGRTMIN()..=libc::SIGRTMAX() - 2).rev().find(unused);
        if let Some(signal) = found {
            let _ = INSTALLED.set((signal, signals::action_of(signal)));
            let flags = libc::SA_ONSTACK | libc::SA_RESTART;
            // SAFETY: `handle` is async-signal-safe and for any signal.
            unsafe { signals::install(signal, handle, flags) };
        }
    });
}

/// The handler. It reads static memory, thread-local memory that needs no set-up, the activation and what the kernel gave it; it
/// takes no lock and allocates nothing.
unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let target = TARGET.get();
    // SAFETY: the thread's own record lives until the pointer is taken away.
    let target = unsafe { target.as_ref() };
    // SAFETY: the kernel passes a valid `info`.
    let ours = unsafe { (*info).si_code } == libc::SI_TKILL;
    let Some(target) = target.filter(|_| ours) else {
        let previous = INSTALLED.get().map(|(_, previous)| previous);
        // SAFETY: the arguments are what the kernel passed.
        unsafe { signals::pass_on(signal, info, context, previous) };
        return;
    };
    let activation = innermost();
    if activation.is_null() || !target.requested.load(Ordering::SeqCst) {
        return;
    }
    // SAFETY: the context is the kernel's, and ours alone until this function returns.
    let mut interrupted = unsafe { Interrupted::new(context) };
    let (pc, sp) = (interrupted.pc(), interrupted.sp());
    let in_code = find_range(pc).is_some_and(|range| {
        let offset = pc.checked_sub(range.runtime);
        offset.is_none_or(|offset| offset >= RUNTIME_CODE_SIZE)
    });
    // Withdrawn meanwhile, if this does not find it.
    if !in_code || !target.requested.swap(false, Ordering::SeqCst) {
        return;
    }
    // SAFETY: the innermost activation is a local of `protect` on this thread, which is waiting for `enter` to return, and
    // accesses it through the same pointer.
    let sp = unsafe {
        let Activation {
            sp: landing,
            caught,
        } = &mut *activation;
        *caught = Some(Caught {
            signal,
            pc,
            sp,
            address: None,
            site: Site::Interrupted,
        });
        *landing
    };
    interrupted.resume(landing_address(), sp);
}
