//! Stack overflow, and calls of what has no code.

use super::*;
use crate::config::faults::{Faults, Stage};

/// `f(n)`: recursion to the depth of `n`, with a frame of `bytes`.
fn recursion(bytes: usize) -> String {
    format!(
        "function %f(i64) -> i64 system_v {{
    ss0 = explicit_slot {bytes}
    fn0 = %f(i64) -> i64 system_v
block0(v0: i64):
    v1 = stack_addr.i64 ss0
    store v0, v1
    brif v0, block1, block2
block1:
    v2 = iconst.i64 -1
    v3 = iadd v0, v2
    v4 = call fn0(v3)
    v5 = load.i64 v1
    v6 = iadd v4, v5
    return v6
block2:
    return v0
}}"
    )
}

fn assert_overflow(trap: &Trap) {
    assert_eq!(trap.kind, TrapKind::StackOverflow, "{trap}");
    assert_eq!(trap.code, Some(TrapCode::STACK_OVERFLOW));
}

#[test]
fn recursion_without_end() {
    let mut sizes = vec![8, 1000, 5000];
    // On RISC-V, Cranelift touches the pages of larger frames from the far end: the first may be beyond the guard page.
    if cfg!(not(target_arch = "riscv64")) {
        sizes.extend([20_000, 1 << 20]);
    }
    for bytes in sizes {
        for place in EVERYWHERE {
            let engine = place.engine();
            let f = define(&engine, &recursion(bytes));
            for _ in 0..3 {
                let trap = trap(call(&engine, f, &[1 << 40]));
                assert_overflow(&trap);
                let location = trap.location.expect("a location");
                assert_eq!(&*location.function, "f");
                let sum = call(&engine, f, &[0]).unwrap();
                assert_eq!(sum, [DataValue::I64(0)]);
            }
        }
    }
}

#[test]
fn a_call_that_has_to_compile_near_the_end_of_the_stack() {
    // At the depth where it stops, `g` has to be compiled if it never was before.
    let g = "function %g(i64) -> i64 system_v {\nblock0(v0: i64):\n    return v0\n}";
    let f = recursion(64).replace("return v0", "v7 = call fn1(v0)\n    return v7");
    let f = f.replace("fn0 =", "fn1 = %g(i64) -> i64 system_v\n    fn0 =");
    let run = move || {
        let fresh = || {
            let engine = engine(
                small()
                    .mode(Mode::Tier0)
                    .compilation(Compilation::AtFirstCall),
            );
            let f = define(&engine, &format!("{g}\n{f}"));
            (engine, f)
        };
        let (warm, in_warm) = fresh();
        call(&warm, in_warm, &[0]).unwrap();
        let mut depths = (1..).map(|step| step * 50);
        let deepest = depths.find(|&depth| call(&warm, in_warm, &[depth]).is_err());
        let deep = deepest.unwrap() / 20 * 19;
        call(&warm, in_warm, &[deep]).expect("nothing is compiled");

        let (cold, in_cold) = fresh();
        call(&cold, in_cold, &[deep]).expect("the compiler has a stack of its own");
        assert_overflow(&trap(call(&cold, in_cold, &[deep * 2])));
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    thread.spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_function_that_cannot_be_compiled() {
    for mode in [Mode::Tiered, Mode::Eager] {
        let engine = engine(
            small()
                .mode(mode)
                .compilation(Compilation::AtFirstCall)
                .faults(Some(Faults::new(|stage, name| {
                    name == "g" && matches!(stage, Stage::Codegen(_))
                }))),
        );
        let f = "function %g() system_v {
block0:
    return
}
function %f() system_v {
    fn0 = %g() system_v
block0:
    jump block1
block1:
    call fn0()
    return
}";
        let f = define(&engine, f);
        for _ in 0..2 {
            let called = trap(call(&engine, f, &[]));
            assert_eq!((called.kind, called.code), (TrapKind::Unresolvable, None));
            let location = called.location.expect("that of the call");
            assert_eq!(&*location.function, "f");
            assert_eq!(location.block, Some(Block::from_u32(1)));
        }
        // Called from Rust: there is no location.
        let g = engine.lookup("g").unwrap();
        let g = engine.get::<(), ()>(g).unwrap();
        // SAFETY: it has no code to be unsound.
        let called = unsafe { g.try_call(()) }.unwrap_err();
        assert_eq!(
            (called.kind, called.location),
            (TrapKind::Unresolvable, None)
        );
    }
}
