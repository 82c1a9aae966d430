//! Random programs as people write them: counted loops, flags, checked indices.
//!
//! What [`Program`](super::Program) draws has control flow of every shape, but hardly a loop that counts to a constant, an index that is checked although
//! it cannot be out of bounds, or a flag that ends a loop: that is what passes over loops look for. So this draws programs with them, and with
//! the same but for one thing that makes them wrong to optimize: another step, another bound, a check that does fail.
//!
//! A function takes and returns integers, has no memory but its own slots, and may trap.

mod expressions;

use super::source::Source;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Function, InstBuilder, MemFlagsData, Signature, StackSlot, StackSlotData,
    StackSlotKind, Type, UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

/// Iterations of loops that are not counted, in all.
const FUEL: i64 = 60;

/// Where a local is.
#[derive(Clone, Copy)]
enum Home {
    Value(Variable),
    Slot(StackSlot),
}

#[derive(Clone, Copy)]
struct Local {
    ty: Type,
    home: Home,
}

struct Drawer<'s, 'b, 'f> {
    source: &'s mut Source<'b>,
    builder: FunctionBuilder<'f>,
    locals: Vec<Local>,
    /// Locals that loops count with; nobody else assigns them.
    counters: Vec<Local>,
    arrays: Vec<(StackSlot, i64)>,
    fuel: Local,
    statements: usize,
}

/// Draws a function that ends, of three integers.
pub fn draw(source: &mut Source<'_>) -> Function {
    let mut signature = Signature::new(CallConv::SystemV);
    for ty in [types::I64, types::I64, types::I32] {
        signature.params.push(AbiParam::new(ty));
    }
    signature.returns.push(AbiParam::new(types::I64));
    let mut func = Function::with_name_signature(UserFuncName::testcase("main"), signature);
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut func, &mut context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let params = builder.block_params(entry).to_vec();
    let fuel = Local {
        ty: types::I64,
        home: Home::Value(builder.declare_var(types::I64)),
    };
    let statements = source.between(3, 30);
    let mut drawer = Drawer {
        source,
        builder,
        locals: vec![],
        counters: vec![],
        arrays: vec![],
        fuel,
        statements,
    };
    let amount = drawer.builder.ins().iconst(types::I64, FUEL);
    drawer.assign(fuel, amount);
    for param in params {
        let ty = drawer.builder.func.dfg.value_type(param);
        let local = drawer.declare(ty);
        drawer.assign(local, param);
        drawer.locals.push(local);
    }
    for _ in 0..drawer.source.between(1, 4) {
        let ty = drawer.source.pick(&[types::I64, types::I32]);
        let local = drawer.declare(ty);
        let value = drawer.constant(ty);
        drawer.assign(local, value);
        drawer.locals.push(local);
    }
    for _ in 0..drawer.source.below(3) {
        let len = drawer.source.between(2, 9) as i64;
        let slot = drawer.slot(len as u32 * 8);
        for at in 0..len {
            let address = drawer
                .builder
                .ins()
                .stack_addr(types::I64, slot, at as i32 * 8);
            let value = drawer.constant(types::I64);
            drawer
                .builder
                .ins()
                .store(MemFlagsData::trusted(), value, address, 0);
        }
        drawer.arrays.push((slot, len));
    }
    drawer.block(0);
    drawer.finish();
    func
}

impl Drawer<'_, '_, '_> {
    fn slot(&mut self, bytes: u32) -> StackSlot {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3);
        self.builder.create_sized_stack_slot(data)
    }

    fn declare(&mut self, ty: Type) -> Local {
        let home = match self.source.percent(40) {
            true => Home::Slot(self.slot(8)),
            false => Home::Value(self.builder.declare_var(ty)),
        };
        Local { ty, home }
    }

    fn assign(&mut self, local: Local, value: Value) {
        match local.home {
            Home::Value(variable) => self.builder.def_var(variable, value),
            Home::Slot(slot) => {
                let address = self.builder.ins().stack_addr(types::I64, slot, 0);
                self.builder
                    .ins()
                    .store(MemFlagsData::trusted(), value, address, 0);
            }
        }
    }

    fn read(&mut self, local: Local) -> Value {
        match local.home {
            Home::Value(variable) => self.builder.use_var(variable),
            Home::Slot(slot) => {
                let address = self.builder.ins().stack_addr(types::I64, slot, 0);
                self.builder
                    .ins()
                    .load(local.ty, MemFlagsData::trusted(), address, 0)
            }
        }
    }

    fn block(&mut self, depth: u32) {
        for _ in 0..self.source.between(1, 4) {
            if self.statements == 0 {
                return;
            }
            self.statements -= 1;
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: u32) {
        let nth = self.source.below(if depth < 4 { 12 } else { 5 });
        match nth {
            0..=3 => {
                let nth = self.source.below(self.locals.len());
                if let Some(&local) = self.locals.get(nth) {
                    let value = self.expression(local.ty, 2);
                    self.assign(local, value);
                }
            }
            4 => {
                let value = self.expression(types::I64, 1);
                if let Some(address) = self.element(1) {
                    self.builder
                        .ins()
                        .store(MemFlagsData::trusted(), value, address, 0);
                }
            }
            5..=7 => self.branch(depth),
            8..=10 => self.counted(depth),
            _ => self.flagged(depth),
        }
    }

    fn branch(&mut self, depth: u32) {
        let [then, otherwise, after] = [(); 3].map(|()| self.builder.create_block());
        let condition = self.condition(1);
        self.builder
            .ins()
            .brif(condition, then, &[], otherwise, &[]);
        self.builder.switch_to_block(then);
        self.block(depth + 1);
        self.builder.ins().jump(after, &[]);
        self.builder.switch_to_block(otherwise);
        if self.source.percent(50) {
            self.block(depth + 1);
        }
        self.builder.ins().jump(after, &[]);
        self.builder.switch_to_block(after);
    }

    /// A loop that counts from a constant to a constant, in one of many ways; fuel ends it should it not end by itself.
    fn counted(&mut self, depth: u32) {
        let ty = self.source.pick(&[types::I64, types::I32]);
        let (from, step) = (
            self.source.below(9) as i64 - 3,
            self.source.pick(&[1, 1, 1, 2, 3, -1, -2]),
        );
        let to = from + step * self.source.below(9) as i64 + self.source.pick(&[0, 0, 0, 1, -1]);
        let cc = match self.source.percent(80) {
            true if step > 0 => self.source.pick(&[
                IntCC::SignedLessThan,
                IntCC::NotEqual,
                IntCC::SignedLessThanOrEqual,
            ]),
            true => self.source.pick(&[
                IntCC::SignedGreaterThan,
                IntCC::NotEqual,
                IntCC::SignedGreaterThanOrEqual,
            ]),
            false => self.comparison(),
        };
        let counter = self.declare(ty);
        let start = self.number(ty, from);
        self.assign(counter, start);
        self.looped(depth, counter, (cc, to, step), None);
    }

    /// A loop that a flag ends, or a count.
    fn flagged(&mut self, depth: u32) {
        let flag = self.declare(types::I64);
        let one = self.number(types::I64, 1);
        self.assign(flag, one);
        let counter = self.declare(types::I64);
        let zero = self.number(types::I64, 0);
        self.assign(counter, zero);
        let to = self.source.below(9) as i64;
        self.looped(depth, counter, (IntCC::SignedLessThan, to, 1), Some(flag));
    }

    fn looped(
        &mut self,
        depth: u32,
        counter: Local,
        (cc, to, step): (IntCC, i64, i64),
        flag: Option<Local>,
    ) {
        let bottom = self.source.percent(30);
        let [test, body, after] = [(); 3].map(|()| self.builder.create_block());
        self.builder
            .ins()
            .jump(if bottom { body } else { test }, &[]);
        self.builder.switch_to_block(test);
        let value = self.read(counter);
        let bound = self.number(counter.ty, to);
        let mut condition = self.builder.ins().icmp(cc, value, bound);
        if let Some(flag) = flag {
            let flag = self.read(flag);
            let flag = self.builder.ins().ireduce(types::I8, flag);
            condition = self.builder.ins().band(condition, flag);
        }
        self.builder.ins().brif(condition, body, &[], after, &[]);
        self.builder.switch_to_block(body);
        // Fuel first: a loop that ends by itself mostly has enough.
        let counts_fuel = self.source.percent(50)
            || flag.is_some()
            || !matches!(cc, IntCC::SignedLessThan | IntCC::SignedGreaterThan);
        if counts_fuel || (step > 0) != (cc == IntCC::SignedLessThan) {
            let left = self.read(self.fuel);
            let less = self.number(types::I64, -1);
            let left = self.builder.ins().iadd(left, less);
            self.assign(self.fuel, left);
            let go = self.builder.create_block();
            self.builder.ins().brif(left, go, &[], after, &[]);
            self.builder.switch_to_block(go);
        }
        self.counters.push(counter);
        self.block(depth + 1);
        self.counters.pop();
        if let Some(flag) = flag {
            let [clear, next] = [(); 2].map(|()| self.builder.create_block());
            let condition = self.condition(1);
            self.builder.ins().brif(condition, clear, &[], next, &[]);
            self.builder.switch_to_block(clear);
            let zero = self.number(types::I64, 0);
            self.assign(flag, zero);
            self.builder.ins().jump(next, &[]);
            self.builder.switch_to_block(next);
        }
        let value = self.read(counter);
        let by = self.number(counter.ty, step);
        let next = self.builder.ins().iadd(value, by);
        self.assign(counter, next);
        self.builder.ins().jump(test, &[]);
        self.builder.switch_to_block(after);
    }

    /// Returns a digest of everything.
    fn finish(mut self) {
        let mut digest = self.number(types::I64, 7);
        let times = self.number(types::I64, 31);
        for local in self.locals.clone() {
            let value = self.read(local);
            let value = self.convert(value, types::I64);
            digest = self.builder.ins().imul(digest, times);
            digest = self.builder.ins().iadd(digest, value);
        }
        for (slot, len) in self.arrays.clone() {
            for at in 0..len {
                let address = self
                    .builder
                    .ins()
                    .stack_addr(types::I64, slot, at as i32 * 8);
                let value =
                    self.builder
                        .ins()
                        .load(types::I64, MemFlagsData::trusted(), address, 0);
                digest = self.builder.ins().imul(digest, times);
                digest = self.builder.ins().iadd(digest, value);
            }
        }
        self.builder.ins().return_(&[digest]);
        self.builder.seal_all_blocks();
        self.builder.finalize(super::body::FRONTEND);
    }
}
