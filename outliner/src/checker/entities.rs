//! Whether two instructions of different functions say the same.
//!
//! Purpose: entity numbers differ between functions, so entities are compared
//! by content (`content`).
//!
//! Phases: each instruction is split into a *skeleton* (all entities and
//! values replaced by one dummy: opcode, immediates, condition and trap codes
//! are left) and the list of its entities in order. Skeletons must be equal,
//! and entities equal by content, pair by pair.
//!
//! Limitations: stack slots of two functions are the same if number and data
//! are (a residual keeps the source's slots). Value labels are not compared.
//!
//! Not here: operands and destinations (`walk`), which need the correspondence
//! of values and blocks.

use super::content::{
    same_callee, same_clauses, same_dynamic_slot, same_flags, same_global, same_region,
    same_signature,
};
use super::error::CheckError;
use cranelift_codegen::ir::instructions::InstructionMapper;
use cranelift_codegen::ir::{
    Block, BlockCall, Constant, DynamicStackSlot, ExceptionTable, FuncRef, Function, GlobalValue,
    Immediate, Inst, InstructionData, JumpTable, MemFlags, SigRef, StackSlot, Value, ValueList,
    ValueListPool,
};

/// An entity that an instruction names.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entity {
    Func(FuncRef),
    Sig(SigRef),
    Global(GlobalValue),
    Table(JumpTable),
    Exceptions(ExceptionTable),
    Slot(StackSlot),
    DynamicSlot(DynamicStackSlot),
    Constant(Constant),
    Mask(Immediate),
    Flags(MemFlags),
    Block(Block),
}

/// Takes the entities out of an instruction.
struct Split<'a> {
    entities: &'a mut Vec<Entity>,
    call: BlockCall,
}

impl InstructionMapper for Split<'_> {
    fn map_value(&mut self, _: Value) -> Value {
        Value::from_u32(0)
    }
    fn map_value_list(&mut self, _: ValueList) -> ValueList {
        ValueList::default()
    }
    fn map_global_value(&mut self, global_value: GlobalValue) -> GlobalValue {
        self.entities.push(Entity::Global(global_value));
        GlobalValue::from_u32(0)
    }
    fn map_jump_table(&mut self, jump_table: JumpTable) -> JumpTable {
        self.entities.push(Entity::Table(jump_table));
        JumpTable::from_u32(0)
    }
    fn map_exception_table(&mut self, exception_table: ExceptionTable) -> ExceptionTable {
        self.entities.push(Entity::Exceptions(exception_table));
        ExceptionTable::from_u32(0)
    }
    fn map_block_call(&mut self, _: BlockCall) -> BlockCall {
        self.call
    }
    fn map_block(&mut self, block: Block) -> Block {
        self.entities.push(Entity::Block(block));
        Block::from_u32(0)
    }
    fn map_func_ref(&mut self, func_ref: FuncRef) -> FuncRef {
        self.entities.push(Entity::Func(func_ref));
        FuncRef::from_u32(0)
    }
    fn map_sig_ref(&mut self, sig_ref: SigRef) -> SigRef {
        self.entities.push(Entity::Sig(sig_ref));
        SigRef::from_u32(0)
    }
    fn map_stack_slot(&mut self, stack_slot: StackSlot) -> StackSlot {
        self.entities.push(Entity::Slot(stack_slot));
        StackSlot::from_u32(0)
    }
    fn map_dynamic_stack_slot(&mut self, slot: DynamicStackSlot) -> DynamicStackSlot {
        self.entities.push(Entity::DynamicSlot(slot));
        DynamicStackSlot::from_u32(0)
    }
    fn map_constant(&mut self, constant: Constant) -> Constant {
        self.entities.push(Entity::Constant(constant));
        Constant::from_u32(0)
    }
    fn map_immediate(&mut self, immediate: Immediate) -> Immediate {
        self.entities.push(Entity::Mask(immediate));
        Immediate::from_u32(0)
    }
    fn map_mem_flags(&mut self, flags: MemFlags) -> MemFlags {
        self.entities.push(Entity::Flags(flags));
        MemFlags::from_u32(0)
    }
}

/// Compares instructions of two functions.
pub(super) struct Comparison<'a> {
    source: &'a Function,
    out: &'a Function,
    ours: Vec<Entity>,
    theirs: Vec<Entity>,
    pool: ValueListPool,
    call: BlockCall,
}

impl<'a> Comparison<'a> {
    pub fn new(source: &'a Function, out: &'a Function) -> Self {
        let mut pool = ValueListPool::new();
        let call = BlockCall::new(Block::from_u32(0), [], &mut pool);
        Self {
            source,
            out,
            ours: Vec::new(),
            theirs: Vec::new(),
            pool,
            call,
        }
    }

    /// Everything about two instructions but what their operands and
    /// destinations are. Returns the pair of blocks whose addresses they take,
    /// if they do.
    pub fn instructions(
        &mut self,
        source_inst: Inst,
        outlined: Inst,
    ) -> Result<Option<(Block, Block)>, CheckError> {
        let (ours, theirs) = (self.source, self.out);
        let our_data = &ours.dfg.insts[source_inst];
        let their_data = &theirs.dfg.insts[outlined];
        if our_data.opcode() != their_data.opcode() {
            return Err(CheckError::WrongOpcode {
                source_inst,
                outlined,
            });
        }
        let our_skeleton = split(our_data, &mut self.ours, self.call);
        let their_skeleton = split(their_data, &mut self.theirs, self.call);
        if !our_skeleton.eq(&their_skeleton, &self.pool) || self.ours.len() != self.theirs.len() {
            return Err(CheckError::WrongImmediate {
                source_inst,
                outlined,
            });
        }
        let types = |func: &Function, values: &[Value]| -> Vec<_> {
            values
                .iter()
                .map(|&value| func.dfg.value_type(value))
                .collect()
        };
        let same_results = types(ours, ours.dfg.inst_results(source_inst))
            == types(theirs, theirs.dfg.inst_results(outlined));
        let same_operands = types(ours, ours.dfg.inst_args(source_inst))
            == types(theirs, theirs.dfg.inst_args(outlined));
        if !same_results || !same_operands {
            return Err(CheckError::WrongType {
                source_inst,
                outlined,
            });
        }
        if ours.srcloc(source_inst) != theirs.srcloc(outlined) {
            return Err(CheckError::WrongSourceLocation {
                source_inst,
                outlined,
            });
        }
        if ours.debug_tags.get(source_inst) != theirs.debug_tags.get(outlined) {
            return Err(CheckError::WrongDebugTags {
                source_inst,
                outlined,
            });
        }
        let maps = |func: &'a Function, inst| func.dfg.user_stack_map_entries(inst);
        if maps(ours, source_inst).unwrap_or_default() != maps(theirs, outlined).unwrap_or_default()
        {
            return Err(CheckError::WrongStackMap {
                source_inst,
                outlined,
            });
        }
        let mut blocks = None;
        for (&our, &their) in self.ours.iter().zip(&self.theirs) {
            if let (Entity::Block(our), Entity::Block(their)) = (our, their) {
                blocks = Some((our, their));
                continue;
            }
            self.entities(our, their, source_inst, outlined)?;
        }
        Ok(blocks)
    }

    fn entities(
        &self,
        our: Entity,
        their: Entity,
        source_inst: Inst,
        outlined: Inst,
    ) -> Result<(), CheckError> {
        let (ours, theirs) = (self.source, self.out);
        let (same, error) = match (our, their) {
            (Entity::Func(our), Entity::Func(their)) => (
                same_callee(ours, our, theirs, their),
                CheckError::WrongCallee {
                    source_inst,
                    outlined,
                },
            ),
            (Entity::Sig(our), Entity::Sig(their)) => (
                same_signature(ours, our, theirs, their),
                CheckError::WrongCallee {
                    source_inst,
                    outlined,
                },
            ),
            (Entity::Global(our), Entity::Global(their)) => (
                same_global(ours, our, theirs, their),
                CheckError::WrongGlobalValue {
                    source_inst,
                    outlined,
                },
            ),
            (Entity::Constant(our), Entity::Constant(their)) => (
                ours.dfg.constants.get(our) == theirs.dfg.constants.get(their),
                CheckError::WrongConstant {
                    source_inst,
                    outlined,
                },
            ),
            (Entity::Mask(our), Entity::Mask(their)) => (
                ours.dfg.immediates.get(our) == theirs.dfg.immediates.get(their),
                CheckError::WrongConstant {
                    source_inst,
                    outlined,
                },
            ),
            (Entity::Flags(our), Entity::Flags(their)) => {
                if !same_region(ours, our, theirs, their) {
                    return Err(CheckError::WrongAliasRegion {
                        source_inst,
                        outlined,
                    });
                }
                (
                    same_flags(ours, our, theirs, their),
                    CheckError::WrongMemFlags {
                        source_inst,
                        outlined,
                    },
                )
            }
            (Entity::Exceptions(our), Entity::Exceptions(their)) => (
                same_clauses(ours, our, theirs, their),
                CheckError::WrongExceptionTable {
                    source_inst,
                    outlined,
                },
            ),
            (Entity::Slot(our), Entity::Slot(their)) => (
                our == their
                    && ours.sized_stack_slots.get(our) == theirs.sized_stack_slots.get(their),
                CheckError::WrongSlot {
                    source_inst,
                    outlined,
                },
            ),
            (Entity::DynamicSlot(our), Entity::DynamicSlot(their)) => (
                our == their && same_dynamic_slot(ours, theirs, our),
                CheckError::WrongSlot {
                    source_inst,
                    outlined,
                },
            ),
            // The walk compares the destinations.
            (Entity::Table(_), Entity::Table(_)) => return Ok(()),
            _ => (
                false,
                CheckError::WrongImmediate {
                    source_inst,
                    outlined,
                },
            ),
        };
        if same { Ok(()) } else { Err(error) }
    }
}

fn split(data: &InstructionData, entities: &mut Vec<Entity>, call: BlockCall) -> InstructionData {
    entities.clear();
    data.map(Split { entities, call })
}
