//! Which copy of its counters an activation uses.
//!
//! Threads that count in the same cache lines slow each other down. With several copies each activation picks one by
//! the address of its stack: threads have stacks of their own, so that two of them mostly have copies of their own.
//!
//! ```text
//!   copy = low half of (stack pointer / granule) × spread, its topmost bits        base = first copy + copy × stride
//! ```
//!
//! Invariants:
//!
//! * Any choice is right: the runtime arms every copy, and counts are sums over all of them. An activation of tier 0
//!   chooses once, at its entry.
//!
//! Limitations: a region chooses anew, at its own stack pointer. Where a granule's border lies between its frame and
//! that of tier 0, it may take an entry for one into a running loop, or the other way round.
//!
//! Not here: where a copy's cells lie (`layout`).

use crate::passes::layout::{CounterLayout, GRANULE_BITS, SPREAD};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{Function, GlobalValue, Inst, InstBuilder, Type, Value, types};

/// Where code finds its counters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base {
    /// At the first copy, or the only one.
    Symbol(GlobalValue),
    /// At an address computed at the function's entry.
    Chosen(Value),
}

impl Base {
    /// Chooses at the entry of a function, whose first instructions compute the address.
    pub fn at_entry(
        func: &mut Function,
        pointer: Type,
        symbol: GlobalValue,
        layout: &CounterLayout,
    ) -> Self {
        let entry = func.layout.entry_block();
        let Some(entry) = entry.filter(|_| layout.copies() > 1) else {
            return Self::Symbol(symbol);
        };
        let mut cursor = FuncCursor::new(func).at_first_insertion_point(entry);
        Self::Chosen(choose(&mut cursor, pointer, symbol, layout))
    }

    /// The address.
    pub fn address(self, cursor: &mut FuncCursor<'_>, pointer: Type) -> Value {
        match self {
            Self::Symbol(symbol) => cursor.ins().symbol_value(pointer, symbol),
            Self::Chosen(address) => address,
        }
    }

    /// The last instruction of those that compute the address at the entry, if any do.
    pub fn computed_by(self, func: &Function) -> Option<Inst> {
        match self {
            Self::Symbol(_) => None,
            Self::Chosen(address) => func.dfg.value_def(address).inst(),
        }
    }
}

/// The address of the copy that belongs to the stack of the code at the cursor.
pub(super) fn choose(
    cursor: &mut FuncCursor<'_>,
    pointer: Type,
    symbol: GlobalValue,
    layout: &CounterLayout,
) -> Value {
    let first = cursor.ins().symbol_value(pointer, symbol);
    if layout.copies() <= 1 {
        return first;
    }
    let stack = cursor.ins().get_stack_pointer(pointer);
    let bits = cursor.ins().iconst(pointer, i64::from(GRANULE_BITS));
    let granule = cursor.ins().ushr(stack, bits);
    let wide = pointer.bits() > types::I32.bits();
    let granule = match wide {
        true => cursor.ins().ireduce(types::I32, granule),
        false => granule,
    };
    let spread = cursor
        .ins()
        .iconst(types::I32, i64::from(SPREAD.cast_unsigned()));
    let hash = cursor.ins().imul(granule, spread);
    let kept = 32 - i64::from(layout.copy_bits());
    let kept = cursor.ins().iconst(types::I32, kept);
    let copy = cursor.ins().ushr(hash, kept);
    let copy = match wide {
        true => cursor.ins().uextend(pointer, copy),
        false => copy,
    };
    let stride = cursor.ins().iconst(pointer, i64::from(layout.stride()));
    let distance = cursor.ins().imul(copy, stride);
    cursor.ins().iadd(first, distance)
}
