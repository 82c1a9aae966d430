//! What is refused, and how: the same errors and panics as cranelift-jit's.

use super::*;
use cranelift_codegen::CodegenError;
use cranelift_module::{DataDescription, ModuleError, default_libcall_names};
use regraft::config::{Faults, Stage};
use regraft::{CompileMode, Config, Engine};
use std::panic::{AssertUnwindSafe, catch_unwind};

on_every_kind! {
    definitions_are_made_once
    imports_are_not_defined
    declarations_agree
    functions_that_do_not_verify
    functions_that_cannot_be_compiled
    too_early
    thread_locals_and_uninitialized_data
}

/// The errors must read alike on all kinds.
fn message<T>(result: ModuleResult<T>) -> String {
    result
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

fn panics<T>(body: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(body()))).unwrap_err();
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_string(),
    }
}

fn definitions_are_made_once<K: Kind>() {
    let mut module = K::module();
    let id = define(&mut module, "sum", SUM);
    let duplicate = "Duplicate definition of identifier: sum";
    assert_eq!(message(try_define(&mut module, id, SUM)), duplicate);
    let bytes = module.define_function_bytes(id, 1, &[0], &[]);
    assert_eq!(message(bytes), duplicate);
    module.finalize();
    assert_eq!(message(try_define(&mut module, id, SUM)), duplicate);
    assert_eq!(call(module.code(id), 10), 45);

    let id = module.declare_anonymous_data(true, false).unwrap();
    let mut data = DataDescription::new();
    data.define_zeroinit(8);
    module.define_data(id, &data).unwrap();
    let again = message(module.define_data(id, &data));
    assert_eq!(again, "Duplicate definition of identifier: .Ldata0");
}

fn imports_are_not_defined<K: Kind>() {
    let mut module = K::module();
    let signature = parse(SUM).signature.clone();
    let id = module
        .declare_function("sum", Linkage::Import, &signature)
        .unwrap();
    let refused = "Invalid to define identifier declared as an import: sum";
    assert_eq!(message(try_define(&mut module, id, SUM)), refused);
    assert_eq!(
        message(module.define_function_bytes(id, 1, &[0], &[])),
        refused
    );
    let id = module
        .declare_data("data", Linkage::Import, false, false)
        .unwrap();
    let mut data = DataDescription::new();
    data.define_zeroinit(8);
    let error = module.define_data(id, &data).unwrap_err();
    assert!(matches!(error, ModuleError::InvalidImportDefinition(name) if name == "data"));
}

fn declarations_agree<K: Kind>() {
    let mut module = K::module();
    let [one, two] = ["(i64) -> i64", "(i32) -> i64"].map(signature);
    let id = module.declare_function("f", Linkage::Import, &one).unwrap();
    assert_eq!(
        module.declare_function("f", Linkage::Export, &one).unwrap(),
        id
    );
    let error = module
        .declare_function("f", Linkage::Export, &two)
        .unwrap_err();
    assert!(matches!(error, ModuleError::IncompatibleSignature(..)));
    let error = module
        .declare_data("f", Linkage::Export, true, false)
        .unwrap_err();
    assert!(matches!(error, ModuleError::IncompatibleDeclaration(..)));
    assert_eq!(module.declarations().get_functions().count(), 1);
    assert!(module.get_name("f").is_some());
}

fn functions_that_do_not_verify<K: Kind>() {
    let wrong = "function %f(i64) -> i64 system_v {
block0(v0: i64):
    v1 = ireduce.i32 v0
    return v1
}";
    let mut module = K::module();
    assert!(module.isa().flags().enable_verifier());
    let id = declare(&mut module, "f", wrong);
    let error = try_define(&mut module, id, wrong).unwrap_err();
    assert!(matches!(
        error,
        ModuleError::Compilation(CodegenError::Verifier(_))
    ));
    // It can still be defined.
    try_define(&mut module, id, &SUM.replace("sum", "f")).unwrap();
    module.finalize();
    assert_eq!(call(module.code(id), 4), 6);
}

fn functions_that_cannot_be_compiled<K: Kind>() {
    // Too large a frame for any backend.
    let large = "function %f(i64) -> i64 system_v {
    ss0 = explicit_slot 4294967295
    ss1 = explicit_slot 4294967295
block0(v0: i64):
    v1 = stack_addr.i64 ss0
    v2 = stack_addr.i64 ss1
    v3 = iadd v1, v2
    return v3
}";
    let mut module = K::module();
    let id = declare(&mut module, "f", large);
    let error = try_define(&mut module, id, large).unwrap_err();
    assert!(
        matches!(
            error,
            ModuleError::Compilation(CodegenError::ImplLimitExceeded)
        ),
        "{error}"
    );
}

fn too_early<K: Kind>() {
    let mut module = K::module();
    let declared = declare(&mut module, "declared", SUM);
    let data = module.declare_anonymous_data(true, false).unwrap();
    let undefined = panics(|| module.code(declared));
    assert_eq!(
        undefined,
        "function must be compiled before it can be finalized"
    );
    let undefined = panics(|| module.contents(data));
    assert_eq!(
        undefined,
        "data object must be compiled before it can be finalized"
    );
    let sum = define(&mut module, "sum", SUM);
    let mut zero = DataDescription::new();
    zero.define_zeroinit(8);
    module.define_data(data, &zero).unwrap();
    assert_eq!(panics(|| module.code(sum)), "function not yet finalized");
    assert_eq!(
        panics(|| module.contents(data)),
        "data object not yet finalized"
    );
    module.finalize();
    assert_eq!(module.contents(data).1, 8);
}

fn thread_locals_and_uninitialized_data<K: Kind>() {
    let mut module = K::module();
    let expected = "JIT doesn't yet support TLS";
    assert_eq!(
        panics(|| module.declare_data("t", Linkage::Local, true, true)),
        expected
    );
    assert_eq!(
        panics(|| module.declare_anonymous_data(true, true)),
        expected
    );
    let id = module.declare_anonymous_data(true, false).unwrap();
    let empty = DataDescription::new();
    let said = panics(|| module.define_data(id, &empty));
    assert_eq!(said, "data is not initialized yet");
}

#[test]
fn position_independent_code_panics() {
    let isa = host(&[("is_pic", "true")]);
    let names = default_libcall_names();
    let builder = regraft::jit::JITBuilder::with_isa(isa, names);
    assert!(panics(|| regraft::jit::JITModule::new(builder)).contains("is_pic=false"));
}

#[test]
fn flags_are_checked() {
    let error = regraft::jit::JITBuilder::with_flags(&[("warp", "9")], default_libcall_names());
    assert!(matches!(error, Err(ModuleError::Flag(_))));
    let flags = [("opt_level", "speed"), ("is_pic", "true")];
    let builder = regraft::jit::JITBuilder::with_flags(&flags, default_libcall_names()).unwrap();
    let module = regraft::jit::JITModule::new(builder);
    assert_eq!(module.isa().flags().opt_level(), settings::OptLevel::Speed);
    assert!(!module.isa().flags().is_pic());
}

const CALLER: &str = "function %caller(i64) -> i64 system_v {
    fn0 = u0:0(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    return v1
}";

#[test]
fn what_cannot_be_resolved_waits() {
    let mut module = kinds::DropIn::module();
    let callee = declare(&mut module, "nowhere", SUM);
    let caller = define(&mut module, "caller", CALLER);
    let other = define(&mut module, "other", SUM);
    for _ in 0..2 {
        let error = module.finalize_definitions();
        assert_eq!(
            message(error),
            "Backend error: can't resolve symbol nowhere"
        );
        assert_eq!(panics(|| module.code(caller)), "function not yet finalized");
    }
    let said = panics(|| module.get_address(&callee.into()));
    assert_eq!(said, "can't resolve symbol nowhere");
    try_define(&mut module, callee, SUM).unwrap();
    module.finalize();
    assert_eq!(call(module.code(caller), 10), 45);
    assert_eq!(call(module.code(other), 10), 45);
}

#[test]
fn names_that_nobody_declared_are_errors() {
    let mut module = kinds::DropIn::module();
    let clif = CALLER.replace("u0:0", "u0:77");
    let id = define(&mut module, "caller", &clif);
    let error = message(module.finalize_definitions());
    assert_eq!(error, "Backend error: invalid name u0:77");
    assert_eq!(panics(|| module.code(id)), "function not yet finalized");
}

#[test]
fn data_relocations_stay_in_the_object() {
    let mut module = kinds::DropIn::module();
    let id = module.declare_anonymous_data(true, false).unwrap();
    let mut data = DataDescription::new();
    data.define_zeroinit(8);
    let global = module.declare_data_in_data(id, &mut data);
    data.write_data_addr(4, global, 0);
    module.define_data(id, &data).unwrap();
    assert!(message(module.finalize_definitions()).contains("does not fit at offset 4"));
}

#[test]
fn a_foreign_target_is_an_error_of_what_is_defined() {
    let foreign = match cfg!(target_arch = "aarch64") {
        true => "x86_64-unknown-linux-gnu",
        false => "aarch64-unknown-linux-gnu",
    };
    // The tests may be built without the other backend.
    let Ok(target) = isa::lookup_by_name(foreign) else {
        return;
    };
    let isa = target
        .finish(settings::Flags::new(settings::builder()))
        .unwrap();
    let builder = regraft::jit::JITBuilder::with_isa(isa, default_libcall_names());
    let mut module = regraft::jit::JITModule::new(builder);
    let id = declare(&mut module, "sum", SUM);
    let error = try_define(&mut module, id, SUM).unwrap_err();
    assert!(matches!(error, ModuleError::Backend(_)));
    module.finalize();
}

#[test]
fn without_tier_0_a_function_is_compiled_as_it_is() {
    for stage in [Stage::Transform, Stage::Codegen(0)] {
        let engine = Engine::new(
            Config::default()
                .compile(CompileMode::Synchronous)
                .faults(Some(Faults::new(move |at, _| at == stage))),
        );
        let engine = engine.unwrap();
        let mut builder = regraft::jit::JITBuilder::new(default_libcall_names()).unwrap();
        builder.engine(engine.clone());
        let mut module = regraft::jit::JITModule::new(builder);
        let sum = define(&mut module, "sum", SUM);
        module.finalize();
        assert_eq!(call(module.code(sum), 5000), 12_497_500);
        assert_eq!(engine.report().functions["sum"].tier, Some(1));
    }
}
