//! Snapshots of outlining, and checks that the verifier agrees with them.
//!
//! Each snapshot shows one transformation whole: source, region, interface,
//! outlined function, continuations, residual.

use crate::{OutlineError, Outlined, ParamSource, outline};
use cranelift_codegen::ir::{Block, Function};
use cranelift_codegen::settings::{self, Configurable, Flags};
use cranelift_codegen::verify_function;
use regraft_regions::{ExitKind, Flow, LoopForest, Region};
use std::fmt::Write;

fn parse(clif: &str) -> Function {
    let mut functions = cranelift_reader::parse_functions(clif).expect("valid CLIF");
    functions.remove(0)
}

/// The region of the loop with this header, less the blocks named as cold.
fn region(func: &Function, header: u32, cold: &[u32]) -> Region {
    let flow = Flow::compute(func).expect("a function with blocks");
    let loops = LoopForest::compute(func, &flow);
    let header = Block::from_u32(header);
    let id = loops.loop_of_header(header).expect("a loop header");
    let scope = loops.blocks(id);
    let hot = scope.iter().copied();
    let hot: Vec<Block> = hot
        .filter(|block| !cold.contains(&block.as_u32()))
        .collect();
    Region::new(func, &flow, header, scope, hot).expect("a legal region")
}

fn verify(func: &Function) {
    let mut flags = settings::builder();
    flags
        .set("enable_multi_ret_implicit_sret", "true")
        .expect("a known setting");
    flags
        .set("preserve_frame_pointers", "true")
        .expect("a known setting");
    if let Err(errors) = verify_function(func, &Flags::new(flags)) {
        panic!("{errors}\n{func}");
    }
}

fn render(func: &Function, region: &Region, outlined: &Outlined) -> String {
    let mut text = format!("; source\n{func}\n");
    let blocks = |set: &regraft_regions::BlockSet| {
        let names: Vec<String> = set.iter().map(|block| block.to_string()).collect();
        names.join(" ")
    };
    writeln!(text, "; region at {} ({:?})", region.entry(), region.kind()).expect("a string");
    writeln!(text, ";   scope: {}", blocks(region.scope())).expect("a string");
    writeln!(text, ";   hot:   {}", blocks(region.blocks())).expect("a string");
    for (index, param) in outlined.interface.params.iter().enumerate() {
        let source = match param.source {
            ParamSource::Entry(at) => format!("entry parameter {at}"),
            ParamSource::Value(value) => format!("live-in {value}"),
            ParamSource::VmContext(value) => format!("vmctx {value}"),
            ParamSource::Slot(slot) => format!("address of {slot}"),
            ParamSource::DynamicSlot(slot) => format!("address of {slot}"),
        };
        writeln!(text, ";   in {index}: {} = {source}", param.ty).expect("a string");
    }
    for value in &outlined.interface.constants {
        writeln!(text, ";   constant {value}").expect("a string");
    }
    for exit in &outlined.interface.exits {
        let to = match exit.exit.kind {
            ExitKind::Edge { to, .. } => to.to_string(),
            ExitKind::Return { .. } => "return".to_string(),
            ExitKind::TailCall { .. } => "tail call".to_string(),
        };
        let carried = exit.live_outs.iter();
        let carried = carried.map(|live| format!("{:?} as result {}", live.source, live.result));
        let constants = exit.constants.iter();
        let constants = constants.map(|value| format!("constant {value}"));
        let outs: Vec<String> = carried.chain(constants).collect();
        let (number, from) = (exit.exit.number, exit.exit.from);
        writeln!(
            text,
            ";   exit {number}: {from} -> {to}: {}",
            outs.join(", ")
        )
        .expect("a string");
    }
    write!(text, "\n; outlined\n{}", outlined.function).expect("a string");
    for (number, continuation) in outlined.continuations.iter().enumerate() {
        write!(text, "\n; continuation {number}\n{continuation}").expect("a string");
    }
    write!(text, "\n; residual\n{}", outlined.residual).expect("a string");
    text
}

fn check(name: &str, clif: &str, header: u32, cold: &[u32]) {
    let func = parse(clif);
    verify(&func);
    let region = region(&func, header, cold);
    let outlined = outline(&func, &region).expect("the region outlines");
    verify(&outlined.function);
    outlined.continuations.iter().for_each(verify);
    verify(&outlined.residual);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!(
            format!("outliner__{name}"),
            render(&func, &region, &outlined)
        );
    });
}

fn refusal(clif: &str, header: u32) -> OutlineError {
    let func = parse(clif);
    let region = region(&func, header, &[]);
    outline(&func, &region).expect_err("the region is refused")
}

/// The smallest case: one latch, one exit, one live-out.
#[test]
fn sum() {
    let clif = include_str!("../testdata/sum.clif");
    check("sum", clif, 1, &[]);
}

/// Exits from different blocks to one block with different arguments, and a
/// value that leaves by several of them.
#[test]
fn several_exits_to_one_block() {
    let clif = include_str!("../testdata/exits.clif");
    check("several_exits_to_one_block", clif, 1, &[]);
}

/// A value leaves by one result, whichever exit is taken, and no exit has two
/// values in one result.
#[test]
fn one_result_for_each_live_out() {
    for clif in [
        include_str!("../testdata/exits.clif"),
        include_str!("../testdata/br_table.clif"),
    ] {
        let func = parse(clif);
        let outlined = outline(&func, &region(&func, 1, &[])).expect("the region outlines");
        let mut result_of = std::collections::HashMap::new();
        for exit in &outlined.interface.exits {
            let mut used = std::collections::HashSet::new();
            for live in &exit.live_outs {
                assert_eq!(outlined.interface.results[live.result], live.ty);
                assert!(used.insert(live.result), "{live:?} at {:?}", exit.exit);
                let result = *result_of.entry(live.source).or_insert(live.result);
                assert_eq!(result, live.result, "{live:?} at {:?}", exit.exit);
            }
        }
        assert!(result_of.len() > 1);
    }
}

/// The inner loop of a nest: its live-out flows round the outer loop.
#[test]
fn inner_loop() {
    let clif = include_str!("../testdata/nest.clif");
    check("inner_loop", clif, 2, &[]);
}

/// The whole nest, as one region.
#[test]
fn loop_nest() {
    let clif = include_str!("../testdata/nest.clif");
    check("loop_nest", clif, 1, &[]);
}

/// A cold block stays out; its continuation goes back to the region.
#[test]
fn side_exit() {
    let clif = include_str!("../testdata/cold.clif");
    check("side_exit", clif, 1, &[3]);
}

/// The cold block lies in an inner loop, whose header runs again in the
/// continuation: a live-in is defined a second time.
#[test]
fn side_exit_from_an_inner_loop() {
    let clif = include_str!("../testdata/cold_inner.clif");
    check("side_exit_from_an_inner_loop", clif, 1, &[4]);
}

/// Frame addresses, constants, shuffles, memory flags, a vmctx-based global.
#[test]
fn entities() {
    let clif = include_str!("../testdata/entities.clif");
    check("entities", clif, 1, &[]);
}

/// A jump table with duplicate targets inside and outside.
#[test]
fn jump_table() {
    let clif = include_str!("../testdata/br_table.clif");
    check("jump_table", clif, 1, &[]);
}

/// A `try_call` whose handler is outside: what the edge defines is a live-out.
#[test]
fn try_call_exit() {
    let clif = include_str!("../testdata/try_call.clif");
    check("try_call_exit", clif, 1, &[]);
}

/// A loop that nothing leaves.
#[test]
fn infinite_loop() {
    let clif = include_str!("../testdata/infinite.clif");
    check("infinite_loop", clif, 1, &[]);
}

#[test]
fn frame_pointer_is_refused() {
    let error = refusal(
        "function %f() system_v {
         block0: jump block1
         block1: v0 = get_stack_pointer.i64
                 jump block1 }",
        1,
    );
    assert_eq!(error.code(), "frame-identity");
}

#[test]
fn user_stack_map_is_refused() {
    let error = refusal(
        "function %f(i32) system_v {
         ss0 = explicit_slot 4, align = 4
         fn0 = colocated u0:0()
         block0(v0: i32): jump block1
         block1: call fn0(), stack_map=[i32 @ ss0+0]
                 brif v0, block1, block2
         block2: return }",
        1,
    );
    assert_eq!(error.code(), "user-stack-map");
}

/// A whole function without its cold blocks.
#[test]
fn pruned_function() {
    let clif = include_str!("../testdata/pruned.clif");
    let func = parse(clif);
    verify(&func);
    let flow = Flow::compute(&func).expect("a function with blocks");
    let liveness = regraft_regions::Liveness::compute(&func, &flow);
    let scope: Vec<Block> = flow.rpo().to_vec();
    let hot = |block: Block| block.as_u32() != 2;
    let region = Region::pruned(&func, &flow, flow.entry(), &scope, hot).expect("a legal region");
    let interface = crate::Interface::compute(&func, &flow, &liveness, &region)
        .expect("the function can be outlined");
    let pruned = crate::prune_function(&func, &flow, &liveness, &region, &interface)
        .expect("the function can be pruned");
    verify(&pruned.function);
    let mut text = format!("; source\n{func}\n; pruned\n{}", pruned.function);
    for (number, _) in &pruned.side_calls {
        let continuation =
            crate::extract_continuation(&func, &flow, &liveness, &region, &interface, *number)
                .expect("the side exit has a continuation");
        verify(&continuation.function);
        write!(text, "\n; continuation {number}\n{}", continuation.function).expect("a string");
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("outliner__pruned_function", text));
}
