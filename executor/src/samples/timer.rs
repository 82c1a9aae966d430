//! A timer per thread that samples its program counter.
//!
//! ```text
//!   thread in generated code ── processor time passes ──▶ signal, to that thread ──▶ handler: pc ──▶ ring
//! ```
//!
//! Invariants:
//!
//! * The clock is the thread's own processor time: a thread that waits is not woken, so that system calls of the
//!   host are hardly ever interrupted, and restarted if they are (`SA_RESTART`).
//! * The handler reads static memory, thread-local memory that needs no set-up, and what the kernel gave it; it
//!   takes no lock, allocates nothing, and leaves `errno` as it was.
//! * The signal is one that nobody handled when the first timer was made, and that timers can send, if there is one. Of that signal, only what
//!   our timers send is ours; the rest goes to whoever handled it before.
//! * When no engine samples any more, the next signal stops the timer that sent it.
//!
//! Limitations: the kernel looks at these clocks when it ticks, so that samples come every 1 to 10 ms, whatever was
//! asked for. A thread that blocks the signal is not sampled; nor is the thread that a `fork` leaves, until its next call. Linux only.
//!
//! Not here: which threads are sampled and what samples are for ([`super`]).

use super::pending::{SAMPLED, SAMPLES, WANTED};
use crate::arch::Interrupted;
use crate::errno;
use crate::ranges::find as find_range;
use crate::section;
use crate::signals;
use std::cell::{Cell, OnceCell};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the value of our timers points to, to tell them from others.
static MARK: u8 = 0;

/// The signal, and who handled it before.
static INSTALLED: OnceLock<(libc::c_int, libc::sigaction)> = OnceLock::new();

/// The interval of a timer that does not run.
const STOPPED: u64 = u64::MAX;

thread_local! {
    /// Nanoseconds from one sample to the next.
    static INTERVAL: Cell<u64> = const { Cell::new(STOPPED) };
    /// The thread's timer, once there is one.
    static TIMER: Cell<Option<libc::timer_t>> = const { Cell::new(None) };
    /// What takes the timer away when the thread ends.
    static OWNED: OnceCell<Timer> = const { OnceCell::new() };
}

/// Samples the calling thread at least this often from now on. Says whether its timer did not run before.
pub fn start(interval: Duration) -> bool {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(STOPPED - 1);
    let before = INTERVAL.get();
    if before > interval {
        errno::preserved(|| start_timer(interval.max(1)));
    }
    before == STOPPED
}

/// Samples the calling thread no longer.
pub fn stop() {
    stop_timer();
}

#[cold]
fn start_timer(interval: u64) {
    super::consumer::ensure();
    // A thread that is ending is not sampled.
    let made = OWNED.try_with(|owned| {
        owned.get_or_init(|| Timer);
        TIMER.get().is_some() || Timer::make()
    });
    if made == Ok(true) {
        INTERVAL.set(interval);
        set_timer(interval);
    } else {
        // Once is enough.
        INTERVAL.set(0);
    }
}

/// Async-signal-safe.
fn stop_timer() {
    if INTERVAL.get() != STOPPED {
        INTERVAL.set(STOPPED);
        set_timer(0);
    }
}

/// Has the thread's timer fire every so many nanoseconds of its time; 0 stops it. Async-signal-safe.
fn set_timer(nanos: u64) {
    let every = libc::timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    };
    let times = libc::itimerspec {
        it_interval: every,
        it_value: every,
    };
    if let Some(timer) = TIMER.get() {
        // SAFETY: the timer is this thread's and exists: it is forgotten before it is deleted.
        unsafe { libc::timer_settime(timer, 0, &raw const times, ptr::null_mut()) };
    }
}

/// In the child of a fork, which has no timers: what has the number of the thread's is another's.
pub fn after_fork() {
    TIMER.set(None);
    INTERVAL.set(STOPPED);
}

/// Deletes the calling thread's timer when the thread ends.
#[derive(Debug)]
struct Timer;

impl Timer {
    /// Makes a timer for the calling thread, which does not run yet; says whether there is one.
    fn make() -> bool {
        let (signal, _) = installed();
        match timer_of(*signal) {
            Ok(timer) => {
                TIMER.set(Some(timer));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "a thread has no timer and is not sampled");
                false
            }
        }
    }
}

/// Makes a timer of the calling thread that sends this signal.
fn timer_of(signal: libc::c_int) -> std::io::Result<libc::timer_t> {
    // SAFETY: a structure of numbers and a pointer, for which zero is a value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    event.sigev_value.sival_ptr = (&raw const MARK).cast_mut().cast();
    // SAFETY: it has no preconditions.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = ptr::null_mut();
    let clock = libc::CLOCK_THREAD_CPUTIME_ID;
    // SAFETY: it reads `event` and writes to `timer`.
    match unsafe { libc::timer_create(clock, &raw mut event, &raw mut timer) } {
        0 => Ok(timer),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether a timer can send this signal: emulators keep some of the highest for themselves.
fn can_be_sent(signal: libc::c_int) -> bool {
    let timer = timer_of(signal);
    // SAFETY: it was just made, and nobody else knows of it.
    timer.is_ok_and(|timer| unsafe { libc::timer_delete(timer) } == 0)
}

impl Drop for Timer {
    fn drop(&mut self) {
        INTERVAL.set(STOPPED);
        if let Some(timer) = TIMER.take() {
            // SAFETY: the timer exists; nobody refers to it any more.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

/// The signal, and who handled it before; installs the handler, once.
fn installed() -> &'static (libc::c_int, libc::sigaction) {
    // No fork comes in between, whose child would wait for ever.
    let _section = section::section();
    let installed = INSTALLED.get_or_init(|| {
        SAMPLED.prepare();
        let unused = |&signal: &libc::c_int| {
            let action = signals::action_of(signal);
            action.sa_sigaction == libc::SIG_DFL
        };
        let mut signals = (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev().filter(unused);
        let signal = signals.find(|&signal| can_be_sent(signal));
        let signal = signal.unwrap_or(libc::SIGRTMAX());
        (signal, signals::action_of(signal))
    });
    static HANDLED: std::sync::Once = std::sync::Once::new();
    HANDLED.call_once(|| {
        let flags = libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: `handle` is async-signal-safe and for any signal.
        unsafe { signals::install(installed.0, handle, flags) };
    });
    installed
}

/// How the handler is installed, for tests.
pub fn handler_flags() -> libc::c_int {
    signals::action_of(installed().0).sa_flags
}

/// The handler of the signal.
unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `info`; what a timer sends has a value.
    let ours = unsafe {
        (*info).si_code == libc::SI_TIMER
            && (*info).si_value().sival_ptr.cast_const() == (&raw const MARK).cast()
    };
    if !ours {
        let previous = INSTALLED.get().map(|(_, previous)| previous);
        // SAFETY: the arguments are what the kernel passed.
        unsafe { signals::pass_on(signal, info, context, previous) };
        return;
    }
    // SAFETY: it is the address of this thread's `errno`.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    if WANTED.load(Ordering::Relaxed) == 0 {
        stop_timer();
    } else {
        // SAFETY: the context is the kernel's, and ours alone until this function returns.
        let pc = unsafe { Interrupted::new(context) }.pc();
        if find_range(pc).is_some() {
            SAMPLES.push(pc);
            SAMPLED.post();
        }
    }
    *errno = before;
}
