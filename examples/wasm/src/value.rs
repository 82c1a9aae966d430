//! Values that travel between the host and WebAssembly.

use crate::error::Error;
use crate::exceptions::Exception;
use crate::func::Func;
use crate::store::Store;
use crate::types::ValueType;
use std::fmt;

/// A value of WebAssembly. Floats are bits, so that what a NaN carries is not lost.
#[derive(Clone, Debug)]
pub enum Value {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// A vector; lane 0 is in the lowest bits.
    V128(u128),
    /// A function, or null.
    FuncRef(Option<Func>),
    /// Something that the host knows by a number, or null.
    ExternRef(Option<u32>),
    /// An exception, or null.
    ExnRef(Option<Exception>),
}

impl Value {
    /// Its type.
    pub fn ty(&self) -> ValueType {
        match self {
            Self::I32(_) => ValueType::I32,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::V128(_) => ValueType::V128,
            Self::FuncRef(_) => ValueType::FuncRef,
            Self::ExternRef(_) => ValueType::ExternRef,
            Self::ExnRef(_) => ValueType::ExnRef,
        }
    }

    /// Zero, or null.
    pub fn zero(ty: ValueType) -> Self {
        match ty {
            ValueType::I32 => Self::I32(0),
            ValueType::I64 => Self::I64(0),
            ValueType::F32 => Self::F32(0),
            ValueType::F64 => Self::F64(0),
            ValueType::V128 => Self::V128(0),
            ValueType::FuncRef => Self::FuncRef(None),
            ValueType::ExternRef => Self::ExternRef(None),
            ValueType::ExnRef => Self::ExnRef(None),
        }
    }

    /// As a cell of 16 bytes, of which a smaller value uses the first.
    pub(crate) fn to_cell(&self, store: &Store) -> Result<u128, Error> {
        Ok(match self {
            Self::I32(value) => u128::from(value.cast_unsigned()),
            Self::I64(value) => u128::from(value.cast_unsigned()),
            Self::F32(bits) => u128::from(*bits),
            Self::F64(bits) => u128::from(*bits),
            Self::V128(value) => *value,
            Self::FuncRef(None) | Self::ExternRef(None) | Self::ExnRef(None) => 0,
            Self::FuncRef(Some(func)) => {
                if !func.store.same(store) {
                    return Err(Error::OtherStore {
                        what: "a function reference",
                    });
                }
                u128::from(func.word)
            }
            Self::ExternRef(Some(number)) => u128::from(*number) + 1,
            Self::ExnRef(Some(exception)) => {
                if !exception.store.same(store) {
                    return Err(Error::OtherStore {
                        what: "an exception",
                    });
                }
                u128::from(exception.data.word())
            }
        })
    }

    /// From a cell that generated code of this store has filled with a value of type `ty`.
    pub(crate) fn from_cell(ty: ValueType, cell: u128, store: &Store) -> Self {
        let (word, half) = (cell as u64, cell as u32);
        match ty {
            ValueType::I32 => Self::I32(half.cast_signed()),
            ValueType::I64 => Self::I64(word.cast_signed()),
            ValueType::F32 => Self::F32(half),
            ValueType::F64 => Self::F64(word),
            ValueType::V128 => Self::V128(cell),
            ValueType::FuncRef => Self::FuncRef((word != 0).then(|| Func::from_word(store, word))),
            ValueType::ExternRef => {
                let number = word.checked_sub(1);
                Self::ExternRef(number.and_then(|number| u32::try_from(number).ok()))
            }
            ValueType::ExnRef => Self::ExnRef(store.exception_at(word)),
        }
    }

    /// A value of type `ty` as text: a number in decimal, with `0x` in hexadecimal, or the bits of a
    /// vector.
    ///
    /// # Errors
    ///
    /// `Host`, with what would be right.
    pub fn parse(ty: ValueType, text: &str) -> Result<Self, Error> {
        let wrong = || Error::Host(format!("{text} is not a value of type {ty}"));
        Ok(match ty {
            ValueType::I32 => {
                let value = integer(text).ok_or_else(wrong)?;
                let signed = i32::try_from(value).ok();
                let unsigned = || u32::try_from(value).ok().map(u32::cast_signed);
                Self::I32(signed.or_else(unsigned).ok_or_else(wrong)?)
            }
            ValueType::I64 => {
                let value = integer(text).ok_or_else(wrong)?;
                let signed = i64::try_from(value).ok();
                let unsigned = || u64::try_from(value).ok().map(u64::cast_signed);
                Self::I64(signed.or_else(unsigned).ok_or_else(wrong)?)
            }
            ValueType::F32 => Self::F32(text.parse::<f32>().map_err(|_| wrong())?.to_bits()),
            ValueType::F64 => Self::F64(text.parse::<f64>().map_err(|_| wrong())?.to_bits()),
            ValueType::V128 => {
                let digits = text.strip_prefix("0x").ok_or_else(wrong)?;
                Self::V128(u128::from_str_radix(digits, 16).map_err(|_| wrong())?)
            }
            ValueType::FuncRef | ValueType::ExternRef | ValueType::ExnRef if text == "null" => {
                Self::zero(ty)
            }
            ValueType::ExternRef => Self::ExternRef(Some(text.parse().map_err(|_| wrong())?)),
            ValueType::FuncRef | ValueType::ExnRef => return Err(wrong()),
        })
    }
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    let value = i128::from(value);
    Some(if negative { -value } else { value })
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I32(value) => value.fmt(f),
            Self::I64(value) => value.fmt(f),
            Self::F32(bits) => f32::from_bits(*bits).fmt(f),
            Self::F64(bits) => f64::from_bits(*bits).fmt(f),
            Self::V128(value) => write!(f, "{value:#034x}"),
            Self::FuncRef(None) | Self::ExternRef(None) | Self::ExnRef(None) => f.write_str("null"),
            Self::FuncRef(Some(_)) => f.write_str("funcref"),
            Self::ExternRef(Some(number)) => write!(f, "extern {number}"),
            Self::ExnRef(Some(_)) => f.write_str("exnref"),
        }
    }
}
