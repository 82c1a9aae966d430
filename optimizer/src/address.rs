//! What addresses are made of: sums of terms and a constant.
//!
//! Two instructions that compute the same from the same operands give the same value wherever both are, so that each
//! value has a *number*: the first value, in reverse postorder, that is computed like it. An [`Address`] is a sum of
//! numbers (its *base*) and a constant offset.
//!
//! Invariants:
//!
//! * *Leaves*: a number depends on leaves only: block parameters, and results of what is not a pure operation. While no leaf of
//!   a base is defined again, the base is the same address. In a loop, a leaf of the loop's is defined again in each
//!   iteration: [`Numbering::bases_of_leaf`] says which bases are other addresses from there on.
//!
//! Limitations: the few operations that addresses are made of; everything else is a leaf. Sums are of 64-bit integers;
//! a sum of 32-bit integers, which is extended afterwards, is one term. Unreachable blocks have no numbers.

use crate::policy::Policy;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{
    Function, GlobalValue, GlobalValueData, Inst, InstructionData, Opcode, StackSlot, Type, Value,
    ValueDef, types,
};
use regraft_regions::Flow;
use rustc_hash::FxHashMap;

/// A base, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BaseId(pub u32);

/// A term of a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Term {
    /// The address of a stack slot of this function.
    Slot(StackSlot),
    /// A value, by its number.
    Value(Value),
}

/// A base and a constant offset, modulo 2⁶⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub base: BaseId,
    pub offset: i64,
}

#[derive(Clone, Debug)]
struct Base {
    terms: Vec<Term>,
    leaves: Vec<Value>,
}

/// An operation and its operands' numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    opcode: Opcode,
    ty: Type,
    args: [Option<Value>; 2],
    immediate: i64,
}

/// The numbers of a function's values, and what addresses they are.
#[derive(Debug)]
pub(crate) struct Numbering {
    numbers: SecondaryMap<Value, Option<Value>>,
    addresses: FxHashMap<Value, Address>,
    bases: Vec<Base>,
    ids: FxHashMap<Vec<Term>, BaseId>,
    leaf_bases: FxHashMap<Value, Vec<BaseId>>,
    /// The leaves of numbers that have other leaves than themselves.
    leaves: FxHashMap<Value, Vec<Value>>,
}

impl Numbering {
    /// Numbers the values of reachable blocks.
    ///
    /// # Complexity
    /// O(instructions)
    ///
    /// # Reference
    /// B. Alpern, M. Wegman, F. Zadeck, "Detecting equality of variables in programs", POPL 1988, section 2, for the
    /// numbers (by hashing: P. Briggs, K. Cooper, L. Simpson, "Value numbering", SP&E 27(6), 1997, section 3).
    pub fn compute(func: &Function, flow: &Flow, policy: &Policy) -> Self {
        let mut numbering = Self {
            numbers: SecondaryMap::new(),
            addresses: FxHashMap::default(),
            bases: vec![],
            ids: FxHashMap::default(),
            leaf_bases: FxHashMap::default(),
            leaves: FxHashMap::default(),
        };
        let mut known = FxHashMap::default();
        for &block in flow.rpo() {
            for &param in func.dfg.block_params(block) {
                numbering.add_leaf(param);
            }
            for inst in func.layout.block_insts(block) {
                let results = func.dfg.inst_results(inst);
                let key = match *results {
                    [result] => numbering.key(func, inst, func.dfg.value_type(result)),
                    _ => None,
                };
                let (Some(key), [result]) = (key, results) else {
                    for &result in results {
                        numbering.add_leaf(result);
                    }
                    continue;
                };
                let mut leaves: Vec<Value> = vec![];
                for arg in key.args.iter().flatten() {
                    leaves.extend(numbering.leaves_of(*arg));
                }
                leaves.sort_unstable();
                leaves.dedup();
                if leaves.len() > policy.max_leaves {
                    numbering.add_leaf(*result);
                    continue;
                }
                let number = *known.entry(key).or_insert(*result);
                numbering.numbers[*result] = Some(number);
                if number == *result {
                    numbering.leaves.insert(number, leaves);
                    numbering.add_address(func, key, number, policy);
                }
            }
        }
        numbering
    }

    fn add_leaf(&mut self, value: Value) {
        self.numbers[value] = Some(value);
    }

    /// The leaves that a number depends on.
    pub fn leaves_of(&self, number: Value) -> impl Iterator<Item = Value> + '_ {
        let inner = self.leaves.get(&number);
        let own = inner.is_none().then_some(number);
        inner.into_iter().flatten().copied().chain(own)
    }

    /// The number of a value; `None` in unreachable code.
    pub fn number(&self, func: &Function, value: Value) -> Option<Value> {
        self.numbers[func.dfg.resolve_aliases(value)]
    }

    fn key(&self, func: &Function, inst: Inst, ty: Type) -> Option<Key> {
        let data = &func.dfg.insts[inst];
        let mut key = Key {
            opcode: data.opcode(),
            ty,
            args: [None; 2],
            immediate: 0,
        };
        match *data {
            InstructionData::Binary { opcode, args } => {
                use Opcode as O;
                if !matches!(opcode, O::Iadd | O::Isub | O::Imul | O::Ishl | O::Band) {
                    return None;
                }
                let mut args = [self.number(func, args[0])?, self.number(func, args[1])?];
                if matches!(opcode, O::Iadd | O::Imul | O::Band) {
                    args.sort_unstable();
                }
                key.args = args.map(Some);
            }
            InstructionData::Unary { opcode, arg } => {
                if !matches!(opcode, Opcode::Uextend | Opcode::Sextend | Opcode::Ireduce) {
                    return None;
                }
                key.args[0] = Some(self.number(func, arg)?);
            }
            InstructionData::UnaryImm { imm, .. } => key.immediate = imm.bits(),
            InstructionData::StackAddr {
                stack_slot, offset, ..
            } => {
                key.immediate = i64::from(stack_slot.as_u32()) << 32 | offset_bits(offset.into());
            }
            InstructionData::UnaryGlobalValue { global_value, .. } => {
                if !is_constant(func, global_value) {
                    return None;
                }
                key.immediate = i64::from(global_value.as_u32());
            }
            InstructionData::Load {
                opcode: Opcode::Load,
                arg,
                flags,
                offset,
            } => {
                let data = func.dfg.mem_flags[flags];
                if !data.readonly() {
                    return None;
                }
                key.args[0] = Some(self.number(func, arg)?);
                key.immediate = i64::from(flags.as_u32()) << 32 | offset_bits(offset.into());
            }
            _ => return None,
        }
        Some(key)
    }

    fn add_address(&mut self, func: &Function, key: Key, number: Value, policy: &Policy) {
        if key.ty != types::I64 {
            return;
        }
        let sum = match (key.opcode, key.args) {
            (Opcode::StackAddr, _) => match func.dfg.value_def(number) {
                ValueDef::Result(inst, _) => match func.dfg.insts[inst] {
                    InstructionData::StackAddr {
                        stack_slot, offset, ..
                    } => Some((vec![Term::Slot(stack_slot)], i64::from(i32::from(offset)))),
                    _ => None,
                },
                _ => None,
            },
            (Opcode::Iconst, _) => Some((vec![], key.immediate)),
            (Opcode::Iadd, [Some(a), Some(b)]) => {
                let ((mut terms, one), (others, two)) = (self.sum(a), self.sum(b));
                terms.extend(others);
                terms.sort_unstable();
                (terms.len() <= policy.max_terms).then(|| (terms, one.wrapping_add(two)))
            }
            (Opcode::Isub, [Some(a), Some(b)]) => {
                let ((terms, one), (others, two)) = (self.sum(a), self.sum(b));
                others.is_empty().then(|| (terms, one.wrapping_sub(two)))
            }
            _ => None,
        };
        if let Some((terms, offset)) = sum {
            let base = self.base(terms);
            self.addresses.insert(number, Address { base, offset });
        }
    }

    /// The terms and the offset of a number.
    fn sum(&self, number: Value) -> (Vec<Term>, i64) {
        match self.addresses.get(&number) {
            Some(address) => (self.terms(address.base).to_vec(), address.offset),
            None => (vec![Term::Value(number)], 0),
        }
    }

    fn base(&mut self, terms: Vec<Term>) -> BaseId {
        if let Some(&id) = self.ids.get(&terms) {
            return id;
        }
        let id = BaseId(u32::try_from(self.bases.len()).unwrap_or(u32::MAX));
        let mut leaves = vec![];
        for &term in &terms {
            if let Term::Value(number) = term {
                leaves.extend(self.leaves_of(number));
            }
        }
        leaves.sort_unstable();
        leaves.dedup();
        for &leaf in &leaves {
            self.leaf_bases.entry(leaf).or_default().push(id);
        }
        self.ids.insert(terms.clone(), id);
        self.bases.push(Base { terms, leaves });
        id
    }

    /// The address `value + offset`; `None` in unreachable code.
    pub fn address(&mut self, func: &Function, value: Value, offset: i32) -> Option<Address> {
        let number = self.number(func, value)?;
        let address = match self.addresses.get(&number) {
            Some(&address) => address,
            None => {
                let address = Address {
                    base: self.base(vec![Term::Value(number)]),
                    offset: 0,
                };
                self.addresses.insert(number, address);
                address
            }
        };
        Some(Address {
            base: address.base,
            offset: address.offset.wrapping_add(i64::from(offset)),
        })
    }

    /// The terms of a base.
    pub fn terms(&self, base: BaseId) -> &[Term] {
        self.bases.get(base.0 as usize).map_or(&[], |b| &b.terms)
    }

    /// The leaves of a base.
    pub fn leaves(&self, base: BaseId) -> &[Value] {
        self.bases.get(base.0 as usize).map_or(&[], |b| &b.leaves)
    }

    /// The bases that are other addresses once `leaf` is defined again.
    pub fn bases_of_leaf(&self, leaf: Value) -> &[BaseId] {
        self.leaf_bases.get(&leaf).map_or(&[], |bases| bases)
    }
}

fn offset_bits(offset: i32) -> i64 {
    i64::from(offset.cast_unsigned())
}

/// Whether a global value is the same throughout a call: what it loads is never written.
fn is_constant(func: &Function, global: GlobalValue) -> bool {
    let mut global = global;
    // The verifier has seen to it that this ends; the bound is for functions that it has not seen.
    for _ in 0..64 {
        match func.global_values.get(global) {
            Some(GlobalValueData::VMContext | GlobalValueData::Symbol { .. }) => return true,
            Some(&GlobalValueData::IAddImm { base, .. }) => global = base,
            Some(&GlobalValueData::Load { base, flags, .. }) => {
                if !func.dfg.mem_flags[flags].readonly() {
                    return false;
                }
                global = base;
            }
            _ => return false,
        }
    }
    false
}
