//! Traps: where they are, and that the host survives them.

mod common;

use common::{assemble, modes};
use regraft_wasm::{
    Error, Extern, Func, FuncType, Imports, Instance, Module, Store, Trap, TrapKind, Value,
    ValueType,
};

fn trap(result: Result<Vec<Value>, Error>) -> Trap {
    match result {
        Err(Error::Trap(trap)) => trap,
        other => panic!("{other:?} instead of a trap"),
    }
}

#[test]
fn the_stack_ends_in_generated_code_and_not_in_the_host() {
    // Every level calls a function of the runtime, or of the host, that needs stack itself.
    let text = r#"(module
        (import "host" "deep" (func $deep (param i32) (result i32)))
        (memory 1) (table 1 funcref)
        (func $grow (export "grow") (result i32)
            (drop (memory.grow (i32.const 0)))
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 8))
            (i32.add (call $grow) (i32.const 1)))
        (func $table (export "table") (result i32)
            (drop (table.grow (ref.null func) (i32.const 0)))
            (i32.add (call $table) (i32.const 1)))
        (func $call (export "call") (result i32)
            (drop (call $deep (i32.const 3)))
            (i32.add (call $call) (i32.const 1))))"#;
    let module = Module::new(&assemble(text)).unwrap();
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let mut imports = Imports::new();
        let ty = FuncType {
            params: vec![ValueType::I32],
            results: vec![ValueType::I32],
        };
        let deep = Func::new(&store, ty, |_, arguments, results| {
            let buffer = std::hint::black_box([1u8; 30_000]);
            results[0] = Value::I32(i32::from(buffer[arguments.len()]));
            Ok(())
        });
        imports.define("host", "deep", Extern::Func(deep.unwrap()));
        let instance = Instance::new(&store, &module, &imports).unwrap();
        for name in ["grow", "table", "call", "grow"] {
            let trap = trap(instance.call(name, &[]));
            assert_eq!(trap.kind, TrapKind::StackOverflow, "{mode}: {name}");
        }
    }
}

#[test]
fn a_trap_says_where() {
    let text = r#"(module $m (func $divide (export "divide") (param i32 i32) (result i32)
        (i32.div_u (local.get 0) (local.get 1))))"#;
    let module = Module::new(&assemble(text)).unwrap();
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let instance = Instance::new(&store, &module, &Imports::new()).unwrap();
        for _ in 0..5 {
            let result = instance.call("divide", &[Value::I32(1), Value::I32(0)]);
            let trap = trap(result);
            assert_eq!(trap.kind, TrapKind::DivisionByZero, "{mode}");
            let location = trap.location.unwrap();
            assert!(location.contains("divide#0"), "{mode}: {location}");
            assert!(location.contains('@'), "{mode}: {location}");
        }
    }
}

#[test]
fn errors_and_panics_of_the_host_come_out_of_nested_calls() {
    let text = r#"(module
        (import "host" "fail" (func $fail))
        (func (export "outer") (call $fail))
        (func (export "inner") unreachable))"#;
    let module = Module::new(&assemble(text)).unwrap();
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let plain = |closure: fn() -> Result<(), Error>| {
            let mut imports = Imports::new();
            let fail = Func::new(&store, FuncType::default(), move |_, _, _| closure()).unwrap();
            imports.define("host", "fail", Extern::Func(fail));
            Instance::new(&store, &module, &imports).unwrap()
        };
        let failing = plain(|| Err(Error::Host("as asked for".to_string())));
        let error = failing.call("outer", &[]).unwrap_err();
        assert_eq!(error.to_string(), "as asked for", "{mode}");
        let panicking = plain(|| panic!("in the host"));
        let error = panicking.call("outer", &[]).unwrap_err();
        assert!(error.to_string().contains("in the host"), "{mode}: {error}");

        // A host function calls WebAssembly, which traps, and goes on.
        let inner = failing.func("inner").unwrap();
        let catching = Func::new(&store, FuncType::default(), move |_, _, _| {
            assert_eq!(trap(inner.call(&[])).kind, TrapKind::Unreachable);
            Ok(())
        });
        let mut imports = Imports::new();
        imports.define("host", "fail", Extern::Func(catching.unwrap()));
        let instance = Instance::new(&store, &module, &imports).unwrap();
        instance.call("outer", &[]).unwrap();
    }
}

#[test]
fn what_belongs_to_another_store_is_refused() {
    let (_, config) = modes().remove(0);
    let (one, two) = (
        Store::new(config.clone()).unwrap(),
        Store::new(config).unwrap(),
    );
    let func = Func::new(&one, FuncType::default(), |_, _, _| Ok(())).unwrap();
    let text = r#"(module (import "host" "f" (func))
        (func (export "take") (param funcref)))"#;
    let module = Module::new(&assemble(text)).unwrap();
    let mut imports = Imports::new();
    imports.define("host", "f", Extern::Func(func.clone()));
    let refused = Instance::new(&two, &module, &imports);
    assert!(matches!(refused, Err(Error::OtherStore { .. })));
    let instance = Instance::new(&one, &module, &imports).unwrap();
    let foreign = Func::new(&two, FuncType::default(), |_, _, _| Ok(())).unwrap();
    let refused = instance.call("take", &[Value::FuncRef(Some(foreign))]);
    assert!(matches!(refused, Err(Error::OtherStore { .. })));
    instance
        .call("take", &[Value::FuncRef(Some(func))])
        .unwrap();
}

#[test]
fn another_thread_ends_what_runs_for_ever() {
    let text = r#"(module
        (func (export "spin") (loop $again (br $again)))
        (func (export "seven") (result i32) (i32.const 7)))"#;
    let module = Module::new(&assemble(text)).unwrap();
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let instance = Instance::new(&store, &module, &Imports::new()).unwrap();
        let interrupter = regraft::Interrupter::this_thread().unwrap();
        for _ in 0..3 {
            let interrupter = interrupter.clone();
            let patience = std::time::Duration::from_secs(60);
            let other = std::thread::spawn(move || interrupter.interrupt(patience));
            let result = instance.call("spin", &[]);
            assert!(matches!(result, Err(Error::Interrupted { .. })), "{mode}");
            assert!(other.join().unwrap());
            let results = instance.call("seven", &[]).unwrap();
            assert!(matches!(results[..], [Value::I32(7)]), "{mode}");
        }
        // Nothing runs: the request is taken back.
        let other = std::thread::spawn(move || interrupter.interrupt(std::time::Duration::ZERO));
        assert!(!other.join().unwrap());
        assert!(instance.call("seven", &[]).is_ok(), "{mode}");
    }
}
