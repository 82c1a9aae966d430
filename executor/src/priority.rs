//! The priority of a compile thread.
//!
//! Linux gives every thread a nice value and a scheduling policy of its own; elsewhere the nice value belongs to
//! the process, so that nothing is changed there.
//!
//! Not here: who wants which priority.

#[cfg(debug_assertions)]
use std::cell::Cell;
use std::io;

/// The priority at which code is generated in the background.
///
/// The code generator takes nearly all the time. What is done before and after it takes locks that running code may wait
/// for, and has the priority of the thread that first found hot code; with another priority than that, a job begins
/// when a thread of that priority has had a processor.
///
/// On Linux; elsewhere they run like every other thread. A thread whose priority cannot be lowered keeps it, which is
/// logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerPriority {
    /// That of the thread that first found hot code.
    #[default]
    Inherited,
    /// This nice value. Values below the process's own need a privilege.
    Nice(i8),
    /// Only when a processor has nothing else to do (`SCHED_IDLE`). On a machine that is never idle, code stays at
    /// tier 0 for long.
    Idle,
}

/// How often a thread that has lowered its priority began a section ([`crate::fork`]): never, a test says.
#[cfg(debug_assertions)]
pub static SECTIONS_WHEN_LOWERED: std::sync::atomic::AtomicUsize =
    std::sync::atomic::AtomicUsize::new(0);

#[cfg(debug_assertions)]
thread_local! {
    static LOWERED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread has lowered its priority, or has tried to.
#[cfg(debug_assertions)]
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
    #[cfg(debug_assertions)]
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
