//! Function bodies: SSA over a graph.
//!
//! Blocks work on variables (which `cranelift-frontend` turns into block parameters, direct uses and value
//! aliases) and on block parameters of their own, so that every edge carries arguments. Some variables are
//! assigned in the entry only: they are live into loops as they are.
//!
//! Termination: every retreating edge is taken only while there is fuel, and burns some. The fuel lives in a
//! variable (a header parameter of every loop) or in a stack slot (then loops may have no parameter at all).

use super::graph::{Graph, Term};
use super::memory::{OBJECT_BYTES, Object, Place};
use super::source::Source;
use super::values::Callee;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Endianness, InstBuilder, JumpTableData, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, TrapCode,
    Type, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, Variable};
use target_lexicon::PointerWidth;

/// The trap behind guards that never fire.
const NEVER: u8 = 77;

/// What `cranelift-frontend` wants to know of the target.
pub const FRONTEND: TargetFrontendConfig = TargetFrontendConfig {
    default_call_conv: CallConv::SystemV,
    pointer_width: PointerWidth::U64,
    page_size_align_log2: 12,
};

/// What the fuel is kept in.
#[derive(Clone, Copy, Debug)]
enum Fuel {
    Variable(Variable, Type),
    Slot(StackSlot),
}

/// What the body of one function is drawn from.
#[derive(Debug)]
pub struct Limits {
    /// About how many blocks.
    pub blocks: usize,
    /// At most how many statements per block.
    pub statements: usize,
    /// How many retreating edges may be taken per call.
    pub fuel: i64,
    /// How many variables.
    pub variables: usize,
    /// The types that most values have.
    pub palette: Vec<Type>,
    /// Whether the last result, an `i64`, is a digest of all variables and stack slots.
    pub digest: bool,
}

/// A body in the making.
pub struct Body<'f, 's, 'b> {
    pub(super) source: &'s mut Source<'b>,
    pub(super) builder: FunctionBuilder<'f>,
    /// The values of the block at hand that are not addresses.
    pub(super) pool: Vec<(Value, Type)>,
    pub(super) variables: Vec<(Variable, Type)>,
    /// Variables that hold the address of a plain object.
    pub(super) pointers: Vec<Variable>,
    pub(super) objects: Vec<Object>,
    pub(super) callees: Vec<Callee>,
    pub(super) palette: Vec<Type>,
    /// Variables from here on are assigned in the entry only.
    mutable: usize,
    fuel: Fuel,
    blocks: Vec<Block>,
    params: Vec<Vec<Type>>,
    out: Block,
    trap: Option<Block>,
    returns: Vec<Type>,
    digest: bool,
}

impl<'f, 's, 'b> Body<'f, 's, 'b> {
    /// Draws the whole body into `builder`'s function; its entry block has the function's parameters.
    ///
    /// `pointer_params` are those parameters that hold addresses of plain objects.
    pub fn draw(
        source: &'s mut Source<'b>,
        mut builder: FunctionBuilder<'f>,
        limits: &Limits,
        pointer_params: &[bool],
        prepare: impl FnOnce(&mut Self, &[Value]),
    ) {
        let graph = Graph::draw(source, limits.blocks);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        let mut blocks = vec![entry];
        let mut params = vec![vec![]];
        for _ in 1..graph.terms.len() {
            let block = builder.create_block();
            let count = match source.below(16) {
                15 => 12,
                n => n.saturating_sub(10),
            };
            let types: Vec<Type> = (0..count).map(|_| source.pick(&limits.palette)).collect();
            for &ty in &types {
                builder.append_block_param(block, ty);
            }
            blocks.push(block);
            params.push(types);
        }
        let out = builder.create_block();
        let fuel = if source.percent(30) {
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4);
            Fuel::Slot(builder.create_sized_stack_slot(data))
        } else {
            let ty = source.pick(&[types::I64, types::I32, types::I16]);
            Fuel::Variable(builder.declare_var(ty), ty)
        };
        let returns = builder.func.signature.returns.iter();
        let returns = returns.map(|param| param.value_type).collect();
        let mut body = Self {
            source,
            builder,
            pool: vec![],
            variables: vec![],
            pointers: vec![],
            objects: vec![],
            callees: vec![],
            palette: limits.palette.clone(),
            mutable: 0,
            fuel,
            blocks,
            params,
            out,
            trap: None,
            returns,
            digest: limits.digest,
        };
        body.entry(limits, pointer_params, prepare);
        for (block, term) in graph.terms.iter().enumerate() {
            if block > 0 {
                body.begin(block);
            }
            for _ in 0..body.source.below(limits.statements + 1) {
                body.statement();
            }
            body.terminate(&graph, block, term);
        }
        body.finish();
    }

    /// Stores the parameters away, initialises variables and fuel.
    fn entry(
        &mut self,
        limits: &Limits,
        pointer_params: &[bool],
        prepare: impl FnOnce(&mut Self, &[Value]),
    ) {
        let entry = self.blocks[0];
        self.builder.switch_to_block(entry);
        let params = self.builder.block_params(entry).to_vec();
        let ty = match self.fuel {
            Fuel::Variable(_, ty) => ty,
            Fuel::Slot(_) => types::I64,
        };
        let mut fuel = self.builder.ins().iconst(ty, limits.fuel);
        let data = params.iter().zip(pointer_params).filter(|(_, pointer)| !**pointer);
        let data = data.map(|(&param, _)| (param, self.builder.func.dfg.value_type(param)));
        let data: Vec<(Value, Type)> = data.collect();
        // Each input has its own amount of fuel, and so goes its own ways.
        if let Some((param, _)) = data.into_iter().find(|data| data.1 == ty) {
            let mask = self.builder.ins().iconst(ty, 63);
            let more = self.builder.ins().band(param, mask);
            fuel = self.builder.ins().iadd(fuel, more);
        }
        match self.fuel {
            Fuel::Variable(variable, _) => self.builder.def_var(variable, fuel),
            Fuel::Slot(slot) => {
                let address = self.builder.ins().stack_addr(types::I64, slot, 0);
                let flags = MemFlagsData::trusted();
                self.builder.ins().store(flags, fuel, address, 0);
            }
        }
        for (&param, &pointer) in params.iter().zip(pointer_params) {
            if !pointer {
                let ty = self.builder.func.dfg.value_type(param);
                self.pool.push((param, ty));
            }
        }
        prepare(self, &params);
        for _ in 0..limits.variables {
            let ty = self.source.pick(&limits.palette);
            let value = match self.source.below(3) {
                0 => self.value(ty),
                1 => self.constant(ty),
                _ => self.operation(ty),
            };
            let variable = self.builder.declare_var(ty);
            self.builder.def_var(variable, value);
            self.variables.push((variable, ty));
        }
        self.mutable = self.variables.len() - self.source.below(self.variables.len() + 1);
    }

    fn begin(&mut self, block: usize) {
        let block = self.blocks[block];
        self.builder.switch_to_block(block);
        self.pool.clear();
        for &param in self.builder.block_params(block) {
            let ty = self.builder.func.dfg.value_type(param);
            self.pool.push((param, ty));
        }
    }

    fn statement(&mut self) {
        match self.source.below(10) {
            0..=4 => {
                let palette = self.palette.clone();
                let ty = self.source.pick(&palette);
                let value = self.operation(ty);
                self.pool.push((value, ty));
                self.assign(value, ty);
            }
            5 => {
                if let Some(&(value, ty)) = self.pool.last() {
                    self.assign(value, ty);
                }
            }
            6 => self.store(),
            7 => self.exchange_pointers(),
            8 => self.call(),
            _ => self.memory_operation(),
        }
    }

    fn assign(&mut self, value: Value, ty: Type) {
        let fitting = self.variables[..self.mutable].iter();
        let fitting: Vec<Variable> = fitting.filter(|v| v.1 == ty).map(|v| v.0).collect();
        if !fitting.is_empty() && self.source.percent(70) {
            let variable = self.source.pick(&fitting);
            self.builder.def_var(variable, value);
        }
    }

    /// A value of the type that is there already, or a constant.
    pub(super) fn value(&mut self, ty: Type) -> Value {
        let variable = self.source.percent(50);
        if variable {
            let fitting = self.variables.iter().filter(|v| v.1 == ty);
            let fitting: Vec<Variable> = fitting.map(|v| v.0).collect();
            if !fitting.is_empty() {
                let variable = self.source.pick(&fitting);
                return self.builder.use_var(variable);
            }
        }
        let fitting = self.pool.iter().filter(|(_, other)| *other == ty);
        let fitting: Vec<Value> = fitting.map(|&(value, _)| value).collect();
        if !fitting.is_empty() {
            return self.source.pick(&fitting);
        }
        let fitting = self.variables.iter().find(|v| v.1 == ty).copied();
        match fitting {
            Some((variable, _)) => self.builder.use_var(variable),
            _ => self.constant(ty),
        }
    }

    fn target(&mut self, to: usize) -> (Block, Vec<BlockArg>) {
        let types = self.params[to].clone();
        let args = types.into_iter().map(|ty| self.value(ty).into()).collect();
        (self.blocks[to], args)
    }

    /// Whether there is fuel, as an `i8`; burns some.
    fn burn(&mut self) -> Value {
        let (fuel, address, ty) = match self.fuel {
            Fuel::Variable(variable, ty) => (self.builder.use_var(variable), None, ty),
            Fuel::Slot(slot) => {
                let address = self.builder.ins().stack_addr(types::I64, slot, 0);
                let flags = MemFlagsData::trusted();
                let fuel = self.builder.ins().load(types::I64, flags, address, 0);
                (fuel, Some(address), types::I64)
            }
        };
        let zero = self.builder.ins().iconst(ty, 0);
        let one = self.builder.ins().iconst(ty, 1);
        let enough = self.builder.ins().icmp(IntCC::NotEqual, fuel, zero);
        let less = self.builder.ins().isub(fuel, one);
        let left = self.builder.ins().select(enough, less, zero);
        match (self.fuel, address) {
            (Fuel::Slot(_), Some(address)) => {
                let flags = MemFlagsData::trusted();
                self.builder.ins().store(flags, left, address, 0);
            }
            (Fuel::Variable(variable, _), _) => self.builder.def_var(variable, left),
            _ => {}
        }
        enough
    }

    fn terminate(&mut self, graph: &Graph, from: usize, term: &Term) {
        let burns = term.targets().iter().any(|&to| graph.retreats(from, to));
        match term {
            Term::Return => self.leave(),
            Term::Jump(to) if !burns => {
                let (to, args) = self.target(*to);
                self.builder.ins().jump(to, &args);
            }
            Term::Jump(to) => {
                let enough = self.burn();
                let (to, args) = self.target(*to);
                let (out, out_args) = self.way_out(graph, from);
                self.builder.ins().brif(enough, to, &args, out, &out_args);
            }
            Term::Guard(to) => {
                let value = self.value(types::I32);
                let one = self.builder.ins().iconst(types::I32, 1);
                let odd = self.builder.ins().bor(value, one);
                let zero = self.builder.ins().iconst(types::I32, 0);
                let never = self.builder.ins().icmp(IntCC::Equal, odd, zero);
                let (to, args) = self.target(*to);
                if burns {
                    // Through a branch of its own: the trap block is no way out.
                    let enough = self.burn();
                    let next = self.builder.create_block();
                    let (out, out_args) = self.way_out(graph, from);
                    self.builder.ins().brif(enough, next, &[], out, &out_args);
                    self.builder.switch_to_block(next);
                }
                let trap = *self.trap.get_or_insert_with(|| self.builder.create_block());
                self.builder.ins().brif(never, trap, &[], to, &args);
            }
            Term::Branch(a, b) => match (graph.retreats(from, *a), graph.retreats(from, *b)) {
                (true, true) => self.table(graph, from, &[*b, *a]),
                (back_a, back_b) => {
                    let stay = burns && self.source.percent(60);
                    let mut condition = if stay { self.flicker() } else { self.condition() };
                    if burns {
                        let enough = self.burn();
                        let zero = self.builder.ins().iconst(types::I8, 0);
                        if back_b && stay {
                            condition = self.builder.ins().icmp(IntCC::Equal, condition, zero);
                        }
                        condition = if back_a {
                            self.builder.ins().band(condition, enough)
                        } else {
                            let empty = self.builder.ins().icmp(IntCC::Equal, enough, zero);
                            self.builder.ins().bor(condition, empty)
                        };
                    }
                    let (a, a_args) = self.target(*a);
                    let (b, b_args) = self.target(*b);
                    self.builder.ins().brif(condition, a, &a_args, b, &b_args);
                }
            },
            Term::Table(targets) => self.table(graph, from, targets),
        }
    }

    /// An `i8` that is 0 or 1, and seldom always the same.
    pub(super) fn condition(&mut self) -> Value {
        let flicker = self.source.below(6);
        if let 1..=2 = flicker {
            return self.flicker();
        }
        let ty = self.source.pick(&[types::I32, types::I64, types::I8, types::I16]);
        let (a, b) = (self.value(ty), self.value(ty));
        let code = self.source.pick(&[
            IntCC::UnsignedLessThan,
            IntCC::SignedGreaterThan,
            IntCC::NotEqual,
            IntCC::Equal,
        ]);
        let flag = self.builder.ins().icmp(code, a, b);
        match flicker {
            3 | 4 => {
                let other = self.flicker();
                self.builder.ins().bxor(flag, other)
            }
            _ => flag,
        }
    }

    /// An `i8` that depends on how much fuel is left: loops run on, and leave by different ways.
    fn flicker(&mut self) -> Value {
        let fuel = self.fuel_left();
        let ty = self.builder.func.dfg.value_type(fuel);
        let mask = self.source.pick(&[1, 2, 3, 4, 6, 8, 31]);
        let mask = self.builder.ins().iconst(ty, mask);
        let bits = self.builder.ins().band(fuel, mask);
        let zero = self.builder.ins().iconst(ty, 0);
        self.builder.ins().icmp(IntCC::NotEqual, bits, zero)
    }

    fn fuel_left(&mut self) -> Value {
        match self.fuel {
            Fuel::Variable(variable, _) => self.builder.use_var(variable),
            Fuel::Slot(slot) => self.builder.ins().stack_load(types::I64, types::I64, slot, 0),
        }
    }

    fn table(&mut self, graph: &Graph, from: usize, targets: &[usize]) {
        let mut calls: Vec<(Block, Vec<BlockArg>)> = vec![];
        let mut safe = None;
        for (at, &to) in targets.iter().enumerate() {
            if !graph.retreats(from, to) {
                safe = Some(at);
            }
            calls.push(self.target(to));
        }
        if targets.iter().any(|&to| graph.retreats(from, to)) && safe.is_none() {
            safe = Some(calls.len());
            let out = self.way_out(graph, from);
            calls.push(out);
        }
        let mut index = self.value(types::I32);
        let mask = (calls.len() + 1).next_power_of_two() as i64 - 1;
        let mask = self.builder.ins().iconst(types::I32, mask);
        if self.source.percent(70) {
            let fuel = self.fuel_left();
            let ty = self.builder.func.dfg.value_type(fuel);
            let fuel = match ty {
                types::I64 => self.builder.ins().ireduce(types::I32, fuel),
                types::I32 => fuel,
                _ => self.builder.ins().uextend(types::I32, fuel),
            };
            index = self.builder.ins().bxor(index, fuel);
        }
        index = self.builder.ins().band(index, mask);
        if let Some(safe) = safe {
            // The default comes first; out of range is as good as any.
            let safe = if safe == 0 { 0xffff } else { safe as i64 - 1 };
            let enough = self.burn();
            let safe = self.builder.ins().iconst(types::I32, safe);
            index = self.builder.ins().select(enough, index, safe);
        }
        let pool = &mut self.builder.func.dfg.value_lists;
        let calls: Vec<BlockCall> = calls
            .into_iter()
            .map(|(block, args)| BlockCall::new(block, args, pool))
            .collect();
        let data = JumpTableData::new(calls[0], &calls[1..]);
        let table = self.builder.create_jump_table(data);
        self.builder.ins().br_table(index, table);
    }

    /// Where control goes when the fuel is used up: forward, or out of the function.
    fn way_out(&mut self, graph: &Graph, from: usize) -> (Block, Vec<BlockArg>) {
        if graph.reachable(from) && self.source.percent(50) {
            let forward = (1..self.blocks.len()).filter(|&to| graph.reachable(to) && !graph.retreats(from, to));
            let forward: Vec<usize> = forward.collect();
            if !forward.is_empty() {
                let to = self.source.pick(&forward);
                return self.target(to);
            }
        }
        (self.out, vec![])
    }

    fn leave(&mut self) {
        if self.source.percent(60) && self.tail_call() {
            return;
        }
        if self.digest && self.source.percent(80) {
            self.builder.ins().jump(self.out, &[]);
            return;
        }
        let types = self.returns.clone();
        let values: Vec<Value> = types.into_iter().map(|ty| self.value(ty)).collect();
        self.builder.ins().return_(&values);
    }

    fn finish(mut self) {
        self.builder.switch_to_block(self.out);
        self.pool.clear();
        let types = self.returns.clone();
        let mut values: Vec<Value> = types.into_iter().map(|ty| self.value(ty)).collect();
        if self.digest
            && let Some(last) = values.last_mut()
        {
            *last = self.digested();
        }
        self.builder.ins().return_(&values);
        if let Some(trap) = self.trap {
            self.builder.switch_to_block(trap);
            self.builder.ins().trap(TrapCode::unwrap_user(NEVER));
        }
        self.builder.seal_all_blocks();
        self.builder.finalize(FRONTEND);
    }

    /// A digest of all variables and stack slots.
    fn digested(&mut self) -> Value {
        let mut words = vec![];
        for (variable, ty) in self.variables.clone() {
            let value = self.builder.use_var(variable);
            words.extend(self.words(value, ty));
        }
        for object in self.objects.clone() {
            if let Place::Slot(slot) = object.place {
                let flags = MemFlagsData::trusted().with_alias_region(object.region);
                let address = self.builder.ins().stack_addr(types::I64, slot, 0);
                for offset in (0..OBJECT_BYTES as i32).step_by(8) {
                    words.push(self.builder.ins().load(types::I64, flags, address, offset));
                }
            }
        }
        let mut digest = self.builder.ins().iconst(types::I64, 0);
        let factor = self.builder.ins().iconst(types::I64, 0x9e37_79b9_7f4a_7c15_u64 as i64);
        for word in words {
            let sum = self.builder.ins().bxor(digest, word);
            digest = self.builder.ins().imul(sum, factor);
        }
        digest
    }

    /// The bits of a value.
    fn words(&mut self, value: Value, ty: Type) -> Vec<Value> {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        let ins = self.builder.ins();
        match ty {
            types::I64 => vec![value],
            types::I128 => {
                let (low, high) = ins.isplit(value);
                vec![low, high]
            }
            types::F16 | types::F32 | types::F64 | types::F128 => {
                let bits = Type::int(ty.bits() as u16).unwrap_or(types::I64);
                let value = ins.bitcast(bits, MemFlagsData::new(), value);
                self.words(value, bits)
            }
            _ if ty.is_vector() => {
                let value = match ty {
                    types::I64X2 => value,
                    _ => ins.bitcast(types::I64X2, flags, value),
                };
                let lanes = [0, 1];
                lanes.map(|lane| self.builder.ins().extractlane(value, lane)).to_vec()
            }
            _ => vec![ins.uextend(types::I64, value)],
        }
    }

    /// A constant of the type, mostly a small one.
    pub(super) fn constant(&mut self, ty: Type) -> Value {
        let bits = match self.source.below(4) {
            0 => self.source.wide(),
            _ => self.source.below(256) as u128,
        };
        super::values::constant(&mut self.builder, ty, bits)
    }
}
