//! What is known of each value before any code is made: one pass over the function.
//!
//! * A value is *local* if it is used in the block that defines it only. It lives in a register, and in the frame only
//!   while no register is left.
//! * Any other value is *global*: it has a home in the frame, written where the value is defined. So nothing is known or
//!   assumed of registers where blocks meet, and no liveness is computed.
//! * *Constants* (of integers and floats, addresses of symbols and stack slots) have no home: they are made where used.
//! * The global integers that are used most, weighed by loops, are *pinned* to a register that calls preserve.
//!
//! A loop here is what lies in the layout between a block and a later one that branches back to it. That is an estimate
//! for weights: nothing else depends on it.

use crate::asm::Reg;
use crate::refusal::Refusal;
use cranelift_codegen::ir::{
    Block, Function, Inst, InstructionData, Opcode, StackSlot, Type, Value, types,
};

/// The registers that values can be pinned to: calls preserve them.
pub(crate) const PINNED: [Reg; 5] = [Reg::RBX, Reg::R12, Reg::R13, Reg::R14, Reg::R15];

/// How much more a use counts with each level of loops.
const LOOP_WEIGHT: u32 = 8;

/// Deeper levels count no more.
const MAX_DEPTH: u32 = 5;

/// The weight from which a value is worth a register of its own (it is saved and restored once).
const PIN_FROM: u32 = 6;

/// Where a value comes from when it is needed and is in no register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Origin {
    /// Its home in the frame, or where it was spilled.
    Frame,
    /// An integer constant, sign-extended.
    Int(i64),
    /// The bits of a float constant.
    Float(u64),
    /// The address of what the instruction names.
    Symbol(Inst),
    /// An address in a stack slot.
    Slot(StackSlot, i32),
}

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueInfo {
    pub ty: Type,
    pub origin: Origin,
    /// Uses that are still to come, in the order of the layout.
    pub uses: u32,
    /// The offset of its home from the frame pointer; 0 while it has none.
    pub home: i32,
    /// The register that holds it.
    pub reg: Option<Reg>,
    /// Whether it is used outside its block, or a parameter of a block that is branched to.
    pub global: bool,
    /// Whether `reg` is its own for the whole function.
    pub pinned: bool,
    /// Whether its home holds it; only a question for local values.
    pub stored: bool,
    def: Option<Block>,
    weight: u32,
}

/// What is known of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BlockInfo {
    /// Edges that lead to it.
    pub preds: u32,
    depth: u32,
}

/// What is known of a function.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// By number of the value.
    pub values: Vec<ValueInfo>,
    /// By number of the block.
    pub blocks: Vec<BlockInfo>,
    /// Blocks in the order in which code is made: the cold ones come last.
    pub order: Vec<Block>,
    /// The registers that values are pinned to.
    pub pinned: Vec<Reg>,
}

impl Survey {
    /// Looks at every instruction once.
    ///
    /// # Errors
    ///
    /// A type that no template handles; more values than 2^24.
    ///
    /// # Complexity
    ///
    /// O(values + instructions).
    pub fn of(func: &Function) -> Result<Self, Refusal> {
        let unknown = ValueInfo {
            ty: types::INVALID,
            origin: Origin::Frame,
            uses: 0,
            home: 0,
            reg: None,
            global: false,
            pinned: false,
            stored: false,
            def: None,
            weight: 0,
        };
        let mut survey = Self {
            values: vec![unknown; func.dfg.num_values()],
            blocks: vec![BlockInfo::default(); func.dfg.num_blocks()],
            ..Self::default()
        };
        survey.order_blocks(func);
        survey.visit(func)?;
        survey.pin();
        Ok(survey)
    }

    /// The order, the edges, and how deep in loops each block is.
    fn order_blocks(&mut self, func: &Function) {
        let mut place = vec![0u32; func.dfg.num_blocks()];
        let blocks: Vec<Block> = func.layout.blocks().collect();
        for (index, &block) in blocks.iter().enumerate() {
            place[block.as_u32() as usize] = index as u32;
        }
        // Starts and ends of loops, by place: a header's loop ends at its last latch.
        let mut last_latch = vec![0u32; blocks.len()];
        for (index, &block) in blocks.iter().enumerate() {
            let cold = func.layout.is_cold(block);
            let Some(last) = func.layout.last_inst(block) else {
                continue;
            };
            let tables = &func.dfg.jump_tables;
            let exceptions = &func.dfg.exception_tables;
            for call in func.dfg.insts[last].branch_destination(tables, exceptions) {
                let target = call.block(&func.dfg.value_lists).as_u32() as usize;
                self.blocks[target].preds += 1;
                let to = place[target] as usize;
                if !cold && to <= index {
                    last_latch[to] = last_latch[to].max(index as u32 + 1);
                }
            }
        }
        let mut change = vec![0i32; blocks.len() + 1];
        for (start, &end) in last_latch.iter().enumerate().filter(|(_, end)| **end != 0) {
            change[start] += 1;
            change[end as usize] -= 1;
        }
        let mut depth = 0i32;
        for (index, &block) in blocks.iter().enumerate() {
            depth += change[index];
            let depth = if func.layout.is_cold(block) { 0 } else { depth };
            self.blocks[block.as_u32() as usize].depth = depth.unsigned_abs();
        }
        let cold = |block: &&Block| func.layout.is_cold(**block);
        let hot = blocks.iter().filter(|block| !cold(block));
        self.order = hot.chain(blocks.iter().filter(cold)).copied().collect();
    }

    fn visit(&mut self, func: &Function) -> Result<(), Refusal> {
        let entry = func.layout.entry_block();
        for index in 0..self.order.len() {
            let block = self.order[index];
            let depth = self.blocks[block.as_u32() as usize].depth.min(MAX_DEPTH);
            let weight = match func.layout.is_cold(block) {
                true => 0,
                false => LOOP_WEIGHT.pow(depth),
            };
            for &param in func.dfg.block_params(block) {
                let info = self.define(func, param, block, weight)?;
                info.global |= Some(block) != entry;
            }
            for inst in func.layout.block_insts(block) {
                for value in func.dfg.inst_values(inst) {
                    self.used(func.dfg.resolve_aliases(value), block, weight);
                }
                let origin = origin(func, inst);
                for &result in func.dfg.inst_results(inst) {
                    self.define(func, result, block, weight)?.origin = origin;
                }
            }
        }
        Ok(())
    }

    fn define(
        &mut self,
        func: &Function,
        value: Value,
        block: Block,
        weight: u32,
    ) -> Result<&mut ValueInfo, Refusal> {
        let ty = func.dfg.value_type(value);
        let scalar = ty.is_int() && ty.bits() <= 64 || ty == types::F32 || ty == types::F64;
        if !scalar {
            return Err(Refusal::Type(ty));
        }
        let info = &mut self.values[value.as_u32() as usize];
        info.ty = ty;
        // Used before it is defined, in the order of the layout: certainly elsewhere.
        info.global |= info.uses > 0;
        info.def = Some(block);
        info.weight = info.weight.saturating_add(weight);
        Ok(info)
    }

    fn used(&mut self, value: Value, block: Block, weight: u32) {
        let info = &mut self.values[value.as_u32() as usize];
        info.uses += 1;
        info.global |= info.def != Some(block);
        info.weight = info.weight.saturating_add(weight);
    }

    /// Gives the registers that calls preserve to the values that gain most.
    fn pin(&mut self) {
        let mut best: Vec<(u32, usize)> = vec![];
        for (index, info) in self.values.iter().enumerate() {
            let fits = info.global && info.origin == Origin::Frame && info.ty.is_int();
            if !fits || info.weight < PIN_FROM || info.def.is_none() {
                continue;
            }
            let place = best.partition_point(|&(weight, _)| weight >= info.weight);
            if place < PINNED.len() {
                best.insert(place, (info.weight, index));
                best.truncate(PINNED.len());
            }
        }
        for (&(_, index), reg) in best.iter().zip(PINNED) {
            self.values[index].reg = Some(reg);
            self.values[index].pinned = true;
            self.pinned.push(reg);
        }
    }
}

/// How the results of an instruction can be made again.
fn origin(func: &Function, inst: Inst) -> Origin {
    match func.dfg.insts[inst] {
        InstructionData::UnaryImm {
            opcode: Opcode::Iconst,
            imm,
        } => {
            let results = func.dfg.inst_results(inst);
            let bits = results
                .first()
                .map_or(64, |&result| func.dfg.value_type(result).bits());
            Origin::Int(sign_extend(imm.bits(), bits))
        }
        InstructionData::UnaryIeee32 { imm, .. } => Origin::Float(u64::from(imm.bits())),
        InstructionData::UnaryIeee64 { imm, .. } => Origin::Float(imm.bits()),
        InstructionData::UnaryGlobalValue {
            opcode: Opcode::SymbolValue,
            ..
        }
        | InstructionData::FuncAddr { .. } => Origin::Symbol(inst),
        InstructionData::StackAddr {
            stack_slot, offset, ..
        } => Origin::Slot(stack_slot, offset.into()),
        _ => Origin::Frame,
    }
}

fn sign_extend(value: i64, bits: u32) -> i64 {
    let unused = 64 - bits.clamp(1, 64);
    (value << unused) >> unused
}
