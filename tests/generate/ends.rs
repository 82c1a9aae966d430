//! How functions end: what they return, and digests that leave nothing unseen.

use super::body::{Body, NEVER};
use super::memory::{OBJECT_BYTES, Place};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, TrapCode, Type, Value, types};

impl Body<'_, '_, '_> {
    pub(super) fn leave(&mut self) {
        if self.source.percent(60) && self.tail_call() {
            return;
        }
        if self.digest && self.source.percent(80) {
            self.builder.ins().jump(self.out, &[]);
            return;
        }
        let types = self.returns.clone();
        let values: Vec<Value> = types.into_iter().map(|ty| self.value(ty)).collect();
        self.builder.ins().return_(&values);
    }

    pub(super) fn finish(mut self) {
        self.builder.switch_to_block(self.out);
        self.pool.clear();
        let types = self.returns.clone();
        let mut values: Vec<Value> = types.into_iter().map(|ty| self.value(ty)).collect();
        if self.digest
            && let Some(last) = values.last_mut()
        {
            *last = self.digested();
        }
        self.builder.ins().return_(&values);
        if let Some(trap) = self.trap {
            self.builder.switch_to_block(trap);
            self.builder.ins().trap(TrapCode::unwrap_user(NEVER));
        }
        self.builder.seal_all_blocks();
        self.builder.finalize(super::body::FRONTEND);
    }

    /// A digest of all variables and stack slots.
    fn digested(&mut self) -> Value {
        let mut words = vec![];
        for (variable, ty) in self.variables.clone() {
            let value = self.builder.use_var(variable);
            words.extend(self.words(value, ty));
        }
        for object in self.objects.clone() {
            if let Place::Slot(slot) = object.place {
                let flags = MemFlagsData::trusted().with_alias_region(object.region);
                let address = self.builder.ins().stack_addr(types::I64, slot, 0);
                for offset in (0..OBJECT_BYTES as i32).step_by(8) {
                    words.push(self.builder.ins().load(types::I64, flags, address, offset));
                }
            }
        }
        let mut digest = self.builder.ins().iconst(types::I64, 0);
        let factor = self
            .builder
            .ins()
            .iconst(types::I64, 0x9e37_79b9_7f4a_7c15_u64 as i64);
        for word in words {
            let sum = self.builder.ins().bxor(digest, word);
            digest = self.builder.ins().imul(sum, factor);
        }
        digest
    }

    /// The bits of a value.
    fn words(&mut self, value: Value, ty: Type) -> Vec<Value> {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        let ins = self.builder.ins();
        match ty {
            types::I64 => vec![value],
            types::I128 => {
                let (low, high) = ins.isplit(value);
                vec![low, high]
            }
            types::F16 | types::F32 | types::F64 | types::F128 => {
                let bits = Type::int(ty.bits() as u16).unwrap_or(types::I64);
                let value = ins.bitcast(bits, MemFlagsData::new(), value);
                self.words(value, bits)
            }
            _ if ty.is_vector() => {
                let value = match ty {
                    types::I64X2 => value,
                    _ => ins.bitcast(types::I64X2, flags, value),
                };
                let lanes = [0, 1];
                lanes
                    .map(|lane| self.builder.ins().extractlane(value, lane))
                    .to_vec()
            }
            _ => vec![ins.uextend(types::I64, value)],
        }
    }
}
