//! The signal handlers.
//!
//! They are installed once per process, at the first safe call. A signal is ours if its thread is in a
//! safe call and was interrupted in generated code, or by calling from there what is no code. Then
//! the handler leaves a note in the activation and sends the thread to the landing. Everything else
//! goes to whoever handled the signal before.
//!
//! Invariants:
//!
//! * The handler reads static memory, thread-local memory that needs no set-up, the activation and
//!   what the kernel gave it; it takes no lock and allocates nothing.
//! * Signals that a process sent (`kill`, `raise`) are never ours.
//!
//! Limitations: a thread that blocks these signals dies of them, as the kernel has it. A handler that
//! is installed later and does not pass signals on has the last word.

use super::activation::{Activation, Caught, Site, innermost};
use crate::arch::{Interrupted, landing_address, words_above_return_address};
use crate::ranges::find as find_range;
use crate::signals;
use std::sync::{Once, OnceLock};

/// The signals by which hardware and kernel report traps.
const SIGNALS: [libc::c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
];

/// Who handled each signal before.
static PREVIOUS: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];

/// Installs the handlers, once.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        for (&signal, previous) in SIGNALS.iter().zip(&PREVIOUS) {
            // On record before the handler can run. The cell was empty: this runs once.
            let _ = previous.set(signals::action_of(signal));
            // Not deferred: a handler that the signal is passed on to may fault itself.
            let flags = libc::SA_ONSTACK | libc::SA_NODEFER;
            // SAFETY: `handle` is async-signal-safe and for these signals.
            unsafe { signals::install(signal, handle, flags) };
        }
    });
}

/// The handler of all of [`SIGNALS`].
unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let activation = innermost();
    // SAFETY: the kernel passes a valid `info`.
    let by_hardware = unsafe { (*info).si_code } > 0;
    if by_hardware && !activation.is_null() {
        // SAFETY: the context is the kernel's, and ours alone until this function returns.
        let mut interrupted = unsafe { Interrupted::new(context) };
        // SAFETY: as above.
        if let Some(caught) = unsafe { caught(signal, info, &interrupted) } {
            // SAFETY: the innermost activation is a local of `protect` on this thread, which is
            // waiting for `enter` to return, and accesses it through the same pointer.
            let sp = unsafe {
                let Activation {
                    sp, caught: note, ..
                } = &mut *activation;
                *note = Some(caught);
                *sp
            };
            interrupted.resume(landing_address(), sp);
            return;
        }
    }
    let index = SIGNALS.iter().position(|&ours| ours == signal);
    let previous = index.and_then(|index| PREVIOUS[index].get());
    // SAFETY: the arguments are what the kernel passed.
    unsafe { signals::pass_on(signal, info, context, previous) };
}

/// What the signal is about, if it is about generated code.
///
/// # Safety
/// `info` is what the kernel passed, and the thread is in a safe call.
unsafe fn caught(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    interrupted: &Interrupted<'_>,
) -> Option<Caught> {
    /// The kernel knows no address: on x86-64, a non-canonical one.
    const SI_KERNEL: libc::c_int = 0x80;
    let memory = signal == libc::SIGSEGV || signal == libc::SIGBUS;
    // SAFETY: the kernel passes a valid `info`; for a memory fault it has an address.
    let address =
        unsafe { (memory && (*info).si_code != SI_KERNEL).then(|| (*info).si_addr().addr()) };
    let (pc, sp) = (interrupted.pc(), interrupted.sp());
    let (site, words) = match find_range(pc) {
        Some(range) => match pc.checked_sub(range.runtime) {
            Some(0) => (Site::TrapStub, 0),
            Some(offset) => match words_above_return_address(offset) {
                Some(words) => (Site::EntryThunk, words),
                None => (Site::Instruction, 0),
            },
            None => (Site::Instruction, 0),
        },
        None if address == Some(pc) => (Site::Nowhere, 0),
        None => return None,
    };
    let pc = if site == Site::Instruction {
        pc
    } else {
        // SAFETY: control has just come to `pc`, by a call or from a function that had been called,
        // and so many words were put on the stack there.
        let caller = unsafe { interrupted.return_address(words) };
        let call = caller.wrapping_sub(1);
        match find_range(call) {
            Some(_) => call,
            None if site == Site::Nowhere => return None,
            // Called from Rust: by `try_call`, say.
            None => pc,
        }
    };
    Some(Caught {
        signal,
        pc,
        sp,
        address,
        site,
    })
}
