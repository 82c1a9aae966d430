//! Mutants that do what the original does.
//!
//! Each excuse is decided from the mutated function and the interface, without
//! the checker. The rest of the mutants have to be rejected.

use super::mutate::Mutation;
use crate::Interface;
use cranelift_codegen::ir::{Block, Function, Inst, InstructionData, Opcode, UserFuncName, Value};

/// What a mutated function is one of.
pub struct Subject<'a> {
    pub func: &'a Function,
    pub interface: &'a Interface,
    /// The residual calls this; `None` for outlined functions.
    pub callee: Option<&'a UserFuncName>,
}

/// Why a mutant may survive.
pub fn excuse(subject: &Subject<'_>, mutation: &Mutation) -> Option<&'static str> {
    let func = subject.func;
    match *mutation {
        Mutation::Operand {
            inst,
            index,
            from,
            to,
        } => {
            if dummy(subject, inst, index) {
                return Some("a result that the exit does not use");
            }
            equal_constants(func, from, to).then_some("the same constant")
        }
        Mutation::Swapped(inst, a, b) => {
            let both = dummy(subject, inst, a) && dummy(subject, inst, b);
            let args = func.dfg.inst_args(inst);
            (both || equal_constants(func, args[a], args[b])).then_some("the same results")
        }
        Mutation::Argument { from, to, .. } => {
            let (from, to) = (from.as_value()?, to.as_value()?);
            equal_constants(func, from, to).then_some("the same constant")
        }
        Mutation::Changed(inst, _) => {
            let value = func.dfg.inst_results(inst).first().copied();
            value
                .is_some_and(|value| only_dummies(subject, value))
                .then_some("a constant for results that no exit uses")
        }
        Mutation::Destination {
            inst,
            destination,
            from,
            to,
        } => {
            if destination < 2 && is_dispatch(subject, inst) {
                return Some("an exit number that is never returned");
            }
            only_jumps(func, from, to).then_some("a jump to a jump")
        }
        Mutation::Coldness(block) => is_glue(subject, block).then_some("coldness of glue"),
        Mutation::Removed(_) | Mutation::Repeated(_) | Mutation::Entity(_) => None,
    }
}

/// Whether operand `index` of a `return` is a result that its exit leaves free.
fn dummy(subject: &Subject<'_>, inst: Inst, index: usize) -> bool {
    let func = subject.func;
    let leaves = func.dfg.insts[inst].opcode() == Opcode::Return && subject.callee.is_none();
    let number = func.dfg.inst_args(inst).first();
    let number = number.and_then(|&value| func.dfg.value_def(value).inst());
    let (true, Some(number)) = (leaves, number) else {
        return false;
    };
    let InstructionData::UnaryImm { imm, .. } = func.dfg.insts[number] else {
        return false;
    };
    let exit = &subject.interface.exits[imm.bits() as usize - 1];
    index != 0 && exit.live_outs.iter().all(|live| live.result != index)
}

/// Whether a value is used for results that exits leave free, and only there.
fn only_dummies(subject: &Subject<'_>, value: Value) -> bool {
    let func = subject.func;
    let insts = func
        .layout
        .blocks()
        .flat_map(|block| func.layout.block_insts(block));
    insts.into_iter().all(|inst| {
        let args = func.dfg.inst_args(inst).iter().enumerate();
        let used = args.filter(|&(_, &arg)| arg == value).count();
        let uses = func
            .dfg
            .inst_values(inst)
            .filter(|&used| used == value)
            .count();
        let mut args = func.dfg.inst_args(inst).iter().enumerate();
        used == uses && args.all(|(index, &arg)| arg != value || dummy(subject, inst, index))
    })
}

fn equal_constants(func: &Function, a: Value, b: Value) -> bool {
    let def = |value| func.dfg.value_def(value).inst();
    let (Some(a), Some(b)) = (def(a), def(b)) else {
        return false;
    };
    let (a, b) = (&func.dfg.insts[a], &func.dfg.insts[b]);
    let makes_constant = matches!(
        a,
        InstructionData::UnaryImm { .. }
            | InstructionData::UnaryIeee32 { .. }
            | InstructionData::UnaryIeee64 { .. }
            | InstructionData::UnaryConst { .. }
    );
    makes_constant && a.eq(b, &func.dfg.value_lists)
}

/// Whether an instruction is the dispatch after the region's call.
fn is_dispatch(subject: &Subject<'_>, inst: Inst) -> bool {
    let func = subject.func;
    let operand = func.dfg.inst_args(inst).first();
    let call = operand.and_then(|&value| func.dfg.value_def(value).inst());
    call.is_some_and(|call| is_region_call(subject, call))
        && func.dfg.insts[inst].opcode() == Opcode::BrTable
}

fn is_region_call(subject: &Subject<'_>, inst: Inst) -> bool {
    let (func, Some(callee)) = (subject.func, subject.callee) else {
        return false;
    };
    match func.dfg.insts[inst] {
        InstructionData::Call { func_ref, .. } => {
            let name = &func.dfg.ext_funcs[func_ref].name;
            name.display(Some(&func.params)).to_string() == callee.to_string()
        }
        _ => false,
    }
}

/// Whether `from` does nothing but go to `to`.
fn only_jumps(func: &Function, from: Block, to: Block) -> bool {
    let first = func.layout.first_inst(from);
    first.is_some_and(|inst| {
        func.dfg.insts[inst].opcode() == Opcode::Jump
            && func.dfg.block_params(from).is_empty()
            && func.dfg.inst_values(inst).count() == 0
            && func.block_successors(from).eq([to])
    })
}

/// Whether a block looks like one made for the interface.
fn is_glue(subject: &Subject<'_>, block: Block) -> bool {
    let func = subject.func;
    let mut insts = func.layout.block_insts(block);
    insts.all(|inst| {
        let opcode = func.dfg.insts[inst].opcode();
        opcode.is_terminator()
            || is_region_call(subject, inst)
            || matches!(
                opcode,
                Opcode::Iconst
                    | Opcode::F32const
                    | Opcode::F64const
                    | Opcode::Vconst
                    | Opcode::Iconcat
                    | Opcode::StackAddr
            )
    })
}
