//! Every operation against what it stands for, on all intervals of small integers.

use super::*;

const BITS: u32 = 4;

fn intervals() -> Vec<Interval> {
    let mut found = vec![];
    for low in 0..16 {
        for high in low..16 {
            found.extend(Interval::between(BITS, low, high));
        }
    }
    for low in -8..8 {
        for high in low..8 {
            found.extend(Interval::between_signed(BITS, low, high));
        }
    }
    found
}

fn contains(interval: Interval, value: u64) -> bool {
    let value = value & mask(interval.bits);
    let signed = sign_extend(value, interval.bits);
    (interval.unsigned.0..=interval.unsigned.1).contains(&value)
        && (interval.signed.0..=interval.signed.1).contains(&signed)
}

fn members(interval: Interval) -> Vec<u64> {
    (0..16).filter(|&value| contains(interval, value)).collect()
}

fn holds(cc: IntCC, a: u64, b: u64) -> bool {
    let (s, t) = (sign_extend(a, BITS), sign_extend(b, BITS));
    match cc {
        IntCC::Equal => a == b,
        IntCC::NotEqual => a != b,
        IntCC::UnsignedLessThan => a < b,
        IntCC::UnsignedLessThanOrEqual => a <= b,
        IntCC::UnsignedGreaterThan => a > b,
        IntCC::UnsignedGreaterThanOrEqual => a >= b,
        IntCC::SignedLessThan => s < t,
        IntCC::SignedLessThanOrEqual => s <= t,
        IntCC::SignedGreaterThan => s > t,
        IntCC::SignedGreaterThanOrEqual => s >= t,
    }
}

const CODES: [IntCC; 10] = [
    IntCC::Equal,
    IntCC::NotEqual,
    IntCC::UnsignedLessThan,
    IntCC::UnsignedLessThanOrEqual,
    IntCC::UnsignedGreaterThan,
    IntCC::UnsignedGreaterThanOrEqual,
    IntCC::SignedLessThan,
    IntCC::SignedLessThanOrEqual,
    IntCC::SignedGreaterThan,
    IntCC::SignedGreaterThanOrEqual,
];

type Operation = (
    fn(Interval, Interval) -> Interval,
    fn(u64, u64) -> Option<u64>,
);

#[test]
fn operations_contain_every_result() {
    let operations: [Operation; 8] = [
        (Interval::add, |a, b| Some(a + b)),
        (Interval::sub, |a, b| Some(a.wrapping_sub(b))),
        (Interval::mul, |a, b| Some(a * b)),
        (Interval::and, |a, b| Some(a & b)),
        (|a, b| a.or(b, false), |a, b| Some(a | b)),
        (|a, b| a.or(b, true), |a, b| Some(a ^ b)),
        (Interval::udiv, |a, b| a.checked_div(b)),
        (Interval::urem, |a, b| a.checked_rem(b)),
    ];
    for one in intervals() {
        for other in intervals() {
            for (number, (abstractly, exactly)) in operations.iter().enumerate() {
                let result = abstractly(one, other);
                for a in members(one) {
                    for b in members(other) {
                        let Some(exact) = exactly(a, b) else { continue };
                        assert!(
                            contains(result, exact),
                            "{number}: {one:?} {other:?} {a} {b} {result:?}"
                        );
                    }
                }
            }
            let joined = one.join(other);
            let widened = one.widen(joined, &[-3, 0, 5]);
            for value in members(one).into_iter().chain(members(other)) {
                assert!(contains(joined, value) && contains(widened, value));
            }
        }
    }
}

#[test]
fn shifts_and_conversions_contain_every_result() {
    for one in intervals() {
        for a in members(one) {
            let signed = sign_extend(a, BITS);
            for amount in 0..9_u64 {
                let by = amount % u64::from(BITS);
                assert!(contains(one.shl(amount), a << by));
                assert!(contains(one.ushr(amount), a >> by));
                assert!(contains(one.sshr(amount), (signed >> by).cast_unsigned()));
            }
            assert!(contains(one.uextend(8), a));
            assert!(contains(one.sextend(8), signed.cast_unsigned()));
            assert!(contains(one.reduce(3), a));
        }
    }
}

#[test]
fn comparisons_refine_and_decide() {
    for one in intervals() {
        for other in intervals() {
            for cc in CODES {
                let refined = one.refine(cc, other);
                let (mut yes, mut no) = (0, 0);
                for a in members(one) {
                    for b in members(other) {
                        if holds(cc, a, b) {
                            yes += 1;
                            let kept = refined.is_some_and(|refined| contains(refined, a));
                            assert!(kept, "{one:?} {cc} {other:?}: {a} {b} {refined:?}");
                        } else {
                            no += 1;
                        }
                    }
                }
                match one.decide(cc, other) {
                    Some(true) => assert_eq!(no, 0, "{one:?} {cc} {other:?}"),
                    Some(false) => assert_eq!(yes, 0, "{one:?} {cc} {other:?}"),
                    None => {}
                }
            }
        }
    }
}

#[test]
fn overflow_is_told_from_none() {
    for one in intervals() {
        for other in intervals() {
            for a in members(one) {
                for b in members(other) {
                    let (s, t) = (sign_extend(a, BITS), sign_extend(b, BITS));
                    if let Some(overflows) = one.sum_overflows(other) {
                        assert_eq!(overflows, a + b > 15);
                    }
                    if one.fits_signed(other, false) {
                        assert!((-8..8).contains(&(s + t)));
                    }
                    if one.fits_signed(other, true) {
                        assert!((-8..8).contains(&(s - t)));
                    }
                    if one.fits_below(other) {
                        assert!(a >= b);
                    }
                }
            }
        }
    }
}
