//! Arithmetic with constants is done where it costs least.
//!
//! ```text
//!   v3 = iadd v1, 5                        v6 = ishl v1, 3
//!   v4 = ishl v3, 3                        v7 = iadd v2, v6
//!   v5 = iadd v2, v4               ─▶      v5 = iadd v7, 40       ← part of an address
//! ```
//!
//! | rule | |
//! |---|---|
//! | operations of constants | are constants |
//! | `(x + c) << k`, `(x + c) * d` | `(x << k) + (c << k)`, `x * d + c * d` |
//! | `x + (y + c)`, `(x + c) + d`, differences too | `(x + y) + c`, `x + (c + d)` |
//! | `x * (2ᵏ + 1)`, k up to 3 | `x + (x << k)`: one cycle or two instead of three |
//!
//! So the constants of indices, of which unrolled loops are full, end up in the offsets of addresses, and what is left is the same for all of them.
//!
//! Requires: a function that verifies. Ensures: the same values.
//!
//! Reference: K. Cooper, L. Simpson, C. Vick, "Operator strength reduction", TOPLAS 2001, for the term; R. Bernstein, "Multiplication by integer
//! constants", SP&E 16(7), 1986, section 2.
//!
//! Limitations: 32 and 64 bits. Induction variables that are multiplied stay: addressing modes scale for nothing.

use crate::account::Fuel;
use crate::edit::replace;
use crate::evaluate::{constant, local};
use crate::interval::Interval;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Function, Inst, InstBuilder, InstructionData, Opcode, Type, Value, ValueDef, types,
};
use regraft_regions::{Flow, FlowError};
use rustc_hash::FxHashMap;

/// Replaces operations.
///
/// # Errors
/// [`FlowError`] for what is no valid function.
///
/// # Complexity
/// O(instructions)
pub(crate) fn run(func: &mut Function, fuel: &mut Fuel) -> Result<(), FlowError> {
    let flow = Flow::compute(func)?;
    for &block in flow.rpo() {
        let insts: Vec<Inst> = func.layout.block_insts(block).collect();
        for inst in insts {
            let (&InstructionData::Binary { .. }, &[result]) =
                (&func.dfg.insts[inst], func.dfg.inst_results(inst))
            else {
                continue;
            };
            let ty = func.dfg.value_type(result);
            if !matches!(ty, types::I32 | types::I64) {
                continue;
            }
            let Some(form) = better(func, inst, ty) else {
                continue;
            };
            if !fuel.burn() {
                return Ok(());
            }
            let value = build(func, inst, ty, form);
            replace(func, inst, result, value);
        }
    }
    Ok(())
}

/// What an operation is made into.
#[derive(Clone, Copy, Debug)]
enum Form {
    Constant(u64),
    /// `(x << k) + c`
    ShiftedSum(Value, u64, u64),
    /// `x * d + c`
    MultipliedSum(Value, u64, u64),
    /// `(x + y) + c`
    Sum(Value, Value, u64),
    /// `x + c`
    Offset(Value, u64),
    /// `x + (x << k)`
    Times(Value, u64),
}

fn better(func: &Function, inst: Inst, ty: Type) -> Option<Form> {
    let InstructionData::Binary {
        opcode,
        args: [a, b],
    } = func.dfg.insts[inst]
    else {
        return None;
    };
    let none: FxHashMap<Value, Interval> = FxHashMap::default();
    let (c, d) = (constant(func, a), constant(func, b));
    if c.is_some() && d.is_some() {
        return Some(Form::Constant(local(func, inst, &none)?.single()?));
    }
    let bits = u64::from(ty.bits());
    match opcode {
        Opcode::Ishl => {
            let by = d? % bits;
            let (x, c) = sum(func, a)?;
            Some(Form::ShiftedSum(x, by, c.checked_shl(by as u32)?))
        }
        Opcode::Imul => {
            let (value, times) = match (c, d) {
                (_, Some(d)) => (a, d),
                (Some(c), None) => (b, c),
                (None, None) => return None,
            };
            if let Some((x, c)) = sum(func, value) {
                return Some(Form::MultipliedSum(x, times, c.wrapping_mul(times)));
            }
            Some(Form::Times(value, shift_of(times)?))
        }
        Opcode::Iadd => match (c, d, sum(func, a), sum(func, b)) {
            (None, Some(d), Some((x, c)), _) => Some(Form::Offset(x, c.wrapping_add(d))),
            (Some(c), None, _, Some((x, d))) => Some(Form::Offset(x, c.wrapping_add(d))),
            (None, None, Some((x, c)), Some((y, d))) => Some(Form::Sum(x, y, c.wrapping_add(d))),
            (None, None, Some((x, c)), None) => Some(Form::Sum(x, b, c)),
            (None, None, None, Some((y, c))) => Some(Form::Sum(a, y, c)),
            _ => None,
        },
        Opcode::Isub => match (d, sum(func, a)) {
            (Some(d), Some((x, c))) => Some(Form::Offset(x, c.wrapping_sub(d))),
            _ => None,
        },
        _ => None,
    }
}

/// The k of a factor `2ᵏ + 1` that one shift is enough for.
fn shift_of(times: u64) -> Option<u64> {
    let power = times.checked_sub(1).filter(|less| less.is_power_of_two())?;
    let by = u64::from(power.trailing_zeros());
    (1..=3).contains(&by).then_some(by)
}

/// A sum of a value and a constant.
fn sum(func: &Function, value: Value) -> Option<(Value, u64)> {
    let ValueDef::Result(inst, _) = func.dfg.value_def(func.dfg.resolve_aliases(value)) else {
        return None;
    };
    let InstructionData::Binary {
        opcode,
        args: [a, b],
    } = func.dfg.insts[inst]
    else {
        return None;
    };
    match (opcode, constant(func, a), constant(func, b)) {
        (Opcode::Iadd, None, Some(c)) => Some((a, c)),
        (Opcode::Iadd, Some(c), None) => Some((b, c)),
        (Opcode::Isub, None, Some(c)) => Some((a, c.wrapping_neg())),
        _ => None,
    }
}

fn build(func: &mut Function, inst: Inst, ty: Type, form: Form) -> Value {
    let location = func.srcloc(inst);
    let mut cursor = FuncCursor::new(func).at_inst(inst);
    cursor.set_srcloc(location);
    let number = |cursor: &mut FuncCursor<'_>, value: u64| {
        // As many bits as the type has, with the sign that they have there.
        let shift = 64 - ty.bits();
        let value = (value << shift).cast_signed() >> shift;
        let value = match ty {
            types::I32 => value & 0xffff_ffff,
            _ => value,
        };
        cursor.ins().iconst(ty, value)
    };
    let shifted = |cursor: &mut FuncCursor<'_>, value, by: u64| {
        let by = number(cursor, by);
        cursor.ins().ishl(value, by)
    };
    match form {
        Form::Constant(value) => number(&mut cursor, value),
        Form::ShiftedSum(x, by, c) => {
            let x = shifted(&mut cursor, x, by);
            let c = number(&mut cursor, c);
            cursor.ins().iadd(x, c)
        }
        Form::MultipliedSum(x, times, c) => {
            let x = match shift_of(times) {
                Some(by) => {
                    let shifted = shifted(&mut cursor, x, by);
                    cursor.ins().iadd(x, shifted)
                }
                None => {
                    let times = number(&mut cursor, times);
                    cursor.ins().imul(x, times)
                }
            };
            let c = number(&mut cursor, c);
            cursor.ins().iadd(x, c)
        }
        Form::Sum(x, y, c) => {
            let x = cursor.ins().iadd(x, y);
            let c = number(&mut cursor, c);
            cursor.ins().iadd(x, c)
        }
        Form::Offset(x, c) => {
            let c = number(&mut cursor, c);
            cursor.ins().iadd(x, c)
        }
        Form::Times(x, by) => {
            let shifted = shifted(&mut cursor, x, by);
            cursor.ins().iadd(x, shifted)
        }
    }
}
