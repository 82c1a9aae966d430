//! The priority of a compile thread.
//!
//! Linux gives every thread a nice value and a scheduling policy of its own; elsewhere the nice value belongs to
//! the process, so that nothing is changed there.
//!
//! Not here: who wants which priority (`config`).

use crate::config::WorkerPriority;
#[cfg(test)]
use std::cell::Cell;
use std::io;

/// How often a thread that has lowered its priority began a section ([`crate::fork`]): never, a test says.
#[cfg(test)]
pub static SECTIONS_WHEN_LOWERED: std::sync::atomic::AtomicUsize =
    std::sync::atomic::AtomicUsize::new(0);

#[cfg(test)]
thread_local! {
    static LOWERED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread has lowered its priority, or has tried to.
#[cfg(test)]
pub fn is_lowered() -> bool {
    LOWERED.get()
}

/// Lowers the priority of the calling thread.
///
/// # Errors
///
/// The system's; `Unsupported` on other systems than Linux. The priority is unchanged then.
#[cfg(target_os = "linux")]
pub fn lower_own_priority(priority: WorkerPriority) -> io::Result<()> {
    #[cfg(test)]
    LOWERED.set(priority != WorkerPriority::Inherited);
    let result = match priority {
        WorkerPriority::Inherited => 0,
        WorkerPriority::Nice(nice) => {
            // SAFETY: no pointers; on Linux process 0 means the calling thread, as its manual page says.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, i32::from(nice)) }
        }
        WorkerPriority::Idle => {
            // SAFETY: plain data, for which zeroes are valid.
            let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
            // SAFETY: the pointer is to parameters of ours; 0 means the calling thread.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) }
        }
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lowers the priority of the calling thread.
///
/// # Errors
///
/// `Unsupported`, for all but [`WorkerPriority::Inherited`].
#[cfg(not(target_os = "linux"))]
pub fn lower_own_priority(priority: WorkerPriority) -> io::Result<()> {
    match priority {
        WorkerPriority::Inherited => Ok(()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
