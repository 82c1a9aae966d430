//! Liveness against its definition.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{InstBuilder, types};

use super::*;
use crate::testing::{self, XorShift, parse};

/// Give a random graph random definitions and uses: definitions first in each block, so that in the defining
/// block no use comes before the definition. Definitions need not dominate uses; the notion does not ask for it.
fn random_values(seed: u64, blocks: usize) -> Function {
    let mut func = testing::random_cfg(seed, blocks);
    let mut rng = XorShift::new(seed + 1);
    let mut values = Vec::new();
    let layout: Vec<Block> = func.layout.blocks().collect();
    for &block in &layout {
        let at = func.layout.first_inst(block).unwrap();
        let mut cur = FuncCursor::new(&mut func).at_inst(at);
        for _ in 0..rng.below(3) {
            values.push(cur.ins().iconst(types::I32, 1));
        }
    }
    for &block in &layout {
        let at = func.layout.last_inst(block).unwrap();
        let mut cur = FuncCursor::new(&mut func).at_inst(at);
        for _ in 0..rng.below(3) {
            if !values.is_empty() {
                let [a, b] = [0, 1].map(|_| values[rng.below(values.len())]);
                cur.ins().iadd(a, b);
            }
        }
    }
    func
}

#[test]
fn live_ins_match_their_definition() {
    for seed in 1..120 {
        let func = random_values(seed, 4 + seed as usize % 10);
        let flow = Flow::compute(&func).unwrap();
        let liveness = Liveness::compute(&func, &flow);
        let some: BlockSet = flow.rpo().iter().copied().step_by(3).collect();
        let at_some = Liveness::compute_at(&func, &flow, &some);
        for block in func.layout.blocks() {
            let mut expected = Vec::new();
            for value in func.dfg.values() {
                let defined_in = definition(&func, value).unwrap();
                let path = testing::reachable(&flow, block, |b| b != defined_in);
                let used = path.iter().any(|&b| {
                    func.layout
                        .block_insts(b)
                        .any(|inst| func.dfg.inst_values(inst).any(|v| v == value))
                });
                if used && flow.is_reachable(block) {
                    expected.push(value);
                }
            }
            assert_eq!(liveness.live_in(block), expected, "seed {seed}, {block}");
            let kept: &[Value] = if some.contains(block) { &expected } else { &[] };
            assert_eq!(at_some.live_in(block), kept);
            for value in func.dfg.values() {
                assert_eq!(liveness.is_live_in(block, value), expected.contains(&value));
            }
        }
    }
}

#[test]
fn block_arguments_aliases_and_own_parameters() {
    let func = parse(
        "function %f(i32, i32, i32) -> i32 {
        block0(v0: i32, v1: i32, v2: i32):
            v9 -> v1
            jump block1(v0)
        block1(v3: i32):
            brif v3, block2(v9), block3
        block2(v4: i32):
            jump block1(v4)
        block3:
            return v2
        block4:
            return v0
        }",
    );
    let flow = Flow::compute(&func).unwrap();
    let liveness = Liveness::compute(&func, &flow);
    let live = |block: u32| {
        let values = liveness.live_in(Block::from_u32(block));
        values.iter().map(|v| v.as_u32()).collect::<Vec<_>>()
    };
    assert_eq!(live(0), [] as [u32; 0]);
    // v3 is block1's own; v9 is v1; v0 was passed by block0, and its use in the unreachable block4 is none.
    assert_eq!(live(1), [1, 2]);
    assert_eq!(live(2), [1, 2]);
    assert_eq!(live(3), [2]);
    assert_eq!(live(4), [] as [u32; 0]);
}

#[test]
fn exception_contexts_are_uses() {
    let func = parse(
        "function %f(i32, i64) -> i32 tail {
            sig0 = (i32) -> i32 tail
            fn0 = %g(i32) -> i32 tail
        block0(v0: i32, v1: i64):
            jump block1
        block1:
            try_call fn0(v0), sig0, block2(ret0), [ context v1, tag1: block3(exn0) ]
        block2(v2: i32):
            return v2
        block3(v3: i64):
            return v0
        }",
    );
    let flow = Flow::compute(&func).unwrap();
    let liveness = Liveness::compute(&func, &flow);
    assert_eq!(liveness.live_in(Block::from_u32(1)).len(), 2);
    assert_eq!(liveness.live_in(Block::from_u32(2)).len(), 0);
    assert_eq!(liveness.live_in(Block::from_u32(3)).len(), 1);
    // Catch clauses come first, the normal return last.
    let targets: Vec<Block> = flow
        .succs(Block::from_u32(1))
        .map(|e| flow.edge(e).to)
        .collect();
    assert_eq!(targets, [3, 2].map(Block::from_u32));
}

#[test]
fn one_value_through_a_hundred_thousand_blocks() {
    let func = testing::deep_nest(50_000);
    let flow = Flow::compute(&func).unwrap();
    let header: BlockSet = [Block::from_u32(1)].into_iter().collect();
    let liveness = Liveness::compute_at(&func, &flow, &header);
    assert_eq!(liveness.live_in(Block::from_u32(1)).len(), 1);
}
