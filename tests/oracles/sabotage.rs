//! Defects, put in on purpose: an oracle that does not notice them is none.
//!
//! Each spoils a verified function so that it still verifies. Whether it then does something else depends on
//! the program, so a test spoils many. What is spoiled is run, so no defect makes an address wild or keeps
//! fuel from burning; those that may still trap or not end are [wild](Sabotage::is_wild).

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    BlockArg, BlockCall, Function, Inst, InstBuilder, InstructionData, MemFlagsData, Opcode, Value,
    ValueDef, types,
};
use regraft_regions::Flow;

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A live-out is lost: zero leaves instead.
    DropLiveOut,
    /// What is inlined returns zero.
    WrongCopy,
    /// Control leaves by another exit.
    SwapExits,
    /// Back edges hand on what their headers got the last time.
    StaleArgument,
    /// A store is lost.
    LoseStore,
    /// A check is lost.
    LoseCheck,
    /// Of two values the other one is chosen.
    SwapArms,
    /// A branch always goes one way.
    DecideBranch,
    /// A bound is another.
    MoveBound,
    /// A shift is by one more.
    ShiftFurther,
    /// A memory access loses its flags.
    SkipFlags,
    /// An edge is counted once too often.
    MiscountEdge,
    /// A call is not made, as if one copy of the counters were lost.
    LoseCall,
    /// A function is not redefined.
    LoseDefinition,
    /// A function is not removed.
    KeepFunction,
    /// A function that is not called any more is not removed.
    KeepCaller,
    /// A bit of a message is changed.
    DamageMessage,
    /// A piece of text makes the parser panic.
    PanickingParser,
}

impl Sabotage {
    /// Whether what is spoiled may never end, or trap: it is interpreted, then, and not run.
    pub fn is_wild(self) -> bool {
        matches!(
            self,
            Self::SwapExits
                | Self::StaleArgument
                | Self::LoseCheck
                | Self::SwapArms
                | Self::DecideBranch
                | Self::MoveBound
                | Self::ShiftFurther
        )
    }

    /// Spoils a function; says whether there was anything to spoil.
    ///
    /// `outlined` says that it returns an exit number and live-outs.
    pub fn spoil(self, func: &mut Function, outlined: bool) -> bool {
        match self {
            Self::DropLiveOut if outlined => drop_result(func, 1),
            Self::SwapExits if outlined => swap_exits(func),
            Self::StaleArgument => stale_argument(func),
            Self::LoseStore => lose_store(func),
            Self::SkipFlags => skip_flags(func),
            Self::LoseCheck => lose_check(func),
            Self::SwapArms => swap_arms(func),
            Self::DecideBranch => decide_branch(func),
            Self::MoveBound => move_constant(func, |opcode| opcode == Opcode::Icmp),
            Self::ShiftFurther => move_constant(func, |opcode| opcode == Opcode::Ishl),
            _ => false,
        }
    }
}

fn instructions(func: &Function) -> Vec<Inst> {
    let blocks = func.layout.blocks();
    blocks
        .flat_map(|block| func.layout.block_insts(block))
        .collect()
}

fn returns(func: &Function) -> Vec<Inst> {
    let all = instructions(func).into_iter();
    all.filter(|&inst| func.dfg.insts[inst].opcode() == Opcode::Return)
        .collect()
}

fn is_constant(func: &Function, value: Value) -> bool {
    match func.dfg.value_def(func.dfg.resolve_aliases(value)) {
        ValueDef::Result(inst, _) => func.dfg.insts[inst].opcode() == Opcode::Iconst,
        _ => false,
    }
}

/// Spoils what is about to be inlined; says whether there was anything to spoil.
pub fn spoil_copy(func: &mut Function) -> bool {
    drop_result(func, 0)
}

/// A result, of those from the `first` on, becomes zero.
fn drop_result(func: &mut Function, first: usize) -> bool {
    for inst in returns(func) {
        let args = func.dfg.inst_args(inst).to_vec();
        for (at, &arg) in args.iter().enumerate().skip(first) {
            let ty = func.dfg.value_type(arg);
            // An `i64` may be an address.
            if ![types::I8, types::I16, types::I32].contains(&ty) || is_constant(func, arg) {
                continue;
            }
            let zero = FuncCursor::new(func).at_inst(inst).ins().iconst(ty, 0);
            func.dfg.inst_args_mut(inst)[at] = zero;
            return true;
        }
    }
    false
}

fn swap_exits(func: &mut Function) -> bool {
    let returns = returns(func);
    let number = |func: &Function, inst: Inst| {
        let value = func.dfg.resolve_aliases(func.dfg.inst_args(inst)[0]);
        match func.dfg.value_def(value) {
            ValueDef::Result(inst, _) => match func.dfg.insts[inst] {
                InstructionData::UnaryImm { imm, .. } => Some(imm.bits()),
                _ => None,
            },
            _ => None,
        }
    };
    let numbers: Vec<_> = returns
        .iter()
        .filter_map(|&inst| number(func, inst))
        .collect();
    for (&inst, &old) in returns.iter().zip(&numbers) {
        if let Some(&new) = numbers.iter().find(|&&new| new != old) {
            let new = FuncCursor::new(func)
                .at_inst(inst)
                .ins()
                .iconst(types::I32, new);
            func.dfg.inst_args_mut(inst)[0] = new;
            return true;
        }
    }
    false
}

fn stale_argument(func: &mut Function) -> bool {
    let Ok(flow) = Flow::compute(func) else {
        return false;
    };
    let mut spoiled = false;
    let edges: Vec<_> = flow.edges().map(|(_, edge)| edge).collect();
    for edge in edges {
        if !flow.is_reachable(edge.from) || !flow.domtree().block_dominates(edge.to, edge.from) {
            continue;
        }
        let params = func.dfg.block_params(edge.to).to_vec();
        let mut args: Vec<BlockArg> =
            regraft_outliner::edge_args(func, edge.inst, edge.index).collect();
        for (&param, arg) in params.iter().zip(&mut args) {
            let Some(value) = arg.as_value() else {
                continue;
            };
            let value = func.dfg.resolve_aliases(value);
            // Fuel comes out of a `select`; a parameter may be fuel that was burnt before.
            let harmless = match func.dfg.value_def(value) {
                ValueDef::Result(inst, _) => func.dfg.insts[inst].opcode() != Opcode::Select,
                _ => false,
            };
            if value == param || !harmless {
                continue;
            }
            *arg = BlockArg::Value(param);
            spoiled = true;
        }
        let dfg = &mut func.dfg;
        let calls = dfg.insts[edge.inst]
            .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
        if let Some(call) = calls.get_mut(edge.index as usize) {
            *call = BlockCall::new(edge.to, args, &mut dfg.value_lists);
        }
    }
    spoiled
}

fn lose_store(func: &mut Function) -> bool {
    let stores = instructions(func).into_iter().filter(|&inst| {
        let data = &func.dfg.insts[inst];
        // Fuel, and what the entry initialises, is stored with other flags.
        let plain = data.memflags_data(&func.dfg).is_some_and(|flags| {
            !(flags.aligned() && flags.notrap()) && flags.alias_region().is_none()
        });
        data.opcode() == Opcode::Store && plain
    });
    let stores: Vec<Inst> = stores.collect();
    match stores.last() {
        Some(&store) => {
            func.layout.remove_inst(store);
            true
        }
        None => false,
    }
}

fn lose_check(func: &mut Function) -> bool {
    let mut all = instructions(func).into_iter();
    let check = all.find(|&inst| {
        let opcode = func.dfg.insts[inst].opcode();
        matches!(opcode, Opcode::Trapz | Opcode::Trapnz)
    });
    check.is_some_and(|check| {
        func.layout.remove_inst(check);
        true
    })
}

fn swap_arms(func: &mut Function) -> bool {
    let mut all = instructions(func).into_iter();
    let chosen = all.find(|&inst| func.dfg.insts[inst].opcode() == Opcode::Select);
    chosen.is_some_and(|inst| {
        func.dfg.inst_args_mut(inst).swap(1, 2);
        true
    })
}

fn decide_branch(func: &mut Function) -> bool {
    let mut all = instructions(func).into_iter();
    let branch = all.find(|&inst| func.dfg.insts[inst].opcode() == Opcode::Brif);
    branch.is_some_and(|inst| {
        let one = FuncCursor::new(func)
            .at_inst(inst)
            .ins()
            .iconst(types::I8, 1);
        func.dfg.inst_args_mut(inst)[0] = one;
        true
    })
}

/// The second operand of the first instruction of a kind, a constant, is one more.
fn move_constant(func: &mut Function, kind: impl Fn(Opcode) -> bool) -> bool {
    let all = instructions(func).into_iter();
    let mut operands = all.filter_map(|inst| {
        let args = func.dfg.inst_args(inst);
        let second = *args.get(1)?;
        (kind(func.dfg.insts[inst].opcode()) && is_constant(func, second)).then_some((inst, second))
    });
    let Some((inst, operand)) = operands.next() else {
        return false;
    };
    drop(operands);
    let ty = func.dfg.value_type(operand);
    let mut cursor = FuncCursor::new(func).at_inst(inst);
    let one = cursor.ins().iconst(ty, 1);
    let more = cursor.ins().iadd(operand, one);
    func.dfg.inst_args_mut(inst)[1] = more;
    true
}

fn skip_flags(func: &mut Function) -> bool {
    let plain = MemFlagsData::new();
    let flagged = instructions(func).into_iter().find(|&inst| {
        let data = &func.dfg.insts[inst];
        let memory = matches!(data.opcode(), Opcode::Load | Opcode::Store);
        memory
            && data
                .memflags_data(&func.dfg)
                .is_some_and(|flags| flags != plain)
    });
    let Some(inst) = flagged else {
        return false;
    };
    let Ok(flags) = func.dfg.mem_flags.insert(plain) else {
        return false;
    };
    match &mut func.dfg.insts[inst] {
        InstructionData::Load { flags: old, .. } | InstructionData::Store { flags: old, .. } => {
            *old = flags
        }
        _ => return false,
    }
    true
}
