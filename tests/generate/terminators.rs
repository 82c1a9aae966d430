//! How blocks end: branches on what differs from iteration to iteration, and fuel.

use super::body::{Body, Fuel};
use super::graph::{Graph, Term};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, InstBuilder, JumpTableData, MemFlagsData, Value, types,
};

impl Body<'_, '_, '_> {
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

    /// Whether the edge burns fuel.
    fn burns(&self, graph: &Graph, from: usize, to: usize) -> bool {
        !self.endless && graph.retreats(from, to)
    }

    pub(super) fn terminate(&mut self, graph: &Graph, from: usize, term: &Term) {
        let burns = term.targets().iter().any(|&to| self.burns(graph, from, to));
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
            Term::Branch(a, b) => {
                match (self.burns(graph, from, *a), self.burns(graph, from, *b)) {
                    (true, true) => self.table(graph, from, &[*b, *a]),
                    (back_a, back_b) => {
                        let stay = burns && self.source.percent(60);
                        let mut condition = if stay {
                            self.flicker()
                        } else {
                            self.condition()
                        };
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
                }
            }
            Term::Table(targets) => self.table(graph, from, targets),
        }
    }

    /// An `i8` that is 0 or 1, and seldom always the same.
    pub(super) fn condition(&mut self) -> Value {
        let flicker = self.source.below(6);
        if let 1..=2 = flicker {
            return self.flicker();
        }
        let ty = self
            .source
            .pick(&[types::I32, types::I64, types::I8, types::I16]);
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
            Fuel::Slot(slot) => self
                .builder
                .ins()
                .stack_load(types::I64, types::I64, slot, 0),
        }
    }

    fn table(&mut self, graph: &Graph, from: usize, targets: &[usize]) {
        // Large tables are counted, and left by side exits, in a way of their own.
        let repeated: Vec<usize> = match self.source.percent(20) {
            true => targets.iter().copied().cycle().take(11).collect(),
            false => targets.to_vec(),
        };
        let targets = &repeated[..];
        let mut calls: Vec<(Block, Vec<BlockArg>)> = vec![];
        let mut safe = None;
        for (at, &to) in targets.iter().enumerate() {
            if !self.burns(graph, from, to) {
                safe = Some(at);
            }
            calls.push(self.target(to));
        }
        if targets.iter().any(|&to| self.burns(graph, from, to)) && safe.is_none() {
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
            let forward = (1..self.blocks.len())
                .filter(|&to| graph.reachable(to) && !graph.retreats(from, to));
            let forward: Vec<usize> = forward.collect();
            if !forward.is_empty() {
                let to = self.source.pick(&forward);
                return self.target(to);
            }
        }
        (self.out, vec![])
    }
}
