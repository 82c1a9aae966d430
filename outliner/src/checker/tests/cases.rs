//! What the checker is tried on: the outliner's own test data, further
//! functions, and every region of them that is asked for.

use cranelift_codegen::ir::{Block, Function};
use regraft_regions::{Flow, LoopForest, Region};

/// The outliner's test data and the functions of this file.
pub const CLIF: &[(&str, &str)] = &[
    ("br_table", include_str!("../../../testdata/br_table.clif")),
    ("cold", include_str!("../../../testdata/cold.clif")),
    (
        "cold_inner",
        include_str!("../../../testdata/cold_inner.clif"),
    ),
    ("entities", include_str!("../../../testdata/entities.clif")),
    ("exits", include_str!("../../../testdata/exits.clif")),
    ("infinite", include_str!("../../../testdata/infinite.clif")),
    ("nest", include_str!("../../../testdata/nest.clif")),
    ("sum", include_str!("../../../testdata/sum.clif")),
    ("try_call", include_str!("../../../testdata/try_call.clif")),
    ("frame", FRAME),
    ("types", TYPES),
    ("throws", THROWS),
    ("redefined", REDEFINED),
    ("context", CONTEXT),
    ("paths", PATHS),
    ("dynamic", DYNAMIC),
];

/// Frame addresses in every position: header argument, side exit, live-out.
const FRAME: &str = "
function %frame(i64, i64) -> i64 system_v {
    ss0 = explicit_slot 32, align = 16
    ss1 = explicit_slot 8
    fn0 = u0:1(i64, i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = stack_addr.i64 ss0+16
    jump block1(v0, v2)
block1(v3: i64, v4: i64):
    v5 = stack_addr.i64 ss0+8
    v6 = stack_addr.i64 ss1
    v7 = load.i64 notrap aligned v4
    brif v7, block2, block4
block2:
    v8 = iadd v5, v7
    store notrap v8, v6
    v9 = icmp ult v7, v1
    brif v9, block3, block5(v6)
block3:
    v10 = isub v3, v7
    brif v10, block1(v10, v5), block6
block4 cold:
    v11 = call fn0(v5, v6)
    brif v11, block2, block5(v5)
block5(v12: i64):
    v13 = load.i64 v12+8
    return v13
block6:
    v14 = load.i64 v5
    return v14
}";

/// Live-outs of many types, so that dummies of many types are returned; all
/// kinds of flags, tags, traps and conditions.
const TYPES: &str = "
function %types(i64, i8, i16, i128, f32, f64, i8x16) -> i64 system_v {
    region0 = 30 \"table\"
    region1 = 40 \"heap\"
    fn0 = u0:1(i128, f64) -> i128, f64 system_v
    fn1 = colocated u0:2(f32) -> f32 system_v
    sig9 = (i64) -> i64 system_v
    gv0 = symbol u0:8
    gv1 = symbol tls u0:9
block0(v0: i64, v1: i8, v2: i16, v3: i128, v4: f32, v5: f64, v6: i8x16):
    jump block1(v0, v1, v3, v5)
block1(v10: i64, v11: i8, v12: i128, v13: f64):
@0001 v14 = load.f32 notrap aligned readonly can_move region0 v10+4
@0002 v15 = load.i16 big v10
@0003 v16 = load.i16 user7 little v10+2
@0004 store heap_oob aligned region1 v15, v10+8
@0005 v17 = fadd v4, v14
@0006 v18 = fcmp gt v17, v14
@0007 brif v18, block2, block7(v12)
block2:
<5, 6> @0008 v19, v20 = call fn0(v12, v13)
    v21 = icmp sgt v15, v16
    trapnz v21, user3
    v22 = atomic_rmw.i64 little add v10, v10
    v23 = atomic_cas.i64 v10, v22, v22
    v24 = uadd_overflow_trap v22, v23, user4
<9> sequence_point
    brif v24, block3, block8
block3:
    v25 = extractlane v6, 3
    v26 = insertlane v6, v25, 4
    v27 = symbol_value.i64 gv0
    v28 = tls_value.i64 gv1
    v29 = func_addr.i64 fn1
    v30 = call_indirect sig9, v29(v27)
    v31 = call fn1(v17)
    v32 = f32const 0x1.0p1
    v33 = fcmp lt v31, v32
    v34 = iadd v25, v11
    v35 = iadd v28, v30
    v36 = select v33, v35, v10
    brif v34, block1(v36, v34, v19, v20), block9(v26)
block7(v40: i128):
    v41 = ireduce.i64 v40
    return v41
block8:
    v42 = ireduce.i64 v19
    v43 = fcvt_to_sint_sat.i64 v20
    v44 = iadd v42, v43
    return v44
block9(v45: i8x16):
    v46 = extractlane v45, 1
    v47 = uextend.i64 v46
    v48 = fcvt_to_uint_sat.i64 v17
    v49 = iadd v47, v48
    return v49
}";

/// Exceptions inside the scope, cold handlers, values on the edges.
const THROWS: &str = "
function %throws(i64) -> i64 tail {
    sig0 = (i64) -> i64, i32 tail
    fn0 = u0:9(i64) -> i64, i32 tail
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1)
block1(v2: i64):
    v30 = iadd v2, v0
    v31 = ireduce.i32 v30
    try_call fn0(v30), sig0, block2(ret0, v2, ret1), [ context v0, tag1: block3(exn0, v2), context v2, tag2: block4(exn1), default: block6(exn0) ]
block2(v3: i64, v4: i64, v5: i32):
    v6 = iadd v3, v4
    brif v5, block1(v6), block5
block3(v7: i64, v8: i64):
    v9 = iadd v7, v8
    try_call_indirect v9(v2), sig0, block1(ret0), [ tag7: block4(v2), default: block2(v9, v30, v31) ]
block4(v10: i64):
    v11 = iadd v10, v30
    brif v11, block1(v11), block6(v10)
block5:
    return v6
block6(v12: i64):
    v13 = iadd v12, v2
    return v13
}";

/// Values defined again on cold paths, several times over, and inner loops in
/// the continuation; a live-out that an outer loop carries round.
const REDEFINED: &str = "
function %redefined(i64, i64) -> i64 system_v {
    fn0 = u0:7(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    jump block1(v2)
block1(v3: i64):
    v4 = iadd v3, v0
    v30 = iconst.i64 3
    jump block2(v4)
block2(v5: i64):
    v6 = imul v5, v4
    v7 = icmp eq v6, v1
    brif v7, block3, block4
block3:
    v8 = call fn0(v6)
    brif v8, block5(v8), block6
block4:
    v9 = bxor v6, v5
    brif v9, block5(v9), block7
block5(v10: i64):
    v11 = iadd v10, v6
    v12 = icmp ult v11, v30
    brif v12, block2(v11), block7
block6:
    v13 = isub v6, v3
    brif v13, block3, block8
block7:
    v14 = iadd v6, v5
    v15 = iadd v14, v30
    brif v15, block1(v15), block9
block8:
    v16 = iadd v13, v6
    brif v16, block1(v6), block9
block9:
    v17 = iadd v6, v4
    v18 = iadd v17, v0
    brif v18, block1(v18), block10
block10:
    v19 = iadd v6, v3
    return v19
}";

/// The context parameter, global values on it, a stack limit.
const CONTEXT: &str = "
function %context(i64 vmctx, i64) -> i64 system_v {
    region0 = 1 \"vm\"
    gv0 = vmctx
    gv1 = symbol colocated u0:5+16
    gv2 = load.i64 notrap aligned readonly region0 gv0+8
    gv3 = iadd_imm.i64 gv2, 24
    gv4 = load.i64 notrap aligned gv3+16
    stack_limit = gv4
    fn0 = u0:7(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    jump block1(v1)
block1(v2: i64):
    v3 = load.i64 notrap region0 v0+24
    v4 = load.i64 v3
    v5 = icmp ult v4, v2
    brif v5, block2, block3
block2:
    v6 = load.i64 region0 v0+8
    v7 = iadd v6, v4
    brif v7, block1(v7), block4
block3:
    v8 = call fn0(v0)
    v9 = load.i64 aligned v0+24
    v10 = iadd v8, v9
    brif v10, block2, block1(v10)
block4:
    v11 = symbol_value.i64 gv1
    v12 = iadd v11, v7
    return v12
}";

/// Returns and tail calls, for regions that are no loops.
const PATHS: &str = "
function %paths(i64, i64) -> i64 tail {
    fn0 = u0:1(i64, i64) -> i64 tail
    sig1 = (i64) -> i64 tail
block0(v0: i64, v1: i64):
    v2 = iadd v0, v1
    brif v2, block1(v2), block2
block1(v3: i64):
    v4 = imul v3, v0
    v9 = ireduce.i32 v4
    br_table v9, block3, [block4, block5(v4), block6]
block2:
    v5 = load.i64 v1
    brif v5, block1(v5), block6
block3:
    v6 = iadd v4, v3
    return v6
block4:
@0010 return_call fn0(v4, v1)
block5(v7: i64):
    return_call_indirect sig1, v7(v3)
block6:
    v8 = load.i64 v0
    brif v8, block7, block2
block7:
    return v2
}";

/// A dynamic stack slot, and aliases.
const DYNAMIC: &str = "
function %dynamic(i64) -> i64 system_v {
    gv0 = dyn_scale_target_const.i32x4
    dt0 = i32x4*gv0
    dss0 = explicit_dynamic_slot dt0
    dss1 = explicit_dynamic_slot dt0
block0(v0: i64):
    v9 -> v0
    jump block1(v9)
block1(v1: i64):
    v2 = dynamic_stack_addr.i64 dss0
    v3 = load.i64 v2
    v4 -> v3
    v5 = iadd v4, v9
    brif v5, block1(v4), block2
block2:
    v6 = dynamic_stack_addr.i64 dss1
    store v4, v6
    brif v3, block1(v5), block3(v6)
block3(v7: i64):
    v8 = load.i64 v7
    v10 = load.i64 v2
    v11 = iadd v8, v10
    return v11
}";

/// The functions of one case.
pub fn parse(clif: &str) -> Vec<Function> {
    cranelift_reader::parse_functions(clif).expect("valid CLIF")
}

/// A small generator of pseudorandom numbers (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Regions of `func`: every loop, every set of blocks that one dominates, and
/// the function; whole, and with random cold subsets. No two are equal.
pub fn regions(func: &Function, subsets: usize, random: &mut Random) -> Vec<Region> {
    let flow = Flow::compute(func).expect("a function with blocks");
    let loops = LoopForest::compute(func, &flow);
    let mut scopes: Vec<(Block, Vec<Block>)> = loops
        .loops()
        .map(|l| (loops.header(l), loops.blocks(l).to_vec()))
        .collect();
    for &entry in flow.rpo() {
        let dominated = flow
            .rpo()
            .iter()
            .copied()
            .filter(|&b| flow.dominates(entry, b));
        scopes.push((entry, dominated.collect()));
    }
    let mut regions: Vec<Region> = Vec::new();
    for (entry, scope) in scopes {
        for subset in 0..=subsets {
            let mask = if subset == 0 { u64::MAX } else { random.next() };
            let hot = |block: Block| mask >> (block.as_u32() % 64) & 1 == 1;
            let region = Region::pruned(func, &flow, entry, &scope, hot).expect("a legal region");
            if !regions.contains(&region) {
                regions.push(region);
            }
        }
    }
    regions
}
