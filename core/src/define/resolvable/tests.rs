//! How much is looked at when somebody asks whether functions can be called.

use crate::{Config, Engine, Error, FunctionId};
use cranelift_codegen::ir::Function;

const COUNT: usize = 300;

/// Each calls the next, the last one the first.
fn function(index: usize) -> Function {
    let next = (index + 1) % COUNT;
    let clif = format!(
        "function %f{index}(i64) -> i64 system_v {{
    fn0 = %f{next}(i64) -> i64 system_v
block0(v0: i64):
    v1 = iconst.i64 -1
    v2 = iadd v0, v1
    brif v0, block1, block2
block1:
    v3 = call fn0(v2)
    return v3
block2:
    return v0
}}"
    );
    cranelift_reader::parse_functions(&clif).unwrap().remove(0)
}

/// All are asked for; how many functions were looked at.
fn ask(engine: &Engine, functions: &[FunctionId]) -> usize {
    let ask = |&id: &FunctionId| {
        let function = engine.inner.function(id).unwrap();
        super::check_resolvable(&engine.inner, &function).unwrap()
    };
    functions.iter().map(ask).sum()
}

#[test]
fn each_function_is_looked_at_once() {
    let engine = Engine::new(Config::default()).unwrap();
    let define = |index| engine.define_function(function(index)).unwrap();
    let functions: Vec<FunctionId> = (0..COUNT).map(define).collect();
    assert_eq!(ask(&engine, &functions), COUNT);
    assert_eq!(ask(&engine, &functions), 0);
    // A definition that changes nothing for others has them not judged again.
    for (index, &id) in functions.iter().enumerate() {
        engine.redefine(id, function(index)).unwrap();
        assert_eq!(ask(&engine, &functions), 0);
    }
}

#[test]
fn a_lazy_definition_has_nobody_judged_again() {
    let engine = Engine::new(Config::default()).unwrap();
    let signature = function(0).signature.clone();
    let declare = |index| {
        let id = engine.declare(&format!("f{index}"), &signature).unwrap();
        engine
            .define_lazily(id, move |_| Ok(function(index)))
            .unwrap();
        id
    };
    let functions: Vec<FunctionId> = (0..COUNT).map(declare).collect();
    assert_eq!(ask(&engine, &functions), COUNT);
    // One after the other is called first, and defined.
    for (depth, &id) in functions.iter().enumerate() {
        let f = engine.get::<(i64,), i64>(id).unwrap();
        // SAFETY: the code touches no memory.
        assert_eq!(unsafe { f.try_call((depth as i64 % 3,)) }.unwrap(), 0);
        assert_eq!(ask(&engine, &functions), 0);
    }
}

#[test]
fn a_definition_that_needs_what_is_not_there_is_noticed_by_all() {
    let engine = Engine::new(Config::default()).unwrap();
    let define = |index| engine.define_function(function(index)).unwrap();
    let functions: Vec<FunctionId> = (0..COUNT).map(define).collect();
    ask(&engine, &functions);
    let mut broken = function(7).to_string();
    broken = broken.replace("%f8", "%nobody_defined_this");
    let broken = cranelift_reader::parse_functions(&broken)
        .unwrap()
        .remove(0);
    engine.redefine(functions[7], broken).unwrap();
    for &id in &functions {
        let error = engine.pointer(id).unwrap_err();
        assert!(
            matches!(&error, Error::UndefinedSymbol { name, referenced_by }
                if name == "nobody_defined_this" && referenced_by == "f7"),
            "{error}"
        );
    }
    engine.redefine(functions[7], function(7)).unwrap();
    assert_eq!(ask(&engine, &functions), COUNT);
}
