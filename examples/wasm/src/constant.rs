//! Evaluation of constant expressions.

use crate::error::Error;
use crate::module::ConstOp;

/// The value of an expression as a cell; globals and functions are asked for.
///
/// # Errors
///
/// `Internal`, where the expression is not what the validator has let pass.
pub(crate) fn evaluate(
    expr: &[ConstOp],
    global: impl Fn(u32) -> u128,
    function: impl Fn(u32) -> Option<u64>,
) -> Result<u128, Error> {
    let wrong = || Error::Internal("a constant expression that is none".to_string());
    let mut stack: Vec<u128> = vec![];
    for op in expr {
        let value = match *op {
            ConstOp::I32(value) => u128::from(value.cast_unsigned()),
            ConstOp::I64(value) => u128::from(value.cast_unsigned()),
            ConstOp::F32(bits) => u128::from(bits),
            ConstOp::F64(bits) => u128::from(bits),
            ConstOp::V128(value) => value,
            ConstOp::Null => 0,
            ConstOp::Func(index) => u128::from(function(index).ok_or_else(wrong)?),
            ConstOp::Global(index) => global(index),
            op => {
                let (y, x) = (stack.pop(), stack.pop());
                binary(op, x.ok_or_else(wrong)?, y.ok_or_else(wrong)?)
            }
        };
        stack.push(value);
    }
    match stack[..] {
        [value] => Ok(value),
        _ => Err(wrong()),
    }
}

fn binary(op: ConstOp, x: u128, y: u128) -> u128 {
    let (x32, y32) = (x as u32, y as u32);
    let (x, y) = (x as u64, y as u64);
    match op {
        ConstOp::I32Add => u128::from(x32.wrapping_add(y32)),
        ConstOp::I32Sub => u128::from(x32.wrapping_sub(y32)),
        ConstOp::I32Mul => u128::from(x32.wrapping_mul(y32)),
        ConstOp::I64Add => u128::from(x.wrapping_add(y)),
        ConstOp::I64Sub => u128::from(x.wrapping_sub(y)),
        _ => u128::from(x.wrapping_mul(y)),
    }
}
