//! Mutants that do what the original does.
//!
//! Each excuse is decided from the function that was mutated and from what the
//! interface says of it, without the proof. The rest of the mutants have to be
//! rejected.

use super::mutate::Mutation;
use crate::Interface;
use crate::checker::Meaning;
use crate::checker::agreement::live_out_meaning;
use crate::checker::content::is_constant;
use crate::checker::source::{Source, arguments, destinations, target};
use cranelift_codegen::ir::{
    Block, FuncRef, Function, Inst, InstructionData, Opcode, UserFuncName, Value,
};
use std::collections::HashMap;

/// What a mutated function is one of.
pub struct Subject<'a> {
    pub func: &'a Function,
    pub interface: &'a Interface,
    /// The residual calls this; `None` for outlined functions.
    pub callee: Option<&'a UserFuncName>,
    /// The values that are the same every time.
    pub facts: Facts,
}

/// The values that hold a constant or an address in the source's frame,
/// everywhere or in the block of one exit, and in words which one.
pub type Facts = HashMap<(Option<Block>, Value), String>;

/// The facts about `func`: constants, what the interface says of parameters and
/// results, and what is computed from it.
pub fn facts(
    source: &Source<'_>,
    interface: &Interface,
    func: &Function,
    params: &[Meaning],
    callee: Option<&UserFuncName>,
) -> Facts {
    let mut addresses: HashMap<(Option<Block>, Value), Meaning> = HashMap::new();
    let mut facts = Facts::new();
    let entry = func.layout.entry_block().expect("a body");
    if callee.is_none() {
        let values = func.dfg.block_params(entry).iter();
        addresses.extend(
            values
                .map(|&value| (None, value))
                .zip(params.iter().copied()),
        );
    }
    for inst in insts(func) {
        let results = func.dfg.inst_results(inst);
        let Some(&result) = results.first() else {
            continue;
        };
        let ty = func.dfg.value_type(result);
        let data = &func.dfg.insts[inst];
        if is_constant(data) {
            let text = func.dfg.display_inst(inst).to_string();
            let what = text.split_once('=').map(|(_, what)| what.to_string());
            facts.insert((None, result), what.unwrap_or_default());
        }
        match *data {
            InstructionData::StackAddr {
                stack_slot: slot,
                offset,
                ..
            } => {
                let offset = i64::from(i32::from(offset));
                addresses.insert((None, result), Meaning::Slot { slot, offset, ty });
            }
            InstructionData::DynamicStackAddr {
                dynamic_stack_slot: slot,
                ..
            } => {
                addresses.insert((None, result), Meaning::DynamicSlot { slot, ty });
            }
            InstructionData::Binary {
                opcode: Opcode::Iadd,
                args: [base, added],
            } => {
                let added = func.dfg.value_def(added).inst();
                let added = added.map(|inst| func.dfg.insts[inst]);
                if let (
                    Some(&Meaning::Slot { slot, offset, ty }),
                    Some(InstructionData::UnaryImm { imm, .. }),
                ) = (addresses.get(&(None, base)), added)
                {
                    let offset = offset + imm.bits();
                    addresses.insert((None, result), Meaning::Slot { slot, offset, ty });
                }
            }
            InstructionData::Call { func_ref, .. } if is_named(func, func_ref, callee) => {
                let block = func.layout.inst_block(inst).expect("in the layout");
                for exit in &interface.exits {
                    // The default and the entry for number 0 come first.
                    let targets: Vec<Block> = func.block_successors(block).collect();
                    let at = exit.exit.number as usize + 1;
                    let target = targets.get(at).or(targets.first()).copied();
                    // With one exit, it holds for all that follows.
                    let target = target.filter(|_| interface.exits.len() > 1);
                    addresses.extend(exit.live_outs.iter().map(|live| {
                        let meaning = live_out_meaning(source, live);
                        ((target, results[live.result]), meaning)
                    }));
                }
            }
            _ => {}
        }
    }
    addresses
        .retain(|_, meaning| matches!(meaning, Meaning::Slot { .. } | Meaning::DynamicSlot { .. }));
    facts.extend(
        addresses
            .into_iter()
            .map(|(value, meaning)| (value, meaning.to_string())),
    );
    while let Some((param, fact)) = next_parameter(func, &facts) {
        facts.insert((None, param), fact);
    }
    facts
}

/// A block parameter that gets the same on every edge, and is not known to hold
/// it yet.
fn next_parameter(func: &Function, facts: &Facts) -> Option<(Value, String)> {
    let mut passed: HashMap<Value, Vec<Option<&String>>> = HashMap::new();
    for inst in insts(func) {
        for &call in destinations(func, inst) {
            let params = func.dfg.block_params(target(func, call));
            for (&param, arg) in params.iter().zip(arguments(func, call)) {
                let arg = arg.as_value().map(|value| func.dfg.resolve_aliases(value));
                if arg != Some(param) {
                    let fact = arg.and_then(|value| facts.get(&(None, value)));
                    passed.entry(param).or_default().push(fact);
                }
            }
        }
    }
    passed.into_iter().find_map(|(param, passed)| {
        let first = passed.first().copied().flatten()?;
        let same = passed.iter().all(|&fact| fact == Some(first));
        (same && !facts.contains_key(&(None, param))).then(|| (param, first.clone()))
    })
}

fn insts(func: &Function) -> impl Iterator<Item = Inst> + '_ {
    func.layout
        .blocks()
        .flat_map(|block| func.layout.block_insts(block))
}

fn is_named(func: &Function, function: FuncRef, callee: Option<&UserFuncName>) -> bool {
    let name = func.dfg.ext_funcs[function]
        .name
        .display(Some(&func.params))
        .to_string();
    callee.is_some_and(|callee| name == callee.to_string())
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
            if dummy(subject, inst, index) || makes_dummies(subject, inst) {
                return Some("a result that the exit does not use");
            }
            same_value(subject, inst, from, to).then_some("the same constant or address")
        }
        Mutation::Swapped(inst, a, b) => {
            let both = dummy(subject, inst, a) && dummy(subject, inst, b);
            let args = func.dfg.inst_args(inst);
            (both || same_value(subject, inst, args[a], args[b])).then_some("the same results")
        }
        Mutation::Argument { inst, from, to, .. } => {
            let (from, to) = (from.as_value()?, to.as_value()?);
            same_value(subject, inst, from, to).then_some("the same constant or address")
        }
        Mutation::Changed(inst, _) if func.dfg.insts[inst].opcode() == Opcode::Trap => {
            let block = func.layout.inst_block(inst)?;
            let mut calls = func.layout.block_insts(block);
            let after_call = calls.any(|inst| is_region_call(subject, inst));
            after_call.then_some("a trap after a call that never returns")
        }
        Mutation::Changed(inst, _) => {
            let dummies = makes_dummies(subject, inst);
            dummies.then_some("a constant for results that no exit uses")
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
        Mutation::Repeated(inst) => {
            let opcode = func.dfg.insts[inst].opcode();
            let address = matches!(opcode, Opcode::StackAddr | Opcode::DynamicStackAddr);
            let glue = is_glue(subject, func.layout.inst_block(inst)?);
            let unused = (address && glue) || makes_dummies(subject, inst);
            unused.then_some("an address or constant that nobody uses")
        }
        Mutation::Removed(_) | Mutation::Entity(_) => None,
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

/// Whether the results of an instruction go to results that exits leave free,
/// if need be by way of others, and nowhere else.
fn makes_dummies(subject: &Subject<'_>, inst: Inst) -> bool {
    let func = subject.func;
    let mut made = func.dfg.inst_results(inst).to_vec();
    let mut at = 0;
    while let Some(&value) = made.get(at) {
        at += 1;
        for user in insts(func) {
            let uses = func.dfg.inst_values(user);
            let uses = uses.filter(|&used| used == value).count();
            let args = func.dfg.inst_args(user).iter().enumerate();
            let args = args.filter(|&(_, &arg)| arg == value);
            let dummies = args.filter(|&(index, _)| dummy(subject, user, index));
            if uses != dummies.count() {
                if func.dfg.insts[user].opcode() != Opcode::Iconcat {
                    return false;
                }
                made.extend_from_slice(func.dfg.inst_results(user));
            }
        }
    }
    at > 0
}

/// Whether two values are the same where `inst` stands.
fn same_value(subject: &Subject<'_>, inst: Inst, a: Value, b: Value) -> bool {
    let dfg = &subject.func.dfg;
    let (a, b) = (dfg.resolve_aliases(a), dfg.resolve_aliases(b));
    let here = subject.func.layout.inst_block(inst);
    let fact = |value| {
        let everywhere = subject.facts.get(&(None, value));
        everywhere.or(subject.facts.get(&(here, value)))
    };
    a == b || fact(a).is_some() && fact(a) == fact(b)
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
    match subject.func.dfg.insts[inst] {
        InstructionData::Call { func_ref, .. } => is_named(subject.func, func_ref, subject.callee),
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
                    | Opcode::DynamicStackAddr
            )
    })
}
