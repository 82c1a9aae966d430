//! The gate: each reason it gives, and that what it lets through has the invariants.

use super::*;
use crate::testing::{self, XorShift, parse};

fn blocks<const N: usize>(numbers: [u32; N]) -> [Block; N] {
    numbers.map(Block::from_u32)
}

/// The CFG of the module header, with block5 unreachable.
const FORK: &str = "function %f(i32) -> i32 {
    block0(v0: i32):
        jump block1
    block1:
        brif v0, block2, block3
    block2:
        jump block4
    block3:
        return v0
    block4:
        brif v0, block1, block6
    block5:
        jump block2
    block6:
        return v0
    }";

fn refused<const S: usize, const B: usize>(
    entry: u32,
    scope: [u32; S],
    hot: [u32; B],
) -> RegionError {
    let func = parse(FORK);
    let flow = Flow::compute(&func).unwrap();
    let entry = Block::from_u32(entry);
    Region::new(&func, &flow, entry, blocks(scope), blocks(hot)).unwrap_err()
}

#[test]
fn refusals_name_the_offender() {
    let [b0, b1, b2, b3, b4, b5] = blocks([0, 1, 2, 3, 4, 5]);
    assert_eq!(refused(1, [], [1]), RegionError::EmptyRegion);
    assert_eq!(refused(1, [1], []), RegionError::EmptyRegion);
    let block = Block::from_u32(99);
    assert_eq!(
        refused(1, [1, 99], [1]),
        RegionError::UnknownBlock { block }
    );
    let unreachable = RegionError::UnreachableBlock { block: b5 };
    assert_eq!(refused(1, [1, 5], [1]), unreachable);
    assert_eq!(
        refused(1, [1, 2], [1, 4]),
        RegionError::NotInScope { block: b4 }
    );
    let missing = RegionError::EntryNotInBlocks { entry: b1 };
    assert_eq!(refused(1, [1, 2, 4], [2, 4]), missing);
    let inside = RegionError::EntryBlockInside { block: b0 };
    assert_eq!(refused(1, [0, 1, 2, 4], [1]), inside);
    let side = RegionError::SideEntry { from: b2, to: b4 };
    assert_eq!(refused(1, [1, 4], [1, 4]), side);
    // Hot block4 is reached through cold block2 only.
    let cut_off = RegionError::DisconnectedBlock { block: b4 };
    assert_eq!(refused(1, [1, 2, 4], [1, 4]), cut_off);
    let apart = refused(2, [2, 3], [2, 3]);
    assert_eq!(apart, RegionError::SideEntry { from: b1, to: b3 });
}

#[test]
fn exits_are_numbered_over_the_whole_scope() {
    let func = parse(FORK);
    let flow = Flow::compute(&func).unwrap();
    let [b1, b2, b3, b4] = blocks([1, 2, 3, 4]);
    let whole = Region::new(&func, &flow, b1, [b4, b2, b1, b2], [b1, b2, b4]).unwrap();
    assert_eq!(whole.kind(), RegionKind::Loop);
    assert!(whole.is_whole() && whole.side_exits().is_empty());
    assert_eq!(whole.blocks().as_slice(), [b1, b2, b4]);
    let pruned = Region::pruned(&func, &flow, b1, &[b1, b2, b4], |b| b != b2).unwrap();
    assert_eq!(pruned.blocks().as_slice(), [b1]);
    assert_eq!(pruned.exits(), whole.exits());
    assert_eq!(pruned.exits()[0].number, 1);
    assert!(matches!(pruned.exits()[0].kind, ExitKind::Edge { to, .. } if to == b3));
    assert_eq!(pruned.side_exits().len(), 1);
    assert_eq!(
        (pruned.side_exits()[0].number, pruned.side_exits()[0].to),
        (0, b2)
    );
}

#[test]
fn returns_and_tail_calls_are_exits() {
    let func = parse(
        "function %f(i32) -> i32 tail {
            fn0 = %g(i32) -> i32 tail
        block0(v0: i32):
            brif v0, block1, block2
        block1:
            return_call fn0(v0)
        block2:
            brif v0, block3, block4
        block3:
            return v0
        block4:
            trap user1
        }",
    );
    let flow = Flow::compute(&func).unwrap();
    let all = || flow.rpo().iter().copied();
    let region = Region::new(&func, &flow, flow.entry(), all(), all()).unwrap();
    assert_eq!(region.kind(), RegionKind::Function);
    let mut kinds: Vec<_> = region
        .exits()
        .iter()
        .map(|exit| {
            (
                exit.from.as_u32(),
                matches!(exit.kind, ExitKind::TailCall { .. }),
            )
        })
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [(1, true), (3, false)]);
    let [b2, b3, b4] = blocks([2, 3, 4]);
    let path = Region::new(&func, &flow, b2, [b2, b3, b4], [b2]).unwrap();
    assert_eq!(path.kind(), RegionKind::Path);
    assert_eq!(path.side_exits().len(), 2);
}

#[test]
fn the_number_of_exits_is_limited() {
    use cranelift_codegen::cursor::{Cursor, FuncCursor};
    use cranelift_codegen::ir::{BlockCall, InstBuilder, JumpTableData, types};
    let mut func = parse(
        "function %f(i32) {
        block0(v0: i32):
            jump block1
        block1:
            jump block1
        block2:
            return
        }",
    );
    let [b1, b2] = blocks([1, 2]);
    let selector = func.dfg.block_params(Block::from_u32(0))[0];
    let [again, leave] = [b1, b2].map(|b| BlockCall::new(b, [], &mut func.dfg.value_lists));
    let table = func.create_jump_table(JumpTableData::new(again, &vec![leave; MAX_EXITS + 1]));
    let jump = func.layout.last_inst(b1).unwrap();
    func.layout.remove_inst(jump);
    let mut cur = FuncCursor::new(&mut func).at_bottom(b1);
    assert_eq!(cur.func.dfg.value_type(selector), types::I32);
    cur.ins().br_table(selector, table);
    let flow = Flow::compute(&func).unwrap();
    assert_eq!(
        Region::new(&func, &flow, b1, [b1], [b1]),
        Err(RegionError::TooManyExits {
            exits: MAX_EXITS + 1,
            limit: MAX_EXITS
        })
    );
}

/// Every loop is a region; random sets are refused, or have the invariants by their definitions.
#[test]
fn whatever_is_let_through_is_legal() {
    let mut legal = 0;
    for seed in 1..200 {
        let mut rng = XorShift::new(seed);
        let func = testing::random_cfg(seed, 10);
        let flow = Flow::compute(&func).unwrap();
        let loops = LoopForest::compute(&func, &flow);
        for l in loops.loops() {
            let region = Region::whole_loop(&func, &flow, &loops, l).unwrap();
            assert_eq!(region.kind(), RegionKind::Loop);
            let edges = region.exits().iter().map(|exit| match exit.kind {
                ExitKind::Edge { edge, .. } => edge,
                _ => panic!("a natural loop holds no return"),
            });
            assert_eq!(edges.collect::<Vec<_>>(), loops.exits(l, &flow));
            let scope = loops.blocks(l);
            let hot = |b: Block| (seed >> (b.as_u32() % 8)) & 1 == 0;
            let pruned = Region::pruned(&func, &flow, loops.header(l), &scope, hot).unwrap();
            assert_eq!(pruned.exits(), region.exits());
        }
        for _ in 0..60 {
            let pick = |rng: &mut XorShift, from: &[Block]| -> Vec<Block> {
                from.iter().copied().filter(|_| rng.below(3) > 0).collect()
            };
            let scope = pick(&mut rng, flow.rpo());
            let hot = pick(&mut rng, &scope);
            let entry = flow.rpo()[rng.below(flow.rpo().len())];
            let Ok(region) = Region::new(&func, &flow, entry, scope.clone(), hot.clone()) else {
                continue;
            };
            legal += 1;
            for (_, edge) in flow.edges().filter(|(_, e)| flow.is_reachable(e.from)) {
                let enters = !scope.contains(&edge.from) && scope.contains(&edge.to);
                assert!(!enters || edge.to == entry);
            }
            let inside = testing::reachable(&flow, entry, |b| hot.contains(&b));
            assert!(hot.iter().all(|b| inside.contains(b)));
            assert_eq!(region.blocks().len(), hot.len());
            assert_eq!(region.scope().len(), scope.len());
        }
    }
    assert!(legal > 50, "only {legal} random sets were legal");
}
