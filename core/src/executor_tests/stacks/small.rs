//! Small stacks: of threads, and of contexts that a client switches to by itself.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

/// Who has a small stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A thread, whose thread-local memory is on the stack too.
    Thread,
    /// A `makecontext` of the calling thread.
    Context,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Thread, Self::Context];

    /// Bytes: 32 KiB, or what the C library wants for a thread.
    fn size(self) -> usize {
        match self {
            Self::Thread => libc::PTHREAD_STACK_MIN.max(32 << 10),
            Self::Context => 32 << 10,
        }
    }
}

/// What a stack is filled with before it is used.
const UNTOUCHED: u8 = 0xa5;

/// Memory of so many bytes, with a page below it that nobody can access.
struct Memory(*mut libc::c_void, usize);

const GUARD: usize = 4096;

impl Memory {
    fn new(size: usize) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let usable = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new range, whose first page is made inaccessible; the rest is filled.
        unsafe {
            let base = libc::mmap(ptr::null_mut(), GUARD + size, usable, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(base, GUARD, libc::PROT_NONE), 0);
            let bottom = base.byte_add(GUARD).cast::<u8>();
            bottom.write_bytes(UNTOUCHED, size);
            Self(base, size)
        }
    }

    fn bottom(&self) -> *mut libc::c_void {
        self.0.wrapping_byte_add(GUARD)
    }

    /// Bytes from the top to the lowest that was written.
    fn used(&self) -> usize {
        // SAFETY: the memory is initialised, and nobody uses it any more.
        let bytes = unsafe { std::slice::from_raw_parts(self.bottom().cast::<u8>(), self.1) };
        let lowest = bytes.iter().position(|&byte| byte != UNTOUCHED);
        self.1 - lowest.unwrap_or(self.1)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`.
        unsafe { libc::munmap(self.0, GUARD + self.1) };
    }
}

type Body<'a> = &'a (dyn Fn() + Sync);

/// Runs `body`, which must not panic there, on a small stack; returns how much of it was used.
pub(super) fn run_on(kind: Kind, body: impl Fn() + Sync) -> usize {
    let memory = Memory::new(kind.size());
    let body: Body<'_> = &body;
    match kind {
        Kind::Thread => on_thread(&memory, body),
        Kind::Context => on_context(&memory, body),
    }
    memory.used()
}

fn on_thread(memory: &Memory, body: Body<'_>) {
    extern "C" fn start(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the local of `on_thread`, which waits.
        unsafe { (*body.cast::<Body<'_>>())() };
        ptr::null_mut()
    }
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let argument = (&raw const body).cast_mut().cast();
    // SAFETY: everything is initialised before it is used, and outlives the thread, which is waited for.
    unsafe {
        assert_eq!(libc::pthread_attr_init(attributes), 0);
        let failed = libc::pthread_attr_setstack(attributes, memory.bottom(), memory.1);
        assert_eq!(failed, 0);
        let failed = libc::pthread_create(thread.as_mut_ptr(), attributes, start, argument);
        assert_eq!(failed, 0);
        let failed = libc::pthread_join(thread.assume_init(), ptr::null_mut());
        assert_eq!(failed, 0);
        libc::pthread_attr_destroy(attributes);
    }
}

// The crate `libc` has them for some targets only.
unsafe extern "C" {
    fn getcontext(context: *mut libc::ucontext_t) -> libc::c_int;
    fn makecontext(context: *mut libc::ucontext_t, start: extern "C" fn(), count: libc::c_int, ...);
    fn swapcontext(from: *mut libc::ucontext_t, to: *const libc::ucontext_t) -> libc::c_int;
}

thread_local! {
    /// What [`on_context`] is to run, as a number.
    static BODY: Cell<usize> = const { Cell::new(0) };
}

fn on_context(memory: &Memory, body: Body<'_>) {
    extern "C" fn start() {
        let body = ptr::with_exposed_provenance::<Body<'_>>(BODY.get());
        // SAFETY: the local of `on_context`, which waits.
        unsafe { (*body)() };
    }
    BODY.set((&raw const body).expose_provenance());
    let mut own = MaybeUninit::<libc::ucontext_t>::uninit();
    let mut small = MaybeUninit::<libc::ucontext_t>::uninit();
    // SAFETY: `getcontext` initialises the context, which gets a stack and somewhere to go on; both contexts stay
    // until it has.
    unsafe {
        assert_eq!(getcontext(small.as_mut_ptr()), 0);
        let context = &mut *small.as_mut_ptr();
        context.uc_stack.ss_sp = memory.bottom();
        context.uc_stack.ss_size = memory.1;
        context.uc_link = own.as_mut_ptr();
        makecontext(small.as_mut_ptr(), start, 0);
        assert_eq!(swapcontext(own.as_mut_ptr(), small.as_ptr()), 0);
    }
}
