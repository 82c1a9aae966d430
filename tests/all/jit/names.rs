//! Names: which symbol an import leads to, and what library calls are.

use super::*;
use cranelift_module::{ModuleRelocTarget, default_libcall_names};

on_every_kind! {
    imports_are_the_host_functions_themselves
    far_symbols
    preemptible_symbols
    addresses_of_names
}

extern "C" fn double(n: i64) -> i64 {
    n * 2
}

extern "C" fn triple(n: i64) -> i64 {
    n * 3
}

const CALL_IMPORT: &str = "function %caller(i64) -> i64 system_v {
    fn0 = u0:0(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    return v1
}";

/// The address of `u0:0`, plus the argument.
const ADDRESS_OF_IMPORT: &str = "function %address(i64) -> i64 system_v {
    fn0 = u0:0(i64) -> i64 system_v
block0(v0: i64):
    v1 = func_addr.i64 fn0
    v2 = iadd v1, v0
    return v2
}";

/// The address of `u1:0`, plus the argument.
const ADDRESS_OF_DATA: &str = "function %address(i64) -> i64 system_v {
    gv0 = symbol u1:0
block0(v0: i64):
    v1 = symbol_value.i64 gv0
    v2 = iadd v1, v0
    return v2
}";

fn import<M: Module>(module: &mut M, name: &str) -> FuncId {
    let signature = signature("(i64) -> i64");
    module
        .declare_function(name, Linkage::Import, &signature)
        .unwrap()
}

fn imports_are_the_host_functions_themselves<K: Kind>() {
    let mut module = K::make(None, &[("host_double", double as *const u8)]);
    import(&mut module, "host_double");
    let caller = define(&mut module, "caller", CALL_IMPORT);
    let address = define(&mut module, "address", ADDRESS_OF_IMPORT);
    module.finalize();
    for _ in 0..3 {
        assert_eq!(call(module.code(caller), 21), 42);
        assert_eq!(call(module.code(address), 0), double as *const u8 as i64);
    }
}

fn far_symbols<K: Kind>() {
    for address in [8_usize, 0x7fff_1234_5678, usize::MAX / 2, usize::MAX - 15] {
        let far = std::ptr::without_provenance(address);
        let mut module = K::make(None, &[("far", far)]);
        module
            .declare_data("far", Linkage::Import, false, false)
            .unwrap();
        let id = define(&mut module, "address", ADDRESS_OF_DATA);
        module.finalize();
        for _ in 0..3 {
            assert_eq!(call(module.code(id), 0), address as i64);
        }
    }
}

fn preemptible_symbols<K: Kind>() {
    let mut module = K::make(None, &[]);
    let signature = signature("(i64) -> i64");
    module
        .declare_function("not there", Linkage::Preemptible, &signature)
        .unwrap();
    let id = define(&mut module, "address", ADDRESS_OF_IMPORT);
    module.finalize();
    for _ in 0..3 {
        assert_eq!(call(module.code(id), 5), 5);
    }
}

fn addresses_of_names<K: Kind>() {
    let mut module = K::make(None, &[("host_double", double as *const u8)]);
    let host = import(&mut module, "host_double");
    let libc = import(&mut module, "malloc");
    let absent = module
        .declare_data("absent", Linkage::Preemptible, false, false)
        .unwrap();
    let sum = define(&mut module, "sum", SUM);
    assert!(!module.address(&sum.into()).is_null());
    module.finalize();
    assert_eq!(module.address(&sum.into()), module.code(sum));
    assert_eq!(module.address(&host.into()), double as *const u8);
    assert!(!module.address(&libc.into()).is_null());
    assert!(module.address(&absent.into()).is_null());
    let memcpy = ModuleRelocTarget::LibCall(cranelift_codegen::ir::LibCall::Memcpy);
    assert!(!module.address(&memcpy).is_null());
}

/// The order in which names are looked up, on either kind of builder.
macro_rules! resolution_order {
    ($jit:ident) => {{
        let mut builder = $jit::JITBuilder::new(default_libcall_names()).unwrap();
        builder.symbol("registered", triple as *const u8);
        builder.symbol("registered", double as *const u8);
        let find = |wanted: &'static str, found: *const u8| {
            let found = found.expose_provenance();
            Box::new(move |name: &str| {
                (name == wanted).then(|| std::ptr::with_exposed_provenance::<u8>(found))
            })
        };
        builder.symbol_lookup_fn(find("malloc", triple as *const u8));
        builder.symbol_lookup_fn(find("registered", triple as *const u8));
        builder.symbol_lookup_fn(find("free", triple as *const u8));
        builder.symbol_lookup_fn(find("free", double as *const u8));
        let mut module = $jit::JITModule::new(builder);
        let names = ["registered", "malloc", "free", "calloc"];
        names.map(|name| {
            let id = import(&mut module, name);
            module.get_address(&id.into())
        })
    }};
}

#[test]
fn symbols_are_found_in_order() {
    use regraft::jit;
    let found = resolution_order!(jit);
    assert_eq!(found, resolution_order!(cranelift_jit));
    let [registered, malloc, free, calloc] = found;
    assert_eq!(registered, double as *const u8);
    assert_eq!(malloc, triple as *const u8);
    assert_eq!(free, double as *const u8);
    assert!(!calloc.is_null());
}

/// Ceil is a call on machines without SSE 4.1.
#[cfg(target_arch = "x86_64")]
#[test]
fn library_calls_have_the_names_that_the_client_gives_them() {
    use regraft::jit::{JITBuilder, JITModule};
    extern "C" fn my_ceil(_: f64) -> f64 {
        77.0
    }
    let clif = "function %f(i64) -> i64 system_v {
block0(v0: i64):
    v1 = fcvt_from_sint.f64 v0
    jump block1(v1)
block1(v2: f64):
    v3 = ceil v2
    v4 = fcvt_to_sint_sat.i64 v3
    v6 = iconst.i64 1000
    v5 = icmp sgt v4, v6
    brif v5, block1(v3), block2
block2:
    return v4
}";
    let old = [
        ("has_sse41", "false"),
        ("has_sse42", "false"),
        ("has_avx", "false"),
        ("has_avx2", "false"),
        ("has_fma", "false"),
        ("has_avx512f", "false"),
        ("has_avx512vl", "false"),
        ("has_avx512dq", "false"),
        ("has_avx512bitalg", "false"),
        ("has_avx512vbmi", "false"),
    ];
    let module = |named: bool| {
        let names: Box<dyn Fn(_) -> String + Send + Sync> = match named {
            true => Box::new(|libcall| format!("my_{libcall}")),
            false => default_libcall_names(),
        };
        let mut builder = JITBuilder::with_isa(host(&old), names);
        builder.symbol("my_CeilF64", my_ceil as *const u8);
        let engine = regraft::Engine::with_isa(
            &*host(&old),
            regraft::Config::default()
                .pacing(regraft::Pacing::Counts)
                .entry_threshold(1)
                .loop_threshold(1)
                .compile(regraft::CompileMode::Synchronous),
        );
        builder.engine(engine.unwrap());
        let mut module = JITModule::new(builder);
        let id = define(&mut module, "f", clif);
        module.finalize();
        (0..4).map(|_| call(module.code(id), 5)).collect::<Vec<_>>()
    };
    assert_eq!(module(true), [77; 4]);
    assert_eq!(module(false), [5; 4]);
}
