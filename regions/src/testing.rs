//! Functions for tests: parsed, random, and deep.

use std::collections::HashSet;

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockCall, Function, InstBuilder, JumpTableData, TrapCode, types,
};

use crate::flow::Flow;

/// Parse one CLIF function.
pub fn parse(text: &str) -> Function {
    cranelift_reader::parse_functions(text).unwrap().remove(0)
}

/// Marsaglia's xorshift64: enough to draw graphs, and the same on every machine.
pub struct XorShift(u64);

impl XorShift {
    /// A generator; equal seeds give equal sequences.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }
}

/// A function of `n` blocks with random terminators. No block branches to the entry.
pub fn random_cfg(seed: u64, n: usize) -> Function {
    let mut rng = XorShift::new(seed);
    let mut func = Function::new();
    func.signature.params.push(AbiParam::new(types::I32));
    let blocks: Vec<Block> = (0..n).map(|_| func.dfg.make_block()).collect();
    let selector = func.dfg.append_block_param(blocks[0], types::I32);
    for (i, &block) in blocks.iter().enumerate() {
        // Mostly forward and near, so that most blocks are reachable and loops nest.
        let mut target = || {
            let near = 1 + (i + rng.below(4)) % (n - 1);
            blocks[if rng.below(3) == 0 {
                1 + rng.below(n - 1)
            } else {
                near
            }]
        };
        let (a, b, c) = (target(), target(), target());
        let mut cur = FuncCursor::new(&mut func);
        cur.insert_block(block);
        match rng.below(12) {
            0 => {
                cur.ins().return_(&[]);
            }
            1 => {
                cur.ins().trap(TrapCode::unwrap_user(1));
            }
            2..=4 => {
                cur.ins().jump(a, &[]);
            }
            5..=9 => {
                cur.ins().brif(selector, a, &[], b, &[]);
            }
            _ => {
                let pool = &mut cur.func.dfg.value_lists;
                let [a, b, c] = [a, b, c].map(|t| BlockCall::new(t, [], pool));
                // Large tables are counted in a way of their own.
                let entries = [b, c, b, a, b, b, c, a, c];
                let len = if rng.below(2) == 0 { 3 } else { entries.len() };
                let data = JumpTableData::new(a, &entries[..len]);
                let table = cur.func.create_jump_table(data);
                cur.ins().br_table(selector, table);
            }
        }
    }
    func
}

/// The blocks reached from `from` through blocks that satisfy `allowed` (which `from` must, too).
pub fn reachable(flow: &Flow, from: Block, allowed: impl Fn(Block) -> bool) -> HashSet<Block> {
    let mut seen = HashSet::new();
    let mut work = vec![from];
    while let Some(block) = work.pop() {
        if allowed(block) && seen.insert(block) {
            work.extend(flow.succs(block).map(|e| flow.edge(e).to));
        }
    }
    seen
}

/// A nest of `depth` loops, each around the next: headers `1..=depth`, latches from the innermost out, an exit.
pub fn deep_nest(depth: usize) -> Function {
    let mut func = Function::new();
    func.signature.params.push(AbiParam::new(types::I32));
    let blocks: Vec<Block> = (0..2 * depth + 2).map(|_| func.dfg.make_block()).collect();
    let selector = func.dfg.append_block_param(blocks[0], types::I32);
    let mut cur = FuncCursor::new(&mut func);
    for (i, &block) in blocks.iter().enumerate() {
        cur.insert_block(block);
        if i <= depth {
            cur.ins().jump(blocks[i + 1], &[]);
        } else if i <= 2 * depth {
            // The latch of the loop whose header is block `2 * depth + 1 - i`.
            let header = blocks[2 * depth + 1 - i];
            cur.ins().brif(selector, header, &[], blocks[i + 1], &[]);
        } else {
            cur.ins().return_(&[]);
        }
    }
    func
}
