//! The interface between a function and the regions outlined from it.
//!
//! Purpose: which values go in, which come out by which exit, and in what
//! order. Both sides (the outlined function and the residual or tier-0
//! function that calls it) are generated from the same [`Interface`].
//!
//! Invariants:
//!
//! * The interface depends on the region's *scope* only, never on which of
//!   its blocks are hot: tier 0 is compiled before any profile exists.
//! * Result 0 is the exit number, an `i32`; 0 means that the region did not
//!   run. The other results are shared between exits, by type: exit *k* uses
//!   a subset of them and leaves the rest zero. A value leaves by the same
//!   result wherever it leaves.
//! * Live-ins and live-outs are sorted by value number, so that the same
//!   input gives the same interface.
//! * Constants do not cross: whoever needs one repeats the instruction that
//!   defines it, so that the optimiser of either side knows its value.
//!
//! Not here: code that uses it (`extract`, `splice`).

use crate::error::OutlineError;
use crate::legality::check_blocks;
use cranelift_codegen::ir::{
    AbiParam, ArgumentPurpose, Block, BlockArg, DynamicStackSlot, ExceptionTableItem, Function,
    GlobalValue, GlobalValueData, Inst, InstructionData, Opcode, Signature, StackSlot, Type, Value,
    ValueDef, types,
};
use cranelift_codegen::isa::CallConv;
use indexmap::IndexSet;
use regraft_regions::{Exit, ExitKind, Flow, Liveness, Region};

/// The most values (parameters plus results) that an interface may have.
pub const MAX_INTERFACE_VALUES: usize = 4096;

/// The most values, summed over the exits, that may leave a region.
pub const MAX_LEAVING_VALUES: usize = 1 << 20;

/// Where a parameter of the outlined function comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamSource {
    /// The parameter of the region's entry block with this index.
    Entry(usize),
    /// A value defined outside the scope.
    Value(Value),
    /// The function's `vmctx` parameter, passed on as such.
    VmContext(Value),
    /// The address of a stack slot of the function's frame.
    Slot(StackSlot),
    /// The address of a dynamic stack slot of the function's frame.
    DynamicSlot(DynamicStackSlot),
}

/// A parameter of the outlined function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// What it carries.
    pub source: ParamSource,
    /// Its type.
    pub ty: Type,
}

/// What a live-out carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LiveOutSource {
    /// A value defined in the scope.
    Value(Value),
    /// Return value *i* of the `try_call` whose edge is the exit.
    TryCallRet(u32),
    /// Exception payload *i* of the `try_call` whose edge is the exit.
    TryCallExn(u32),
}

/// A value that leaves by one exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveOut {
    /// What it carries.
    pub source: LiveOutSource,
    /// Its type.
    pub ty: Type,
    /// The index of the result that carries it (never 0).
    pub result: usize,
}

/// A natural exit and what leaves by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitInterface {
    /// The exit.
    pub exit: Exit,
    /// The values that leave, sorted by source.
    pub live_outs: Vec<LiveOut>,
    /// The constants of the scope that are used after this exit, sorted: the
    /// caller repeats them.
    pub constants: Vec<Value>,
}

impl ExitInterface {
    /// The result index that carries `source`, if it leaves by this exit.
    pub fn result_of(&self, source: LiveOutSource) -> Option<usize> {
        self.live_outs
            .binary_search_by_key(&source, |live| live.source)
            .ok()
            .map(|at| self.live_outs[at].result)
    }
}

/// Parameters, results and exits of an outlined region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The region's entry block.
    pub entry: Block,
    /// The parameters: those of the entry block, then the live-ins.
    pub params: Vec<Param>,
    /// The constants defined outside the scope and used in it, sorted: the
    /// outlined function repeats them in its entry block.
    pub constants: Vec<Value>,
    /// How many of the parameters are those of the entry block.
    pub entry_params: usize,
    /// The types of the results; the first is the exit number.
    pub results: Vec<Type>,
    /// The natural exits; exit number *k* is at *k* − 1.
    pub exits: Vec<ExitInterface>,
}

impl Interface {
    /// Computes the interface of `region`'s scope.
    ///
    /// # Errors
    ///
    /// The reason why the scope cannot be outlined at all: see
    /// [`OutlineError`].
    ///
    /// # Complexity
    ///
    /// O(instructions of the scope + live-outs over all exits).
    pub fn compute(
        func: &Function,
        flow: &Flow,
        liveness: &Liveness,
        region: &Region,
    ) -> Result<Self, OutlineError> {
        check_blocks(func, region.scope().iter())?;
        // The address may be taken outside: it is still one of this frame.
        let mut scope = region.scope().iter();
        if let Some(block) = scope.find(|&block| flow.is_handler_taken(block)) {
            return Err(OutlineError::HandlerAddress { block });
        }
        let (params, constants) = collect_params(func, flow, liveness, region)?;
        let (results, exits) = collect_exits(func, flow, liveness, region)?;
        let values = params.len() + results.len();
        if values > MAX_INTERFACE_VALUES {
            return Err(OutlineError::InterfaceTooLarge {
                values,
                limit: MAX_INTERFACE_VALUES,
            });
        }
        Ok(Self {
            entry: region.entry(),
            params,
            constants,
            entry_params: func.dfg.num_block_params(region.entry()),
            results,
            exits,
        })
    }

    /// The signature of the outlined function: `tail` convention, so that
    /// several values return in registers and side exits can be tail calls.
    pub fn signature(&self) -> Signature {
        let mut signature = Signature::new(CallConv::Tail);
        signature.params.extend(self.params.iter().map(abi_param));
        signature
            .returns
            .extend(self.results.iter().map(|&ty| AbiParam::new(ty)));
        signature
    }

    /// The parameters after those of the entry block: live-ins, frame
    /// addresses and the context, which stay the same for every iteration.
    pub fn live_ins(&self) -> &[Param] {
        self.params.get(self.entry_params..).unwrap_or_default()
    }

    /// What every continuation needs whatever is live where it starts: the
    /// live-ins, and the context even if it is a parameter of the entry.
    pub fn carried(&self) -> impl Iterator<Item = &Param> {
        let entry = self.params.iter().take(self.entry_params);
        let context = entry.filter(|param| matches!(param.source, ParamSource::VmContext(_)));
        context.chain(self.live_ins())
    }
}

/// The ABI parameter for an interface parameter.
pub(crate) fn abi_param(param: &Param) -> AbiParam {
    match param.source {
        ParamSource::VmContext(_) => AbiParam::special(param.ty, ArgumentPurpose::VMContext),
        _ => AbiParam::new(param.ty),
    }
}

/// The block that defines `value`, if it is defined in the layout.
pub(crate) fn defining_block(func: &Function, value: Value) -> Option<Block> {
    match func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        ValueDef::Union(..) => None,
    }
}

/// Whether `value` is defined in the region's scope.
pub(crate) fn defined_in_scope(func: &Function, region: &Region, value: Value) -> bool {
    defining_block(func, value).is_some_and(|block| region.scope().contains(block))
}

/// Whether `value` is defined by an instruction without operands or effects
/// that makes a constant.
pub(crate) fn is_constant(func: &Function, value: Value) -> bool {
    func.dfg.value_def(value).inst().is_some_and(|inst| {
        matches!(
            func.dfg.insts[inst].opcode(),
            Opcode::Iconst
                | Opcode::F16const
                | Opcode::F32const
                | Opcode::F64const
                | Opcode::F128const
                | Opcode::Vconst
        )
    })
}

/// Whether the terminator is replaced by an exit rather than copied.
pub(crate) fn leaves_function(opcode: Opcode) -> bool {
    opcode.is_return()
}

fn collect_params(
    func: &Function,
    flow: &Flow,
    liveness: &Liveness,
    region: &Region,
) -> Result<(Vec<Param>, Vec<Value>), OutlineError> {
    let vmctx = vmctx_value(func);
    // What the scope uses and does not define is live where control enters it.
    let live = liveness.live_in(region.entry());
    let mut used = vec![false; live.len()];
    let mut use_of = |value: Value| {
        let value = func.dfg.resolve_aliases(value);
        if let Ok(at) = live.binary_search(&value) {
            used[at] = true;
        }
    };
    let mut slots = IndexSet::new();
    let mut needs_vmctx = func
        .stack_limit
        .is_some_and(|limit| depends_on_vmctx(func, limit));
    for block in region.scope().iter() {
        for inst in func.layout.block_insts(block) {
            let data = &func.dfg.insts[inst];
            if leaves_function(data.opcode()) {
                continue;
            }
            func.dfg
                .inst_args(inst)
                .iter()
                .copied()
                .for_each(&mut use_of);
            if let Some(table) = data.exception_table() {
                for item in func.dfg.exception_tables[table].items() {
                    if let ExceptionTableItem::Context(value) = item {
                        use_of(value);
                    }
                }
            }
            match *data {
                InstructionData::StackAddr { stack_slot, .. } => {
                    slots.insert((ParamSource::Slot(stack_slot), result_type(func, inst)));
                }
                InstructionData::DynamicStackAddr {
                    dynamic_stack_slot, ..
                } => {
                    let source = ParamSource::DynamicSlot(dynamic_stack_slot);
                    slots.insert((source, result_type(func, inst)));
                }
                InstructionData::UnaryGlobalValue { global_value, .. } => {
                    needs_vmctx |= depends_on_vmctx(func, global_value);
                }
                _ => {}
            }
        }
        for id in flow.succs(block) {
            let edge = flow.edge(id);
            if !region.scope().contains(edge.to) {
                continue;
            }
            for value in edge_args(func, edge.inst, edge.index).filter_map(|arg| arg.as_value()) {
                use_of(value);
            }
        }
    }
    let used = live.iter().zip(used).filter(|(_, used)| *used);
    let mut live_ins: Vec<Value> = used.map(|(&value, _)| value).collect();
    if needs_vmctx
        && let Some(context) = vmctx
        && let Err(at) = live_ins.binary_search(&context)
    {
        live_ins.insert(at, context);
    }
    let (constants, live_ins): (Vec<Value>, Vec<Value>) = live_ins
        .into_iter()
        .partition(|&value| is_constant(func, value));

    let entry_params = func.dfg.block_params(region.entry()).iter().enumerate();
    let mut params = Vec::new();
    for (index, &value) in entry_params {
        // The entry block of the function keeps its `vmctx` special.
        let source = match vmctx {
            Some(context) if context == value => ParamSource::VmContext(value),
            _ => ParamSource::Entry(index),
        };
        params.push(typed(func, source, value)?);
    }
    for value in live_ins {
        if func.dfg.block_params(region.entry()).contains(&value) {
            continue;
        }
        let source = match vmctx {
            Some(context) if context == value => ParamSource::VmContext(value),
            _ => ParamSource::Value(value),
        };
        params.push(typed(func, source, value)?);
    }
    params.extend(slots.into_iter().map(|(source, ty)| Param { source, ty }));
    Ok((params, constants))
}

fn typed(func: &Function, source: ParamSource, value: Value) -> Result<Param, OutlineError> {
    let ty = static_type(func, value)?;
    Ok(Param { source, ty })
}

fn static_type(func: &Function, value: Value) -> Result<Type, OutlineError> {
    let ty = func.dfg.value_type(value);
    if ty.is_dynamic_vector() {
        return Err(OutlineError::DynamicVector { value });
    }
    Ok(ty)
}

fn result_type(func: &Function, inst: Inst) -> Type {
    func.dfg.value_type(func.dfg.first_result(inst))
}

/// The value of the function's `vmctx` parameter, if its signature has one.
pub(crate) fn vmctx_value(func: &Function) -> Option<Value> {
    let entry = func.layout.entry_block()?;
    let index = func
        .signature
        .special_param_index(ArgumentPurpose::VMContext)?;
    func.dfg.block_params(entry).get(index).copied()
}

pub(crate) fn depends_on_vmctx(func: &Function, mut value: GlobalValue) -> bool {
    // A chain of global values is acyclic: the verifier checks it. The bound
    // keeps an unverified function from looping here.
    for _ in 0..=func.global_values.len() {
        match func.global_values.get(value) {
            Some(GlobalValueData::VMContext) => return true,
            Some(GlobalValueData::Load { base, .. } | GlobalValueData::IAddImm { base, .. }) => {
                value = *base
            }
            _ => return false,
        }
    }
    true
}

/// The arguments of destination `index` of a terminator.
pub fn edge_args(func: &Function, inst: Inst, index: u32) -> impl Iterator<Item = BlockArg> + '_ {
    let destinations =
        func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables);
    destinations
        .get(index as usize)
        .into_iter()
        .flat_map(|call| call.args(&func.dfg.value_lists))
}

fn collect_exits(
    func: &Function,
    flow: &Flow,
    liveness: &Liveness,
    region: &Region,
) -> Result<(Vec<Type>, Vec<ExitInterface>), OutlineError> {
    let mut leaving = 0;
    let mut exits = Vec::with_capacity(region.exits().len());
    for exit in region.exits() {
        let mut sources = vec![];
        let mut constants = vec![];
        let mut add = |value: Value| {
            let value = func.dfg.resolve_aliases(value);
            if !defined_in_scope(func, region, value) {
                return;
            }
            if is_constant(func, value) {
                constants.push(value);
            } else {
                sources.push(LiveOutSource::Value(value));
            }
        };
        match exit.kind {
            ExitKind::Edge { edge, to } => {
                liveness.live_in(to).iter().copied().for_each(&mut add);
                let edge = flow.edge(edge);
                for arg in edge_args(func, edge.inst, edge.index) {
                    if let BlockArg::Value(value) = arg {
                        add(value);
                    }
                }
                for arg in edge_args(func, edge.inst, edge.index) {
                    match arg {
                        BlockArg::TryCallRet(i) => sources.push(LiveOutSource::TryCallRet(i)),
                        BlockArg::TryCallExn(i) => sources.push(LiveOutSource::TryCallExn(i)),
                        BlockArg::Value(_) => {}
                    }
                }
            }
            ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                func.dfg.inst_args(inst).iter().copied().for_each(&mut add);
            }
        }
        constants.sort_unstable();
        constants.dedup();
        sources.sort_unstable();
        sources.dedup();
        leaving += sources.len() + constants.len();
        if leaving > MAX_LEAVING_VALUES {
            return Err(OutlineError::InterfaceTooLarge {
                values: leaving,
                limit: MAX_LEAVING_VALUES,
            });
        }
        let mut live_outs = Vec::with_capacity(sources.len());
        for source in sources {
            let ty = match source {
                LiveOutSource::Value(value) => static_type(func, value)?,
                _ => try_call_value_type(func, flow, exit, source)?,
            };
            // The result comes when all exits are known.
            let result = 0;
            live_outs.push(LiveOut { source, ty, result });
        }
        exits.push(ExitInterface {
            exit: *exit,
            live_outs,
            constants,
        });
    }
    let results = assign_results(&mut exits);
    Ok((results, exits))
}

/// Gives each live-out a result of its type: the same at all exits, so that
/// whoever calls need not know the exit to keep it, and never one that another
/// value has at the same exit. Returns the types of the results; more than an
/// interface can have where it cannot be done with as many.
fn assign_results(exits: &mut [ExitInterface]) -> Vec<Type> {
    let mut types = vec![types::I32];
    // By exit, and by type: sets of results.
    let mut used: Vec<Bits> = vec![Bits::default(); exits.len()];
    let mut of_type: Vec<(Type, Bits)> = vec![];
    let mut carried = vec![];
    for (exit, interface) in exits.iter().enumerate() {
        let sources = interface.live_outs.iter().enumerate();
        carried.extend(sources.map(|(at, live)| (live.source, exit, at)));
    }
    carried.sort_unstable();
    let same = |a: LiveOutSource, b| a == b && matches!(a, LiveOutSource::Value(_));
    for group in carried.chunk_by(|a, b| same(a.0, b.0)) {
        let (_, exit, at) = group[0];
        let ty = exits[exit].live_outs[at].ty;
        let mut taken = Bits::default();
        group
            .iter()
            .for_each(|&(_, exit, _)| taken.add(&used[exit]));
        let known = of_type.iter().position(|of| of.0 == ty);
        let known = known.unwrap_or_else(|| {
            of_type.push((ty, Bits::default()));
            of_type.len() - 1
        });
        let of_type = &mut of_type[known].1;
        let result = of_type.first_not_in(&taken).unwrap_or_else(|| {
            types.push(ty);
            of_type.insert(types.len() - 1);
            types.len() - 1
        });
        for &(_, exit, at) in group {
            used[exit].insert(result);
            exits[exit].live_outs[at].result = result;
        }
        if types.len() > MAX_INTERFACE_VALUES {
            break;
        }
    }
    types
}

/// A set of small numbers.
#[derive(Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn add(&mut self, other: &Bits) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        let words = self.0.iter_mut().zip(&other.0);
        words.for_each(|(word, other)| *word |= other);
    }

    fn first_not_in(&self, other: &Bits) -> Option<usize> {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        let mut words = self.0.iter().zip(others).enumerate();
        words.find_map(|(at, (word, other))| {
            let free = word & !other;
            (free != 0).then(|| 64 * at + free.trailing_zeros() as usize)
        })
    }
}

/// The type of a `try_call` edge value: that of the block parameter it feeds.
fn try_call_value_type(
    func: &Function,
    flow: &Flow,
    exit: &Exit,
    source: LiveOutSource,
) -> Result<Type, OutlineError> {
    let ExitKind::Edge { edge, to } = exit.kind else {
        return Err(OutlineError::Malformed("a try_call value without an edge"));
    };
    let edge = flow.edge(edge);
    let wanted = match source {
        LiveOutSource::TryCallRet(i) => BlockArg::TryCallRet(i),
        LiveOutSource::TryCallExn(i) => BlockArg::TryCallExn(i),
        LiveOutSource::Value(value) => BlockArg::Value(value),
    };
    edge_args(func, edge.inst, edge.index)
        .position(|arg| arg == wanted)
        .and_then(|at| func.dfg.block_params(to).get(at))
        .map(|&param| func.dfg.value_type(param))
        .ok_or(OutlineError::Malformed(
            "a try_call value without a parameter",
        ))
}
