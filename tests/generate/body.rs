//! Function bodies: SSA over a graph.
//!
//! Blocks work on variables (which `cranelift-frontend` turns into block parameters, direct uses and value
//! aliases) and on block parameters of their own, so that every edge carries arguments. Some variables are
//! assigned in the entry only: they are live into loops as they are.
//!
//! Termination: every retreating edge is taken only while there is fuel, and burns some. The fuel lives in a
//! variable (a header parameter of every loop) or in a stack slot (then loops may have no parameter at all).

use super::graph::Graph;
use super::memory::Object;
use super::source::Source;
use super::values::Callee;
use cranelift_codegen::ir::{
    Block, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, Variable};
use target_lexicon::PointerWidth;

/// The trap behind guards that never fire.
pub(super) const NEVER: u8 = 77;

/// What `cranelift-frontend` wants to know of the target.
pub const FRONTEND: TargetFrontendConfig = TargetFrontendConfig {
    default_call_conv: CallConv::SystemV,
    pointer_width: PointerWidth::U64,
    page_size_align_log2: 12,
};

/// What the fuel is kept in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fuel {
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
    /// Whether loops are left without fuel: then some never end.
    pub endless: bool,
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
    pub(super) fuel: Fuel,
    pub(super) blocks: Vec<Block>,
    pub(super) params: Vec<Vec<Type>>,
    pub(super) out: Block,
    pub(super) trap: Option<Block>,
    pub(super) returns: Vec<Type>,
    pub(super) digest: bool,
    pub(super) endless: bool,
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
            endless: limits.endless,
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
        let data = params
            .iter()
            .zip(pointer_params)
            .filter(|(_, pointer)| !**pointer);
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
        self.mutable = self.variables.len() - self.source.below(self.variables.len() / 2 + 1);
    }

    fn begin(&mut self, block: usize) {
        let block = self.blocks[block];
        self.builder.switch_to_block(block);
        self.pool.clear();
        for &param in self.builder.block_params(block) {
            let ty = self.builder.func.dfg.value_type(param);
            self.pool.push((param, ty));
        }
        for (value, ty) in self.pool.clone() {
            if self.source.percent(50) {
                self.absorb(value, ty);
            }
        }
    }

    /// Adds a value to a variable, so that it is not lost.
    fn absorb(&mut self, value: Value, ty: Type) {
        let fitting = self.variables[..self.mutable].iter();
        let fitting: Vec<Variable> = fitting.filter(|v| v.1 == ty).map(|v| v.0).collect();
        if fitting.is_empty() {
            return;
        }
        let variable = self.source.pick(&fitting);
        let new = if ty.lane_type().is_int() {
            let old = self.builder.use_var(variable);
            self.builder.ins().iadd(old, value)
        } else {
            value
        };
        self.builder.def_var(variable, new);
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
                let at = self.source.below(self.pool.len());
                if let Some(&(value, ty)) = self.pool.get(at) {
                    self.absorb(value, ty);
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

    /// A constant of the type, mostly a small one.
    pub(super) fn constant(&mut self, ty: Type) -> Value {
        let bits = match self.source.below(4) {
            0 => self.source.wide(),
            _ => self.source.below(256) as u128,
        };
        super::values::constant(&mut self.builder, ty, bits)
    }
}
