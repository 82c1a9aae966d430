//! Tests of [`super`]: widths, stack arguments, and every mismatch.

use super::*;
use crate::code::link::testing::*;
use cranelift_reader::parse_functions;

fn signature(text: &str) -> Signature {
    let clif = format!("function %f{text} {{\nblock0:\n    trap user1\n}}");
    // The signature alone is of interest; the body need not fit it.
    parse_functions(&clif).unwrap().remove(0).signature.clone()
}

fn host() -> CallConv {
    isas().tier0.default_call_conv()
}

/// Links a function at tier 1 and gives it a type.
fn typed<A: ClifArgs, R: ClifReturn>(clif: &str) -> TypedFn<A, R> {
    let (arena, isas) = (arena(), isas());
    let (linked, signature) = link_alone(&arena, &isas.tier1, clif);
    let code = Arc::new(linked.code);
    TypedFn::new(linked.entry, &signature, host(), code).unwrap()
}

#[test]
fn narrow_results_are_truncated_and_narrow_arguments_extended() {
    // The result register keeps what was above the narrow value.
    let narrow = "function %f(i64) -> i8 system_v {
block0(v0: i64):
    v1 = ireduce.i8 v0
    return v1
}";
    let wide = "function %f(i8 sext) -> i64 system_v {
block0(v0: i8):
    v1 = sextend.i64 v0
    return v1
}";
    // SAFETY: the types were checked, and the functions only compute.
    unsafe {
        assert_eq!(typed::<(i64,), i8>(narrow).call((0x1234_5680,)), -128);
        assert_eq!(typed::<(u64,), u8>(narrow).call((0x1234_5680,)), 128);
        assert_eq!(i32::from(typed::<(usize,), u8>(narrow).call((0x1ff,))), 255);
        assert_eq!(typed::<(i8,), isize>(wide).call((-3,)), -3);
    }
}

#[test]
fn eight_arguments_arrive() {
    let clif = "function %f(i64, i32, i16, i8, i64, i64, i32, i8) -> i64 system_v {
block0(v0: i64, v1: i32, v2: i16, v3: i8, v4: i64, v5: i64, v6: i32, v7: i8):
    v8 = sextend.i64 v6
    v9 = uextend.i64 v7
    v10 = isub v8, v9
    v11 = sextend.i64 v2
    v12 = imul v10, v11
    return v12
}";
    type Args = (i64, i32, i16, u8, *const u8, *mut i64, i32, u8);
    let function = typed::<Args, i64>(clif);
    let null = std::ptr::null();
    // SAFETY: the types were checked, and the function only computes.
    let result = unsafe {
        function
            .clone()
            .call((0, 1, -2, 3, null, null.cast_mut().cast(), -5, 250))
    };
    assert_eq!(result, 510);
}

#[test]
fn floats_and_nothing() {
    let clif = "function %f(f32, f64) -> f64 system_v {
block0(v0: f32, v1: f64):
    v2 = fpromote.f64 v0
    v3 = fdiv v2, v1
    return v3
}";
    let nothing = "function %f() system_v {\nblock0:\n    return\n}";
    // SAFETY: the types were checked, and the functions only compute.
    unsafe {
        assert_eq!(typed::<(f32, f64), f64>(clif).call((1.0, 4.0)), 0.25);
        typed::<(), ()>(nothing).call(());
    }
}

#[test]
fn every_mismatch_is_named() {
    let check = |text: &str| check_signature::<(i64, u8), f32>(&signature(text), host());
    assert_eq!(check("(i64, i8) -> f32 system_v"), Ok(()));
    assert_eq!(check("(i64 vmctx, i8 uext) -> f32 system_v"), Ok(()));
    for (text, message) in [
        (
            "(i64, i8) -> f32 tail",
            "the calling convention is tail, not the host's system_v",
        ),
        (
            "(i64) -> f32 system_v",
            "the function has 1 parameters, not 2",
        ),
        ("(i64, i8) system_v", "the function has 0 results, not 1"),
        (
            "(i64, i8) -> f32, f32 system_v",
            "the function has 2 results, not 1",
        ),
        (
            "(i64, i32) -> f32 system_v",
            "parameter 1 is of type i32, not i8",
        ),
        (
            "(i64, i8) -> f64 system_v",
            "the result is of type f64, not f32",
        ),
        (
            "(i64, i8 sext) -> f32 system_v",
            "i8 sext cannot be passed from Rust like this",
        ),
        (
            "(i64 sret, i8) -> f32 system_v",
            "i64 sret cannot be passed from Rust like this",
        ),
    ] {
        assert_eq!(check(text).unwrap_err().to_string(), message);
    }
    assert!(check_signature::<(), ()>(&signature("() -> i8 system_v"), host()).is_err());
}

#[test]
fn the_handle_keeps_what_it_was_given() {
    let kept = Arc::new(7);
    let function =
        TypedFn::<(), ()>::new(16, &signature("() system_v"), host(), kept.clone()).unwrap();
    let copy = function.clone();
    assert_eq!(Arc::strong_count(&kept), 3);
    drop((function, copy));
    assert_eq!(Arc::strong_count(&kept), 1);
}
