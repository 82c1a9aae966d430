//! What instructions make of intervals.
//!
//! Not here: which values have which interval, and where (`ranges`); arithmetic (`interval`).

use crate::interval::Interval;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Function, Inst, InstructionData, Opcode, Type, Value, ValueDef};
use rustc_hash::FxHashMap;

/// A comparison of two values.
pub(crate) type Comparison = (IntCC, Value, Value);

/// The width of a type that intervals are for.
pub(crate) fn width(ty: Type) -> Option<u32> {
    (ty.is_int() && ty.bits() <= 64).then(|| ty.bits())
}

/// A constant, by its bits.
pub(crate) fn constant(func: &Function, value: Value) -> Option<u64> {
    let ValueDef::Result(inst, _) = func.dfg.value_def(func.dfg.resolve_aliases(value)) else {
        return None;
    };
    match func.dfg.insts[inst] {
        InstructionData::UnaryImm {
            opcode: Opcode::Iconst,
            imm,
        } => Some(imm.bits().cast_unsigned()),
        _ => None,
    }
}

/// The interval of the first result of an instruction, where that of some values is known, and nothing of others but constants.
pub(crate) fn local(
    func: &Function,
    inst: Inst,
    known: &FxHashMap<Value, Interval>,
) -> Option<Interval> {
    let result = *func.dfg.inst_results(inst).first()?;
    let bits = width(func.dfg.value_type(result))?;
    let of = |value: Value| {
        let bits = width(func.dfg.value_type(value))?;
        let known = known.get(&func.dfg.resolve_aliases(value)).copied();
        let constant = || constant(func, value).map(|constant| Interval::one(bits, constant));
        Some(known.or_else(constant).unwrap_or(Interval::all(bits)))
    };
    let decide = |(cc, x, y): Comparison| of(x)?.decide(cc, of(y)?);
    evaluate(func, inst, (0, bits), of, decide)
}

/// The interval of a result of an instruction, by those of its operands; `None` if it is not computed, as far as that is known.
pub(crate) fn evaluate(
    func: &Function,
    inst: Inst,
    (nth, bits): (usize, u32),
    of: impl Fn(Value) -> Option<Interval>,
    decide: impl Fn(Comparison) -> Option<bool>,
) -> Option<Interval> {
    let dfg = &func.dfg;
    let all = Interval::all(bits);
    let of = |value: Value| match width(dfg.value_type(value)) {
        Some(_) => of(value),
        None => Some(all),
    };
    Some(match dfg.insts[inst] {
        InstructionData::UnaryImm {
            opcode: Opcode::Iconst,
            imm,
        } => Interval::one(bits, imm.bits().cast_unsigned()),
        InstructionData::Unary { opcode, arg } => {
            let arg = match opcode {
                Opcode::Uextend | Opcode::Sextend | Opcode::Ireduce => of(arg)?,
                _ => all,
            };
            // Only what comes from integers of these widths has an interval to convert.
            match opcode {
                Opcode::Uextend => arg.uextend(bits),
                Opcode::Sextend => arg.sextend(bits),
                Opcode::Ireduce if arg.bits() > bits => arg.reduce(bits),
                Opcode::Clz | Opcode::Ctz | Opcode::Popcnt => {
                    Interval::between(bits, 0, bits.into()).unwrap_or(all)
                }
                _ => all,
            }
        }
        InstructionData::Binary { opcode, args } => {
            binary(opcode, nth, of(args[0])?, of(args[1])?, bits)
        }
        InstructionData::IntAddTrap { args, .. } => {
            let (one, other) = (of(args[0])?, of(args[1])?);
            one.add(other)
        }
        InstructionData::IntCompare { cond, args, .. } => match decide((cond, args[0], args[1])) {
            Some(decided) => Interval::one(bits, decided.into()),
            None => {
                of(args[0]).and(of(args[1]))?;
                Interval::between(bits, 0, 1).unwrap_or(all)
            }
        },
        InstructionData::Ternary {
            opcode: Opcode::Select | Opcode::SelectSpectreGuard,
            args,
        } => match (of(args[1]), of(args[2])) {
            (Some(one), Some(other)) => one.join(other),
            (one, other) => one.or(other)?,
        },
        InstructionData::Load { opcode, .. } => match opcode {
            Opcode::Uload8 => Interval::all(8).uextend(bits),
            Opcode::Uload16 => Interval::all(16).uextend(bits),
            Opcode::Uload32 => Interval::all(32).uextend(bits),
            Opcode::Sload8 => Interval::all(8).sextend(bits),
            Opcode::Sload16 => Interval::all(16).sextend(bits),
            Opcode::Sload32 => Interval::all(32).sextend(bits),
            _ => all,
        },
        _ => all,
    })
}

fn binary(opcode: Opcode, nth: usize, one: Interval, other: Interval, bits: u32) -> Interval {
    let all = Interval::all(bits);
    let flag = |decided: Option<bool>| match decided {
        Some(decided) => Interval::one(bits, decided.into()),
        None => Interval::between(bits, 0, 1).unwrap_or(all),
    };
    let fits = |fits: bool| flag(fits.then_some(false));
    let by = other.single();
    // What shifts take as an amount may be of another width than what they shift.
    let same = one.bits() == other.bits();
    match (opcode, nth) {
        (Opcode::Ishl, _) => by.map_or(all, |by| one.shl(by)),
        (Opcode::Ushr, _) => by.map_or(all, |by| one.ushr(by)),
        (Opcode::Sshr, _) => by.map_or(all, |by| one.sshr(by)),
        _ if !same => all,
        (Opcode::UaddOverflow, 1) => flag(one.sum_overflows(other)),
        (Opcode::SaddOverflow, 1) => fits(one.fits_signed(other, false)),
        (Opcode::SsubOverflow, 1) => fits(one.fits_signed(other, true)),
        (Opcode::UsubOverflow, 1) => fits(one.fits_below(other)),
        (Opcode::UmulOverflow | Opcode::SmulOverflow, 1) => flag(None),
        (Opcode::Iadd | Opcode::UaddOverflow | Opcode::SaddOverflow, _) => one.add(other),
        (Opcode::Isub | Opcode::UsubOverflow | Opcode::SsubOverflow, _) => one.sub(other),
        (Opcode::Imul | Opcode::UmulOverflow | Opcode::SmulOverflow, _) => one.mul(other),
        (Opcode::Band, _) => one.and(other),
        (Opcode::Bor, _) => one.or(other, false),
        (Opcode::Bxor, _) => one.or(other, true),
        (Opcode::Udiv, _) => one.udiv(other),
        (Opcode::Urem, _) => one.urem(other),
        _ => all,
    }
}

const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;

/// A comparison as a set of orders, and whether they are those of signed integers.
pub(crate) fn order(cc: IntCC) -> (Option<bool>, u8) {
    match cc {
        IntCC::Equal => (None, EQUAL),
        IntCC::NotEqual => (None, LESS | GREATER),
        IntCC::UnsignedLessThan => (Some(false), LESS),
        IntCC::UnsignedLessThanOrEqual => (Some(false), LESS | EQUAL),
        IntCC::UnsignedGreaterThan => (Some(false), GREATER),
        IntCC::UnsignedGreaterThanOrEqual => (Some(false), GREATER | EQUAL),
        IntCC::SignedLessThan => (Some(true), LESS),
        IntCC::SignedLessThanOrEqual => (Some(true), LESS | EQUAL),
        IntCC::SignedGreaterThan => (Some(true), GREATER),
        IntCC::SignedGreaterThanOrEqual => (Some(true), GREATER | EQUAL),
    }
}
