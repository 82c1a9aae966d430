//! Stack overflow, and calls of what has no code.

use super::*;

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
    for bytes in [8, 1000, 5000, 20_000, 1 << 20] {
        for place in EVERYWHERE {
            let engine = place.engine();
            let f = define(&engine, &recursion(bytes));
            for _ in 0..3 {
                let trap = trap(call(&engine, f, &[1 << 40]));
                assert_overflow(&trap);
                let location = trap.location.expect("a location");
                assert_eq!(&*location.function, "f");
                let sum = call(&engine, f, &[1]).unwrap();
                assert_eq!(sum, [DataValue::I64(1)]);
            }
        }
    }
}

#[test]
fn a_call_that_would_have_to_compile_at_the_end_of_the_stack() {
    let engine = engine(Config {
        compilation: Compilation::AtFirstCall,
        ..small()
    });
    // At the depth where it stops, `g` would have to be compiled.
    let g = "function %g(i64) -> i64 system_v {\nblock0(v0: i64):\n    return v0\n}";
    let f = recursion(64).replace("return v0", "v7 = call fn1(v0)\n    return v7");
    let f = f.replace("fn0 =", "fn1 = %g(i64) -> i64 system_v\n    fn0 =");
    let stack = std::thread::Builder::new().stack_size(1 << 20);
    let run = move || {
        let f = define(&engine, &format!("{g}\n{f}"));
        let depth = (1..).map(|step| step * 100).find(|&depth| {
            let fresh = engine_with(&engine, depth);
            drop(fresh);
            call(&engine, f, &[depth]).is_err()
        });
        assert_overflow(&trap(call(&engine, f, &[depth.unwrap()])));
        assert_eq!(call(&engine, f, &[0]).unwrap(), [DataValue::I64(0)]);
    };
    stack.spawn(run).unwrap().join().unwrap();
}

fn engine_with(_: &Engine, _: i64) {}

#[test]
fn a_function_that_cannot_be_compiled() {
    for mode in [Mode::Tiered, Mode::Eager] {
        let engine = engine(Config {
            mode,
            compilation: Compilation::AtFirstCall,
            faults: Some(crate::faults::Faults::default()),
            ..small()
        });
        let _ = &engine;
    }
}
