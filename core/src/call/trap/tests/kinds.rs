//! Every kind of trap, at every tier.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An operation, what it takes to work and to trap, and the trap.
struct Case {
    operation: &'static str,
    good: i64,
    bad: i64,
    kind: TrapKind,
    code: &'static str,
    address: Option<i64>,
}

const NAN: i64 = 0x7ff8_0000_0000_0000;
const HUGE: i64 = 0x7fe0_0000_0000_0000;

fn code(operation: &'static str, good: i64, bad: i64, code: &'static str) -> Case {
    Case {
        operation,
        good,
        bad,
        kind: TrapKind::Code,
        code,
        address: None,
    }
}

/// A page that can be read, before one that cannot.
fn guarded() -> i64 {
    // SAFETY: a new mapping, kept for ever, and protection of its own second page.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        let base = libc::mmap(std::ptr::null_mut(), 8192, rw, flags, -1, 0);
        assert_ne!(base, libc::MAP_FAILED);
        assert_eq!(
            libc::mprotect(base.byte_add(4096), 4096, libc::PROT_NONE),
            0
        );
        base.expose_provenance() as i64
    }
}

extern "C" fn negate(x: i64) -> i64 {
    -x
}

fn cases() -> Vec<Case> {
    let memory = guarded();
    let callee = (negate as *const ()).expose_provenance() as i64;
    vec![
        code(
            "    trapnz v10, user7\n    v20 = iadd v10, v9",
            0,
            1,
            "user7",
        ),
        code(
            "    trapz v10, user8\n    v20 = iadd v10, v9",
            1,
            0,
            "user8",
        ),
        code("    v20 = udiv v6, v10", 3, 0, "int_divz"),
        code("    v20 = srem v6, v10", 3, 0, "int_divz"),
        code(
            "    v11 = iconst.i64 0x8000_0000_0000_0000\n    v20 = sdiv v11, v10",
            3,
            -1,
            "int_ovf",
        ),
        code(
            "    v11 = bitcast.f64 v10\n    v20 = fcvt_to_sint.i64 v11",
            0,
            NAN,
            "bad_toint",
        ),
        code(
            "    v11 = bitcast.f64 v10\n    v20 = fcvt_to_sint.i64 v11",
            0,
            HUGE,
            "int_ovf",
        ),
        Case {
            address: Some(16),
            ..code("    v20 = load.i64 v10+16", memory, 0, "heap_oob")
        },
        Case {
            address: Some(memory + 4096),
            ..code(
                "    store v10, v10\n    v20 = iadd v10, v9",
                memory,
                memory + 4096,
                "heap_oob",
            )
        },
        Case {
            kind: TrapKind::Memory,
            address: Some(memory + 4104),
            ..code(
                "    v20 = load.i64 notrap aligned v10+8",
                memory,
                memory + 4096,
                "",
            )
        },
        Case {
            kind: TrapKind::WildCall,
            address: Some(0),
            ..code("    v20 = call_indirect sig0, v10(v6)", callee, 0, "")
        },
    ]
}

#[test]
fn every_trap_everywhere() {
    for case in cases() {
        for place in EVERYWHERE {
            let engine = place.engine();
            let f = define(&engine, &place.clif(case.operation));
            for _ in 0..2 {
                let about = format!("{place:?}:\n{}", case.operation);
                call(&engine, f, &[1000, case.good, case.good]).expect("it works");
                let trap = trap(call(&engine, f, &[1000, case.good, case.bad]));
                assert_eq!(trap.kind, case.kind, "{about}");
                let code = trap.code.map(|code| code.to_string());
                assert_eq!(code.unwrap_or_default(), case.code, "{about}");
                assert_eq!(trap.address, case.address.map(|at| at as usize), "{about}");
                let location = trap.location.clone().expect("a location");
                assert_eq!(&*location.function, "f");
                assert_eq!(location.block, Some(Block::from_u32(2)), "{about}");
                assert_eq!(location.source, None);
                assert_eq!(engine.locate(trap.pc), Some(location.clone()));
                if let Some((unit, tier)) = place.unit() {
                    assert_eq!((location.unit, location.tier), (unit, tier), "{about}");
                }
            }
        }
    }
}

#[test]
fn a_typed_call_and_any_closure() {
    for place in EVERYWHERE {
        let engine = place.engine();
        let f = define(&engine, &place.clif("    v20 = udiv v6, v10"));
        let f = engine.get::<(i64, i64, i64), i64>(f).unwrap();
        // SAFETY: it divides.
        let result = unsafe { f.try_call((1000, 5, 5)) };
        assert_eq!(result, Ok(200));
        // SAFETY: as above.
        let trap = unsafe { f.try_call((1000, 5, 0)) }.unwrap_err();
        assert_eq!(trap.code, Some(TrapCode::INTEGER_DIVISION_BY_ZERO));
        // SAFETY: the closure owns nothing.
        let caught = unsafe { engine.catch(|| f.call((1000, 5, 0)) + 1) };
        assert_eq!(caught.unwrap_err().kind, TrapKind::Code);
        // SAFETY: as above.
        let returned = unsafe { engine.catch(|| f.call((1000, 5, 5)) + 1) };
        assert_eq!(returned, Ok(201));
    }
}

#[test]
fn a_panic_in_a_closure_goes_on() {
    let engine = engine(small());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: no generated code is called.
        let _ = unsafe { engine.catch(|| panic!("on purpose")) };
    }));
    assert!(panicked.is_err());
    // SAFETY: as above.
    assert_eq!(unsafe { engine.catch(|| 1) }, Ok(1));
}

#[test]
fn source_locations_of_the_client_come_back() {
    let operation = "@0012    v11 = iadd v10, v9\n@0013    v20 = udiv v6, v10";
    for place in EVERYWHERE {
        let engine = place.engine();
        let f = define(&engine, &place.clif(operation));
        call(&engine, f, &[1000, 1, 1]).unwrap();
        let trap = trap(call(&engine, f, &[1000, 1, 0]));
        let location = trap.location.clone().unwrap();
        assert_eq!(location.source.map(|source| source.bits()), Some(0x13));
        assert_eq!(location.block, None);
        let expected = match place {
            Where::Tier0 => "trap int_divz at @0013 in function f, tier 0",
            Where::Eager => "trap int_divz at @0013 in function f, tier 1",
            Where::Region => "trap int_divz at @0013 in function f, region at block1, tier 1",
            Where::Continuation => {
                "trap int_divz at @0013 in function f, continuation of block2, tier 1"
            }
            Where::Background => continue,
        };
        assert_eq!(trap.to_string(), expected);
    }
}

#[test]
fn without_block_locations_the_function_is_known() {
    let engine = engine(small().block_locations(false));
    let f = define(
        &engine,
        "function %g() system_v {\nblock0:\n    trap user1\n}",
    );
    let trap = trap(call(&engine, f, &[]));
    assert_eq!(trap.to_string(), "trap user1 in function g, tier 0");
}
