//! What stops a function's body from being run twice.
//!
//! A body that is run again must return the same bits and leave the same memory behind. It does if it
//! writes nothing but its own frame:
//!
//! * The contents of stack slots are undefined when a function is entered. A function whose result is
//!   determined at all therefore returns the same for *whatever* they hold, and so for what the run
//!   before left there.
//! * Memory outside of the frame is only read: it is the same at each run.
//!
//! Invariants:
//!
//! * An address counts as the frame's if it is computed from the address of a slot by adding to or
//!   subtracting from it, masking or selecting; anything else (parameters, loaded pointers, globals,
//!   block parameters) counts as memory that the caller sees.
//! * A call has the effect of its callee. Indirect calls are resolved only where the callee is a
//!   `func_addr`.
//!
//! Limitations: a function that hands the address of a slot to a callee that writes through it counts
//! as writing. Functions that are deterministic by luck (they read slots that nobody wrote) are not
//! noticed.
//!
//! Not here: the rewriting (`wrap`).

use super::function_name;
use cranelift_codegen::ir::{
    ExternalName, FuncRef, Function, Inst, InstructionData, LibCall, Opcode, Value, ValueDef,
};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Why a body may be run only once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It writes memory outside of its frame.
    Writes {
        /// The instruction.
        inst: Inst,
    },
    /// It calls a function that may not be run twice, or that is not known.
    Calls {
        /// The callee.
        callee: String,
    },
    /// It calls through a pointer, or switches stacks.
    CallsIndirectly {
        /// The instruction.
        inst: Inst,
    },
    /// It writes the pinned register.
    PinnedRegister {
        /// The instruction.
        inst: Inst,
    },
}

impl Effect {
    /// A short stable name, for counting.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Writes { .. } => "writes-memory",
            Self::Calls { .. } => "calls-effectful",
            Self::CallsIndirectly { .. } => "calls-indirectly",
            Self::PinnedRegister { .. } => "pinned-register",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writes { inst } => write!(f, "{inst} writes memory that is not its frame's"),
            Self::Calls { callee } => write!(f, "it calls {callee}, which may not run twice"),
            Self::CallsIndirectly { inst } => write!(f, "{inst} calls through a pointer"),
            Self::PinnedRegister { inst } => write!(f, "{inst} writes the pinned register"),
        }
    }
}

/// For each function, by name, why its body may be run only once; nothing where it may be repeated.
///
/// # Complexity
///
/// O(instructions + calls × call depth).
pub fn effects(functions: &[&Function]) -> HashMap<String, Option<Effect>> {
    let mut effects = HashMap::new();
    let mut calls = vec![];
    for func in functions {
        let own = own_effect(func);
        let name = function_name(&func.name);
        calls.push((name.clone(), own.callees));
        effects.insert(name, own.effect);
    }
    // Effects travel from callees to callers until nothing changes.
    loop {
        let mut changed = false;
        for (caller, callees) in &calls {
            if effects.get(caller).is_some_and(Option::is_some) {
                continue;
            }
            let effectful = |callee: &&String| match effects.get(*callee) {
                Some(effect) => effect.is_some(),
                None => true,
            };
            if let Some(callee) = callees.iter().find(effectful) {
                let effect = Effect::Calls {
                    callee: callee.clone(),
                };
                effects.insert(caller.clone(), Some(effect));
                changed = true;
            }
        }
        if !changed {
            return effects;
        }
    }
}

/// What a function does itself, and whom it calls.
struct Own {
    effect: Option<Effect>,
    callees: Vec<String>,
}

fn own_effect(func: &Function) -> Own {
    let frame = frame_addresses(func);
    let mut own = Own {
        effect: None,
        callees: vec![],
    };
    let insts = func
        .layout
        .blocks()
        .flat_map(|block| func.layout.block_insts(block));
    for inst in insts {
        let opcode = func.dfg.insts[inst].opcode();
        let effect = if opcode == Opcode::SetPinnedReg {
            Some(Effect::PinnedRegister { inst })
        } else if opcode.is_call() {
            match callee(func, inst) {
                Some(Callee::Named(name)) => {
                    own.callees.push(name);
                    None
                }
                Some(Callee::Pure) => None,
                None => Some(Effect::CallsIndirectly { inst }),
            }
        } else if opcode.can_store() && !stores_to_frame(func, inst, &frame) {
            Some(Effect::Writes { inst })
        } else {
            None
        };
        own.effect = own.effect.or(effect);
    }
    own
}

enum Callee {
    Named(String),
    /// A library function that only computes.
    Pure,
}

/// Whom a call instruction calls, if that is known.
fn callee(func: &Function, inst: Inst) -> Option<Callee> {
    match &func.dfg.insts[inst] {
        InstructionData::Call { func_ref, .. } | InstructionData::TryCall { func_ref, .. } => {
            Some(named(func, *func_ref))
        }
        InstructionData::CallIndirect { .. } | InstructionData::TryCallIndirect { .. } => {
            let pointer = *func.dfg.inst_args(inst).first()?;
            let pointer = func.dfg.resolve_aliases(pointer);
            let ValueDef::Result(def, _) = func.dfg.value_def(pointer) else {
                return None;
            };
            match func.dfg.insts[def] {
                InstructionData::FuncAddr { func_ref, .. } => Some(named(func, func_ref)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn named(func: &Function, callee: FuncRef) -> Callee {
    let name = &func.dfg.ext_funcs[callee].name;
    match name {
        ExternalName::LibCall(libcall) => match libcall {
            LibCall::Memcpy | LibCall::Memset | LibCall::Memmove => {
                Callee::Named(name_of(func, name))
            }
            _ => Callee::Pure,
        },
        _ => Callee::Named(name_of(func, name)),
    }
}

/// An external name in the form that [`function_name`] gives.
fn name_of(func: &Function, name: &ExternalName) -> String {
    let text = name.display(Some(&func.params)).to_string();
    text.strip_prefix('%').map(str::to_string).unwrap_or(text)
}

/// The values that are addresses in the function's own frame.
fn frame_addresses(func: &Function) -> HashSet<Value> {
    let mut frame = HashSet::new();
    let is_frame =
        |frame: &HashSet<Value>, value: Value| frame.contains(&func.dfg.resolve_aliases(value));
    // Layout order need not be dominance order: what is found grows to a fixed point.
    loop {
        let before = frame.len();
        let blocks = func.layout.blocks();
        for inst in blocks.flat_map(|block| func.layout.block_insts(block)) {
            let args = func.dfg.inst_args(inst);
            let framed = match (func.dfg.insts[inst].opcode(), args) {
                (Opcode::StackAddr | Opcode::DynamicStackAddr, _) => true,
                (Opcode::Iadd | Opcode::Band, &[a, b]) => {
                    is_frame(&frame, a) != is_frame(&frame, b)
                }
                (Opcode::Isub, &[a, b]) => is_frame(&frame, a) && !is_frame(&frame, b),
                (Opcode::Select | Opcode::SelectSpectreGuard, &[_, a, b]) => {
                    is_frame(&frame, a) && is_frame(&frame, b)
                }
                _ => false,
            };
            if framed {
                frame.extend(func.dfg.inst_results(inst));
            }
        }
        if frame.len() == before {
            return frame;
        }
    }
}

fn stores_to_frame(func: &Function, inst: Inst, frame: &HashSet<Value>) -> bool {
    let args = func.dfg.inst_args(inst);
    let address = match &func.dfg.insts[inst] {
        // The value comes first.
        InstructionData::Store { .. } | InstructionData::StoreNoOffset { .. } => args.get(1),
        InstructionData::AtomicRmw { .. } | InstructionData::AtomicCas { .. } => args.first(),
        _ => None,
    };
    address.is_some_and(|&address| frame.contains(&func.dfg.resolve_aliases(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_travel_to_callers() {
        let text = "
function %own(i32) -> i32 {
    ss0 = explicit_slot 16
block0(v0: i32):
    v1 = stack_addr.i64 ss0
    v2 = iconst.i64 4
    v3 = iadd v1, v2
    store v0, v3
    v4 = atomic_rmw.i32 add v3, v0
    return v4
}
function %writes(i64, i32) {
block0(v0: i64, v1: i32):
    store v1, v0
    return
}
function %calls(i64) {
    fn0 = %middle(i64)
block0(v0: i64):
    call fn0(v0)
    return
}
function %middle(i64) {
    sig0 = (i64, i32)
    fn0 = %writes(i64, i32)
block0(v0: i64):
    v1 = func_addr.i64 fn0
    v2 = iconst.i32 1
    call_indirect sig0, v1(v0, v2)
    return
}
function %pure() -> f32 {
    fn0 = %own(i32) -> i32
    fn1 = %FloorF32(f32) -> f32
block0:
    v0 = f32const 0x1.0
    v1 = call fn1(v0)
    v2 = iconst.i32 0
    v3 = call fn0(v2)
    return v1
}
function %unknown() {
    fn0 = %elsewhere()
block0:
    call fn0()
    return
}
function %distance(i64, i32) {
    ss0 = explicit_slot 16
    ss1 = explicit_slot 16
block0(v0: i64, v1: i32):
    v2 = stack_addr.i64 ss0
    v3 = stack_addr.i64 ss1
    v4 = isub v2, v3
    v5 = iadd v0, v4
    store v1, v5
    return
}";
        let functions = cranelift_reader::parse_functions(text).unwrap();
        let effects = effects(&functions.iter().collect::<Vec<_>>());
        let code = |name: &str| effects[name].as_ref().map_or("none", Effect::code);
        assert_eq!(code("own"), "none");
        assert_eq!(code("writes"), "writes-memory");
        assert_eq!(code("middle"), "calls-effectful");
        assert_eq!(code("calls"), "calls-effectful");
        assert_eq!(code("pure"), "none");
        assert_eq!(code("unknown"), "calls-effectful");
        assert_eq!(code("distance"), "writes-memory");
    }
}
