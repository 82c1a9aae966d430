//! Machine code that the client brings along: `define_function_bytes`.

use super::*;
use cranelift_codegen::control::ControlPlane;
use cranelift_module::{DataDescription, ModuleError, ModuleReloc, ModuleRelocTarget};

on_every_kind! {
    compiled_elsewhere
    called_by_compiled_code
    places_in_functions
    code_outlives_its_module
}

/// Compiles with the target of the module, as a client with a cache of machine code does.
fn define_compiled<M: Module>(module: &mut M, id: FuncId, clif: &str) -> ModuleResult<()> {
    let mut context = Context::for_function(parse(clif));
    let code = context
        .compile(module.isa(), &mut ControlPlane::default())
        .unwrap();
    let (bytes, align) = (code.code_buffer().to_vec(), code.buffer.alignment);
    let relocs = code.buffer.relocs().to_vec();
    let relocs: Vec<ModuleReloc> = relocs
        .iter()
        .map(|reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, id))
        .collect();
    module.define_function_bytes(id, align.into(), &bytes, &relocs)
}

/// Calls `u0:1` near and `u0:0` far, and adds what is in `u1:0`.
const CALLER: &str = "function %caller(i64) -> i64 system_v {
    fn0 = colocated u0:1(i64) -> i64 system_v
    fn1 = u0:0(i64) -> i64 system_v
    gv0 = symbol u1:0
block0(v0: i64):
    v1 = call fn0(v0)
    v2 = call fn1(v1)
    v3 = symbol_value.i64 gv0
    v4 = load.i64 v3
    v5 = iadd v2, v4
    return v5
}";

extern "C" fn double(n: i64) -> i64 {
    n * 2
}

fn compiled_elsewhere<K: Kind>() {
    for both in [false, true] {
        let mut module = K::make(None, &[("host_double", double as *const u8)]);
        let signature = signature("(i64) -> i64");
        module
            .declare_function("host_double", Linkage::Import, &signature)
            .unwrap();
        let sum = declare(&mut module, "sum", SUM);
        let caller = declare(&mut module, "caller", CALLER);
        let data = module
            .declare_data("data", Linkage::Local, false, false)
            .unwrap();
        let mut contents = DataDescription::new();
        contents.define(7_i64.to_ne_bytes().into());
        module.define_data(data, &contents).unwrap();
        define_compiled(&mut module, caller, CALLER).unwrap();
        match both {
            true => define_compiled(&mut module, sum, SUM).unwrap(),
            false => try_define(&mut module, sum, SUM).unwrap(),
        }
        module.finalize();
        for _ in 0..3 {
            assert_eq!(call(module.code(caller), 10), 97);
        }
        // SAFETY: nothing runs, and no pointer is used any more.
        unsafe { module.free() };
    }
}

fn called_by_compiled_code<K: Kind>() {
    let mut module = K::module();
    let sum = declare(&mut module, "sum", SUM);
    let clif = "function %caller(i64) -> i64 system_v {
    fn0 = colocated u0:0(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v2 = iadd v1, v0
    return v2
}";
    let caller = define(&mut module, "caller", clif);
    define_compiled(&mut module, sum, SUM).unwrap();
    module.finalize();
    for _ in 0..3 {
        assert_eq!(call(module.code(caller), 10), 55);
    }
    assert_eq!(module.address(&sum.into()), module.code(sum));
}

/// The addresses of places in code: absolute, and relative to the code itself.
fn places_in_functions<K: Kind>() {
    use cranelift_codegen::binemit::Reloc;
    let mut module = K::module();
    let signature = signature("(i64) -> i64");
    let ids = [(); 2].map(|()| module.declare_anonymous_function(&signature).unwrap());
    let reloc = |offset, kind, id: FuncId, at| ModuleReloc {
        offset,
        kind,
        name: ModuleRelocTarget::FunctionOffset(id, at),
        addend: 3,
    };
    let mut relocs = vec![
        reloc(0, Reloc::Abs8, ids[0], 5),
        reloc(8, Reloc::Abs8, ids[1], 16),
    ];
    if cfg!(target_arch = "x86_64") {
        relocs.push(reloc(16, Reloc::X86PCRel4, ids[0], 7));
        relocs.push(reloc(20, Reloc::X86PCRel4, ids[1], 2));
    }
    // It is never called.
    module
        .define_function_bytes(ids[0], 16, &[0; 24], &relocs)
        .unwrap();
    module
        .define_function_bytes(ids[1], 64, &[1; 24], &[])
        .unwrap();
    let starts = ids.map(|id| module.address(&ModuleRelocTarget::FunctionOffset(id, 0)));
    module.finalize();
    assert_eq!(starts, ids.map(|id| module.code(id)));
    // SAFETY: the function has that many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(starts[0], 24) };
    let word = |at: usize| usize::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), starts[0].addr() + 8);
    assert_eq!(word(8), starts[1].addr() + 19);
    if cfg!(target_arch = "x86_64") {
        let half = |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(half(16), 10 - 16);
        let there = starts[1].addr() + 5;
        let distance = there.wrapping_sub(starts[0].addr() + 20).cast_signed();
        assert_eq!(half(20) as isize, distance);
    }
    assert_eq!(starts[1].addr() % 64, 0);
}

/// A PC-relative call, on this host.
const NEAR: cranelift_codegen::binemit::Reloc = {
    use cranelift_codegen::binemit::Reloc;
    if cfg!(target_arch = "x86_64") {
        Reloc::X86CallPCRel4
    } else if cfg!(target_arch = "riscv64") {
        Reloc::RiscvCallPlt
    } else {
        Reloc::Arm64Call
    }
};

#[test]
fn out_of_reach_is_an_error() {
    let far = std::ptr::without_provenance(8);
    let mut module = kinds::DropIn::make(None, &[("far", far)]);
    let signature = signature("(i64) -> i64");
    let import = module
        .declare_function("far", Linkage::Import, &signature)
        .unwrap();
    let id = module.declare_anonymous_function(&signature).unwrap();
    let reloc = ModuleReloc {
        offset: 0,
        kind: NEAR,
        name: import.into(),
        addend: 0,
    };
    module
        .define_function_bytes(id, 16, &[0; 8], std::slice::from_ref(&reloc))
        .unwrap();
    let error = module.finalize_definitions().unwrap_err();
    assert!(error.to_string().contains("out of the reach"), "{error}");
    // It is not defined any more.
    module.finalize();
    let outside = ModuleReloc { offset: 6, ..reloc };
    module
        .define_function_bytes(id, 16, &[0; 8], &[outside])
        .unwrap();
    let error = module.finalize_definitions().unwrap_err();
    assert!(matches!(error, ModuleError::Backend(_)));
}

#[test]
fn alignments_that_cannot_be_had_are_errors() {
    let mut module = kinds::DropIn::module();
    let signature = signature("(i64) -> i64");
    let id = module.declare_anonymous_function(&signature).unwrap();
    for align in [1 << 20, 24] {
        let error = module
            .define_function_bytes(id, align, &[0; 8], &[])
            .unwrap_err();
        assert!(matches!(error, ModuleError::Allocation { .. }), "{error}");
    }
    module.define_function_bytes(id, 0, &[], &[]).unwrap();
    module.finalize();
}

/// A module that is dropped leaves its code callable, also code that it was given.
fn code_outlives_its_module<K: Kind>() {
    let mut module = K::make(None, &[]);
    let sum = declare(&mut module, "sum", SUM);
    define_compiled(&mut module, sum, SUM).unwrap();
    module.finalize();
    let code = module.code(sum);
    drop(module);
    // What would take its place.
    let mut other = K::make(None, &[]);
    let sum = declare(&mut other, "sum", SUM);
    define_compiled(&mut other, sum, SUM).unwrap();
    other.finalize();
    assert_eq!(call(code, 10), 45);
}
