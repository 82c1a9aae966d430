//! Detectors of an engine whose functions belong to a module of `regraft::jit`.

use super::*;
use cranelift_codegen::Context;
use cranelift_module::{Linkage, Module};
use regraft::config::FoundBy;
use regraft::jit::{JITBuilder, JITModule};
use regraft::regions::Profile;
use std::sync::Arc;

/// A module on an engine with this configuration, with the sum defined in it; and where that is.
fn module(config: Config) -> (Engine, JITModule, extern "C" fn(i64) -> i64) {
    let engine = Engine::new(config).expect("an engine for the host");
    let libcalls = cranelift_module::default_libcall_names();
    let mut builder = JITBuilder::new(libcalls).expect("a builder for the host");
    builder.engine(engine.clone());
    let mut module = JITModule::new(builder);
    let mut functions = cranelift_reader::parse_functions(SUM).expect("valid CLIF");
    let mut context = Context::for_function(functions.remove(0));
    let id = module
        .declare_function("sum", Linkage::Export, &context.func.signature)
        .expect("it is new");
    module
        .define_function(id, &mut context)
        .expect("it compiles");
    module.finalize_definitions().expect("all is there");
    let pointer = module.get_finalized_function(id);
    // SAFETY: it is the function's signature.
    let sum = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(pointer) };
    (engine, module, sum)
}

fn found_by(engine: &Engine) -> Option<FoundBy> {
    region(&engine.report(), "sum", "block1").part.found_by
}

#[test]
fn a_function_of_a_module_is_sampled() {
    let (engine, _module, sum) = module(sampling(CompileMode::Background));
    let n = 100_000_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _sampled = engine.sample_this_thread();
            until(
                || assert_eq!(sum(n), n * (n - 1) / 2),
                || found_by(&engine) == Some(FoundBy::Sampling),
            );
        });
    });
}

#[test]
fn a_function_of_a_module_has_a_profile() {
    let (engine, _module, sum) = module(eager_to_tier(100));
    assert_eq!(sum(10_000), 49_995_000);
    assert_eq!(found_by(&engine), Some(FoundBy::Counters));
    let text = engine.profile().to_json();
    let profile = Profile::from_json(&text).expect("what was written");
    assert_eq!(profile.functions["sum"].regions.len(), 1);
    let config = eager_to_tier(100).profile(Some(Arc::new(profile)));
    let (engine, _module, sum) = module(config);
    assert_eq!(found_by(&engine), Some(FoundBy::Profile));
    assert_eq!(sum(1000), 499_500);
    let report = engine.report();
    assert_eq!(region(&report, "sum", "block1").entries, 1);
}
