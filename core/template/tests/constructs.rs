//! What there are templates for, and what is refused, with which reason.
//!
//! What the code computes is held against other code generators and an interpreter by the workspace's integration tests:
//! every one of them that runs tier 0.

use cranelift_codegen::ir::{Function, types};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable, Flags};
use regraft_template::{Code, Refusal, Target, compile};

/// The host with these settings, without what makes code position-independent.
fn isa(extra: &[(&str, &str)]) -> OwnedTargetIsa {
    let mut flags = settings::builder();
    for (name, value) in [("is_pic", "false")].iter().chain(extra) {
        flags.set(name, value).unwrap();
    }
    let builder = cranelift_native::builder().unwrap();
    builder.finish(Flags::new(flags)).unwrap()
}

/// The templates for the host, where there are any.
fn target() -> Option<Target> {
    Target::new(&*isa(&[])).ok()
}

fn parse(text: &str) -> Function {
    cranelift_reader::parse_functions(text).unwrap().remove(0)
}

fn compiled(text: &str) -> Option<Result<Code, Refusal>> {
    Some(compile(&parse(text), &target()?, None))
}

/// A function of one operation on values of the given type.
fn of(operation: &str, params: &str, result: &str) -> String {
    let names: Vec<String> = params
        .split(", ")
        .enumerate()
        .map(|(i, ty)| format!("v{i}: {ty}"))
        .collect();
    let names = names.join(", ");
    format!(
        "function %f({params}) -> {result} system_v {{\nblock0({names}):\n    v9 = {operation}\n    return v9\n}}"
    )
}

#[test]
fn scalar_operations_have_templates() {
    if target().is_none() {
        return;
    }
    let mut missing = vec![];
    let mut tried = 0;
    let mut check = |text: String| {
        tried += 1;
        if let Some(Err(refusal)) = compiled(&text) {
            missing.push(format!("{refusal}:\n{text}"));
        }
    };
    for ty in ["i8", "i16", "i32", "i64"] {
        for op in [
            "iadd", "isub", "imul", "band", "bor", "bxor", "ishl", "ushr", "sshr", "rotl", "rotr",
            "udiv", "sdiv", "urem", "srem", "smin", "smax", "umin", "umax",
        ] {
            check(of(&format!("{op} v0, v1"), &format!("{ty}, {ty}"), ty));
        }
        for op in ["ineg", "bnot", "iabs"] {
            check(of(&format!("{op} v0"), ty, ty));
        }
        for cond in [
            "eq", "ne", "slt", "sge", "sgt", "sle", "ult", "uge", "ugt", "ule",
        ] {
            check(of(
                &format!("icmp {cond} v0, v1"),
                &format!("{ty}, {ty}"),
                "i8",
            ));
        }
        check(of("select v0, v1, v2", &format!("{ty}, {ty}, {ty}"), ty));
        check(of(&format!("load.{ty} v0+8"), "i64", ty));
    }
    for ty in ["f32", "f64"] {
        for op in ["fadd", "fsub", "fmul", "fdiv", "fmin", "fmax", "fcopysign"] {
            check(of(&format!("{op} v0, v1"), &format!("{ty}, {ty}"), ty));
        }
        for op in ["fneg", "fabs", "sqrt"] {
            check(of(&format!("{op} v0"), ty, ty));
        }
        for cond in [
            "ord", "uno", "eq", "ne", "one", "ueq", "lt", "le", "gt", "ge", "ult", "ule", "ugt",
            "uge",
        ] {
            check(of(
                &format!("fcmp {cond} v0, v1"),
                &format!("{ty}, {ty}"),
                "i8",
            ));
        }
        for int in ["i32", "i64"] {
            for op in [
                "fcvt_to_sint",
                "fcvt_to_uint",
                "fcvt_to_sint_sat",
                "fcvt_to_uint_sat",
            ] {
                check(of(&format!("{op}.{int} v0"), ty, int));
            }
            for op in ["fcvt_from_sint", "fcvt_from_uint"] {
                check(of(&format!("{op}.{ty} v0"), int, ty));
            }
        }
    }
    assert!(tried > 200);
    assert!(
        missing.is_empty(),
        "{} without a template:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn what_has_no_template_is_refused_by_name() {
    let Some(target) = target() else {
        return;
    };
    let refused = |text: &str| compile(&parse(text), &target, None).err();
    let two = |ty: &str, op: &str| of(&format!("{op} v0, v1"), &format!("{ty}, {ty}"), ty);
    assert_eq!(
        refused(&two("i128", "iadd")),
        Some(Refusal::Type(types::I128))
    );
    assert_eq!(
        refused(&two("i32x4", "iadd")),
        Some(Refusal::Type(types::I32X4))
    );
    assert_eq!(
        refused(&two("f32", "band")),
        Some(Refusal::Type(types::F32))
    );
    let cas = of("atomic_cas v0, v1, v2", "i64, i64, i64", "i64");
    assert!(matches!(refused(&cas), Some(Refusal::Opcode(_))));
    let frame = of("get_frame_pointer.i64", "i64", "i64");
    assert!(matches!(refused(&frame), Some(Refusal::Opcode(_))));
    let windows = of("iadd v0, v1", "i64, i64", "i64").replace("system_v", "windows_fastcall");
    assert_eq!(
        refused(&windows),
        Some(Refusal::CallConv(CallConv::WindowsFastcall))
    );
    let structure = "function %f(i64 sret) system_v {\nblock0(v0: i64):\n    return\n}";
    assert_eq!(refused(structure), Some(Refusal::Signature));
    let slot = "function %f() system_v {\n    ss0 = explicit_slot 2000000\nblock0:\n    return\n}";
    assert_eq!(refused(slot), Some(Refusal::Size));
}

#[test]
fn settings_that_templates_do_not_know_are_refused() {
    for setting in [
        "enable_pinned_reg",
        "enable_llvm_abi_extensions",
        "enable_nan_canonicalization",
    ] {
        let isa = isa(&[(setting, "true")]);
        assert_eq!(Target::new(&*isa).err(), Some(Refusal::Target), "{setting}");
    }
}

#[test]
fn tables_say_where_code_may_trap_and_what_it_names() {
    let text = "function %f(i64, i64) -> i64 system_v {
    sig0 = (i64) -> i64 tail
    fn0 = u0:7 sig0
block0(v0: i64, v1: i64):
@0011
    v2 = load.i64 v0+8
@0012
    v3 = udiv v2, v1
@0013
    v4 = call fn0(v3)
    return v4
}";
    let Some(code) = compiled(text) else {
        return;
    };
    let code = code.unwrap();
    let size = code.bytes.len() as u32;
    assert_eq!(
        code.traps.len(),
        2,
        "the load, the check for zero: {:?}",
        code.traps
    );
    assert!(code.traps.iter().all(|&(offset, _)| offset < size));
    assert_eq!(code.symbols.len(), 1);
    assert!(code.symbols[0].offset + 8 <= size);
    let starts: Vec<u32> = code.locations.iter().map(|&(start, ..)| start).collect();
    assert!(starts.is_sorted());
    let lines: Vec<u32> = code
        .locations
        .iter()
        .map(|(.., line)| line.bits())
        .collect();
    // The check that fails is at the end.
    assert_eq!(lines, [0x11, 0x12, 0x13, 0x12]);
}

#[test]
fn the_same_input_gives_the_same_code() {
    let text = of("imul v0, v1", "i64, i64", "i64");
    let (Some(once), Some(twice)) = (compiled(&text), compiled(&text)) else {
        return;
    };
    assert_eq!(once.unwrap().bytes, twice.unwrap().bytes);
}
