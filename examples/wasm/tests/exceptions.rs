//! Exceptions between WebAssembly and the host.

mod common;

use common::{assemble, modes};
use regraft_wasm::{
    Error, Exception, Extern, Func, FuncType, Imports, Instance, Module, Store, Tag, Value,
    ValueType,
};

const TEXT: &str = r#"(module
    (import "host" "tag" (tag $tag (param i32 v128)))
    (import "host" "call" (func $call (param i32) (result i32)))
    (tag $other)
    (func $throw (export "throw") (param i32)
        (throw $tag (local.get 0) (v128.const i64x2 7 8)))
    (func (export "other") (throw $other))
    ;; Handlers for something else come first, in this function and in the one around.
    (func $pass (param i32) (result i32)
        (block $missed
            (try_table (catch $other $missed) (return (call $call (local.get 0)))))
        (i32.const -1))
    (func (export "caught") (param i32) (result i32) (local $sum i32)
        (loop $again
            (block $caught (result i32 v128)
                (try_table (catch $tag $caught)
                    (local.set $sum (i32.add (local.get $sum) (call $pass (local.get 0))))
                    (return (local.get $sum)))
                (unreachable))
            (drop)
            (local.set $sum (i32.add (local.get $sum)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if $again (local.get 0)))
        (local.get $sum)))"#;

fn instance(store: &Store) -> (Instance, Tag) {
    let mut imports = Imports::new();
    let tag = Tag::new(
        store,
        FuncType {
            params: vec![ValueType::I32, ValueType::V128],
            results: vec![],
        },
    );
    imports.define("host", "tag", Extern::Tag(tag.clone()));
    let ty = FuncType {
        params: vec![ValueType::I32],
        results: vec![ValueType::I32],
    };
    let thrown = tag.clone();
    let call = Func::new(store, ty, move |_, arguments, _| {
        let values = [arguments[0].clone(), Value::V128(0)];
        Err(Exception::new(&thrown, &values)?.thrown())
    });
    imports.define("host", "call", Extern::Func(call.unwrap()));
    let module = Module::new(&assemble(TEXT)).unwrap();
    (Instance::new(store, &module, &imports).unwrap(), tag)
}

#[test]
fn what_the_host_throws_is_caught_in_a_loop_that_gets_hot() {
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let (instance, _) = instance(&store);
        let results = instance.call("caught", &[Value::I32(3000)]).unwrap();
        let expected = 3000 * 3001 / 2;
        assert!(
            matches!(results[..], [Value::I32(sum)] if sum == expected),
            "{mode}: {results:?}"
        );
    }
}

#[test]
fn what_nobody_catches_comes_out_with_its_values() {
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let (instance, tag) = instance(&store);
        let Err(Error::Exception(thrown)) = instance.call("throw", &[Value::I32(5)]) else {
            panic!("{mode}: no exception");
        };
        let exception = store.exception(&thrown).unwrap();
        assert!(exception.tag().same(&tag));
        let wide = 8u128 << 64 | 7;
        let values = exception.values();
        assert!(
            matches!(values[..], [Value::I32(5), Value::V128(bits)] if bits == wide),
            "{mode}: {values:?}"
        );
        let Err(Error::Exception(thrown)) = instance.call("other", &[]) else {
            panic!("{mode}: no exception");
        };
        assert!(!store.exception(&thrown).unwrap().tag().same(&tag));
        // The store is as good as before.
        assert!(instance.call("caught", &[Value::I32(1)]).is_ok());
    }
}
