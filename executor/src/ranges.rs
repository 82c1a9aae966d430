//! Where generated code is, for a signal handler: lock-free, allocation-free to read.
//!
//! A process-wide list of address ranges, one per live code map. Registering takes a lock; looking up
//! is a walk over atomics in static memory, so that it may happen in a signal handler, whatever the
//! interrupted thread was doing.
//!
//! Invariants:
//!
//! * A node is changed under the lock only, and its sequence number is odd meanwhile. A reader that
//!   sees it odd, or changing, takes the node for empty: the range of code that is *running* is not
//!   being changed, because its engine is alive.
//! * Nodes are never freed but used again: there are as many as there were live code maps at one
//!   time, rounded up to a chunk.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock};

use crate::locks::lock;

/// One range of generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRange {
    /// The first address.
    pub start: usize,
    /// The first address behind it.
    pub end: usize,
    /// The runtime's own code in it, which starts with the trap stub.
    pub runtime: usize,
}

/// A range that is known to the handler until this is dropped.
#[derive(Debug)]
pub struct Registration(&'static Node);

#[derive(Debug)]
struct Node {
    sequence: AtomicUsize,
    start: AtomicUsize,
    /// 0 in a node that is not in use.
    end: AtomicUsize,
    runtime: AtomicUsize,
}

const CHUNK: usize = 32;

struct Chunk {
    nodes: [Node; CHUNK],
    next: OnceLock<Box<Chunk>>,
}

static FIRST: Chunk = Chunk::new();
static WRITERS: Mutex<()> = Mutex::new(());

impl Chunk {
    const fn new() -> Self {
        Self {
            nodes: [const { Node::new() }; CHUNK],
            next: OnceLock::new(),
        }
    }
}

impl Node {
    const fn new() -> Self {
        Self {
            sequence: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            runtime: AtomicUsize::new(0),
        }
    }

    /// Changes the node. The writers' lock is held.
    fn write(&self, range: CodeRange) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.runtime.store(range.runtime, Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// The range, unless it is being changed.
    fn read(&self) -> Option<CodeRange> {
        let before = self.sequence.load(Ordering::Acquire);
        let range = CodeRange {
            start: self.start.load(Ordering::Relaxed),
            end: self.end.load(Ordering::Relaxed),
            runtime: self.runtime.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(range)
    }
}

/// Makes a range known.
pub fn register(range: CodeRange) -> Registration {
    let _writers = lock(&WRITERS);
    let mut chunk = &FIRST;
    loop {
        let mut nodes = chunk.nodes.iter();
        if let Some(node) = nodes.find(|node| node.end.load(Ordering::Relaxed) == 0) {
            node.write(range);
            return Registration(node);
        }
        chunk = chunk.next.get_or_init(|| Box::new(Chunk::new()));
    }
}

/// The range that an address lies in. Async-signal-safe.
///
/// # Complexity
/// O(live code maps).
pub fn find(address: usize) -> Option<CodeRange> {
    let mut chunk = Some(&FIRST);
    while let Some(Chunk { nodes, next }) = chunk {
        let mut ranges = nodes.iter().filter_map(Node::read);
        if let Some(range) = ranges.find(|range| (range.start..range.end).contains(&address)) {
            return Some(range);
        }
        chunk = next.get().map(|next| &**next);
    }
    None
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _writers = lock(&WRITERS);
        self.0.write(CodeRange {
            start: 0,
            end: 0,
            runtime: 0,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses that no program has.
    const FAR: usize = 1 << 60;

    #[test]
    fn ranges_come_and_go() {
        let range = |index: usize| CodeRange {
            start: FAR + index * 0x1000,
            end: FAR + index * 0x1000 + 0x800,
            runtime: FAR,
        };
        let registered: Vec<_> = (0..3 * CHUNK).map(|index| register(range(index))).collect();
        for index in 0..3 * CHUNK {
            let CodeRange { start, end, .. } = range(index);
            assert_eq!(find(start), Some(range(index)));
            assert_eq!(find(end - 1), Some(range(index)));
            assert_eq!(find(end), None);
        }
        drop(registered);
        assert_eq!(find(FAR), None);
        assert_eq!(find(0), None);
    }

    #[test]
    fn a_reader_never_sees_half_a_change() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let base = FAR + (1 << 50);
                while !stop.load(Ordering::Relaxed) {
                    for index in 0..64 {
                        let start = base + index * 0x10_000;
                        drop(register(CodeRange {
                            start,
                            end: start + 0x10,
                            runtime: start,
                        }));
                    }
                }
            });
            for round in 0..200_000 {
                let address = FAR + (1 << 50) + (round % 64) * 0x10_000;
                if let Some(range) = find(address) {
                    assert_eq!((range.start, range.end), (address, address + 0x10));
                    assert_eq!(range.runtime, address);
                }
                assert_eq!(find(address + 0x8000), None);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
