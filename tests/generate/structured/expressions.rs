//! Expressions and conditions.

use super::Drawer;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, TrapCode, Type, Value, types};

impl Drawer<'_, '_, '_> {
    pub(super) fn number(&mut self, ty: Type, value: i64) -> Value {
        let value = if ty == types::I32 {
            value & 0xffff_ffff
        } else {
            value
        };
        self.builder.ins().iconst(ty, value)
    }

    pub(super) fn constant(&mut self, ty: Type) -> Value {
        let value = match self.source.percent(70) {
            true => self.source.below(12) as i64 - 2,
            false => self.source.bits().cast_signed(),
        };
        self.number(ty, value)
    }

    pub(super) fn convert(&mut self, value: Value, ty: Type) -> Value {
        let from = self.builder.func.dfg.value_type(value);
        match (from.bits(), ty.bits()) {
            (from, to) if from == to => value,
            (from, to) if from > to => self.builder.ins().ireduce(ty, value),
            _ if self.source.percent(50) => self.builder.ins().sextend(ty, value),
            _ => self.builder.ins().uextend(ty, value),
        }
    }

    fn leaf(&mut self, ty: Type) -> Value {
        let all = self.locals.len() + self.counters.len();
        if self.source.percent(30) {
            return self.constant(ty);
        }
        let nth = self.source.below(all);
        let local = self.locals.iter().chain(&self.counters).nth(nth).copied();
        let value = match local {
            Some(local) => self.read(local),
            None => self.constant(ty),
        };
        self.convert(value, ty)
    }

    pub(super) fn expression(&mut self, ty: Type, depth: u32) -> Value {
        if depth == 0 || self.source.percent(30) {
            return self.leaf(ty);
        }
        let (a, b) = (
            self.expression(ty, depth - 1),
            self.expression(ty, depth - 1),
        );
        let amount = self.source.below(9) as i64;
        let amount = self.number(ty, amount);
        let nth = self.source.below(16);
        match nth {
            0..=2 => self.builder.ins().iadd(a, b),
            3 | 4 => self.builder.ins().isub(a, b),
            5 | 6 => self.builder.ins().imul(a, b),
            7 => self.builder.ins().band(a, b),
            8 => self.builder.ins().bor(a, b),
            9 => self.builder.ins().bxor(a, b),
            10 => self.builder.ins().ishl(a, amount),
            11 => self.builder.ins().ushr(a, amount),
            12 => self.builder.ins().sshr(a, amount),
            13 => {
                let condition = self.condition(depth - 1);
                self.builder.ins().select(condition, a, b)
            }
            14 => self.element(depth - 1).map_or(a, |address| {
                let loaded =
                    self.builder
                        .ins()
                        .load(types::I64, MemFlagsData::trusted(), address, 0);
                self.convert(loaded, ty)
            }),
            _ => self.checked_sum(ty, a, b),
        }
    }

    /// A sum that traps if it overflows, one way or another; mostly of small numbers.
    fn checked_sum(&mut self, ty: Type, a: Value, b: Value) -> Value {
        let mask = self.number(ty, 0xff);
        let (a, b) = match self.source.percent(90) {
            true => (
                self.builder.ins().band(a, mask),
                self.builder.ins().band(b, mask),
            ),
            false => (a, b),
        };
        let code = TrapCode::INTEGER_OVERFLOW;
        let nth = self.source.below(4);
        let (sum, overflows) = match nth {
            0 => return self.builder.ins().uadd_overflow_trap(a, b, code),
            1 => self.builder.ins().sadd_overflow(a, b),
            2 => self.builder.ins().uadd_overflow(a, b),
            _ => self.builder.ins().ssub_overflow(a, b),
        };
        self.builder.ins().trapnz(overflows, code);
        sum
    }

    pub(super) fn condition(&mut self, depth: u32) -> Value {
        let ty = self.source.pick(&[types::I64, types::I32]);
        let (a, b) = (self.expression(ty, depth), self.leaf(ty));
        let cc = self.comparison();
        let compared = self.builder.ins().icmp(cc, a, b);
        let nth = self.source.below(6);
        match nth {
            0 => self.builder.ins().uextend(types::I64, compared),
            1 => {
                let flag = self.leaf(types::I8);
                self.builder.ins().band(compared, flag)
            }
            2 => {
                let flag = self.leaf(types::I8);
                self.builder.ins().bor(compared, flag)
            }
            _ => compared,
        }
    }

    pub(super) fn comparison(&mut self) -> IntCC {
        self.source.pick(&[
            IntCC::SignedLessThan,
            IntCC::UnsignedLessThan,
            IntCC::NotEqual,
            IntCC::Equal,
            IntCC::SignedLessThanOrEqual,
            IntCC::SignedGreaterThan,
            IntCC::SignedGreaterThanOrEqual,
            IntCC::UnsignedGreaterThan,
            IntCC::UnsignedGreaterThanOrEqual,
            IntCC::UnsignedLessThanOrEqual,
        ])
    }

    /// The address of an element, once its index is checked; the check may be for something else than the length, if that is more.
    pub(super) fn element(&mut self, depth: u32) -> Option<Value> {
        if self.arrays.is_empty() {
            return None;
        }
        let nth = self.source.below(self.arrays.len());
        let (slot, len) = *self.arrays.get(nth)?;
        let index = match (self.counters.last().copied(), self.source.percent(60)) {
            (Some(counter), true) => self.read(counter),
            _ => self.expression(types::I64, depth),
        };
        let mut index = self.convert(index, types::I64);
        if self.source.percent(30) {
            let mask = self.number(types::I64, 1);
            index = self.builder.ins().band(index, mask);
        }
        let bound = self.number(types::I64, len);
        let code = TrapCode::HEAP_OUT_OF_BOUNDS;
        if self.source.percent(50) {
            let outside = self
                .builder
                .ins()
                .icmp(IntCC::UnsignedGreaterThanOrEqual, index, bound);
            self.builder.ins().trapnz(outside, code);
        } else {
            let inside = self
                .builder
                .ins()
                .icmp(IntCC::UnsignedLessThan, index, bound);
            self.builder.ins().trapz(inside, code);
        }
        let three = self.number(types::I64, 3);
        let offset = self.builder.ins().ishl(index, three);
        let base = self.builder.ins().stack_addr(types::I64, slot, 0);
        Some(self.builder.ins().iadd(base, offset))
    }
}
