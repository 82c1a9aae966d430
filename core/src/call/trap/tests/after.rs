//! What is left after a trap: nothing locked, nothing leaked, other calls undisturbed.

use super::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const DIVIDE: &str = "    v20 = udiv v6, v10";

fn resident_pages() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Run by a test that has a process of its own.
pub(super) fn ten_thousand_traps_leave_nothing() {
    for place in EVERYWHERE {
        let engine = place.engine();
        let f = define(&engine, &place.clif(DIVIDE));
        let round = |times: usize| {
            for _ in 0..times {
                trap(call(&engine, f, &[100, 1, 0]));
            }
        };
        round(2000);
        engine.wait_idle();
        let stats = engine.inner.arena.stats();
        // Twice: an emulator takes a large piece of memory for itself at times.
        let grown = [(); 2].map(|()| {
            let pages = resident_pages();
            round(10_000);
            engine.wait_idle();
            resident_pages().saturating_sub(pages)
        });
        let live = engine.inner.arena.stats().code.live;
        assert!(
            live < stats.code.live + 4096,
            "{live}, {stats:?}: {place:?}"
        );
        // A leak of 100 bytes a trap would be 250 pages.
        assert!(
            grown.iter().any(|&pages| pages < 50),
            "{grown:?} pages more: {place:?}"
        );
    }
}

#[test]
fn everything_works_after_a_trap() {
    for place in EVERYWHERE {
        let engine = place.engine();
        let f = define(&engine, &place.clif(DIVIDE));
        for round in 0..20 {
            trap(call(&engine, f, &[100, 1, 0]));
            let other = place.clif(DIVIDE).replace("%f", &format!("%f{round}"));
            let other = define(&engine, &other);
            let result = call(&engine, other, &[100, 10, 10]).unwrap();
            assert_eq!(result, [DataValue::I64(10)]);
            assert!(engine.report().to_json().contains("f"));
            assert!(!engine.profile().functions.is_empty() || place == Where::Eager);
            engine.symbol("some", std::ptr::null::<u8>()).unwrap();
            engine.wait_idle();
        }
    }
}

#[test]
fn floating_point_control_comes_back() {
    let engine = Where::Tier0.engine();
    let f = define(&engine, &hot_loop(DIVIDE));
    let sum = |x: f64| std::hint::black_box(x) + std::hint::black_box(0.1);
    let before = sum(0.2).to_bits();
    trap(call(&engine, f, &[1, 1, 0]));
    assert_eq!(sum(0.2).to_bits(), before);
}

/// What the host function of [`nested_calls`] calls.
static INNER: OnceLock<(Engine, FunctionId)> = OnceLock::new();
static INNER_TRAPS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn divide_or_minus_one(divisor: i64) -> i64 {
    let (engine, id) = INNER.get().unwrap();
    match call(engine, *id, &[100, 1, divisor]) {
        Ok(results) => match results[..] {
            [DataValue::I64(result)] => result,
            _ => panic!("{results:?}"),
        },
        Err(_) => {
            INNER_TRAPS.fetch_add(1, Ordering::Relaxed);
            -1
        }
    }
}

#[test]
fn nested_calls() {
    let inner = Where::Region.engine();
    let f = define(&inner, &hot_loop(DIVIDE));
    INNER.set((inner, f)).expect("set once");
    let outer = Where::Region.engine();
    let host = divide_or_minus_one as *const ();
    outer.symbol("divide", host.cast::<u8>()).unwrap();
    let operation = "    v11 = call fn0(v10)\n    v12 = iadd v11, v9\n    v20 = udiv v6, v12";
    let clif = hot_loop(operation).replace(
        "system_v\nblock0",
        "system_v\n    fn0 = %divide sig0\nblock0",
    );
    let g = define(&outer, &clif);
    let result = call(&outer, g, &[100, 1, 1]).unwrap();
    assert_eq!(result, [DataValue::I64(0)], "100 / (100 + 1)");
    // The inner call traps in the last iteration, and the outer one because of its answer.
    let trap = trap(call(&outer, g, &[100, 1, 0]));
    assert_eq!(trap.code, Some(TrapCode::INTEGER_DIVISION_BY_ZERO));
    assert!(outer.locate(trap.pc).is_some());
    assert_eq!(INNER_TRAPS.load(Ordering::Relaxed), 1);
}

#[test]
fn eight_threads() {
    for place in EVERYWHERE {
        let engine = place.engine();
        let f = define(&engine, &place.clif(DIVIDE));
        let deep = "function %deep(i64) -> i64 system_v {
    fn0 = %deep(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v2 = iadd v1, v0
    return v2
}";
        let deep = define(&engine, deep);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let engine = &engine;
                scope.spawn(move || {
                    for round in 0..100 {
                        let bad = (thread + round) % 3;
                        match (call(engine, f, &[100, 1, bad]), bad) {
                            (Ok(_), 1 | 2) => {}
                            (Err(Error::Trap(trap)), 0) => {
                                let location = trap.location.expect("a location");
                                assert_eq!(location.block, Some(Block::from_u32(2)));
                            }
                            (other, _) => panic!("{other:?}"),
                        }
                        if round % 25 == 0 {
                            let trap = trap(call(engine, deep, &[1]));
                            assert_eq!(trap.kind, TrapKind::StackOverflow);
                        }
                    }
                });
            }
        });
    }
}
