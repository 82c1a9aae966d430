//! Signal handlers that pass on what is not theirs.
//!
//! Not here: which signals, and what is done about them ([`crate::trap`], [`crate::detect`]).

use std::ptr;

/// A handler of three arguments.
pub type Handler = unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// How a signal is handled now.
pub fn action_of(signal: libc::c_int) -> libc::sigaction {
    let mut action = default_action();
    // SAFETY: it writes to `action`.
    unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    action
}

/// Has a signal handled by `handler` from now on.
///
/// # Safety
/// The handler is async-signal-safe, and may be called with whatever the kernel passes for this signal.
pub unsafe fn install(signal: libc::c_int, handler: Handler, flags: libc::c_int) {
    let mut action = default_action();
    action.sa_sigaction = (handler as *const ()).expose_provenance();
    action.sa_flags = flags | libc::SA_SIGINFO;
    // SAFETY: the handler has the form that the flags say; the rest is the caller's contract.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// The default action: `SIG_DFL`, no flags, an empty mask.
fn default_action() -> libc::sigaction {
    // SAFETY: a structure of integers and an optional function, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Does what would have happened without our handler.
///
/// # Safety
/// The arguments are what the kernel passed to the handler, and `previous` is who handled the signal before.
pub unsafe fn pass_on(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
    previous: Option<&libc::sigaction>,
) {
    // SAFETY: the kernel passes a valid `info`.
    let by_hardware = unsafe { (*info).si_code } > 0;
    let action = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    match (action, previous) {
        (libc::SIG_IGN, _) if !by_hardware => {}
        (libc::SIG_DFL | libc::SIG_IGN, _) | (_, None) => {
            let default = default_action();
            // SAFETY: the default action is always allowed.
            unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
            // An instruction that faulted is executed again, and ends the process where it is. What
            // does not come again is raised again.
            if !by_hardware || signal == libc::SIGTRAP {
                // SAFETY: it has no preconditions.
                unsafe { libc::raise(signal) };
            }
        }
        (action, Some(previous)) if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            let handler = ptr::with_exposed_provenance::<()>(action);
            // SAFETY: who installed it said that it is a handler of three arguments.
            let handler = unsafe { std::mem::transmute::<*const (), Handler>(handler) };
            // SAFETY: the arguments are the kernel's.
            unsafe { handler(signal, info, context) };
        }
        (action, Some(_)) => {
            let handler = ptr::with_exposed_provenance::<()>(action);
            // SAFETY: who installed it said that it is a handler of one argument.
            let handler = unsafe {
                std::mem::transmute::<*const (), unsafe extern "C" fn(libc::c_int)>(handler)
            };
            // SAFETY: the argument is the kernel's.
            unsafe { handler(signal) };
        }
    }
}
