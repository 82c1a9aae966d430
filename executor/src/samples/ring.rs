//! Samples on their way from signal handlers to the thread that looks at them.
//!
//! Invariants:
//!
//! * [`Ring::push`] is wait-free, takes no lock and allocates nothing: it may run in a signal handler, whatever
//!   the interrupted thread was doing.
//! * A sample is taken out once at most.
//!
//! Limitations: who writes faster than is read overwrites, and a sample whose writer was stopped between its two
//! steps can come a lap late. A sample is a hint, and one more or less does not matter.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of samples that can wait.
const LEN: usize = 1024;

/// Program counters, the newest [`LEN`] of them.
#[derive(Debug)]
pub struct Ring {
    /// How many were ever written.
    written: AtomicUsize,
    /// 0 is none.
    slots: [AtomicUsize; LEN],
}

impl Ring {
    pub const fn new() -> Self {
        Self {
            written: AtomicUsize::new(0),
            slots: [const { AtomicUsize::new(0) }; LEN],
        }
    }

    /// Adds a sample. Async-signal-safe.
    pub fn push(&self, pc: usize) {
        let at = self.written.fetch_add(1, Ordering::Relaxed) % LEN;
        self.slots[at].store(pc, Ordering::Release);
    }

    /// Where a reader starts that wants what is written from now on.
    pub fn end(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// Takes out what was written since `position`, which then is the end.
    pub fn drain(&self, position: &mut usize) -> Vec<usize> {
        let end = self.end();
        let waiting = end.wrapping_sub(*position).min(LEN);
        let first = end.wrapping_sub(waiting);
        *position = end;
        let slots = (0..waiting).map(|index| &self.slots[first.wrapping_add(index) % LEN]);
        let taken = slots.map(|slot| slot.swap(0, Ordering::Acquire));
        taken.filter(|&pc| pc != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn samples_come_out_once_and_in_order() {
        let ring = Ring::new();
        let mut position = ring.end();
        assert!(ring.drain(&mut position).is_empty());
        (1..=5).for_each(|pc| ring.push(pc));
        assert_eq!(ring.drain(&mut position), [1, 2, 3, 4, 5]);
        assert!(ring.drain(&mut position).is_empty());
    }

    #[test]
    fn a_slow_reader_gets_the_newest() {
        let ring = Ring::new();
        let mut position = ring.end();
        (1..=3 * LEN).for_each(|pc| ring.push(pc));
        let newest: Vec<usize> = (2 * LEN + 1..=3 * LEN).collect();
        assert_eq!(ring.drain(&mut position), newest);
    }

    #[test]
    fn writers_and_readers_at_once() {
        let ring = Ring::new();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 1..=2_usize {
                let (ring, stop) = (&ring, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        ring.push(writer);
                    }
                });
            }
            let mut position = ring.end();
            let mut seen = 0;
            while seen < 20_000 {
                let samples = ring.drain(&mut position);
                assert!(samples.iter().all(|pc| (1..=2).contains(pc)));
                seen += samples.len();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
