//! What is known of an integer: between which bounds it lies, read as unsigned and as signed.
//!
//! An [`Interval`] is never empty; operations that leave nothing say so with `None`. Both readings are kept consistent: where one of them
//! settles the sign, the other is narrowed accordingly.
//!
//! Invariants: every value that the operands may have, operated on as CLIF does it (modulo 2ⁿ), is in the result.
//!
//! Reference: P. Cousot, R. Cousot, "Abstract interpretation: a unified lattice model", POPL 1977, section 9; two readings at once as in
//! J. Navas and others, "Signedness-agnostic program analysis", APLAS 2012, section 3, for the reason.
//!
//! Not here: which values have which interval (`ranges`).

use cranelift_codegen::ir::condcodes::{CondCode, IntCC};

/// Bounds of an integer of up to 64 bits, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    bits: u32,
    unsigned: (u64, u64),
    signed: (i64, i64),
}

fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shr(64 - bits).unwrap_or(0)
}

fn sign_extend(value: u64, bits: u32) -> i64 {
    let shift = 64 - bits;
    value
        .checked_shl(shift)
        .unwrap_or(0)
        .cast_signed()
        .checked_shr(shift)
        .unwrap_or(0)
}

impl Interval {
    /// Every integer of a width from 1 to 64.
    pub fn all(bits: u32) -> Self {
        let bits = bits.clamp(1, 64);
        let most = sign_extend(mask(bits) >> 1, bits);
        Self {
            bits,
            unsigned: (0, mask(bits)),
            signed: (-most - 1, most),
        }
    }

    /// One integer, by its bits.
    pub fn one(bits: u32, value: u64) -> Self {
        let all = Self::all(bits);
        let value = value & mask(all.bits);
        let signed = sign_extend(value, all.bits);
        Self {
            unsigned: (value, value),
            signed: (signed, signed),
            ..all
        }
    }

    /// Those between two unsigned bounds.
    pub fn between(bits: u32, low: u64, high: u64) -> Option<Self> {
        let all = Self::all(bits);
        Self {
            unsigned: (low, high),
            ..all
        }
        .meet(all)
    }

    /// Those between two signed bounds.
    fn between_signed(bits: u32, low: i64, high: i64) -> Option<Self> {
        let all = Self::all(bits);
        Self {
            signed: (low, high),
            ..all
        }
        .meet(all)
    }

    pub fn bits(self) -> u32 {
        self.bits
    }

    /// The only integer, by its bits.
    pub fn single(self) -> Option<u64> {
        (self.unsigned.0 == self.unsigned.1).then_some(self.unsigned.0)
    }

    pub fn is_not_negative(self) -> bool {
        self.signed.0 >= 0
    }

    pub fn contains_zero(self) -> bool {
        self.unsigned.0 == 0
    }

    /// What is in both.
    pub fn meet(self, other: Self) -> Option<Self> {
        let (bits, (u, v), (s, t)) = (
            self.bits,
            (self.unsigned, other.unsigned),
            (self.signed, other.signed),
        );
        let mut unsigned = (u.0.max(v.0), u.1.min(v.1));
        let mut signed = (s.0.max(t.0), s.1.min(t.1));
        if unsigned.0 > unsigned.1 || signed.0 > signed.1 {
            return None;
        }
        // Where the sign is known, the order is the same in both readings.
        if signed.0 >= 0 || signed.1 < 0 {
            let of = |value: i64| value.cast_unsigned() & mask(bits);
            unsigned = (unsigned.0.max(of(signed.0)), unsigned.1.min(of(signed.1)));
        }
        let most = mask(bits) >> 1;
        if unsigned.0 > unsigned.1 {
            return None;
        }
        if unsigned.1 <= most || unsigned.0 > most {
            let of = |value| sign_extend(value, bits);
            signed = (signed.0.max(of(unsigned.0)), signed.1.min(of(unsigned.1)));
        }
        (signed.0 <= signed.1).then_some(Self {
            bits,
            unsigned,
            signed,
        })
    }

    /// What is in one or the other, and whatever lies between.
    pub fn join(self, other: Self) -> Self {
        let (u, v, s, t) = (self.unsigned, other.unsigned, self.signed, other.signed);
        Self {
            bits: self.bits,
            unsigned: (u.0.min(v.0), u.1.max(v.1)),
            signed: (s.0.min(t.0), s.1.max(t.1)),
        }
    }

    /// `next`, which contains this, with every bound that moved put off to the next of `stops`, which are sorted, or given up.
    ///
    /// Reference: as above, section 9.1.3; P. Cousot and others, "A static analyzer for large safety-critical software", PLDI 2003,
    /// section 7.1.2, for the stops.
    pub fn widen(self, next: Self, stops: &[i64]) -> Self {
        let all = Self::all(self.bits);
        let (u, v, s, t) = (self.unsigned, next.unsigned, self.signed, next.signed);
        let below = |low: i64| {
            let stop = stops.iter().rev().find(|&&stop| stop <= low);
            stop.copied().unwrap_or(all.signed.0).max(all.signed.0)
        };
        let above = |high: i64| {
            let stop = stops.iter().find(|&&stop| stop >= high);
            stop.copied().unwrap_or(all.signed.1).min(all.signed.1)
        };
        let above_unsigned = |high: u64| {
            let stops = stops.iter().filter_map(|&stop| u64::try_from(stop).ok());
            let stop = stops.into_iter().find(|&stop| stop >= high);
            stop.unwrap_or(all.unsigned.1).min(all.unsigned.1)
        };
        let widened = Self {
            bits: self.bits,
            unsigned: (
                if v.0 == u.0 { u.0 } else { 0 },
                if v.1 == u.1 { u.1 } else { above_unsigned(v.1) },
            ),
            signed: (
                if t.0 == s.0 { s.0 } else { below(t.0) },
                if t.1 == s.1 { s.1 } else { above(t.1) },
            ),
        };
        widened.meet(all).unwrap_or(all)
    }

    /// What is left of it where `self cc other` holds.
    pub fn refine(self, cc: IntCC, other: Self) -> Option<Self> {
        if self.bits != other.bits {
            return Some(self);
        }
        let bits = self.bits;
        let (u, s) = (other.unsigned, other.signed);
        let all = Self::all(bits);
        let limit = match cc {
            IntCC::Equal => Some(other),
            IntCC::NotEqual => return self.without(other),
            IntCC::UnsignedLessThan => Self::between(bits, 0, u.1.checked_sub(1)?),
            IntCC::UnsignedLessThanOrEqual => Self::between(bits, 0, u.1),
            IntCC::UnsignedGreaterThan => Self::between(bits, u.0.checked_add(1)?, all.unsigned.1),
            IntCC::UnsignedGreaterThanOrEqual => Self::between(bits, u.0, all.unsigned.1),
            IntCC::SignedLessThan => Self::between_signed(bits, all.signed.0, s.1.checked_sub(1)?),
            IntCC::SignedLessThanOrEqual => Self::between_signed(bits, all.signed.0, s.1),
            IntCC::SignedGreaterThan => {
                Self::between_signed(bits, s.0.checked_add(1)?, all.signed.1)
            }
            IntCC::SignedGreaterThanOrEqual => Self::between_signed(bits, s.0, all.signed.1),
        };
        self.meet(limit?)
    }

    /// Less one integer, where it is at an end.
    fn without(self, other: Self) -> Option<Self> {
        let Some(value) = other.single() else {
            return Some(self);
        };
        let mut rest = self;
        if self.single() == Some(value) {
            return None;
        }
        if rest.unsigned.0 == value {
            rest.unsigned.0 += 1;
        } else if rest.unsigned.1 == value {
            rest.unsigned.1 -= 1;
        }
        let value = sign_extend(value, self.bits);
        if rest.signed.0 == value {
            rest.signed.0 += 1;
        } else if rest.signed.1 == value {
            rest.signed.1 -= 1;
        }
        rest.meet(Self::all(self.bits))
    }

    /// Whether `self cc other` is the same for all integers in both.
    pub fn decide(self, cc: IntCC, other: Self) -> Option<bool> {
        if self.bits != other.bits {
            return None;
        }
        if self.refine(cc, other).is_none() {
            return Some(false);
        }
        self.refine(cc.complement(), other)
            .is_none()
            .then_some(true)
    }

    /// The integers from `low` to `high`, modulo 2ⁿ, where they are an interval in one of the readings.
    fn wrapped(bits: u32, low: i128, high: i128) -> Self {
        let all = Self::all(bits);
        let size = 1_i128 << all.bits;
        let reading = |least: i128| {
            let (one, other) = (
                (low - least).div_euclid(size),
                (high - least).div_euclid(size),
            );
            (one == other).then(|| (low - one * size, high - one * size))
        };
        let unsigned = reading(0);
        let signed = reading(i128::from(all.signed.0));
        let unsigned =
            unsigned.and_then(|(low, high)| Some((low.try_into().ok()?, high.try_into().ok()?)));
        let signed =
            signed.and_then(|(low, high)| Some((low.try_into().ok()?, high.try_into().ok()?)));
        let result = Self {
            bits: all.bits,
            unsigned: unsigned.unwrap_or(all.unsigned),
            signed: signed.unwrap_or(all.signed),
        };
        result.meet(all).unwrap_or(all)
    }

    fn wide_unsigned(self) -> (i128, i128) {
        (self.unsigned.0.into(), self.unsigned.1.into())
    }

    fn wide_signed(self) -> (i128, i128) {
        (self.signed.0.into(), self.signed.1.into())
    }

    /// What both readings say.
    fn either(one: Self, other: Self) -> Self {
        one.meet(other).unwrap_or(Self::all(one.bits))
    }

    pub fn add(self, other: Self) -> Self {
        let of =
            |(a, b): (i128, i128), (c, d): (i128, i128)| Self::wrapped(self.bits, a + c, b + d);
        Self::either(
            of(self.wide_unsigned(), other.wide_unsigned()),
            of(self.wide_signed(), other.wide_signed()),
        )
    }

    pub fn sub(self, other: Self) -> Self {
        let of =
            |(a, b): (i128, i128), (c, d): (i128, i128)| Self::wrapped(self.bits, a - d, b - c);
        Self::either(
            of(self.wide_unsigned(), other.wide_unsigned()),
            of(self.wide_signed(), other.wide_signed()),
        )
    }

    pub fn mul(self, other: Self) -> Self {
        let (s, t) = (self.wide_signed(), other.wide_signed());
        let products = [s.0 * t.0, s.0 * t.1, s.1 * t.0, s.1 * t.1];
        let low = products.iter().copied().min().unwrap_or(0);
        let high = products.iter().copied().max().unwrap_or(0);
        let signed = Self::wrapped(self.bits, low, high);
        let ((a, b), (c, d)) = (self.unsigned, other.unsigned);
        let fits = b.checked_mul(d).filter(|&high| high <= mask(self.bits));
        let unsigned = fits.and_then(|high| Self::between(self.bits, a.checked_mul(c)?, high));
        Self::either(signed, unsigned.unwrap_or(Self::all(self.bits)))
    }

    /// Whether a sum may not fit the unsigned reading.
    pub fn sum_overflows(self, other: Self) -> Option<bool> {
        let ((a, b), (c, d)) = (self.wide_unsigned(), other.wide_unsigned());
        let most = i128::from(mask(self.bits));
        match (a + c > most, b + d > most) {
            (true, true) => Some(true),
            (false, false) => Some(false),
            _ => None,
        }
    }

    /// Whether a signed sum, or difference, fits.
    pub fn fits_signed(self, other: Self, subtracts: bool) -> bool {
        let ((a, b), (c, d)) = (self.wide_signed(), other.wide_signed());
        let (low, high) = match subtracts {
            true => (a - d, b - c),
            false => (a + c, b + d),
        };
        let (least, most) = Self::all(self.bits).wide_signed();
        low >= least && high <= most
    }

    /// Whether an unsigned difference fits.
    pub fn fits_below(self, other: Self) -> bool {
        self.unsigned.0 >= other.unsigned.1
    }

    pub fn and(self, other: Self) -> Self {
        let high = self.unsigned.1.min(other.unsigned.1);
        Self::between(self.bits, 0, high).unwrap_or(Self::all(self.bits))
    }

    /// For `bor` and `bxor`: no bit above the highest of both; `bor` is no less than either.
    pub fn or(self, other: Self, exclusive: bool) -> Self {
        let high = self.unsigned.1 | other.unsigned.1;
        let high = mask((64 - high.leading_zeros()).clamp(1, self.bits));
        let low = match exclusive {
            true => 0,
            false => self.unsigned.0.max(other.unsigned.0),
        };
        Self::between(self.bits, low, high).unwrap_or(Self::all(self.bits))
    }

    /// Shifts by a known number of bits; CLIF takes it modulo the width.
    pub fn shl(self, amount: u64) -> Self {
        let amount = amount % u64::from(self.bits);
        // Beyond, hardly anything is left of an interval, and products have no room.
        if amount > 60 {
            return Self::all(self.bits);
        }
        let factor = 1_i128 << amount;
        let of = |(a, b): (i128, i128)| Self::wrapped(self.bits, a * factor, b * factor);
        Self::either(of(self.wide_unsigned()), of(self.wide_signed()))
    }

    pub fn ushr(self, amount: u64) -> Self {
        let amount = amount % u64::from(self.bits);
        let (low, high) = self.unsigned;
        Self::between(self.bits, low >> amount, high >> amount).unwrap_or(Self::all(self.bits))
    }

    pub fn sshr(self, amount: u64) -> Self {
        let amount = amount % u64::from(self.bits);
        let (low, high) = self.signed;
        Self::between_signed(self.bits, low >> amount, high >> amount)
            .unwrap_or(Self::all(self.bits))
    }

    /// A quotient; a divisor of zero traps.
    pub fn udiv(self, other: Self) -> Self {
        let (low, high) = self.unsigned;
        let (least, most) = (other.unsigned.0.max(1), other.unsigned.1.max(1));
        Self::between(self.bits, low / most, high / least).unwrap_or(Self::all(self.bits))
    }

    pub fn urem(self, other: Self) -> Self {
        let high = other.unsigned.1.saturating_sub(1).min(self.unsigned.1);
        Self::between(self.bits, 0, high).unwrap_or(Self::all(self.bits))
    }

    pub fn uextend(self, bits: u32) -> Self {
        let (low, high) = self.unsigned;
        Self::between(bits, low, high).unwrap_or(Self::all(bits))
    }

    pub fn sextend(self, bits: u32) -> Self {
        let (low, high) = self.signed;
        Self::between_signed(bits, low, high).unwrap_or(Self::all(bits))
    }

    pub fn reduce(self, bits: u32) -> Self {
        let of = |(low, high): (i128, i128)| Self::wrapped(bits, low, high);
        Self::either(of(self.wide_unsigned()), of(self.wide_signed()))
    }
}

#[cfg(test)]
mod tests;
