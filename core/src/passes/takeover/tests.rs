//! What takes over verifies, loads what is live, and goes on where tier 0 has the exits.

use super::*;
use crate::passes::probes::probes;
use crate::units::tiering::known_counts;
use cranelift_codegen::settings::{self, Configurable, Flags};
use regraft_outliner::hookable_loop;
use regraft_regions::{Counting, Liveness, LoopForest, estimate, place};

/// A loop that is left by an edge with an argument that it computed, and by one to a block that uses what it computed.
const CLIF: &str = "function %f(i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    jump block1(v0, v2)
block1(v3: i64, v4: i64):
    v5 = iadd v4, v1
    v6 = iconst.i64 1
    v7 = isub v3, v6
    brif v7, block2, block3(v5)
block2:
    v8 = icmp sgt v5, v0
    brif v8, block4, block1(v7, v5)
block4:
    v9 = iadd v5, v7
    return v9
block3(v10: i64):
    v11 = iadd v10, v0
    return v11
}";

/// The code that takes over at the function's loop, how long tier 0's code is, and where it is said to be; none where there
/// are no templates for the host.
fn taken_over() -> Option<(Function, usize)> {
    let mut flags = settings::builder();
    flags.set("is_pic", "false").unwrap();
    let isa = cranelift_native::builder().unwrap();
    let isa = isa.finish(Flags::new(flags)).unwrap();
    let target = regraft_template::Target::new(&*isa).ok()?;
    let func = cranelift_reader::parse_functions(CLIF).unwrap().remove(0);
    let flow = Flow::compute(&func).unwrap();
    let loops = LoopForest::compute(&func, &flow);
    let liveness = Liveness::compute(&func, &flow);
    let hot = loops.loops().next().unwrap();
    let (region, interface) = hookable_loop(&func, &flow, &loops, &liveness, hot).unwrap();
    let frequencies = estimate(&func, &flow, &loops);
    let known = known_counts(&flow, [&region]);
    let placement = place(&func, &flow, &frequencies, &known, Counting::SpanningTree);
    let (probes, _) = probes(&flow, &[(&region, 7)], &placement, &[], 3, 1);
    let code = regraft_template::compile(&func, &target, Some(&probes)).unwrap();
    let frame = code.map.unwrap();
    let from = Baseline {
        func: &func,
        flow: &flow,
        frame: &frame,
        code: CODE,
    };
    let taken = take_over(&from, &interface, 0x5000, cranelift_codegen::ir::types::I64).unwrap();
    cranelift_codegen::verify_function(&taken, &*isa).unwrap();
    Some((taken, code.bytes.len()))
}

/// Where tier 0 would be.
const CODE: usize = 0x10_0000;

#[test]
fn each_exit_goes_on_in_tier_0() {
    let Some((taken, len)) = taken_over() else {
        return;
    };
    let constants = taken.layout.blocks().filter_map(|block| {
        let last = taken.layout.last_inst(block)?;
        let returned = *taken.dfg.inst_args(last).first()?;
        let defined = taken.dfg.value_def(returned).inst()?;
        match taken.dfg.insts[defined] {
            InstructionData::UnaryImm { imm, .. } if taken.dfg.insts[last].opcode().is_return() => {
                Some(imm.bits())
            }
            _ => None,
        }
    });
    let resumed: Vec<i64> = constants.collect();
    assert_eq!(resumed.len(), 2, "{taken}");
    let code = CODE as i64..(CODE + len) as i64;
    assert!(resumed.iter().all(|at| code.contains(at)), "{taken}");
    assert_ne!(resumed[0], resumed[1], "{taken}");
}

#[test]
fn what_is_live_is_loaded_and_what_leaves_is_stored() {
    let Some((taken, _)) = taken_over() else {
        return;
    };
    let count = |opcode: Opcode| {
        let insts = taken
            .layout
            .blocks()
            .flat_map(|block| taken.layout.block_insts(block));
        insts
            .filter(|&inst| taken.dfg.insts[inst].opcode() == opcode)
            .count()
    };
    // v0 and v1 from outside, v3 and v4 of the header; constants are not passed.
    assert_eq!(count(Opcode::Load), 4, "{taken}");
    // v10 and v5, which it gets, behind one exit; v5 and v7 behind the other.
    assert_eq!(count(Opcode::Store), 4, "{taken}");
}
