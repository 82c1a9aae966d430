//! Copying instructions from one function into another.
//!
//! Purpose: [`Remap`] is Cranelift's `InstructionMapper` between two
//! functions. Entities that an instruction names are created in the target
//! when they are first needed, so a region of a large function does not carry
//! the whole function's tables.
//!
//! Invariants:
//!
//! * Memory flags and alias regions are copied by content: the same access in
//!   the target means exactly what it meant in the source.
//! * Destinations of a terminator are not mapped by block but taken, in order,
//!   from [`Remap::targets`]: two edges to one block can go different ways.
//! * Stack slots have copies if whoever copies has made them ([`Remap::slots`]); outlining has none.
//!
//! Limitations: value labels (`ValueLabel`, DWARF variable locations) are not
//! copied. Dynamic types are copied whole, by [`Remap::new`], since a type
//! names its entry in the table.

use crate::error::OutlineError;
use cranelift_codegen::ir::instructions::InstructionMapper;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Constant, DynamicStackSlot, ExceptionTable, ExceptionTableData,
    ExceptionTableItem, ExtFuncData, ExternalName, FuncRef, Function, GlobalValue, GlobalValueData,
    Immediate, Inst, JumpTable, JumpTableData, MemFlags, MemFlagsData, Opcode, SigRef, StackSlot,
    Value, ValueList,
};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Where a destination of a copied terminator goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this block of the target function, with the mapped arguments.
    Copy(Block),
    /// To this block, which takes only the edge's `try_call` values.
    Exit(Block),
}

/// An instruction mapper from `source` to `target`.
pub struct Remap<'a> {
    source: &'a Function,
    /// The function under construction.
    pub target: &'a mut Function,
    /// Source value → target value; aliases are resolved before the look-up.
    pub values: FxHashMap<Value, Value>,
    /// The destinations of the terminator that is copied next.
    pub targets: VecDeque<Target>,
    /// Stack slot of the source → stack slot of the target.
    pub slots: FxHashMap<StackSlot, StackSlot>,
    /// Indirect calls of the source, and their copies.
    pub indirect_calls: Vec<(Inst, Inst)>,
    signatures: FxHashMap<SigRef, SigRef>,
    functions: FxHashMap<FuncRef, FuncRef>,
    globals: FxHashMap<GlobalValue, GlobalValue>,
    immediates: FxHashMap<Immediate, Immediate>,
    error: Option<OutlineError>,
    block: Block,
}

impl<'a> Remap<'a> {
    /// Starts a copy; dynamic types are copied at once.
    ///
    /// # Errors
    ///
    /// `Malformed` for global values that form a cycle; `TooManyMemFlags`.
    pub fn new(source: &'a Function, target: &'a mut Function) -> Result<Self, OutlineError> {
        // Cursors record the default location, which must not become the base.
        let base = source.params.base_srcloc();
        if !base.is_default() {
            target.params.ensure_base_srcloc(base);
        }
        let mut remap = Self {
            source,
            target,
            values: FxHashMap::default(),
            targets: VecDeque::new(),
            slots: FxHashMap::default(),
            indirect_calls: vec![],
            signatures: FxHashMap::default(),
            functions: FxHashMap::default(),
            globals: FxHashMap::default(),
            immediates: FxHashMap::default(),
            error: None,
            block: Block::from_u32(0),
        };
        for ty in source.dfg.dynamic_types.values() {
            let mut copy = ty.clone();
            copy.dynamic_scale = remap.map_global_value(ty.dynamic_scale);
            remap.target.dfg.make_dynamic_ty(copy);
        }
        remap.take_error()?;
        Ok(remap)
    }

    /// Copies `inst` of `block` to the end of `into`: results, source
    /// location and debug tags included.
    ///
    /// # Errors
    ///
    /// `UndefinedValue` where an operand has no copy yet.
    pub fn copy_inst(&mut self, block: Block, inst: Inst, into: Block) -> Result<(), OutlineError> {
        self.block = block;
        let data = self.source.dfg.insts[inst].map(&mut *self);
        self.take_error()?;
        let copy = self.target.dfg.make_inst(data);
        let ctrl_typevar = self.source.dfg.ctrl_typevar(inst);
        self.target.dfg.make_inst_results(copy, ctrl_typevar);
        self.target.layout.append_inst(copy, into);
        let location = self.source.srcloc(inst);
        if !location.is_default() {
            self.target.set_srcloc(copy, location);
        }
        if self.source.dfg.insts[inst].opcode() == Opcode::CallIndirect {
            self.indirect_calls.push((inst, copy));
        }
        let tags = self.source.debug_tags.get(inst);
        if !tags.is_empty() {
            self.target.debug_tags.set(copy, tags.iter().cloned());
        }
        let results = self.source.dfg.inst_results(inst);
        let copies = self.target.dfg.inst_results(copy);
        if results.len() != copies.len() {
            return Err(OutlineError::Malformed(
                "an instruction lost results in its copy",
            ));
        }
        self.values
            .extend(results.iter().copied().zip(copies.iter().copied()));
        Ok(())
    }

    /// The copy of `value`.
    ///
    /// # Errors
    ///
    /// `UndefinedValue` where it has none.
    pub fn value(&self, block: Block, value: Value) -> Result<Value, OutlineError> {
        let value = self.source.dfg.resolve_aliases(value);
        self.values
            .get(&value)
            .copied()
            .ok_or(OutlineError::UndefinedValue { value, block })
    }

    fn take_error(&mut self) -> Result<(), OutlineError> {
        self.error.take().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: OutlineError) {
        self.error.get_or_insert(error);
    }

    /// Copies the chain of global values that `global` is the end of, bases
    /// first. The verifier rejects cycles; a cycle is cut here.
    pub fn global(&mut self, global: GlobalValue) -> GlobalValue {
        let mut chain = vec![];
        let mut next = Some(global);
        while let Some(link) = next.filter(|link| !self.globals.contains_key(link)) {
            if chain.len() > self.source.global_values.len() {
                self.fail(OutlineError::Malformed("global values that form a cycle"));
                return global;
            }
            chain.push(link);
            next = match self.source.global_values[link] {
                GlobalValueData::Load { base, .. } | GlobalValueData::IAddImm { base, .. } => {
                    Some(base)
                }
                _ => None,
            };
        }
        for link in chain.into_iter().rev() {
            let mut copy = self.source.global_values[link].clone();
            match &mut copy {
                GlobalValueData::Load { base, flags, .. } => {
                    *base = self.globals[base];
                    *flags = self.map_mem_flags(*flags);
                }
                GlobalValueData::IAddImm { base, .. } => *base = self.globals[base],
                GlobalValueData::Symbol { name, .. } => *name = self.copy_name(name.clone()),
                GlobalValueData::VMContext | GlobalValueData::DynScaleTargetConst { .. } => {}
            }
            let copy = self.target.global_values.push(copy);
            self.globals.insert(link, copy);
        }
        self.globals[&global]
    }

    fn copy_name(&mut self, name: ExternalName) -> ExternalName {
        let ExternalName::User(reference) = name else {
            return name;
        };
        let Some(user) = self.source.params.user_named_funcs().get(reference) else {
            self.fail(OutlineError::Malformed(
                "an external name that nobody declared",
            ));
            return name;
        };
        let user = user.clone();
        ExternalName::User(self.target.declare_imported_user_function(user))
    }

    fn map_call(&mut self, call: BlockCall) -> BlockCall {
        let pool = &self.source.dfg.value_lists;
        let args: Vec<BlockArg> = call.args(pool).collect();
        let Some(target) = self.targets.pop_front() else {
            self.fail(OutlineError::Malformed(
                "a terminator with too many destinations",
            ));
            return call;
        };
        let (block, args) = match target {
            Target::Copy(block) => {
                let args: Vec<_> = args
                    .into_iter()
                    .map(|arg| arg.map_value(|value| self.map_value(value)))
                    .collect();
                (block, args)
            }
            Target::Exit(block) => (block, edge_only_args(args)),
        };
        BlockCall::new(block, args, &mut self.target.dfg.value_lists)
    }
}

/// The arguments that exist on the edge only, without repetition.
pub(crate) fn edge_only_args(args: impl IntoIterator<Item = BlockArg>) -> Vec<BlockArg> {
    let mut only: Vec<BlockArg> = args
        .into_iter()
        .filter(|arg| arg.as_value().is_none())
        .collect();
    only.sort_unstable();
    only.dedup();
    only
}

impl InstructionMapper for Remap<'_> {
    fn map_value(&mut self, value: Value) -> Value {
        match self.value(self.block, value) {
            Ok(copy) => copy,
            Err(error) => {
                self.fail(error);
                value
            }
        }
    }

    fn map_value_list(&mut self, list: ValueList) -> ValueList {
        let values = list.as_slice(&self.source.dfg.value_lists);
        let copies: Vec<Value> = values.iter().map(|&value| self.map_value(value)).collect();
        ValueList::from_slice(&copies, &mut self.target.dfg.value_lists)
    }

    fn map_global_value(&mut self, global: GlobalValue) -> GlobalValue {
        self.global(global)
    }

    fn map_jump_table(&mut self, table: JumpTable) -> JumpTable {
        let source = &self.source.dfg.jump_tables[table];
        let default = self.map_call(source.default_block());
        let entries: Vec<BlockCall> = source
            .as_slice()
            .iter()
            .map(|&call| self.map_call(call))
            .collect();
        let copy = JumpTableData::new(default, &entries);
        self.target.dfg.jump_tables.push(copy)
    }

    fn map_exception_table(&mut self, table: ExceptionTable) -> ExceptionTable {
        let source = &self.source.dfg.exception_tables[table];
        let signature = self.map_sig_ref(source.signature());
        let items: Vec<ExceptionTableItem> = source
            .items()
            .map(|item| match item {
                ExceptionTableItem::Tag(tag, call) => {
                    ExceptionTableItem::Tag(tag, self.map_call(call))
                }
                ExceptionTableItem::Default(call) => {
                    ExceptionTableItem::Default(self.map_call(call))
                }
                ExceptionTableItem::Context(value) => {
                    ExceptionTableItem::Context(self.map_value(value))
                }
            })
            .collect();
        // The normal return is the last destination in edge order.
        let normal = self.map_call(*source.normal_return());
        let copy = ExceptionTableData::new(signature, normal, items);
        self.target.dfg.exception_tables.push(copy)
    }

    fn map_block_call(&mut self, call: BlockCall) -> BlockCall {
        self.map_call(call)
    }

    fn map_block(&mut self, block: Block) -> Block {
        self.fail(OutlineError::HandlerAddress { block });
        block
    }

    fn map_func_ref(&mut self, function: FuncRef) -> FuncRef {
        if let Some(&copy) = self.functions.get(&function) {
            return copy;
        }
        let data = self.source.dfg.ext_funcs[function].clone();
        let copy = ExtFuncData {
            name: self.copy_name(data.name),
            signature: self.map_sig_ref(data.signature),
            ..data
        };
        let copy = self.target.import_function(copy);
        self.functions.insert(function, copy);
        copy
    }

    fn map_sig_ref(&mut self, signature: SigRef) -> SigRef {
        if let Some(&copy) = self.signatures.get(&signature) {
            return copy;
        }
        let data = self.source.dfg.signatures[signature].clone();
        let copy = self.target.import_signature(data);
        self.signatures.insert(signature, copy);
        copy
    }

    fn map_stack_slot(&mut self, slot: StackSlot) -> StackSlot {
        if let Some(&copy) = self.slots.get(&slot) {
            return copy;
        }
        self.fail(OutlineError::Malformed(
            "a stack slot that was not turned into an address",
        ));
        slot
    }

    fn map_dynamic_stack_slot(&mut self, slot: DynamicStackSlot) -> DynamicStackSlot {
        self.fail(OutlineError::Malformed(
            "a stack slot that was not turned into an address",
        ));
        slot
    }

    fn map_constant(&mut self, constant: Constant) -> Constant {
        let data = self.source.dfg.constants.get(constant).clone();
        self.target.dfg.constants.insert(data)
    }

    fn map_immediate(&mut self, immediate: Immediate) -> Immediate {
        if let Some(&copy) = self.immediates.get(&immediate) {
            return copy;
        }
        let data = self.source.dfg.immediates[immediate].clone();
        let copy = self.target.dfg.immediates.push(data);
        self.immediates.insert(immediate, copy);
        copy
    }

    fn map_mem_flags(&mut self, flags: MemFlags) -> MemFlags {
        let mut data = self.source.dfg.mem_flags[flags];
        if let Some(region) = data.alias_region() {
            let region = self.source.dfg.alias_regions[region].clone();
            data.set_alias_region(Some(self.target.dfg.alias_regions.insert(region)));
        }
        match self.target.dfg.mem_flags.insert(data) {
            Ok(copy) => copy,
            Err(_) => {
                self.fail(OutlineError::TooManyMemFlags);
                let trusted = MemFlagsData::trusted();
                self.target.dfg.mem_flags.insert(trusted).unwrap_or(flags)
            }
        }
    }
}
