//! Bad input: each a clear error, never a panic.

use crate::tiering::{eager_to_tier, engine};
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{AbiParam, Function, Signature, types};
use cranelift_codegen::isa::CallConv;
use regraft::config::{Faults, Stage};
use regraft::report::{PartState, SideExitState};
use regraft::{CompileMode, Config, Engine, Error, FunctionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

fn parse(clif: &str) -> Function {
    cranelift_reader::parse_functions(clif)
        .expect("valid CLIF")
        .remove(0)
}

fn new_engine() -> Engine {
    Engine::new(Config::default()).expect("an engine for the host")
}

const ONE: &str = "function %one() -> i64 system_v {\nblock0:\n v0 = iconst.i64 1\n return v0\n}";

#[test]
fn a_function_that_does_not_verify() {
    let bad =
        parse("function %bad() -> i64 system_v {\nblock0:\n v0 = iconst.i32 1\n return v0\n}");
    let error = new_engine()
        .define_function(bad)
        .expect_err("i32 is not i64");
    assert!(matches!(&error, Error::Verifier { function, .. } if function == "bad"));
    assert!(error.to_string().contains("bad"), "{error}");
}

#[test]
fn a_second_definition() {
    let engine = engine(Config::default(), ONE);
    let error = engine
        .define_function(parse(ONE))
        .expect_err("it is there already");
    assert!(matches!(error, Error::DuplicateDefinition { function } if function == "one"));
}

#[test]
fn a_definition_with_another_signature() {
    let engine = new_engine();
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(types::F64));
    engine
        .declare("one", &signature)
        .expect("a first declaration");
    let error = engine
        .define_function(parse(ONE))
        .expect_err("the signatures differ");
    assert!(matches!(error, Error::IncompatibleSignature { .. }));
}

#[test]
fn a_call_to_nobody() {
    let clif = "
function %caller() -> i64 system_v {
    fn0 = %nobody_defined_this() -> i64 system_v
block0:
    v0 = call fn0()
    return v0
}";
    let engine = engine(Config::default(), clif);
    let caller = engine.lookup("caller").expect("it is declared");
    let error = engine.pointer(caller).expect_err("its callee is missing");
    assert_eq!(
        error.to_string(),
        "caller needs nobody_defined_this, which is neither defined nor a registered symbol"
    );
}

#[test]
fn a_reference_to_a_number_that_nobody_declared() {
    let clif = "
function %caller() system_v {
    fn0 = u0:99()
block0:
    call fn0()
    return
}";
    let error = new_engine()
        .define_function(parse(clif))
        .expect_err("u0:99 is nobody");
    assert!(matches!(error, Error::UnknownFunction { index: 99, .. }));
}

#[test]
fn a_function_of_another_engine() {
    let error = new_engine()
        .pointer(FunctionId::from_u32(1000))
        .expect_err("no such function");
    assert!(matches!(error, Error::UnknownFunction { index: 1000, .. }));
}

#[test]
fn the_wrong_types_for_a_callable() {
    let engine = engine(Config::default(), ONE);
    let one = engine.lookup("one").expect("it is declared");
    let error = engine
        .get::<(i32,), f32>(one)
        .expect_err("the types differ");
    assert!(matches!(error, Error::Typed { .. }), "{error}");
}

#[test]
fn the_wrong_arguments() {
    let engine = engine(Config::default(), ONE);
    let one = engine.lookup("one").expect("it is declared");
    // SAFETY: the function only returns a constant.
    let error = unsafe { engine.call(one, &[DataValue::I8(1)]) }.expect_err("it takes none");
    assert!(matches!(error, Error::Invoke { .. }), "{error}");
}

#[test]
fn an_unknown_setting() {
    let config = Config::default().settings(vec![("warp_speed".into(), "9".into())]);
    let error = Engine::new(config).expect_err("there is no such setting");
    assert!(error.to_string().contains("warp_speed"), "{error}");
}

/// What the backend cannot compile is an error of `define`, and the engine
/// goes on working.
#[test]
fn a_function_that_the_backend_lacks() {
    let clif = "
function %wide(i64x8) -> i64x8 fast {
block0(v0: i64x8):
    return v0
}";
    let engine = new_engine();
    let error = engine
        .define_function(parse(clif))
        .expect_err("no register is so wide");
    assert!(matches!(error, Error::Compile { .. }), "{error}");
    let one = engine
        .define_function(parse(ONE))
        .expect("a good definition");
    // SAFETY: the function only returns a constant.
    let results = unsafe { engine.call(one, &[]) }.expect("it runs");
    assert!(results[0].bitwise_eq(&DataValue::I64(1)));
}

/// Code memory for a few versions only: tier 1 does not fit, the code that
/// is there goes on, and the report says why.
#[test]
fn no_memory_for_tier_1() {
    let mut config = eager_to_tier(10);
    config.memory.arena.code_bytes = 3 * 4096;
    config.thresholds.attempts = 2;
    let engine = Engine::new(config).expect("a small engine");
    let clif = include_str!("../../outliner/testdata/sum.clif");
    let mut defined = vec![];
    for index in 0..100 {
        let mut function = parse(clif);
        function.name = cranelift_codegen::ir::UserFuncName::testcase(format!("sum{index}"));
        match engine.define_function(function) {
            Ok(id) => defined.push(id),
            Err(error) => {
                assert!(error.to_string().contains("full"), "{error}");
                break;
            }
        }
    }
    assert!(!defined.is_empty() && defined.len() < 100);
    for &id in &defined {
        for _ in 0..3 {
            // SAFETY: the function touches no memory.
            let results = unsafe { engine.call(id, &[DataValue::I64(100_000)]) };
            match results {
                Ok(results) => assert!(results[0].bitwise_eq(&DataValue::I64(4_999_950_000))),
                // The invoker's own code did not fit.
                Err(error) => assert!(error.to_string().contains("full"), "{error}"),
            }
        }
    }
    let report = engine.report();
    let failed = report
        .functions
        .values()
        .flat_map(|function| &function.regions);
    let failed: Vec<_> = failed
        .filter(|region| region.part.state == PartState::Failed)
        .collect();
    assert!(!failed.is_empty(), "tier 1 had room");
    for region in failed {
        assert!(
            region.part.reason.contains("full"),
            "{}",
            region.part.reason
        );
        assert!(region.part.requests <= 8, "{}", region.part.requests);
    }
}

/// A panic on the way to tier 1 is a failed compilation, wherever it happens.
#[test]
fn a_panic_in_the_compiler_is_a_failure() {
    let clif = include_str!("../../outliner/testdata/sum.clif");
    for compile in [CompileMode::Synchronous, CompileMode::Background] {
        let faults = Faults::new(|stage, _| match stage {
            Stage::Memory => panic!("injected panic"),
            _ => false,
        });
        let config = eager_to_tier(10).faults(Some(faults)).compile(compile);
        let engine = engine(config, clif);
        let sum = engine.lookup("sum").expect("it is declared");
        let sum = engine.get::<(i64,), i64>(sum).expect("the types agree");
        for _ in 0..100 {
            // SAFETY: the function touches no memory.
            assert_eq!(unsafe { sum.call((10_000,)) }, 49_995_000);
        }
        engine.wait_idle();
        let report = engine.report();
        let part = &report.functions["sum"].regions[0].part;
        assert_eq!(part.state, PartState::Failed);
        assert!(part.reason.contains("injected panic"), "{}", part.reason);
    }
}

/// Every stage of tier 1 fails in turn: results stay right at tier 0, the
/// report says what happened, and the attempts end.
#[test]
fn every_stage_of_tier_1_can_fail() {
    let clif = include_str!("../../outliner/testdata/sum.clif");
    for stage in [
        Stage::Transform,
        Stage::Memory,
        Stage::Codegen(1),
        Stage::Link(1),
    ] {
        // The first transformation is the instrumentation for tier 0.
        let seen = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&seen);
        let faults = Faults::new(move |at, _| {
            at == stage && (stage != Stage::Transform || count.fetch_add(1, Relaxed) > 0)
        });
        let config = eager_to_tier(10).faults(Some(faults));
        let engine = engine(config, clif);
        let sum = engine.lookup("sum").expect("it is declared");
        let sum = engine.get::<(i64,), i64>(sum).expect("the types agree");
        for _ in 0..100 {
            // SAFETY: the function touches no memory.
            assert_eq!(unsafe { sum.call((10_000,)) }, 49_995_000);
        }
        let report = engine.report();
        let region = &report.functions["sum"].regions[0];
        assert_eq!(region.part.state, PartState::Failed, "{stage:?}");
        assert!(
            region.part.reason.contains("injected"),
            "{}",
            region.part.reason
        );
        assert!(
            (2..=4).contains(&region.part.requests),
            "{}",
            region.part.requests
        );
        assert_eq!(report.functions["sum"].tier, Some(0));
    }
}

/// Tier 0 fails: the definition is an error, and can be made again.
#[test]
fn a_failed_definition_changes_nothing() {
    let failing = Arc::new(AtomicU32::new(1));
    let once = Arc::clone(&failing);
    let config = Config::default()
        .faults(Some(Faults::new(move |stage, _| {
            stage == Stage::Codegen(0) && once.swap(0, Relaxed) == 1
        })))
        .pacing(regraft::Pacing::Counts);
    let engine = Engine::new(config).expect("an engine for the host");
    let error = engine
        .define_function(parse(ONE))
        .expect_err("the first time fails");
    assert!(matches!(error, Error::Compile { .. }), "{error}");
    let one = engine
        .define_function(parse(ONE))
        .expect("the second does not");
    // SAFETY: the function only returns a constant.
    let results = unsafe { engine.call(one, &[]) }.expect("it runs");
    assert!(results[0].bitwise_eq(&DataValue::I64(1)));
}

/// A continuation that tier 1 cannot compile is compiled at tier 0.
#[test]
fn a_continuation_always_comes_to_be() {
    let config = eager_to_tier(100).faults(Some(Faults::new(|stage, name| {
        stage == Stage::Codegen(1) && name.ends_with("block3")
    })));
    let engine = engine(config, crate::tiering::COLD);
    let cold = engine.lookup("cold").expect("it is declared");
    let cold = engine
        .get::<(i64, i64), i64>(cold)
        .expect("the types agree");
    // SAFETY: the function touches no memory.
    let result = unsafe { cold.call((5000, 4990)) };
    assert_eq!(result, crate::tiering::cold_model(5000, 4990));
    let report = engine.report();
    let side = &report.functions["cold"].regions[0].part.side_exits[0];
    assert_eq!((side.count, side.state.as_str()), (10, "compiled"));
}

/// Memory was full for a moment when a side exit was first taken.
#[test]
fn a_continuation_that_failed_is_tried_again() {
    let failing = Arc::new(AtomicU32::new(0));
    let now = Arc::clone(&failing);
    for pacing in [regraft::Pacing::Counts, regraft::Pacing::Cost] {
        let now = Arc::clone(&now);
        let config =
            eager_to_tier(100)
                .pacing(pacing)
                .faults(Some(Faults::new(move |stage, name| {
                    matches!(stage, Stage::Codegen(_))
                        && name.ends_with("block3")
                        && now.load(Relaxed) == 1
                })));
        let engine = engine(config, crate::tiering::COLD);
        let cold = engine.lookup("cold").expect("it is declared");
        let cold = engine
            .get::<(i64, i64), i64>(cold)
            .expect("the types agree");
        // SAFETY: the function touches no memory.
        let run = |n, at| unsafe { cold.try_call((n, at)) };
        assert_eq!(run(1000, 2000), Ok(crate::tiering::cold_model(1000, 2000)));
        failing.store(1, Relaxed);
        run(1000, 990).expect_err("the side exit leads nowhere");
        let report = engine.report();
        let side = &report.functions["cold"].regions[0].part.side_exits[0];
        assert_eq!(side.state, SideExitState::Failed);
        assert!(side.reason.contains("injected"), "{}", side.reason);
        failing.store(0, Relaxed);
        // One request is answered with the failure, then it is tried again.
        run(1000, 990).expect_err("too soon");
        assert_eq!(run(1000, 990), Ok(crate::tiering::cold_model(1000, 990)));
        let report = engine.report();
        let side = &report.functions["cold"].regions[0].part.side_exits[0];
        assert_eq!(
            (side.state.as_str(), side.reason.as_str()),
            ("compiled", "")
        );
    }
}

/// The host has a function of the name that is defined later.
#[test]
fn a_definition_after_an_early_call_takes_effect() {
    const CALLER: &str = "function %caller(i64) -> i64 system_v {
    fn0 = %labs(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    return v1
}";
    const LABS: &str = "function %labs(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iadd v0, v0
    return v1
}";
    for compilation in [
        regraft::Compilation::AtDefinition,
        regraft::Compilation::AtFirstCall,
    ] {
        for lazily in [false, true] {
            let engine = Engine::new(Config::default().compilation(compilation));
            let engine = engine.expect("an engine for the host");
            let labs = engine
                .declare("labs", &parse(LABS).signature)
                .expect("a new name");
            let caller = engine
                .define_function(parse(CALLER))
                .expect("a good definition");
            let caller = engine.get::<(i64,), i64>(caller).expect("the host has it");
            // SAFETY: the functions touch no memory.
            let run = |n| unsafe { caller.call((n,)) };
            assert_eq!(run(-7), 7);
            match lazily {
                false => engine
                    .define(labs, parse(LABS))
                    .expect("its first definition"),
                true => engine
                    .define_lazily(labs, |_| Ok(parse(LABS)))
                    .expect("its first definition"),
            }
            assert_eq!(run(-7), -14);
        }
    }
}
