//! A client of cranelift-jit, with the import changed: it compiles for every target, and its results are the same
//! wherever code tiers up and wherever it does not. It uses only what cranelift-jit has, too.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value, types};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, FuncId, Linkage, Module, default_libcall_names};
use regraft::jit::{ArenaMemoryProvider, JITBuilder, JITModule};

/// Code that is called so often is hot.
const OFTEN: i64 = 3000;

fn builder() -> JITBuilder {
    JITBuilder::new(default_libcall_names()).expect("the host has a backend")
}

fn module() -> JITModule {
    let mut builder = builder();
    builder.symbol("host_twice", host_twice as *const u8);
    JITModule::new(builder)
}

extern "C" fn host_twice(n: i64) -> i64 {
    2 * n
}

/// A signature of so many integers that returns one.
fn integers(module: &JITModule, count: usize) -> Signature {
    let mut signature = module.make_signature();
    signature.params = vec![AbiParam::new(types::I64); count];
    signature.returns = vec![AbiParam::new(types::I64)];
    signature
}

/// Declares and defines a function of so many integers; `body` returns its result.
fn define(
    module: &mut JITModule,
    name: &str,
    count: usize,
    body: impl FnOnce(&mut JITModule, &mut FunctionBuilder<'_>, &[Value]) -> Value,
) -> FuncId {
    let signature = integers(module, count);
    let id = module.declare_function(name, Linkage::Export, &signature);
    let id = id.expect("a new name");
    let mut context = module.make_context();
    context.func.signature = signature;
    let mut builders = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut context.func, &mut builders);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let params = builder.block_params(entry).to_vec();
    let result = body(module, &mut builder, &params);
    builder.ins().return_(&[result]);
    builder.seal_all_blocks();
    builder.finalize(module.target_config());
    module
        .define_function(id, &mut context)
        .expect("it compiles");
    module.clear_context(&mut context);
    id
}

/// Calls a function of one integer.
fn call(module: &JITModule, id: FuncId, argument: i64) -> i64 {
    let code = module.get_finalized_function(id);
    // SAFETY: the functions of these tests that are called have this signature, and touch their own data only.
    let function = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(code) };
    function(argument)
}

/// The sum of `f(i)` for `i` below a number, where `f` makes a value of `i`.
fn sum_of(
    builder: &mut FunctionBuilder<'_>,
    n: Value,
    f: impl FnOnce(&mut FunctionBuilder<'_>, Value) -> Value,
) -> Value {
    let header = builder.create_block();
    let exit = builder.create_block();
    let i = builder.append_block_param(header, types::I64);
    let sum = builder.append_block_param(header, types::I64);
    let result = builder.append_block_param(exit, types::I64);
    let zero = builder.ins().iconst(types::I64, 0);
    builder.ins().jump(header, &[zero.into(), zero.into()]);
    builder.switch_to_block(header);
    let term = f(builder, i);
    let sum = builder.ins().iadd(sum, term);
    let one = builder.ins().iconst(types::I64, 1);
    let i = builder.ins().iadd(i, one);
    let more = builder.ins().icmp(IntCC::SignedLessThan, i, n);
    let again = [i.into(), sum.into()];
    builder
        .ins()
        .brif(more, header, &again, exit, &[sum.into()]);
    builder.switch_to_block(exit);
    result
}

#[test]
fn whether_code_tiers_up_is_known() {
    let linux = cfg!(target_os = "linux");
    let stubs = cfg!(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ));
    assert_eq!(regraft::is_tiering_supported(), linux && stubs);
}

#[test]
fn a_loop_that_gets_hot() {
    let mut module = module();
    let squares = define(&mut module, "squares", 1, |_, builder, params| {
        sum_of(builder, params[0], |builder, i| builder.ins().imul(i, i))
    });
    module.finalize_definitions().expect("it is complete");
    for n in [1, 10, 100_000, OFTEN, 5] {
        let expected: i64 = (0..n).map(|i| i * i).sum();
        assert_eq!(call(&module, squares, n), expected);
    }
}

#[test]
fn functions_that_call_each_other_and_the_host_often() {
    let mut module = module();
    let one = integers(&module, 1);
    let host = module.declare_function("host_twice", Linkage::Import, &one);
    let host = host.expect("declared");
    // Declared before it is defined.
    let later = module.declare_function("later", Linkage::Export, &one);
    let later = later.expect("declared");
    let first = define(&mut module, "first", 1, |module, builder, params| {
        let later = module.declare_func_in_func(later, builder.func);
        let host = module.declare_func_in_func(host, builder.func);
        let call = builder.ins().call(later, params);
        let value = builder.inst_results(call)[0];
        let call = builder.ins().call(host, &[value]);
        builder.inst_results(call)[0]
    });
    define(&mut module, "later", 1, |_, builder, params| {
        let three = builder.ins().iconst(types::I64, 3);
        builder.ins().imul(params[0], three)
    });
    // By its address.
    let indirect = define(&mut module, "indirect", 1, |module, builder, params| {
        let signature = builder.import_signature(one.clone());
        let first = module.declare_func_in_func(first, builder.func);
        let address = builder.ins().func_addr(types::I64, first);
        let call = builder.ins().call_indirect(signature, address, params);
        builder.inst_results(call)[0]
    });
    module.finalize_definitions().expect("it is complete");
    for n in 0..OFTEN {
        assert_eq!(call(&module, first, n), 6 * n);
        assert_eq!(call(&module, indirect, n), 6 * n);
    }
}

#[test]
fn data_with_addresses_in_it() {
    let mut module = module();
    let triple = define(&mut module, "triple", 1, |_, builder, params| {
        let three = builder.ins().iconst(types::I64, 3);
        builder.ins().imul(params[0], three)
    });
    let mut data = |name: &str, describe: &dyn Fn(&mut JITModule, &mut DataDescription)| {
        let id = module.declare_data(name, Linkage::Local, true, false);
        let id = id.expect("a new name");
        let mut description = DataDescription::new();
        describe(&mut module, &mut description);
        module.define_data(id, &description).expect("it fits");
        id
    };
    let counter = data("counter", &|_, data| {
        data.define(Box::new(40_i64.to_ne_bytes()))
    });
    let table = data("table", &|module, data| {
        data.define_zeroinit(16);
        let counter = module.declare_data_in_data(counter, data);
        data.write_data_addr(0, counter, 0);
        let triple = module.declare_func_in_data(triple, data);
        data.write_function_addr(8, triple);
    });
    let one = integers(&module, 1);
    let counted = define(&mut module, "counted", 1, |module, builder, params| {
        let table = module.declare_data_in_func(table, builder.func);
        let table = builder.ins().symbol_value(types::I64, table);
        let flags = MemFlagsData::trusted();
        let counter = builder.ins().load(types::I64, flags, table, 0);
        let function = builder.ins().load(types::I64, flags, table, 8);
        let count = builder.ins().load(types::I64, flags, counter, 0);
        let one_more = builder.ins().iadd_imm_s(count, 1);
        builder.ins().store(flags, one_more, counter, 0);
        let sum = builder.ins().iadd(count, params[0]);
        let signature = builder.import_signature(one.clone());
        let call = builder.ins().call_indirect(signature, function, &[sum]);
        builder.inst_results(call)[0]
    });
    module.finalize_definitions().expect("it is complete");
    for n in 0..OFTEN {
        assert_eq!(call(&module, counted, 5), 3 * (40 + n + 5));
    }
    let (bytes, size) = module.get_finalized_data(counter);
    assert_eq!(size, 8);
    // SAFETY: the counter, which nobody writes to now.
    assert_eq!(unsafe { bytes.cast::<i64>().read() }, 40 + OFTEN);
}

#[test]
fn definitions_in_several_steps_in_memory_of_the_clients_choice_that_is_freed() {
    let mut flags = settings::builder();
    flags.set("opt_level", "speed").expect("a setting");
    let isa = cranelift_native::builder().expect("the host has a backend");
    let isa = isa.finish(settings::Flags::new(flags)).expect("a target");
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    let memory = ArenaMemoryProvider::new_with_size(1 << 20).expect("memory");
    builder.memory_provider(Box::new(memory));
    let mut module = JITModule::new(builder);
    let mut functions: Vec<FuncId> = vec![];
    for step in 0..5 {
        let callee = functions.last().copied();
        let id = define(
            &mut module,
            &format!("f{step}"),
            1,
            |module, builder, params| {
                let Some(callee) = callee else {
                    return params[0];
                };
                let callee = module.declare_func_in_func(callee, builder.func);
                let call = builder.ins().call(callee, params);
                let value = builder.inst_results(call)[0];
                builder.ins().iadd_imm_s(value, 1)
            },
        );
        module.finalize_definitions().expect("it is complete");
        functions.push(id);
        assert_eq!(call(&module, id, 100), 100 + step);
    }
    // SAFETY: no code of the module is running, and none is called again.
    unsafe { module.free_memory() };
}

#[test]
fn modules_on_several_threads() {
    std::thread::scope(|scope| {
        for factor in 1..5 {
            scope.spawn(move || {
                let mut module = module();
                let f = define(&mut module, "f", 1, |_, builder, params| {
                    sum_of(builder, params[0], |builder, i| {
                        builder.ins().imul_imm_s(i, factor)
                    })
                });
                module.finalize_definitions().expect("it is complete");
                for n in 1..300 {
                    assert_eq!(call(&module, f, n), factor * n * (n - 1) / 2);
                }
            });
        }
    });
}
