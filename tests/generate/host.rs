//! The host's side of a program: buffers and arguments.
//!
//! All runs of a case share one [`Host`], so that addresses are the same in each; it is reset before
//! every run and compared after it.

use cranelift_codegen::data_value::DataValue;

/// The name of the symbol that leads to a buffer.
pub const SYMBOL: &str = "host_buffer";

/// The offset in the context from which on it is plain memory.
pub const CONTEXT_TAIL: i64 = 16;

const WORDS: usize = 80;
const CONTEXT: usize = 0;
const CONTEXT_BUFFER: usize = 12;
const HEAP: usize = 32;
const DATA: usize = 56;

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A plain value.
    Value(DataValue),
    /// The address of the heap buffer.
    Heap,
    /// The address of the context.
    VmContext,
}

/// The host's buffers, in one piece.
#[derive(Debug)]
pub struct Host {
    // Of 16-byte words, for their alignment; written by generated code through `pointer`.
    words: *mut u128,
}

impl Host {
    /// Buffers with their initial contents.
    pub fn new() -> Self {
        let words = Box::into_raw(vec![0_u128; WORDS / 2].into_boxed_slice()).cast();
        let host = Self { words };
        host.reset();
        host
    }

    fn address(&self, word: usize) -> *mut u64 {
        self.words.cast::<u64>().wrapping_add(word)
    }

    /// The address behind [`SYMBOL`].
    pub fn symbol(&self) -> *const u8 {
        self.address(DATA).cast_const().cast()
    }

    /// Restores the initial contents.
    pub fn reset(&self) {
        for word in 0..WORDS {
            let value = match word {
                CONTEXT => self.address(CONTEXT_BUFFER).expose_provenance() as u64,
                _ => (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7,
            };
            // SAFETY: within the allocation; no generated code runs now.
            unsafe { self.address(word).write(value) };
        }
    }

    /// The contents.
    pub fn contents(&self) -> Vec<u64> {
        let words = 0..WORDS;
        // SAFETY: within the allocation; no generated code runs now.
        words
            .map(|word| unsafe { self.address(word).read() })
            .collect()
    }

    /// Arguments as they are passed.
    pub fn arguments(&self, args: &[Arg]) -> Vec<DataValue> {
        let address = |word| DataValue::I64(self.address(word).expose_provenance() as i64);
        args.iter()
            .map(|arg| match arg {
                Arg::Value(value) => value.clone(),
                Arg::Heap => address(HEAP),
                Arg::VmContext => address(CONTEXT),
            })
            .collect()
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let words = std::ptr::slice_from_raw_parts_mut(self.words, WORDS / 2);
        // SAFETY: it was made from a box of this length.
        drop(unsafe { Box::from_raw(words) });
    }
}
