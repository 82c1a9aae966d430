//! Building the outlined functions: the region itself and, for each side
//! exit, its continuation.
//!
//! ```text
//!        source                     region                    continuation of C
//!
//!    ┌─▶ H ──────▶ T      entry(params, live-ins)          entry(live at C, live-ins)
//!    │   │                  │                                │
//!    │   A ─ ─ ▶ C (cold)   H' ─▶ return 1, live-outs        C'
//!    │   │       │          │                                │
//!    │   B ◀─────┘          A' ─▶ return_call C's slot       B'
//!    └───┘                  │                                │
//!                           B' ─▶ H'                        return_call region's slot
//! ```
//!
//! Invariants:
//!
//! * A cold path never merges back into hot code: a continuation has copies of
//!   every block of the scope that it reaches, and re-enters only at the
//!   region's entry.
//! * A continuation returns what the region returns: its natural exits have
//!   the scope's numbers.
//! * The outlined function gets an entry block of its own: a branch to a
//!   function's entry is illegal in CLIF.
//!
//! Not here: which blocks are hot (`regraft_regions::formation`), and the
//! caller's side (`splice`).

use crate::error::OutlineError;
use crate::interface::{
    Interface, LiveOutSource, Param, ParamSource, abi_param, defined_in_scope, defining_block,
    depends_on_vmctx, edge_args, is_constant, leaves_function, vmctx_value,
};
use crate::remap::{Remap, Target, edge_only_args};
use crate::ssa::{Variable, repair};
use crate::tables::SideTable;
use crate::zero::insert_zero;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Block, BlockArg, ExtFuncData, ExternalName, FuncRef, Function, Inst, InstBuilder,
    InstructionData, Signature, UserFuncName, Value, types,
};
use regraft_regions::{ExitKind, Flow, FlowEdge, Liveness, Region};
use rustc_hash::{FxHashMap, FxHashSet};

/// A function outlined from a region: the region or one of its continuations.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// The outlined function.
    pub function: Function,
    /// For each side exit that the function can take, its number and the
    /// reference through which the continuation is called.
    pub side_calls: Vec<(u32, FuncRef)>,
    /// The reference through which a continuation re-enters the region.
    pub reentry: Option<FuncRef>,
    /// Side exits that tables took from `side_calls`: none at first, see
    /// [`tabulate_side_exits`](crate::tabulate_side_exits).
    pub side_tables: Vec<SideTable>,
    /// Indirect calls of the source, and their copies.
    pub indirect_calls: Vec<(Inst, Inst)>,
}

/// Extracts the hot blocks of `region` into a function of their own.
///
/// # Errors
///
/// `UndefinedValue` and `Malformed` for input that the verifier rejects;
/// `TooManyMemFlags`.
///
/// # Complexity
///
/// O(instructions of the region + exits × live-outs).
pub fn extract_region(
    func: &Function,
    flow: &Flow,
    liveness: &Liveness,
    region: &Region,
    interface: &Interface,
) -> Result<Extracted, OutlineError> {
    let blocks: Vec<Block> = region.blocks().iter().collect();
    let name = outlined_name(func, region.entry(), "");
    let mut function = Function::with_name_signature(name, interface.signature());
    let mut extraction = Extraction::new(func, flow, liveness, region, interface, &mut function)?;
    let entry = extraction.make_entry();
    let params = extraction.append_params(entry, &interface.params)?;
    extraction.repeat_constants(entry, &interface.constants)?;
    extraction.create_blocks(&blocks)?;
    let header = extraction.blocks[&region.entry()];
    extraction.jump(entry, header, &params[..interface.entry_params]);
    for &block in &blocks {
        extraction.copy_block(block)?;
    }
    let (side_calls, reentry) = (extraction.side_calls, extraction.reentry);
    let indirect_calls = extraction.remap.indirect_calls;
    Ok(Extracted {
        function,
        side_calls,
        reentry,
        side_tables: vec![],
        indirect_calls,
    })
}

/// Extracts the continuation of the side exit with this number: it runs from
/// the cold block to a natural exit or back to the region's entry.
///
/// # Errors
///
/// As [`extract_region`]; `Malformed` where the region has no such side exit.
///
/// # Complexity
///
/// O(instructions of the scope).
pub fn extract_continuation(
    func: &Function,
    flow: &Flow,
    liveness: &Liveness,
    region: &Region,
    interface: &Interface,
    number: u32,
) -> Result<Extracted, OutlineError> {
    let side_exit = region
        .side_exits()
        .iter()
        .find(|side_exit| side_exit.number == number)
        .ok_or(OutlineError::Malformed("no side exit has this number"))?;
    let start = side_exit.to;
    let blocks = reachable_blocks(flow, region, start);
    let live = live_at(func, liveness, region, start);

    let name = outlined_name(func, region.entry(), &format!("_side{number}"));
    let signature = continuation_signature(func, region, interface, liveness, start);
    let mut function = Function::with_name_signature(name, signature);
    let mut extraction = Extraction::new(func, flow, liveness, region, interface, &mut function)?;
    let entry = extraction.make_entry();
    let mut start_args = vec![];
    for &param in func.dfg.block_params(start) {
        start_args.push(extraction.append_param(entry, func.dfg.value_type(param)));
    }
    let mut entry_values = vec![];
    for &value in &live {
        let param = extraction.append_param(entry, func.dfg.value_type(value));
        extraction.remap.values.insert(value, param);
        entry_values.push((value, param));
    }
    let carried: Vec<Param> = interface.carried().copied().collect();
    extraction.append_params(entry, &carried)?;
    extraction.repeat_constants(entry, &interface.constants)?;
    for value in constants_at(func, liveness, region, start) {
        extraction.repeat_constants(entry, &[value])?;
        entry_values.push((value, extraction.remap.value(start, value)?));
    }
    extraction.create_blocks(&blocks)?;
    let target = extraction.blocks[&start];
    extraction.jump(entry, target, &start_args);
    for &block in &blocks {
        extraction.copy_block(block)?;
    }

    // A value that is live at the start and defined again on the way has two
    // definitions now: the parameter and the copy.
    let in_copy: FxHashSet<Block> = blocks.iter().copied().collect();
    let mut variables = vec![];
    for (value, param) in entry_values {
        let Some(home) = defining_block(func, value).filter(|home| in_copy.contains(home)) else {
            continue;
        };
        let copy = extraction.remap.value(home, value)?;
        variables.push(Variable {
            ty: func.dfg.value_type(value),
            names: vec![param, copy],
            definitions: vec![(entry, param), (extraction.blocks[&home], copy)],
        });
    }
    let (side_calls, reentry) = (extraction.side_calls, extraction.reentry);
    let indirect_calls = extraction.remap.indirect_calls;
    repair(&mut function, &variables)?;
    Ok(Extracted {
        function,
        side_calls,
        reentry,
        side_tables: vec![],
        indirect_calls,
    })
}

/// The values, sorted, that a continuation starting at `start` takes after
/// the block's own parameters: those of the scope that are live there.
pub(crate) fn live_at(
    func: &Function,
    liveness: &Liveness,
    region: &Region,
    start: Block,
) -> Vec<Value> {
    let live = liveness.live_in(start).iter().copied();
    let vmctx = vmctx_value(func);
    live.filter(|&value| {
        defined_in_scope(func, region, value) && vmctx != Some(value) && !is_constant(func, value)
    })
    .collect()
}

/// The constants of the scope that are live at `start`.
fn constants_at(func: &Function, liveness: &Liveness, region: &Region, start: Block) -> Vec<Value> {
    let live = liveness.live_in(start).iter().copied();
    live.filter(|&value| defined_in_scope(func, region, value) && is_constant(func, value))
        .collect()
}

pub(crate) fn continuation_signature(
    func: &Function,
    region: &Region,
    interface: &Interface,
    liveness: &Liveness,
    start: Block,
) -> Signature {
    let mut signature = interface.signature();
    signature.params.clear();
    let params = func.dfg.block_params(start).iter().copied();
    let live = live_at(func, liveness, region, start);
    for value in params.chain(live) {
        let ty = func.dfg.value_type(value);
        signature
            .params
            .push(cranelift_codegen::ir::AbiParam::new(ty));
    }
    signature.params.extend(interface.carried().map(abi_param));
    signature
}

/// The blocks of the scope that `start` reaches without passing the region's
/// entry, in reverse post-order from `start`.
fn reachable_blocks(flow: &Flow, region: &Region, start: Block) -> Vec<Block> {
    let successors = |block: Block| -> Vec<Block> {
        flow.succs(block)
            .map(|edge| flow.edge(edge).to)
            .filter(|&to| region.scope().contains(to) && to != region.entry())
            .collect()
    };
    let mut seen = FxHashSet::from_iter([start]);
    let mut post_order = vec![];
    let mut stack = vec![(start, successors(start))];
    while let Some((block, pending)) = stack.last_mut() {
        match pending.pop() {
            Some(next) if seen.insert(next) => {
                let successors = successors(next);
                stack.push((next, successors));
            }
            Some(_) => {}
            None => {
                post_order.push(*block);
                stack.pop();
            }
        }
    }
    post_order.reverse();
    post_order
}

/// A readable name: the function's, the region's entry and a suffix.
pub(crate) fn outlined_name(func: &Function, entry: Block, suffix: &str) -> UserFuncName {
    suffixed(&outlined_base(func, entry), suffix)
}

fn suffixed(base: &str, suffix: &str) -> UserFuncName {
    UserFuncName::testcase(format!("{base}{suffix}"))
}

/// What the names of a region and its continuations have in common.
fn outlined_base(func: &Function, entry: Block) -> String {
    let base: String = func
        .name
        .to_string()
        .chars()
        .filter(|&c| c != '%')
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("{base}_{entry}")
}

/// Where an edge of the source leads in the extracted function.
enum Way {
    Inside(Block),
    Natural(usize),
    Side(u32, Block),
    Reentry,
}

struct Extraction<'a> {
    func: &'a Function,
    flow: &'a Flow,
    liveness: &'a Liveness,
    region: &'a Region,
    interface: &'a Interface,
    remap: Remap<'a>,
    blocks: FxHashMap<Block, Block>,
    addresses: FxHashMap<(ParamSource, cranelift_codegen::ir::Type), Value>,
    exit_of_edge: FxHashMap<FlowEdge, usize>,
    exit_of_inst: FxHashMap<Inst, usize>,
    side_of_edge: FxHashMap<FlowEdge, u32>,
    side_calls: Vec<(u32, FuncRef)>,
    reentry: Option<FuncRef>,
    /// See [`outlined_base`].
    base: String,
}

impl<'a> Extraction<'a> {
    fn new(
        func: &'a Function,
        flow: &'a Flow,
        liveness: &'a Liveness,
        region: &'a Region,
        interface: &'a Interface,
        target: &'a mut Function,
    ) -> Result<Self, OutlineError> {
        let mut exit_of_edge = FxHashMap::default();
        let mut exit_of_inst = FxHashMap::default();
        for (at, exit) in interface.exits.iter().enumerate() {
            match exit.exit.kind {
                ExitKind::Edge { edge, .. } => exit_of_edge.insert(edge, at),
                ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                    exit_of_inst.insert(inst, at)
                }
            };
        }
        let side_exits = region.side_exits().iter();
        Ok(Self {
            func,
            flow,
            liveness,
            region,
            interface,
            remap: Remap::new(func, target)?,
            blocks: FxHashMap::default(),
            addresses: FxHashMap::default(),
            exit_of_edge,
            exit_of_inst,
            side_of_edge: side_exits.map(|exit| (exit.edge, exit.number)).collect(),
            side_calls: vec![],
            reentry: None,
            base: outlined_base(func, region.entry()),
        })
    }

    fn make_entry(&mut self) -> Block {
        let entry = self.remap.target.dfg.make_block();
        self.remap.target.layout.append_block(entry);
        entry
    }

    fn append_param(&mut self, block: Block, ty: cranelift_codegen::ir::Type) -> Value {
        self.remap.target.dfg.append_block_param(block, ty)
    }

    /// Appends interface parameters to the entry and maps what they carry.
    fn append_params(
        &mut self,
        entry: Block,
        params: &[Param],
    ) -> Result<Vec<Value>, OutlineError> {
        let mut values = Vec::with_capacity(params.len());
        for param in params {
            let copy = self.append_param(entry, param.ty);
            match param.source {
                ParamSource::Entry(_) => {}
                ParamSource::Value(value) | ParamSource::VmContext(value) => {
                    self.remap.values.insert(value, copy);
                }
                source => {
                    self.addresses.insert((source, param.ty), copy);
                }
            }
            values.push(copy);
        }
        if let Some(limit) = self.func.stack_limit {
            let has_vmctx = self
                .remap
                .target
                .signature
                .uses_special_param(cranelift_codegen::ir::ArgumentPurpose::VMContext);
            if has_vmctx || !depends_on_vmctx(self.func, limit) {
                self.remap.target.stack_limit = Some(self.remap.global(limit));
            }
        }
        Ok(values)
    }

    /// Repeats constants at the end of the entry block.
    fn repeat_constants(&mut self, entry: Block, constants: &[Value]) -> Result<(), OutlineError> {
        for &value in constants {
            let missing = OutlineError::UndefinedValue {
                value,
                block: entry,
            };
            let inst = self.func.dfg.value_def(value).inst().ok_or(missing)?;
            self.remap.copy_inst(entry, inst, entry)?;
        }
        Ok(())
    }

    /// Creates the copies of the blocks and of their parameters.
    fn create_blocks(&mut self, blocks: &[Block]) -> Result<(), OutlineError> {
        for &block in blocks {
            let copy = self.make_entry();
            if self.func.layout.is_cold(block) {
                self.remap.target.layout.set_cold(copy);
            }
            for &param in self.func.dfg.block_params(block) {
                let ty = self.func.dfg.value_type(param);
                let value = self.append_param(copy, ty);
                self.remap.values.insert(param, value);
            }
            self.blocks.insert(block, copy);
        }
        Ok(())
    }

    fn jump(&mut self, from: Block, to: Block, args: &[Value]) {
        let args: Vec<BlockArg> = args.iter().map(|&arg| arg.into()).collect();
        let mut cursor = FuncCursor::new(self.remap.target);
        cursor.goto_bottom(from);
        cursor.ins().jump(to, &args);
    }

    fn copy_block(&mut self, block: Block) -> Result<(), OutlineError> {
        let into = self.blocks[&block];
        for inst in self.func.layout.block_insts(block) {
            let data = &self.func.dfg.insts[inst];
            match *data {
                InstructionData::StackAddr {
                    stack_slot, offset, ..
                } => {
                    let source = ParamSource::Slot(stack_slot);
                    self.copy_address(block, inst, into, source, offset.into())?;
                }
                InstructionData::DynamicStackAddr {
                    dynamic_stack_slot, ..
                } => {
                    let source = ParamSource::DynamicSlot(dynamic_stack_slot);
                    self.copy_address(block, inst, into, source, 0)?;
                }
                _ if leaves_function(data.opcode()) => {
                    let exit = self.exit_of_inst.get(&inst).copied();
                    let missing = OutlineError::Malformed("a return that is not an exit");
                    self.return_exit(block, into, exit.ok_or(missing)?, &[])?;
                }
                _ => {
                    if data.opcode().is_branch() {
                        self.prepare_targets(block)?;
                    }
                    self.remap.copy_inst(block, inst, into)?;
                }
            }
        }
        Ok(())
    }

    /// `stack_addr` becomes the address that was passed in, plus the offset.
    fn copy_address(
        &mut self,
        block: Block,
        inst: cranelift_codegen::ir::Inst,
        into: Block,
        source: ParamSource,
        offset: i32,
    ) -> Result<(), OutlineError> {
        let result = self.func.dfg.first_result(inst);
        let ty = self.func.dfg.value_type(result);
        let base = *self
            .addresses
            .get(&(source, ty))
            .ok_or(OutlineError::UndefinedValue {
                value: result,
                block,
            })?;
        let location = self.func.srcloc(inst);
        let mut cursor = FuncCursor::new(self.remap.target).with_srcloc(location);
        cursor.goto_bottom(into);
        let address = if offset == 0 {
            base
        } else {
            let offset = cursor.ins().iconst(ty, i64::from(offset));
            cursor.ins().iadd(base, offset)
        };
        self.remap.values.insert(result, address);
        Ok(())
    }

    fn way(&self, edge: FlowEdge, to: Block) -> Result<Way, OutlineError> {
        if let Some(&copy) = self.blocks.get(&to) {
            return Ok(Way::Inside(copy));
        }
        if let Some(&exit) = self.exit_of_edge.get(&edge) {
            return Ok(Way::Natural(exit));
        }
        if to == self.region.entry() {
            return Ok(Way::Reentry);
        }
        match self.side_of_edge.get(&edge) {
            Some(&number) => Ok(Way::Side(number, to)),
            None => Err(OutlineError::Malformed("an edge that leads nowhere")),
        }
    }

    /// Decides, for each edge out of `block`, the copy's destination; builds
    /// the exit blocks on the way.
    fn prepare_targets(&mut self, block: Block) -> Result<(), OutlineError> {
        self.remap.targets.clear();
        let edges: Vec<FlowEdge> = self.flow.succs(block).collect();
        for id in edges {
            let edge = self.flow.edge(id);
            let way = self.way(id, edge.to)?;
            if let Way::Inside(copy) = way {
                self.remap.targets.push_back(Target::Copy(copy));
                continue;
            }
            let args: Vec<BlockArg> = edge_args(self.func, edge.inst, edge.index).collect();
            let exit_block = self.make_entry();
            self.remap.targets.push_back(Target::Exit(exit_block));
            let mut edge_values = vec![];
            for only in edge_only_args(args.iter().copied()) {
                let at = args.iter().position(|&arg| arg == only);
                let param = at.and_then(|at| self.func.dfg.block_params(edge.to).get(at));
                let param = *param.ok_or(OutlineError::Malformed(
                    "a try_call value without a parameter",
                ))?;
                let ty = self.func.dfg.value_type(param);
                edge_values.push((only, self.append_param(exit_block, ty)));
            }
            match way {
                Way::Inside(_) => {}
                Way::Natural(exit) => self.return_exit(block, exit_block, exit, &edge_values)?,
                Way::Side(number, to) => {
                    let args = self.edge_arg_values(block, &args, &edge_values)?;
                    self.tail_call_side(block, exit_block, number, to, args)?;
                }
                Way::Reentry => {
                    let args = self.edge_arg_values(block, &args, &edge_values)?;
                    self.tail_call_region(block, exit_block, args)?;
                }
            }
        }
        Ok(())
    }

    fn edge_arg_values(
        &self,
        block: Block,
        args: &[BlockArg],
        edge_values: &[(BlockArg, Value)],
    ) -> Result<Vec<Value>, OutlineError> {
        args.iter()
            .map(|&arg| match arg {
                BlockArg::Value(value) => self.remap.value(block, value),
                other => edge_value(other, edge_values),
            })
            .collect()
    }

    /// Ends `into` with `return k, live-outs`.
    fn return_exit(
        &mut self,
        block: Block,
        into: Block,
        exit: usize,
        edge_values: &[(BlockArg, Value)],
    ) -> Result<(), OutlineError> {
        let exit = &self.interface.exits[exit];
        let mut results = vec![None; self.interface.results.len()];
        for live in &exit.live_outs {
            let value = match live.source {
                LiveOutSource::Value(value) => self.remap.value(block, value)?,
                LiveOutSource::TryCallRet(i) => edge_value(BlockArg::TryCallRet(i), edge_values)?,
                LiveOutSource::TryCallExn(i) => edge_value(BlockArg::TryCallExn(i), edge_values)?,
            };
            results[live.result] = Some(value);
        }
        let mut cursor = FuncCursor::new(self.remap.target);
        cursor.goto_bottom(into);
        let number = cursor.ins().iconst(types::I32, i64::from(exit.exit.number));
        let mut values = vec![number];
        for (result, &ty) in results.iter().zip(&self.interface.results).skip(1) {
            values.push(result.unwrap_or_else(|| insert_zero(&mut cursor, ty)));
        }
        cursor.ins().return_(&values);
        Ok(())
    }

    /// Live-ins of the scope, as this function holds them.
    fn param_values<'p>(
        &self,
        block: Block,
        params: impl IntoIterator<Item = &'p Param>,
    ) -> Result<Vec<Value>, OutlineError> {
        params
            .into_iter()
            .map(|param| match param.source {
                ParamSource::Value(value) | ParamSource::VmContext(value) => {
                    self.remap.value(block, value)
                }
                source => self
                    .addresses
                    .get(&(source, param.ty))
                    .copied()
                    .ok_or(OutlineError::Malformed("an address that was not passed on")),
            })
            .collect()
    }

    fn tail_call_side(
        &mut self,
        block: Block,
        into: Block,
        number: u32,
        start: Block,
        mut args: Vec<Value>,
    ) -> Result<(), OutlineError> {
        for value in live_at(self.func, self.liveness, self.region, start) {
            args.push(self.remap.value(block, value)?);
        }
        args.extend(self.param_values(block, self.interface.carried())?);
        // Each side exit is one edge, and comes here once.
        let name = suffixed(&self.base, &format!("_side{number}"));
        let signature =
            continuation_signature(self.func, self.region, self.interface, self.liveness, start);
        let callee = self.import(name, signature);
        self.side_calls.push((number, callee));
        self.tail_call(into, callee, &args);
        Ok(())
    }

    fn tail_call_region(
        &mut self,
        block: Block,
        into: Block,
        mut args: Vec<Value>,
    ) -> Result<(), OutlineError> {
        args.extend(self.param_values(block, self.interface.live_ins())?);
        let callee = match self.reentry {
            Some(callee) => callee,
            None => {
                let name = suffixed(&self.base, "");
                let callee = self.import(name, self.interface.signature());
                self.reentry = Some(callee);
                callee
            }
        };
        self.tail_call(into, callee, &args);
        Ok(())
    }

    fn tail_call(&mut self, into: Block, callee: FuncRef, args: &[Value]) {
        let mut cursor = FuncCursor::new(self.remap.target);
        cursor.goto_bottom(into);
        cursor.ins().return_call(callee, args);
    }

    fn import(&mut self, name: UserFuncName, signature: Signature) -> FuncRef {
        import_outlined(self.remap.target, name, signature)
    }
}

/// Declares an outlined function in `func`, by its readable name.
pub(crate) fn import_outlined(
    func: &mut Function,
    name: UserFuncName,
    signature: Signature,
) -> FuncRef {
    let signature = func.import_signature(signature);
    let name = match name {
        UserFuncName::Testcase(name) => ExternalName::TestCase(name),
        UserFuncName::User(name) => ExternalName::User(func.declare_imported_user_function(name)),
    };
    func.import_function(ExtFuncData {
        name,
        signature,
        colocated: false,
        patchable: false,
    })
}

pub(crate) fn edge_value(
    wanted: BlockArg,
    edge_values: &[(BlockArg, Value)],
) -> Result<Value, OutlineError> {
    edge_values
        .iter()
        .find(|(arg, _)| *arg == wanted)
        .map(|&(_, value)| value)
        .ok_or(OutlineError::Malformed(
            "a try_call value without a parameter",
        ))
}
