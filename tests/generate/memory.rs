//! Memory and calls.
//!
//! *Objects* are what an address can lead to: stack slots, the host's buffers. Each has at least 64 bytes.
//! Those of an alias region of their own are reached only by their own name, so that the regions are true;
//! *plain* ones can be pointed to by variables, which travel through loops and into callees.
//! Addresses are never seen as numbers: they differ from run to run.

use super::body::Body;
use super::values::Callee;
use cranelift_codegen::ir::{
    AliasRegion, AtomicRmwOp, Endianness, GlobalValue, InstBuilder, MemFlagsData, StackSlot, Type,
    Value, types,
};
use cranelift_frontend::Variable;

/// Bytes of every object that may be accessed.
pub const OBJECT_BYTES: u32 = 64;

/// How an object is found.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A stack slot.
    Slot(StackSlot),
    /// An address in a variable.
    Variable(Variable),
    /// The address of a symbol.
    Symbol(GlobalValue),
    /// The pointer that lies where the address in a variable leads.
    Behind(Variable),
}

/// A piece of memory.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// How it is found.
    pub place: Place,
    /// The alias region of all accesses to it.
    pub region: Option<AliasRegion>,
}

impl Body<'_, '_, '_> {
    fn address(&mut self, place: Place) -> Value {
        match place {
            Place::Slot(slot) => self.builder.ins().stack_addr(types::I64, slot, 0),
            Place::Variable(variable) => self.builder.use_var(variable),
            Place::Symbol(global) => self.builder.ins().symbol_value(types::I64, global),
            Place::Behind(variable) => {
                let base = self.builder.use_var(variable);
                let flags = MemFlagsData::trusted().with_readonly();
                self.builder.ins().load(types::I64, flags, base, 0)
            }
        }
    }

    /// An address that `ty` can be accessed at, the offset to use, and true flags.
    fn access(&mut self, ty: Type) -> Option<(Value, i32, MemFlagsData)> {
        let (base, region) = if !self.pointers.is_empty() && self.source.percent(40) {
            let pointers = self.pointers.clone();
            let pointer = self.source.pick(&pointers);
            (self.builder.use_var(pointer), None)
        } else {
            if self.objects.is_empty() {
                return None;
            }
            let at = self.source.below(self.objects.len());
            let object = self.objects[at];
            (self.address(object.place), object.region)
        };
        let aligned = self.source.percent(50);
        let align = if aligned { ty.bytes() as usize } else { 1 };
        let mut flags = MemFlagsData::new().with_alias_region(region);
        if aligned {
            flags.set_aligned();
        }
        if self.source.percent(70) {
            flags.set_notrap();
        }
        if self.source.percent(10) {
            flags.set_endianness(Endianness::Little);
        }
        let offset = self.source.below(17) / align * align;
        let address = if self.source.percent(50) {
            let index = self.value(types::I64);
            let mask = self
                .builder
                .ins()
                .iconst(types::I64, (31 & !(align - 1)) as i64);
            let index = self.builder.ins().band(index, mask);
            self.builder.ins().iadd(base, index)
        } else {
            base
        };
        Some((address, offset as i32, flags))
    }

    pub(super) fn load(&mut self, ty: Type) -> Value {
        let Some((address, offset, flags)) = self.access(ty) else {
            return self.value(ty);
        };
        self.builder.ins().load(ty, flags, address, offset)
    }

    pub(super) fn store(&mut self) {
        let Some(&(_, ty)) = self.pool.last() else {
            return;
        };
        let value = self.value(ty);
        if let Some((address, offset, flags)) = self.access(ty) {
            self.builder.ins().store(flags, value, address, offset);
        }
    }

    /// Narrow and atomic accesses, fences.
    pub(super) fn memory_operation(&mut self) {
        match self.source.below(5) {
            0 => {
                let value = self.value(types::I64);
                if let Some((address, offset, flags)) = self.access(types::I16) {
                    self.builder.ins().istore16(flags, value, address, offset);
                }
            }
            1 => {
                if let Some((address, offset, flags)) = self.access(types::I8) {
                    let value = self
                        .builder
                        .ins()
                        .sload8(types::I32, flags, address, offset);
                    self.pool.push((value, types::I32));
                }
            }
            2 => {
                let value = self.value(types::I32);
                if let Some((address, _, mut flags)) = self.access(types::I32) {
                    if !flags.aligned() {
                        return;
                    }
                    flags.set_notrap();
                    let op =
                        self.source
                            .pick(&[AtomicRmwOp::Add, AtomicRmwOp::Xchg, AtomicRmwOp::Umax]);
                    let old = self
                        .builder
                        .ins()
                        .atomic_rmw(types::I32, flags, op, address, value);
                    self.pool.push((old, types::I32));
                }
            }
            3 => {
                self.builder.ins().fence();
            }
            _ => {
                // Copies through memory: a store and a load of another type at one place.
                let value = self.value(types::I64);
                if let Some((address, offset, flags)) = self.access(types::I64) {
                    self.builder.ins().store(flags, value, address, offset);
                    let value = self.builder.ins().load(types::I32, flags, address, offset);
                    self.pool.push((value, types::I32));
                }
            }
        }
    }

    /// Makes a pointer variable point elsewhere.
    pub(super) fn exchange_pointers(&mut self) {
        if self.pointers.is_empty() {
            return;
        }
        let pointers = self.pointers.clone();
        let to = self.source.pick(&pointers);
        let value = self.pointer();
        self.builder.def_var(to, value);
    }

    /// The address of a plain object.
    fn pointer(&mut self) -> Value {
        let pointers = self.pointers.clone();
        let plain = self.objects.iter().filter(|object| object.region.is_none());
        let plain: Vec<Place> = plain.map(|object| object.place).collect();
        if plain.is_empty() || self.source.percent(40) {
            let pointer = self.source.pick(&pointers);
            return self.builder.use_var(pointer);
        }
        let place = self.source.pick(&plain);
        let address = self.address(place);
        if self.source.percent(30) {
            let other = self.source.pick(&pointers);
            let other = self.builder.use_var(other);
            let flag = self.condition();
            return self.builder.ins().select(flag, address, other);
        }
        address
    }

    fn arguments(&mut self, callee: &Callee) -> Vec<Value> {
        let params = callee.signature.params.iter().zip(&callee.pointers);
        params
            .map(|(param, &pointer)| match pointer {
                true => self.pointer(),
                false => self.value(param.value_type),
            })
            .collect()
    }

    pub(super) fn call(&mut self) {
        let at = self.source.below(self.callees.len());
        let Some(callee) = self.callees.get(at).cloned() else {
            return;
        };
        let args = self.arguments(&callee);
        let call = if self.source.percent(30) {
            let address = self.builder.ins().func_addr(types::I64, callee.func_ref);
            self.builder
                .ins()
                .call_indirect(callee.sig_ref, address, &args)
        } else {
            self.builder.ins().call(callee.func_ref, &args)
        };
        for &result in self.builder.func.dfg.inst_results(call) {
            let ty = self.builder.func.dfg.value_type(result);
            self.pool.push((result, ty));
        }
    }

    /// Ends the block with a tail call, if there is a callee for it.
    pub(super) fn tail_call(&mut self) -> bool {
        let caller = self.builder.func.signature.clone();
        let callee = self
            .callees
            .iter()
            .find(|callee| callee.suits_tail_call(&caller));
        let Some(callee) = callee.cloned() else {
            return false;
        };
        let args = self.arguments(&callee);
        if self.source.percent(30) {
            let address = self.builder.ins().func_addr(types::I64, callee.func_ref);
            let sig_ref = callee.sig_ref;
            self.builder
                .ins()
                .return_call_indirect(sig_ref, address, &args);
        } else {
            self.builder.ins().return_call(callee.func_ref, &args);
        }
        true
    }
}
