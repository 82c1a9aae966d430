//! Sabotage by hand: one classic mistake per test, and what the checker says.

use super::cases::{Random, parse};
use super::random;
use crate::checker::{CheckError, Meaning, Place, check_continuation, check_outlined};
use crate::{Interface, Outlined, extract_continuation, outline};
use cranelift_codegen::ir::immediates::Imm64;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, Function, Inst, InstructionData, Opcode, SourceLoc, Value,
};
use regraft_regions::{Flow, Liveness, LoopForest, Region};

const SUM: &str = include_str!("../../../testdata/sum.clif");
const EXITS: &str = include_str!("../../../testdata/exits.clif");
const ENTITIES: &str = include_str!("../../../testdata/entities.clif");
const COLD: &str = include_str!("../../../testdata/cold.clif");
const COLD_INNER: &str = include_str!("../../../testdata/cold_inner.clif");

/// Outlines the loop at block 1 less `cold`, edits the result, and returns what
/// the checker finds.
fn sabotage(clif: &str, cold: &[u32], edit: impl FnOnce(&mut Outlined)) -> CheckError {
    let func = &parse(clif)[0];
    let flow = Flow::compute(func).expect("a function with blocks");
    let loops = LoopForest::compute(func, &flow);
    let header = Block::from_u32(1);
    let scope = loops.blocks(loops.loop_of_header(header).expect("a header"));
    let hot = |block: Block| !cold.contains(&block.as_u32());
    let region = Region::pruned(func, &flow, header, &scope, hot).expect("a legal region");
    let mut outlined = outline(func, &region).expect("the region outlines");
    check_outlined(func, &region, &outlined).expect("right before the edit");
    edit(&mut outlined);
    check_outlined(func, &region, &outlined).expect_err("wrong after the edit")
}

/// The instructions with this opcode, in order.
fn all(func: &Function, opcode: Opcode) -> Vec<Inst> {
    let insts = func
        .layout
        .blocks()
        .flat_map(|block| func.layout.block_insts(block));
    insts
        .filter(|&inst| func.dfg.insts[inst].opcode() == opcode)
        .collect()
}

/// The instruction that defines a value.
fn definition(func: &Function, value: Value) -> Inst {
    func.dfg.value_def(value).inst().expect("a result")
}

fn set_constant(func: &mut Function, inst: Inst, to: i64) {
    let opcode = Opcode::Iconst;
    let imm = Imm64::new(to);
    func.dfg.insts[inst] = InstructionData::UnaryImm { opcode, imm };
}

fn set_call(func: &mut Function, inst: Inst, at: usize, to: Block, args: &[Value]) {
    let dfg = &mut func.stencil.dfg;
    let args = args.iter().map(|&value| BlockArg::Value(value));
    let call = BlockCall::new(to, args, &mut dfg.value_lists);
    let tables = (&mut dfg.jump_tables, &mut dfg.exception_tables);
    dfg.insts[inst].branch_destination_mut(tables.0, tables.1)[at] = call;
}

#[test]
fn a_zero_for_a_live_out() {
    let error = sabotage(EXITS, &[], |outlined| {
        let func = &mut outlined.function;
        let exit = all(func, Opcode::Return)[0];
        let zero = func.dfg.inst_args(exit)[3];
        func.dfg.inst_args_mut(exit)[2] = zero;
    });
    let place = Place::Result { exit: 1, result: 2 };
    let expected = Meaning::Value(Value::from_u32(4));
    assert!(
        matches!(error, CheckError::WrongOperand { place: p, expected: e, .. }
            if p == place && e == expected),
        "{error}"
    );
    let start = "result 2 at exit 1 should be v4, and v";
    assert!(error.to_string().starts_with(start), "{error}");
}

#[test]
fn two_exits_with_each_others_numbers() {
    let error = sabotage(EXITS, &[], |outlined| {
        let func = &mut outlined.function;
        for (exit, number) in all(func, Opcode::Return).into_iter().zip([2, 1]) {
            let constant = definition(func, func.dfg.inst_args(exit)[0]);
            set_constant(func, constant, number);
        }
    });
    assert!(matches!(error, CheckError::WrongExit { .. }), "{error}");
}

#[test]
fn two_results_in_each_others_place() {
    let error = sabotage(EXITS, &[], |outlined| {
        let func = &mut outlined.function;
        let exit = all(func, Opcode::Return)[2];
        func.dfg.inst_args_mut(exit).swap(1, 3);
    });
    let at_exit = matches!(
        error,
        CheckError::WrongOperand {
            place: Place::Result { exit: 3, .. },
            ..
        }
    );
    assert!(at_exit, "{error}");
}

#[test]
fn the_old_header_argument_on_the_back_edge() {
    let error = sabotage(SUM, &[], |outlined| {
        let func = &mut outlined.function;
        let header = Block::from_u32(1);
        let old = func.dfg.block_params(header).to_vec();
        let back = all(func, Opcode::Brif)[0];
        set_call(func, back, 0, header, &old);
    });
    let on_edge = matches!(
        error,
        CheckError::WrongOperand {
            place: Place::Argument { .. },
            ..
        }
    );
    assert!(on_edge, "{error}");
}

#[test]
fn the_first_iterations_value_in_every_iteration() {
    let error = sabotage(SUM, &[], |outlined| {
        let func = &mut outlined.function;
        let first = func.dfg.block_params(Block::from_u32(0))[0];
        let add = all(func, Opcode::Iadd)[0];
        func.dfg.inst_args_mut(add)[1] = first;
    });
    assert!(matches!(error, CheckError::StaleOperand { .. }), "{error}");
}

#[test]
fn a_value_from_before_a_cold_path_redefined_it() {
    let error = sabotage(COLD_INNER, &[4], |outlined| {
        let func = &mut outlined.continuations[0];
        let passed = func.dfg.block_params(Block::from_u32(0))[2];
        // In the copy of block 3, block 2 may have run again.
        let add = all(func, Opcode::Iadd)[0];
        func.dfg.inst_args_mut(add)[1] = passed;
    });
    assert!(matches!(error, CheckError::StaleOperand { .. }), "{error}");
}

#[test]
fn a_lost_store() {
    let error = sabotage(COLD, &[3], |outlined| {
        let func = &mut outlined.continuations[0];
        let store = all(func, Opcode::Store)[0];
        func.layout.remove_inst(store);
    });
    assert!(matches!(error, CheckError::WrongOpcode { .. }), "{error}");
}

#[test]
fn another_offset_into_a_stack_slot() {
    let error = sabotage(ENTITIES, &[], |outlined| {
        let func = &mut outlined.function;
        let offset = all(func, Opcode::Iconst)[0];
        set_constant(func, offset, 16);
    });
    assert!(matches!(error, CheckError::WrongOpcode { .. }), "{error}");
}

#[test]
fn a_flag_and_an_alias_region() {
    let edit = |keep_region: bool| {
        sabotage(ENTITIES, &[], |outlined| {
            let load = all(&outlined.function, Opcode::Load)[0];
            let dfg = &mut outlined.function.stencil.dfg;
            let flags = dfg.insts[load].memflags_data(dfg).expect("a load");
            let flags = match keep_region {
                true => flags.with_readonly(),
                false => flags.with_alias_region(None),
            };
            let flags = dfg.mem_flags.insert_unchecked(flags);
            *dfg.insts[load].memflags_mut().expect("a load") = flags;
        })
    };
    assert!(matches!(edit(true), CheckError::WrongMemFlags { .. }));
    assert!(matches!(edit(false), CheckError::WrongAliasRegion { .. }));
}

#[test]
fn a_lost_source_location() {
    let error = sabotage(ENTITIES, &[], |outlined| {
        let call = all(&outlined.function, Opcode::Call)[0];
        outlined.function.set_srcloc(call, SourceLoc::default());
    });
    let lost = matches!(error, CheckError::WrongSourceLocation { .. });
    assert!(lost, "{error}");
}

#[test]
fn another_order_of_arguments_at_the_call() {
    let error = sabotage(SUM, &[], |outlined| {
        let func = &mut outlined.residual;
        let call = all(func, Opcode::Call)[0];
        func.dfg.inst_args_mut(call).swap(0, 1);
    });
    let place = Place::RegionCall { index: 0 };
    let swapped = matches!(
        error,
        CheckError::WrongOperand {
            place: Place::RegionCall { .. },
            ..
        }
    );
    assert!(swapped, "{error} ({place})");
}

#[test]
fn another_order_of_arguments_at_a_side_exit_and_back() {
    let error = sabotage(COLD, &[3], |outlined| {
        let func = &mut outlined.function;
        let call = all(func, Opcode::ReturnCall)[0];
        func.dfg.inst_args_mut(call).swap(0, 1);
    });
    let swapped = matches!(
        error,
        CheckError::WrongOperand {
            place: Place::SideExit { number: 0, .. },
            ..
        }
    );
    assert!(swapped, "{error}");
    let error = sabotage(COLD, &[3], |outlined| {
        let func = &mut outlined.continuations[0];
        let call = all(func, Opcode::ReturnCall)[0];
        func.dfg.inst_args_mut(call).swap(2, 3);
    });
    let swapped = matches!(
        error,
        CheckError::WrongOperand {
            place: Place::Reentry { .. },
            ..
        }
    );
    assert!(swapped, "{error}");
}

#[test]
fn two_exits_with_each_others_targets() {
    let error = sabotage(EXITS, &[], |outlined| {
        let func = &mut outlined.residual;
        let dispatch = all(func, Opcode::BrTable)[0];
        let block = func.layout.inst_block(dispatch).expect("in the layout");
        let targets: Vec<Block> = func.block_successors(block).collect();
        set_call(func, dispatch, 2, targets[4], &[]);
        set_call(func, dispatch, 4, targets[2], &[]);
    });
    let wrong = matches!(error, CheckError::WrongBlockParams { .. });
    assert!(wrong, "{error}");
}

#[test]
fn one_block_for_two_exits() {
    let error = sabotage(EXITS, &[], |outlined| {
        let func = &mut outlined.residual;
        let dispatch = all(func, Opcode::BrTable)[0];
        let block = func.layout.inst_block(dispatch).expect("in the layout");
        let targets: Vec<Block> = func.block_successors(block).collect();
        set_call(func, dispatch, 2, targets[3], &[]);
    });
    let wrong = matches!(error, CheckError::WrongDispatch { number: 2, .. });
    assert!(wrong, "{error}");
}

#[test]
fn an_interface_that_says_too_little_or_something_else() {
    let error = sabotage(EXITS, &[], |outlined| {
        outlined.interface.exits[1].live_outs.remove(0);
    });
    let missing = CheckError::MissingLiveOut {
        exit: 2,
        value: Meaning::Value(Value::from_u32(3)),
    };
    assert_eq!(error, missing);
    let error = sabotage(EXITS, &[], |outlined| {
        let live_outs = &mut outlined.interface.exits[2].live_outs;
        (live_outs[0].result, live_outs[1].result) = (live_outs[1].result, live_outs[0].result);
    });
    assert!(matches!(error, CheckError::WrongOperand { .. }), "{error}");
    let error = sabotage(SUM, &[], |outlined| {
        outlined.interface.params.swap(0, 1);
    });
    assert_eq!(error, CheckError::WrongParam { index: 0 });
}

/// Nothing recurses (tests run on 2 MiB of stack) and nothing is quadratic:
/// minutes would be.
#[test]
fn a_hundred_thousand_blocks() {
    let func = random::function(&mut Random(5), 100_000, 4, random::Shape::Chain);
    let flow = Flow::compute(&func).expect("a function with blocks");
    assert!(flow.rpo().len() > 90_000);
    let scope = flow.rpo().to_vec();
    let region = |hot: &dyn Fn(Block) -> bool| {
        Region::pruned(&func, &flow, flow.entry(), &scope, hot).expect("a legal region")
    };
    let whole = region(&|_| true);
    let outlined = outline(&func, &whole).expect("the function outlines");
    let start = std::time::Instant::now();
    check_outlined(&func, &whole, &outlined).expect("what the outliner makes is right");
    println!("the whole function: {:?}", start.elapsed());

    // A continuation with all of the rest in it: one cold block, late.
    let cold = 50_000;
    let cold = (cold..).find(|&cold| {
        let region = region(&|block| block.as_u32() != cold);
        region.side_exits().len() == 1
    });
    let region = region(&|block| Some(block.as_u32()) != cold);
    let liveness = Liveness::compute(&func, &flow);
    let interface = Interface::compute(&func, &flow, &liveness, &region).expect("an interface");
    let made = extract_continuation(&func, &flow, &liveness, &region, &interface, 0);
    let made = made.expect("the continuation is extracted");
    let start = std::time::Instant::now();
    let checked = check_continuation(&func, &region, &interface, 0, &made.function, made.reentry);
    checked.expect("what the outliner makes is right");
    println!("a continuation: {:?}", start.elapsed());
}
