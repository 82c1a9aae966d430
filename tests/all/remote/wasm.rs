//! WebAssembly whose code, memories and tables are in another process, and whose host functions are here.

use super::{eager_to_tier_up, spawn};
use regraft::Config;
use regraft_wasm::{
    Error, Func, FuncType, Imports, Instance, Module, Store, TrapKind, Value, ValueType, Wasi,
};
use std::path::Path;

fn assemble(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("the text has tokens");
    let mut module = wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("it is a module");
    module.encode().expect("it can be encoded")
}

/// An instance whose code runs in the executor; `wasi` says what it sees of the world.
fn instance(config: Config, module: &Module, wasi: Wasi) -> Instance {
    let store = Store::new(config).expect("a store");
    let mut imports = Imports::new();
    wasi.define(&store, &mut imports)
        .expect("functions of WASI");
    let i32 = |params: &[ValueType]| FuncType {
        params: params.to_vec(),
        results: vec![ValueType::I32],
    };
    let twice = Func::new(&store, i32(&[ValueType::I32]), |_, arguments, results| {
        match arguments {
            [Value::I32(13)] => return Err(Error::Host("thirteen".to_string())),
            [Value::I32(value)] => results[0] = Value::I32(value.wrapping_mul(2)),
            _ => {}
        }
        Ok(())
    });
    let twice = twice.expect("a function of the host");
    imports.define("host", "twice", regraft_wasm::Extern::Func(twice));
    Instance::new(&store, module, &imports).expect("an instance")
}

const ALL: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "host" "twice" (func $twice (param i32) (result i32)))
    (memory (export "memory") 1 3)
    (table (export "table") 3 5 funcref)
    (elem (i32.const 0) $twice $half)
    (global $count (export "count") (mut i64) (i64.const 40))
    (data (i32.const 16) "hello\n")
    (data $passive "0123456789")
    (type $unary (func (param i32) (result i32)))
    (func $half (param i32) (result i32) (i32.shr_u (local.get 0) (i32.const 1)))
    (func (export "hello") (result i32)
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 6))
        (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (func (export "indirect") (param i32 i32) (result i32)
        (call_indirect (type $unary) (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "bulk") (result i32)
        (memory.init $passive (i32.const 100) (i32.const 0) (i32.const 10))
        (memory.copy (i32.const 102) (i32.const 100) (i32.const 8))
        (memory.fill (i32.const 108) (i32.const 65) (i32.const 4))
        (table.set (i32.const 2) (ref.func $half))
        (drop (table.grow (ref.func $half) (i32.const 1)))
        (global.set $count (i64.add (global.get $count) (i64.const 2)))
        (table.size))
    (func (export "sum") (param $n i32) (result f64) (local $i i32) (local $sum f64)
        (loop $again
            (i32.store (i32.and (local.get $i) (i32.const 1020)) (local.get $i))
            (local.set $sum (f64.add (local.get $sum)
                (f64.convert_i32_s (i32.load (i32.and (local.get $i) (i32.const 1020))))))
            (local.set $i (i32.add (local.get $i) (i32.const 4)))
            (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
        (local.get $sum))
    (func (export "values") (param i64 f32 f64 v128 funcref externref)
        (result externref funcref v128 f64 f32 i64)
        (local.get 5) (local.get 4) (local.get 3) (local.get 2) (local.get 1) (local.get 0)))"#;

fn one(instance: &Instance, name: &str, arguments: &[i32]) -> i32 {
    let arguments: Vec<Value> = arguments.iter().map(|value| Value::I32(*value)).collect();
    match instance.call(name, &arguments).expect(name)[..] {
        [Value::I32(value)] => value,
        ref other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn host_functions_memories_and_tables_are_there() {
    let module = Module::new(&assemble(ALL)).expect("a module");
    let mut wasi = Wasi::new();
    let output = wasi.capture();
    let instance = instance(eager_to_tier_up(spawn()), &module, wasi);
    assert_eq!(one(&instance, "hello", &[]), 0);
    assert_eq!(&*output.borrow(), b"hello\n");
    assert_eq!(one(&instance, "indirect", &[21, 0]), 42);
    assert_eq!(one(&instance, "indirect", &[21, 1]), 10);
    assert_eq!(one(&instance, "bulk", &[]), 4);
    assert_eq!(one(&instance, "indirect", &[21, 3]), 10);
    let memory = instance.memory("memory").expect("it is exported");
    let copied = memory.read_vec(100, 12).expect("it is inside");
    assert_eq!(copied, b"01012345AAAA");
    match instance.export("count") {
        Some(regraft_wasm::Extern::Global(count)) => {
            assert!(matches!(count.get(), Value::I64(42)), "{:?}", count.get());
        }
        other => panic!("{other:?}"),
    }
    match instance.call("sum", &[Value::I32(100_000)]).expect("sum")[..] {
        [Value::F64(bits)] => assert_eq!(f64::from_bits(bits), 1_249_950_000.0),
        ref other => panic!("{other:?}"),
    }
    let report = instance.store().engine().report();
    let sum = report.functions.values();
    let entered: u64 = sum
        .flat_map(|f| &f.regions)
        .map(|region| region.entries)
        .sum();
    assert!(entered > 0, "the loop is at tier 1");
}

#[test]
fn memory_grows_in_place_and_its_end_is_a_trap() {
    let module = Module::new(&assemble(ALL)).expect("a module");
    let instance = instance(eager_to_tier_up(spawn()), &module, Wasi::new());
    let memory = instance.memory("memory").expect("it is exported");
    let trap = |name: &str, arguments: &[Value]| match instance.call(name, arguments) {
        Err(Error::Trap(trap)) => trap.kind,
        other => panic!("{name}: {other:?}"),
    };
    let at = [Value::I32(65_536), Value::I32(7)];
    assert_eq!(trap("store", &at), TrapKind::MemoryOutOfBounds);
    assert_eq!(one(&instance, "grow", &[1]), 1);
    instance.call("store", &at).expect("it is inside now");
    let mut bytes = [0; 4];
    memory.read(65_536, &mut bytes).expect("it is inside");
    assert_eq!(bytes, [7, 0, 0, 0]);
    memory
        .write(65_540, &9_i32.to_le_bytes())
        .expect("it is inside");
    assert_eq!(one(&instance, "load", &[65_540]), 9);
    assert_eq!(one(&instance, "grow", &[2]), -1);
    assert_eq!(trap("load", &[Value::I32(-1)]), TrapKind::MemoryOutOfBounds);
    let null = [Value::I32(1), Value::I32(2)];
    assert_eq!(trap("indirect", &null), TrapKind::UninitializedElement);
    let outside = [Value::I32(1), Value::I32(9)];
    assert_eq!(trap("indirect", &outside), TrapKind::UndefinedElement);
}

#[test]
fn errors_and_values_of_all_types_come_through() {
    let module = Module::new(&assemble(ALL)).expect("a module");
    let instance = instance(eager_to_tier_up(spawn()), &module, Wasi::new());
    let failed = instance.call("indirect", &[Value::I32(13), Value::I32(0)]);
    assert!(
        matches!(&failed, Err(Error::Host(text)) if text == "thirteen"),
        "{failed:?}"
    );
    let half = instance.func("indirect").expect("it is exported");
    let values = [
        Value::I64(-5),
        Value::F32(1.5f32.to_bits()),
        Value::F64(f64::NAN.to_bits() | 1),
        Value::V128(1 << 100 | 3),
        Value::FuncRef(Some(half)),
        Value::ExternRef(Some(77)),
    ];
    let back = instance.call("values", &values).expect("values");
    let shown = |values: &[Value]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut expected = shown(&values);
    expected.reverse();
    assert_eq!(shown(&back), expected);
}

#[test]
fn what_throws_is_refused() {
    let text = "(module (tag $t) (func (export \"f\") (throw $t)))";
    let module = Module::new(&assemble(text)).expect("a module");
    let store = Store::new(eager_to_tier_up(spawn())).expect("a store");
    let refused = Instance::new(&store, &module, &Imports::new());
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{refused:?}"
    );
}

/// What `run` returns for a small argument.
fn run(config: Config, module: &Module) -> Vec<String> {
    let store = Store::new(config).expect("a store");
    let instance = Instance::new(&store, module, &Imports::new()).expect("an instance");
    let results = instance.call("run", &[Value::I32(1)]).expect("run");
    results.iter().map(ToString::to_string).collect()
}

#[test]
fn workloads_do_what_they_do_in_one_process() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/workloads");
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "wasm"))
        .collect();
    files.sort();
    for file in &files {
        let module = Module::new(&std::fs::read(file).expect("readable")).expect("a module");
        let here = run(Config::default(), &module);
        let there = Config::default().executor(spawn());
        assert_eq!(run(there, &module), here, "{}", file.display());
        let hot = (eager_to_tier_up(spawn())).check(false);
        assert_eq!(run(hot, &module), here, "{}", file.display());
    }
}
