//! What the protocol is made of: atomics, and a pair of fences of unequal cost.
//!
//! Entering generated code is frequent, freeing is rare. So the light fence only stops the compiler, and the
//! heavy one makes every running thread of the process execute a full fence (`membarrier`, Linux 4.14). Where
//! the system has no such call, both are full fences.

use std::sync::OnceLock;
pub use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::atomic::{compiler_fence, fence};

/// Orders the calling thread's accesses against a heavy fence of another thread.
pub fn light_fence() {
    if asymmetric() {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Orders the calling thread's accesses against the fences of all others.
pub fn heavy_fence() {
    fence(Ordering::SeqCst);
    if asymmetric() {
        // Registered: it does not fail any more.
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }
}

/// Whether the heavy fence reaches other threads; decided once.
fn asymmetric() -> bool {
    static ASYMMETRIC: OnceLock<bool> = OnceLock::new();
    let ask = || {
        membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
            && membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    };
    ASYMMETRIC.get().copied().unwrap_or_else(|| {
        // So that no fork comes in between, whose child would wait for ever.
        let _section = crate::section::section();
        *ASYMMETRIC.get_or_init(ask)
    })
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes numbers, and changes nothing that the process can see.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
