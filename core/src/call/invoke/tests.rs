//! Tests of [`super`]: every type, every convention, and what is refused.

use super::*;
use crate::code::link::testing::*;
use cranelift_codegen::ir::immediates::{Ieee16, Ieee128};
use cranelift_reader::parse_functions;

/// Compiles at both tiers, invokes, and compares bits.
fn check(clif: &str, args: &[DataValue], expected: &[DataValue]) {
    let (arena, isas) = (arena(), isas());
    for isa in [&isas.tier0, &isas.tier1] {
        let (linked, signature) = link_alone(&arena, isa, clif);
        let invoker = Invoker::new(Arc::clone(&arena), Arc::clone(isa));
        for _ in 0..2 {
            // SAFETY: the entry of a function of this signature.
            let results = unsafe { invoker.invoke(&signature, linked.entry, args) }.unwrap();
            assert_eq!(results.len(), expected.len());
            for (result, expected) in results.iter().zip(expected) {
                assert!(result.bitwise_eq(expected), "{result} is not {expected}");
            }
        }
    }
}

/// A function that returns its parameters.
fn identity(conv: &str, types: &[&str]) -> String {
    let params = types.iter().enumerate();
    let params: Vec<_> = params
        .map(|(index, ty)| format!("v{index}: {ty}"))
        .collect();
    let values: Vec<_> = (0..types.len()).map(|index| format!("v{index}")).collect();
    let types = types.join(", ");
    format!(
        "function %f({types}) -> {types} {conv} {{\nblock0({}):\n    return {}\n}}",
        params.join(", "),
        values.join(", ")
    )
}

#[test]
fn every_type_in_every_convention() {
    let cases: [(&str, DataValue); 15] = [
        ("i8", DataValue::I8(-2)),
        ("i16", DataValue::I16(-300)),
        ("i32", DataValue::I32(i32::MIN)),
        ("i64", DataValue::I64(i64::MAX)),
        ("i128", DataValue::I128(i128::MIN + 77)),
        ("f16", DataValue::F16(Ieee16::with_bits(0x3c01))),
        ("f32", DataValue::F32(f32::NAN.into())),
        ("f64", DataValue::F64((-0.0).into())),
        (
            "f128",
            DataValue::F128(Ieee128::with_bits(
                0x3fff_8000_0000_0000_0000_0000_0000_0001,
            )),
        ),
        ("i8x16", DataValue::V128(std::array::from_fn(|i| i as u8))),
        ("f64x2", DataValue::V128([9; 16])),
        ("i16x4", DataValue::V64([8; 8])),
        ("f32x2", DataValue::V64([7; 8])),
        ("i8x4", DataValue::V32([6; 4])),
        ("i8x2", DataValue::V16([5; 2])),
    ];
    for conv in ["system_v", "fast", "tail"] {
        for (ty, value) in &cases {
            let one = std::slice::from_ref(value);
            check(&identity(conv, &[ty]), one, one);
        }
        let types = cases.each_ref().map(|(ty, _)| *ty);
        let values = cases.each_ref().map(|(_, value)| value.clone());
        check(&identity(conv, &types), &values, &values);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_convention_of_another_system() {
    let clif = "function %f(i64, f64, i64, f64, i64, f64) -> i64 windows_fastcall {
block0(v0: i64, v1: f64, v2: i64, v3: f64, v4: i64, v5: f64):
    v6 = fcvt_to_sint_sat.i64 v5
    v7 = isub v4, v6
    v8 = imul v0, v7
    v9 = isub v8, v2
    return v9
}";
    let args = [
        DataValue::I64(3),
        DataValue::F64(0.0.into()),
        DataValue::I64(2),
        DataValue::F64(0.0.into()),
        DataValue::I64(9),
        DataValue::F64(4.0.into()),
    ];
    check(clif, &args, &[DataValue::I64(13)]);
}

#[test]
fn special_parameters_are_plain_values() {
    let clif = "function %f(i64 sret, i64 vmctx, i32 uext) system_v {
block0(v0: i64, v1: i64, v2: i32):
    v3 = uextend.i64 v2
    v4 = iadd v1, v3
    store v4, v0
    return
}";
    let mut place = 0_i64;
    let address = (&raw mut place).expose_provenance() as i64;
    let args = [
        DataValue::I64(address),
        DataValue::I64(40),
        DataValue::I32(2),
    ];
    check(clif, &args, &[]);
    // SAFETY: the functions that wrote through the address have returned.
    assert_eq!(unsafe { (&raw const place).read_volatile() }, 42);
}

#[test]
fn no_parameters_and_no_results() {
    check("function %f() tail {\nblock0:\n    return\n}", &[], &[]);
}

#[test]
fn wrong_arguments_are_not_passed() {
    let (arena, isas) = (arena(), isas());
    let invoker = Invoker::new(arena, isas.tier0);
    let clif = identity("system_v", &["i64", "i16x4"]);
    let signature = parse_functions(&clif).unwrap().remove(0).signature.clone();
    // SAFETY: wrong arguments are found before the address is used.
    let invoke = |args: &[DataValue]| unsafe { invoker.invoke(&signature, 0, args) }.unwrap_err();
    assert_eq!(
        invoke(&[DataValue::I64(0)]).to_string(),
        "1 arguments for 2 parameters"
    );
    assert_eq!(
        invoke(&[DataValue::I32(0), DataValue::V64([0; 8])]).to_string(),
        "argument 0 is of type i32, the parameter of type i64"
    );
    for wrong in [DataValue::V128([0; 16]), DataValue::I64(0)] {
        assert!(matches!(
            invoke(&[DataValue::I64(0), wrong]),
            InvokeError::ArgumentType { index: 1, .. }
        ));
    }
}

#[test]
fn what_cranelift_cannot_call_is_refused() {
    let arena = arena();
    let plain = crate::code::isa::TierIsas::native(&[]).unwrap();
    let invoker = Invoker::new(Arc::clone(&arena), plain.tier0);
    let mut refused = vec![("probestack", "i64")];
    if cfg!(target_arch = "x86_64") {
        let x86 = ["system_v", "fast", "preserve_all"].map(|conv| (conv, "i128"));
        refused.extend(x86);
        refused.extend([("windows_fastcall", "f128"), ("apple_aarch64", "i64")]);
    }
    for (conv, ty) in refused {
        let mut signature = Signature::new(conv.parse().unwrap());
        let function = parse_functions(&identity("tail", &[ty])).unwrap().remove(0);
        signature.params = function.signature.params.clone();
        let arg = match ty {
            "i64" => DataValue::I64(0),
            "i128" => DataValue::I128(0),
            _ => DataValue::F128(Ieee128::with_bits(0)),
        };
        // SAFETY: the signature is refused before the address is used.
        let error = unsafe { invoker.invoke(&signature, 0, &[arg]) }.unwrap_err();
        assert!(matches!(error, InvokeError::Unsupported { .. }), "{error}");
    }
    drop(invoker);
    assert_eq!(arena.stats().code.live, 0);
}

#[test]
fn a_sequence_is_compiled_once_per_signature() {
    let (arena, isas) = (arena(), isas());
    let (linked, signature) = link_alone(&arena, &isas.tier0, &identity("tail", &["i64", "f32"]));
    let invoker = Invoker::new(Arc::clone(&arena), isas.tier0);
    let args = [DataValue::I64(1), DataValue::F32(2.0.into())];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    // SAFETY: the entry of a function of this signature.
                    let results = unsafe { invoker.invoke(&signature, linked.entry, &args) };
                    assert_eq!(results.unwrap(), args);
                }
            });
        }
    });
    assert_eq!(invoker.sequences().len(), 1);
    drop(invoker);
    assert_eq!(arena.stats().code.live, linked.code.size());
}
