//! GDB's interface for compilers at run time ("JIT Compilation Interface" in its manual): a list of images in memory,
//! and a function at which the debugger has a breakpoint.
//!
//! ```text
//!   __jit_debug_descriptor ─▶ entry ⇄ entry ⇄ …     each with an ELF image
//!   __jit_debug_register_code()                     the list has changed, says the descriptor how
//! ```
//!
//! Both names are fixed, and another compiler in the process may define them too: here they are weak, so that one
//! definition is used by all.
//!
//! Invariants:
//!
//! * The list is changed under a lock. (Another compiler has a lock of its own: images that both make known at the same
//!   moment can be lost. The interface has no cure for it.)
//! * An image stays where it is until its entry is out of the list.
//!
//! Not here: what is in an image ([`crate::image`]).

use regraft_executor::locks::lock;
use std::ptr::{self, NonNull};
use std::sync::Mutex;

#[repr(C)]
struct Entry {
    next: *mut Entry,
    prev: *mut Entry,
    image: *const u8,
    size: u64,
}

#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

const REGISTER: u32 = 1;
const UNREGISTER: u32 = 2;

core::arch::global_asm!(
    ".pushsection .text",
    ".weak __jit_debug_register_code",
    ".type __jit_debug_register_code, %function",
    "__jit_debug_register_code:",
    "ret",
    ".size __jit_debug_register_code, . - __jit_debug_register_code",
    ".popsection",
    ".pushsection .data",
    ".balign 8",
    ".weak __jit_debug_descriptor",
    ".type __jit_debug_descriptor, %object",
    "__jit_debug_descriptor:",
    ".4byte 1, 0",
    ".8byte 0, 0",
    ".size __jit_debug_descriptor, . - __jit_debug_descriptor",
    ".popsection",
);

unsafe extern "C" {
    static mut __jit_debug_descriptor: Descriptor;
    fn __jit_debug_register_code();
}

static LIST: Mutex<()> = Mutex::new(());

/// An image in the list, until this is dropped.
#[derive(Debug)]
pub struct Registered {
    /// From a box; in the list.
    entry: NonNull<Entry>,
    _image: Box<[u8]>,
}

// SAFETY: the entry is changed under the lock only.
unsafe impl Send for Registered {}
// SAFETY: as above; a shared reference gives nothing.
unsafe impl Sync for Registered {}

/// Puts an image into the list.
pub fn register(image: Box<[u8]>) -> Registered {
    let _list = lock(&LIST);
    let descriptor = &raw mut __jit_debug_descriptor;
    let entry = Box::new(Entry {
        next: ptr::null_mut(),
        prev: ptr::null_mut(),
        image: image.as_ptr(),
        size: image.len() as u64,
    });
    let entry = NonNull::from(Box::leak(entry));
    // SAFETY: the descriptor and the entries in its list are valid, as all who change them keep them; the lock is held.
    // The function returns at once, with a debugger or without.
    unsafe {
        let first = (*descriptor).first;
        (*entry.as_ptr()).next = first;
        if !first.is_null() {
            (*first).prev = entry.as_ptr();
        }
        (*descriptor).first = entry.as_ptr();
        (*descriptor).relevant = entry.as_ptr();
        (*descriptor).action = REGISTER;
        __jit_debug_register_code();
    }
    Registered {
        entry,
        _image: image,
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _list = lock(&LIST);
        let descriptor = &raw mut __jit_debug_descriptor;
        let entry = self.entry.as_ptr();
        // SAFETY: as in `register`. The entry is in the list; afterwards nobody knows it, and it is from a box.
        unsafe {
            let Entry { next, prev, .. } = *entry;
            match prev.is_null() {
                true => (*descriptor).first = next,
                false => (*prev).next = next,
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            (*descriptor).relevant = entry;
            (*descriptor).action = UNREGISTER;
            __jit_debug_register_code();
            (*descriptor).relevant = ptr::null_mut();
            drop(Box::from_raw(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The images in the list.
    fn listed() -> Vec<*const u8> {
        let _list = lock(&LIST);
        let mut images = vec![];
        // SAFETY: as in `register`.
        unsafe {
            let mut entry = __jit_debug_descriptor.first;
            while !entry.is_null() {
                images.push((*entry).image);
                entry = (*entry).next;
            }
        }
        images
    }

    #[test]
    fn what_is_dropped_is_out_of_the_list() {
        let images: Vec<Box<[u8]>> = (0..3).map(|n| Box::from([n])).collect();
        let addresses: Vec<_> = images.iter().map(|image| image.as_ptr()).collect();
        let mut registered: Vec<_> = images.into_iter().map(register).collect();
        assert_eq!(listed(), [addresses[2], addresses[1], addresses[0]]);
        registered.remove(1);
        assert_eq!(listed(), [addresses[2], addresses[0]]);
        registered.remove(1);
        assert_eq!(listed(), [addresses[0]]);
        registered.clear();
        assert!(listed().is_empty());
    }
}
