//! Values of scripts.

use regraft_wasm::Value;
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::{WastArg, WastRet};

/// An argument, if it is one of a supported proposal.
pub fn argument(argument: &WastArg<'_>) -> Option<Value> {
    let WastArg::Core(argument) = argument else {
        return None;
    };
    Some(match argument {
        WastArgCore::I32(value) => Value::I32(*value),
        WastArgCore::I64(value) => Value::I64(*value),
        WastArgCore::F32(value) => Value::F32(value.bits),
        WastArgCore::F64(value) => Value::F64(value.bits),
        WastArgCore::V128(value) => Value::V128(u128::from_le_bytes(value.to_le_bytes())),
        WastArgCore::RefExtern(number) => Value::ExternRef(Some(*number)),
        WastArgCore::RefNull(HeapType::Abstract { ty, .. }) => match ty {
            AbstractHeapType::Func => Value::FuncRef(None),
            AbstractHeapType::Extern => Value::ExternRef(None),
            AbstractHeapType::Exn => Value::ExnRef(None),
            _ => return None,
        },
        _ => return None,
    })
}

/// Whether a result is what the script wants.
pub fn matches(want: &WastRet<'_>, have: &Value) -> bool {
    let WastRet::Core(want) = want else {
        return false;
    };
    core(want, have)
}

fn core(want: &WastRetCore<'_>, have: &Value) -> bool {
    match (want, have) {
        (WastRetCore::I32(want), Value::I32(have)) => want == have,
        (WastRetCore::I64(want), Value::I64(have)) => want == have,
        (WastRetCore::F32(want), Value::F32(have)) => f32_matches(want, *have),
        (WastRetCore::F64(want), Value::F64(have)) => f64_matches(want, *have),
        (WastRetCore::V128(want), Value::V128(have)) => v128(want, *have),
        (
            WastRetCore::RefNull(_),
            Value::FuncRef(None) | Value::ExternRef(None) | Value::ExnRef(None),
        ) => true,
        (WastRetCore::RefExtern(None), Value::ExternRef(Some(_))) => true,
        (WastRetCore::RefExtern(Some(want)), Value::ExternRef(Some(have))) => want == have,
        (WastRetCore::RefFunc(_), Value::FuncRef(Some(_))) => true,
        (WastRetCore::Either(cases), have) => cases.iter().any(|want| core(want, have)),
        _ => false,
    }
}

fn f32_matches(want: &NanPattern<wast::token::F32>, have: u32) -> bool {
    match want {
        NanPattern::CanonicalNan => have & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => have & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(want) => want.bits == have,
    }
}

fn f64_matches(want: &NanPattern<wast::token::F64>, have: u64) -> bool {
    match want {
        NanPattern::CanonicalNan => have & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => have & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(want) => want.bits == have,
    }
}

fn v128(want: &V128Pattern, have: u128) -> bool {
    let lane = |index: usize, bits: usize| have >> (index * bits);
    match want {
        V128Pattern::I8x16(want) => (0..16).all(|at| lane(at, 8) as i8 == want[at]),
        V128Pattern::I16x8(want) => (0..8).all(|at| lane(at, 16) as i16 == want[at]),
        V128Pattern::I32x4(want) => (0..4).all(|at| lane(at, 32) as i32 == want[at]),
        V128Pattern::I64x2(want) => (0..2).all(|at| lane(at, 64) as i64 == want[at]),
        V128Pattern::F32x4(want) => (0..4).all(|at| f32_matches(&want[at], lane(at, 32) as u32)),
        V128Pattern::F64x2(want) => (0..2).all(|at| f64_matches(&want[at], lane(at, 64) as u64)),
    }
}
