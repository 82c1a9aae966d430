//! All single mutations of a function, as far as they are legal CLIF.
//!
//! Purpose: sabotage. A checker that accepts a mutant has to be excused: the
//! mutant must do what the original does.

mod declared;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Imm64, Offset32};
use cranelift_codegen::ir::{
    AliasRegionData, AtomicRmwOp, Block, BlockArg, BlockCall, Endianness, Function, Inst,
    InstructionData, MemFlagsData, Opcode, SourceLoc, TrapCode, Type, Value,
};
use cranelift_codegen::settings::{self, Configurable, Flags};
use cranelift_codegen::verify_function;

/// What was done to a function.
#[derive(Clone, Debug, PartialEq)]
pub enum Mutation {
    /// An instruction without results is gone.
    Removed(Inst),
    /// An instruction stands there twice.
    Repeated(Inst),
    /// An operand was replaced.
    Operand {
        inst: Inst,
        index: usize,
        from: Value,
        to: Value,
    },
    /// A branch argument was replaced.
    Argument {
        inst: Inst,
        destination: usize,
        index: usize,
        from: BlockArg,
        to: BlockArg,
    },
    /// A destination was replaced.
    Destination {
        inst: Inst,
        destination: usize,
        from: Block,
        to: Block,
    },
    /// Two operands changed places.
    Swapped(Inst, usize, usize),
    /// The instruction itself was changed.
    Changed(Inst, &'static str),
    /// Something that instructions refer to was changed.
    Entity(&'static str),
    /// The cold mark of a block was changed.
    Coldness(Block),
}

/// A function with one mutation.
pub struct Mutant {
    pub mutation: Mutation,
    pub func: Function,
}

/// Whether Cranelift accepts a function.
pub fn is_legal(func: &Function) -> bool {
    let mut flags = settings::builder();
    for flag in ["enable_multi_ret_implicit_sret", "preserve_frame_pointers"] {
        flags.set(flag, "true").expect("a known setting");
    }
    verify_function(func, &Flags::new(flags)).is_ok()
}

struct Mutants<'a> {
    original: &'a Function,
    text: String,
    found: Vec<Mutant>,
}

impl Mutants<'_> {
    /// Keeps what `change` makes of the original, if it is legal and different.
    fn try_one(&mut self, mutation: Mutation, change: impl FnOnce(&mut Function)) {
        let mut func = self.original.clone();
        change(&mut func);
        if func.to_string() != self.text && is_legal(&func) {
            self.found.push(Mutant { mutation, func });
        }
    }

    fn change(&mut self, inst: Inst, what: &'static str, data: InstructionData) {
        self.try_one(Mutation::Changed(inst, what), |func| {
            func.dfg.insts[inst] = data
        });
    }
}

/// Every mutant of `original`.
pub fn mutants(original: &Function) -> Vec<Mutant> {
    let mut mutants = Mutants {
        original,
        text: original.to_string(),
        found: Vec::new(),
    };
    let blocks: Vec<Block> = original.layout.blocks().collect();
    let mut values: Vec<(Value, Type)> = Vec::new();
    for &block in &blocks {
        let results = original.layout.block_insts(block);
        let results = results.flat_map(|inst| original.dfg.inst_results(inst));
        let defined = original.dfg.block_params(block).iter().chain(results);
        values.extend(defined.map(|&value| (value, original.dfg.value_type(value))));
    }
    for &block in &blocks {
        // A mark cannot be taken back.
        mutants.try_one(Mutation::Coldness(block), |func| {
            func.layout.set_cold(block)
        });
        let insts: Vec<Inst> = original.layout.block_insts(block).collect();
        for inst in insts {
            operands(&mut mutants, inst, &values);
            branches(&mut mutants, inst, &values, &blocks);
            itself(&mut mutants, inst);
            flags(&mut mutants, inst);
        }
    }
    declared::entities(&mut mutants);
    mutants.found
}

fn operands(mutants: &mut Mutants<'_>, inst: Inst, values: &[(Value, Type)]) {
    let original = mutants.original;
    let args = original.dfg.inst_args(inst).to_vec();
    for (index, &from) in args.iter().enumerate() {
        let ty = original.dfg.value_type(from);
        for &(to, _) in values.iter().filter(|&&(to, t)| t == ty && to != from) {
            let mutation = Mutation::Operand {
                inst,
                index,
                from,
                to,
            };
            mutants.try_one(mutation, |func| func.dfg.inst_args_mut(inst)[index] = to);
        }
        for other in index + 1..args.len() {
            mutants.try_one(Mutation::Swapped(inst, index, other), |func| {
                func.dfg.inst_args_mut(inst).swap(index, other);
            });
        }
    }
    let opcode = original.dfg.insts[inst].opcode();
    if original.dfg.inst_results(inst).is_empty() && !opcode.is_terminator() {
        mutants.try_one(Mutation::Removed(inst), |func| {
            func.layout.remove_inst(inst)
        });
    }
    let constant = super::super::content::is_constant(&original.dfg.insts[inst]);
    if !opcode.is_terminator() && !constant {
        mutants.try_one(Mutation::Repeated(inst), |func| {
            let again = func.dfg.clone_inst(inst);
            func.layout.insert_inst(again, inst);
        });
    }
}

fn branches(mutants: &mut Mutants<'_>, inst: Inst, values: &[(Value, Type)], blocks: &[Block]) {
    let original = mutants.original;
    let calls = super::super::source::destinations(original, inst).to_vec();
    for (destination, call) in calls.iter().enumerate() {
        let args: Vec<BlockArg> = call.args(&original.dfg.value_lists).collect();
        for (index, &from) in args.iter().enumerate() {
            let block = call.block(&original.dfg.value_lists);
            let ty = original
                .dfg
                .value_type(original.dfg.block_params(block)[index]);
            let others = values.iter().filter(|&&(_, t)| t == ty);
            let mut others: Vec<BlockArg> = others.map(|&(v, _)| BlockArg::Value(v)).collect();
            others.extend([0, 1].map(BlockArg::TryCallRet));
            others.extend([0, 1].map(BlockArg::TryCallExn));
            for to in others.into_iter().filter(|&to| to != from) {
                let mutation = Mutation::Argument {
                    inst,
                    destination,
                    index,
                    from,
                    to,
                };
                mutants.try_one(mutation, |func| {
                    let mut args = args.clone();
                    args[index] = to;
                    set_destination(func, inst, destination, block, args);
                });
            }
        }
        for &to in blocks {
            let args = args.clone();
            let mutation = Mutation::Destination {
                inst,
                destination,
                from: call.block(&original.dfg.value_lists),
                to,
            };
            mutants.try_one(mutation, |func| {
                set_destination(func, inst, destination, to, args);
            });
        }
    }
}

fn set_destination(
    func: &mut Function,
    inst: Inst,
    destination: usize,
    block: Block,
    args: Vec<BlockArg>,
) {
    let dfg = &mut func.stencil.dfg;
    let call = BlockCall::new(block, args, &mut dfg.value_lists);
    let calls =
        dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    calls[destination] = call;
}

/// Opcodes, immediates, conditions, trap codes, locations, tags.
fn itself(mutants: &mut Mutants<'_>, inst: Inst) {
    let original = mutants.original;
    let data = original.dfg.insts[inst];
    let mut changed = data;
    match &mut changed {
        InstructionData::UnaryImm { imm, .. } => *imm = Imm64::new(imm.bits() ^ 1),
        InstructionData::UnaryIeee32 { imm, .. } => *imm = Ieee32::with_bits(imm.bits() ^ 1),
        InstructionData::Load { offset, .. }
        | InstructionData::Store { offset, .. }
        | InstructionData::StackAddr { offset, .. } => {
            *offset = Offset32::new(i32::from(*offset) + 8);
        }
        InstructionData::IntCompare { cond, .. } => *cond = other_condition(*cond),
        InstructionData::FloatCompare { cond, .. } => {
            *cond = if *cond == FloatCC::Equal {
                FloatCC::LessThan
            } else {
                FloatCC::Equal
            };
        }
        InstructionData::Trap { code, .. }
        | InstructionData::CondTrap { code, .. }
        | InstructionData::IntAddTrap { code, .. } => *code = TrapCode::unwrap_user(77),
        InstructionData::AtomicRmw { op, .. } => *op = AtomicRmwOp::Xor,
        InstructionData::BinaryImm8 { imm, .. } | InstructionData::TernaryImm8 { imm, .. } => {
            *imm ^= 1;
        }
        InstructionData::Binary { opcode, .. } => {
            *opcode = if *opcode == Opcode::Bxor {
                Opcode::Bor
            } else {
                Opcode::Bxor
            };
        }
        InstructionData::Unary { opcode, .. } => {
            *opcode = if *opcode == Opcode::Bnot {
                Opcode::Ineg
            } else {
                Opcode::Bnot
            };
        }
        _ => {}
    }
    mutants.change(inst, "immediate, condition, code or opcode", changed);
    if let InstructionData::StackAddr { .. } = data {
        for slot in original.sized_stack_slots.keys() {
            let mut changed = data;
            if let InstructionData::StackAddr { stack_slot, .. } = &mut changed {
                *stack_slot = slot;
            }
            mutants.change(inst, "stack slot", changed);
        }
    }
    if let InstructionData::DynamicStackAddr { .. } = data {
        for slot in original.dynamic_stack_slots.keys() {
            let mut changed = data;
            if let InstructionData::DynamicStackAddr {
                dynamic_stack_slot, ..
            } = &mut changed
            {
                *dynamic_stack_slot = slot;
            }
            mutants.change(inst, "stack slot", changed);
        }
    }
    for function in original.dfg.ext_funcs.keys() {
        let mut changed = data;
        match &mut changed {
            InstructionData::Call { func_ref, .. }
            | InstructionData::TryCall { func_ref, .. }
            | InstructionData::FuncAddr { func_ref, .. } => *func_ref = function,
            _ => continue,
        }
        mutants.change(inst, "callee", changed);
    }
    if !original.srcloc(inst).is_default() {
        mutants.try_one(Mutation::Changed(inst, "location dropped"), |func| {
            func.set_srcloc(inst, SourceLoc::default());
        });
    }
    if original.debug_tags.has(inst) {
        mutants.try_one(Mutation::Changed(inst, "tags dropped"), |func| {
            func.debug_tags.set(inst, []);
        });
    }
}

fn other_condition(cond: IntCC) -> IntCC {
    if cond == IntCC::NotEqual {
        IntCC::SignedLessThan
    } else {
        IntCC::NotEqual
    }
}

fn flags(mutants: &mut Mutants<'_>, inst: Inst) {
    let original = mutants.original;
    let Some(flags) = original.dfg.insts[inst].memflags_data(&original.dfg) else {
        return;
    };
    let trap = match flags.trap_code() {
        Some(_) => None,
        None => Some(TrapCode::HEAP_OUT_OF_BOUNDS),
    };
    let endian = match flags.explicit_endianness() {
        Some(Endianness::Big) => Endianness::Little,
        _ => Endianness::Big,
    };
    // Endianness cannot be taken back either.
    let mut bare = MemFlagsData::new().with_trap_code(flags.trap_code());
    bare = bare.with_alias_region(flags.alias_region());
    bare = if flags.aligned() {
        bare.with_aligned()
    } else {
        bare
    };
    bare = if flags.readonly() {
        bare.with_readonly()
    } else {
        bare
    };
    bare = if flags.can_move() {
        bare.with_can_move()
    } else {
        bare
    };
    let other = AliasRegionData {
        user_id: 4711,
        description: "another".into(),
    };
    let set = |mutants: &mut Mutants<'_>, what, flags: MemFlagsData| {
        mutants.try_one(Mutation::Changed(inst, what), |func| {
            let flags = func.dfg.mem_flags.insert_unchecked(flags);
            if let Some(used) = func.dfg.insts[inst].memflags_mut() {
                *used = flags;
            }
        });
    };
    set(mutants, "trap code", flags.with_trap_code(trap));
    set(mutants, "endianness", bare.with_endianness(endian));
    set(mutants, "aligned", flags.with_aligned());
    set(mutants, "readonly", flags.with_readonly());
    set(mutants, "can move", flags.with_can_move());
    set(mutants, "no alias region", flags.with_alias_region(None));
    mutants.try_one(Mutation::Changed(inst, "another alias region"), |func| {
        let region = func.dfg.alias_regions.insert(other);
        let flags = flags.with_alias_region(Some(region));
        let flags = func.dfg.mem_flags.insert_unchecked(flags);
        if let Some(used) = func.dfg.insts[inst].memflags_mut() {
            *used = flags;
        }
    });
}
