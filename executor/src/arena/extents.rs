//! First-fit allocation of extents inside one range of offsets.
//!
//! Invariants of [`Extents`]:
//!
//! * `free` holds disjoint, non-empty extents, keyed by their start; no two of them touch, because
//!   [`Extents::release`] joins neighbours;
//! * every start and every length is a multiple of [`GRANULE`];
//! * `live` plus the lengths in `free` is the capacity.
//!
//! It holds no memory and knows no addresses: [`super::Arena`] gives offsets a meaning.

use std::collections::BTreeMap;

/// The unit of allocation in bytes. A start is always a multiple of it, and a length is rounded up to it.
pub const GRANULE: usize = 16;

/// How one of the two ranges of an arena is used at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeStats {
    /// Bytes of address space in the range.
    pub capacity: usize,
    /// Bytes that belong to a live block.
    pub live: usize,
    /// Bytes that belong to none.
    pub free: usize,
    /// Length of the largest free extent: the largest block that can be had.
    pub largest_hole: usize,
    /// Number of free extents.
    pub holes: usize,
    /// The highest offset that was ever handed out: what the range costs in physical memory.
    pub touched: usize,
}

impl RangeStats {
    /// The share of the free bytes that lies outside the largest hole, from 0 (one hole) towards 1.
    pub fn fragmentation(&self) -> f64 {
        if self.free == 0 {
            return 0.0;
        }
        1.0 - self.largest_hole as f64 / self.free as f64
    }
}

/// The free extents of one range.
#[derive(Debug)]
pub struct Extents {
    free: BTreeMap<usize, usize>,
    capacity: usize,
    live: usize,
    touched: usize,
}

impl Extents {
    /// Starts with one free extent of `capacity` bytes, which is a multiple of the page size.
    pub fn new(capacity: usize) -> Self {
        Self {
            free: BTreeMap::from([(0, capacity)]),
            capacity,
            live: 0,
            touched: 0,
        }
    }

    /// Takes `len` bytes at the lowest offset that fits and from which `lead` bytes on a multiple of
    /// `align` lies.
    ///
    /// # Requires
    /// `len` is a non-zero multiple of [`GRANULE`]; so is `lead`, or zero; `align` is a power of two
    /// and at least [`GRANULE`].
    ///
    /// # Complexity
    /// O(free extents).
    pub fn take(&mut self, len: usize, align: usize, lead: usize) -> Option<usize> {
        let lead = lead % align;
        let (start, hole, offset) = self.free.iter().find_map(|(&start, &hole)| {
            let aligned = start.checked_add(lead)?.checked_next_multiple_of(align)?;
            let offset = aligned - lead;
            let end = offset.checked_add(len)?;
            (end <= start + hole).then_some((start, hole, offset))
        })?;
        self.free.remove(&start);
        if offset > start {
            self.free.insert(start, offset - start);
        }
        let (end, hole_end) = (offset + len, start + hole);
        if end < hole_end {
            self.free.insert(end, hole_end - end);
        }
        self.live += len;
        self.touched = self.touched.max(end);
        Some(offset)
    }

    /// Gives an extent back and joins it with its free neighbours.
    ///
    /// Returns whether it did: an extent that overlaps a free one, or leaves the range, was not
    /// live, and is left alone.
    pub fn release(&mut self, offset: usize, len: usize) -> bool {
        let Some(end) = offset.checked_add(len) else {
            return false;
        };
        if len == 0 || end > self.capacity || len > self.live {
            return false;
        }
        let before = self.free.range(..=offset).next_back();
        let before = before.map(|(&start, &hole)| (start, hole));
        let after = self.free.range(offset..).next();
        let after = after.map(|(&start, &hole)| (start, hole));
        if before.is_some_and(|(start, hole)| start + hole > offset)
            || after.is_some_and(|(start, _)| start < end)
        {
            return false;
        }
        let mut joined = (offset, len);
        if let Some((start, hole)) = before.filter(|&(start, hole)| start + hole == offset) {
            self.free.remove(&start);
            joined = (start, hole + len);
        }
        if let Some((start, hole)) = after.filter(|&(start, _)| start == end) {
            self.free.remove(&start);
            joined.1 += hole;
        }
        self.free.insert(joined.0, joined.1);
        self.live -= len;
        true
    }

    /// The highest offset ever handed out; memory above it was never written.
    pub fn touched(&self) -> usize {
        self.touched
    }

    pub fn stats(&self) -> RangeStats {
        RangeStats {
            capacity: self.capacity,
            live: self.live,
            free: self.capacity - self.live,
            largest_hole: self.free.values().copied().max().unwrap_or(0),
            holes: self.free.len(),
            touched: self.touched,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_in_every_order() {
        for order in [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2]] {
            let mut extents = Extents::new(4096);
            let blocks = [32, 64, 48].map(|len| (extents.take(len, GRANULE, 0).unwrap(), len));
            assert_eq!(blocks.map(|(at, _)| at), [0, 32, 96]);
            for index in order {
                let (offset, len) = blocks[index];
                assert!(extents.release(offset, len));
            }
            let stats = extents.stats();
            assert_eq!((stats.live, stats.holes, stats.largest_hole), (0, 1, 4096));
        }
    }

    #[test]
    fn the_lowest_hole_that_fits_is_taken() {
        let mut extents = Extents::new(4096);
        let blocks = [16, 64, 16, 32, 16].map(|len| (extents.take(len, GRANULE, 0).unwrap(), len));
        assert!(extents.release(blocks[1].0, blocks[1].1));
        assert!(extents.release(blocks[3].0, blocks[3].1));
        assert_eq!(extents.take(32, GRANULE, 0), Some(blocks[1].0));
        assert_eq!(extents.take(48, GRANULE, 0), Some(144));
        assert_eq!(extents.take(32, GRANULE, 0), Some(blocks[1].0 + 32));
    }

    #[test]
    fn alignment_leaves_the_gap_free() {
        let mut extents = Extents::new(4096);
        assert_eq!(extents.take(16, GRANULE, 0), Some(0));
        assert_eq!(extents.take(16, 256, 0), Some(256));
        assert_eq!(extents.take(240, GRANULE, 0), Some(16));
    }

    #[test]
    fn a_lead_moves_the_start_before_the_alignment() {
        let mut extents = Extents::new(4096);
        assert_eq!(extents.take(16, GRANULE, 0), Some(0));
        assert_eq!(extents.take(64, 64, 48), Some(16));
        assert_eq!(extents.take(64, 64, 64 + 16), Some(112));
        assert_eq!(extents.take(32, GRANULE, 0), Some(80));
    }

    #[test]
    fn what_is_not_live_cannot_be_released() {
        let mut extents = Extents::new(4096);
        let offset = extents.take(64, GRANULE, 0).unwrap();
        assert!(!extents.release(offset + 32, 64));
        assert!(!extents.release(4096, 16));
        assert!(!extents.release(usize::MAX - 8, 16));
        assert!(extents.release(offset, 64));
        assert!(!extents.release(offset, 64));
    }

    #[test]
    fn fragmentation_is_the_share_outside_the_largest_hole() {
        let mut extents = Extents::new(128);
        let first = extents.take(32, GRANULE, 0).unwrap();
        extents.take(32, GRANULE, 0).unwrap();
        assert_eq!(extents.stats().fragmentation(), 0.0);
        assert!(extents.release(first, 32));
        assert!((extents.stats().fragmentation() - 1.0 / 3.0).abs() < 1e-9);
    }
}
