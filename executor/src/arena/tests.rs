//! Tests of [`super`]: protections, the two views, reuse and limits.

use super::*;

fn small() -> Arc<Arena> {
    Arena::new(ArenaConfig {
        code_bytes: 64 << 10,
        data_bytes: 16 << 10,
    })
    .unwrap()
}

#[test]
fn no_mapping_is_writable_and_executable() {
    let arena = small();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut seen = Vec::new();
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).unwrap());
        let protection = &rest[..3];
        assert!(
            !(protection.contains('w') && protection.contains('x')),
            "{line}"
        );
        for (view, address) in [
            ("data", arena.near.base.as_ptr().addr()),
            ("executable", arena.executable(0).addr()),
            ("writable", arena.writable(0).addr()),
        ] {
            if (start..end).contains(&address) {
                seen.push((view, protection));
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(
        seen,
        [("data", "rw-"), ("executable", "r-x"), ("writable", "rw-")]
    );
}

#[test]
fn the_views_show_the_same_bytes() {
    let arena = small();
    let block = arena.alloc_code(64, 16).unwrap();
    // SAFETY: the block is 64 bytes in both views.
    unsafe {
        arena.writable(block.offset()).write_bytes(0xab, 64);
        assert_eq!(arena.executable(block.offset() + 63).read(), 0xab);
    }
    let (w, x) = (
        arena.writable(block.offset()),
        arena.executable(block.offset()),
    );
    assert_eq!(arena.writable_offset(w.addr()), Some(block.offset()));
    assert_eq!(arena.executable_offset(x.addr()), Some(block.offset()));
    assert_eq!(arena.executable_offset(w.addr()), None);
    assert_eq!(arena.writable_offset(x.addr()), None);
}

#[test]
fn data_is_near_code() {
    let arena = Arena::new(ArenaConfig::default()).unwrap();
    let data = arena.alloc_data(8, 8).unwrap();
    let end = arena.executable(usize::MAX).addr();
    assert!(end - data.address().as_ptr().addr() < i32::MAX as usize);
}

#[test]
fn freed_code_traps_and_is_reused() {
    let arena = small();
    let first = arena.alloc_code(100, 16).unwrap();
    let keep = arena.alloc_code(100, 16).unwrap();
    assert_eq!((first.size(), keep.offset()), (112, 112));
    let offset = first.offset();
    // SAFETY: 100 bytes of the block.
    unsafe { arena.writable(offset).write_bytes(0x90, 100) };
    arena.free_code(first);
    // SAFETY: inside the executable view.
    assert_ne!(unsafe { arena.executable(offset).read() }, 0x90);
    let again = arena.alloc_code(48, 16).unwrap();
    assert_eq!(again.offset(), offset);
    arena.free_code(again);
    arena.free_code(keep);
    let stats = arena.stats().code;
    assert_eq!((stats.live, stats.holes, stats.free), (0, 1, 64 << 10));
    assert_eq!(stats.fragmentation(), 0.0);
}

#[test]
fn reused_data_is_zero() {
    let arena = small();
    let block = arena.alloc_data(256, 64).unwrap();
    let address = block.address();
    // SAFETY: the block is 256 bytes.
    unsafe { address.write_bytes(0xff, 256) };
    arena.free_data(block);
    // Larger than what was touched: a stale part and a fresh one.
    let block = arena.alloc_data(512, 64).unwrap();
    assert_eq!(block.address(), address);
    // SAFETY: the block is 512 bytes, all of them initialised.
    let bytes = unsafe { std::slice::from_raw_parts(block.address().as_ptr(), 512) };
    assert!(bytes.iter().all(|&byte| byte == 0));
}

#[test]
fn a_full_arena_says_how_full() {
    let arena = small();
    let all = arena.alloc_code(64 << 10, 16).unwrap();
    assert!(matches!(
        arena.alloc_code(1, 1),
        Err(ArenaError::Full {
            area: Area::Code,
            requested: 16,
            free: 0,
            largest: 0
        })
    ));
    arena.free_code(all);
    assert!(arena.alloc_code(usize::MAX, 16).is_err());
    let error = arena.alloc_data(1 << 20, 16).unwrap_err();
    assert_eq!(
        error.to_string(),
        "data memory is full: 1048576 bytes requested, 16384 free, 16384 in one piece"
    );
}

#[test]
fn impossible_requests_are_refused() {
    let arena = small();
    for align in [0, 3, 1 << 20] {
        assert!(matches!(
            arena.alloc_code(16, align),
            Err(ArenaError::Alignment { .. })
        ));
    }
    for (code_bytes, data_bytes) in [(0, 1), (1, 0), (usize::MAX, 1), (1 << 30, 1 << 30)] {
        let config = ArenaConfig {
            code_bytes,
            data_bytes,
        };
        assert!(matches!(
            Arena::new(config),
            Err(ArenaError::Reservation { .. })
        ));
    }
}

#[test]
fn blocks_of_many_threads_do_not_overlap() {
    let arena = small();
    let mut ranges = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let blocks = (0..64).map(|_| arena.alloc_code(48, 16).unwrap());
                    blocks.map(|block| block.offset()).collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            ranges.extend(thread.join().unwrap());
        }
    });
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[1] - pair[0] >= 48));
}
