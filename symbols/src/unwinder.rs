//! The unwinder of the system's runtime library (libgcc): backtraces, crash handlers, exceptions.
//!
//! Limitations: with the GNU C library only. LLVM's libunwind has a function of the same name that takes something else.

/// Unwind information that is registered, until this is dropped.
#[derive(Debug)]
pub struct Registered(Box<[u8]>);

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn __register_frame(section: *const u8);
    fn __deregister_frame(section: *const u8);
}

/// Registers a section `.eh_frame` that ends with a zero.
pub fn register(section: Box<[u8]>) -> Registered {
    #[cfg(target_env = "gnu")]
    // SAFETY: the section is complete, was written by `frames`, and stays where it is until it is taken back.
    unsafe {
        __register_frame(section.as_ptr());
    }
    Registered(section)
}

impl Drop for Registered {
    fn drop(&mut self) {
        #[cfg(target_env = "gnu")]
        // SAFETY: it was registered, once; nobody unwinds through code that is being freed.
        unsafe {
            __deregister_frame(self.0.as_ptr());
        }
    }
}
