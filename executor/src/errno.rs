//! The calling thread's `errno`.
//!
//! Generated code may call a host function that fails, and read `errno` later. What the library does in between,
//! unasked, must not show: its system calls fail now and then, a lock that is contended among them.
//!
//! Not here: floating-point state (`arch::on_stack`).

/// Runs `work` and leaves `errno` as it was.
pub fn preserved<R>(work: impl FnOnce() -> R) -> R {
    /// Puts the value back, whatever happens.
    struct Before(libc::c_int);
    impl Drop for Before {
        fn drop(&mut self) {
            // SAFETY: the location is the calling thread's, which asks for it anew.
            unsafe { *libc::__errno_location() = self.0 };
        }
    }
    // SAFETY: as above.
    let _before = Before(unsafe { *libc::__errno_location() });
    work()
}
