//! The invariant "Transparent" of [`crate::arch`]: what arrives through stub, lazy stub and trampoline.

use super::*;
use crate::call::invoke::Invoker;
use cranelift_codegen::data_value::DataValue;
use std::fmt::Write as _;

/// A function of `ints` integers and `floats` floats that computes the sum of each, weighted by
/// position. It returns both; in `preserve_all`, which returns nothing, it stores them to its last argument.
fn weighted_sums(conv: &str, ints: usize, floats: usize) -> String {
    let mut params = Vec::new();
    let (mut header, mut body) = (Vec::new(), String::new());
    body.push_str("    v900 = iconst.i64 0\n    v901 = f64const 0.0\n");
    let (mut int_sum, mut float_sum) = (900, 901);
    for index in 0..ints.max(floats) {
        let (value, next) = (index * 2, 1000 + index * 4);
        if index < ints {
            params.push("i64");
            header.push(format!("v{value}: i64"));
            let weight = index + 1;
            writeln!(body, "    v5{next} = iconst.i64 {weight}").unwrap();
            writeln!(body, "    v{next} = imul v{value}, v5{next}").unwrap();
            writeln!(body, "    v{} = iadd v{int_sum}, v{next}", next + 1).unwrap();
            int_sum = next + 1;
        }
        if index < floats {
            params.push("f64");
            header.push(format!("v{}: f64", value + 1));
            writeln!(body, "    v{} = fadd v{float_sum}, v{float_sum}", next + 2).unwrap();
            writeln!(
                body,
                "    v{} = fadd v{}, v{}",
                next + 3,
                next + 2,
                value + 1
            )
            .unwrap();
            float_sum = next + 3;
        }
    }
    if conv == "preserve_all" {
        params.push("i64");
        header.push(String::from("v902: i64"));
        return format!(
            "function %sums({}) {conv} {{\nblock0({}):\n{body}    store v{int_sum}, v902\n    \
             store v{float_sum}, v902+8\n    return\n}}",
            params.join(", "),
            header.join(", "),
        );
    }
    format!(
        "function %sums({}) -> i64, f64 {conv} {{\nblock0({}):\n{body}    return v{int_sum}, v{float_sum}\n}}",
        params.join(", "),
        header.join(", "),
    )
}

fn weighted_arguments(ints: usize, floats: usize) -> (Vec<DataValue>, [DataValue; 2]) {
    let (mut args, mut sum, mut float_sum) = (Vec::new(), 0_i64, 0.0_f64);
    for index in 0..ints.max(floats) {
        if index < ints {
            let value = (index as i64 + 3) << (index * 3);
            sum += value * (index as i64 + 1);
            args.push(DataValue::I64(value));
        }
        if index < floats {
            let value = index as f64 * 1.25 - 3.5;
            float_sum = float_sum * 2.0 + value;
            args.push(DataValue::F64(value.into()));
        }
    }
    (
        args,
        [DataValue::I64(sum), DataValue::F64(float_sum.into())],
    )
}

#[test]
fn arguments_in_registers_and_on_the_stack_arrive_in_every_convention() {
    let fixture = fixture();
    let mut conventions = vec!["system_v", "fast", "tail", "preserve_all"];
    if cfg!(target_arch = "x86_64") {
        conventions.push("windows_fastcall");
    }
    for (index, conv) in conventions.into_iter().enumerate() {
        for (tier, isa) in [&fixture.isas.tier0, &fixture.isas.tier1]
            .into_iter()
            .enumerate()
        {
            let (linked, signature) = link_alone(&fixture.arena, isa, &weighted_sums(conv, 12, 10));
            let slot = fixture.lazy((100 + index * 2 + tier) as u32, linked.entry);
            let before = fixture.resolved.load(Ordering::Relaxed);
            let invoker = Invoker::new(Arc::clone(&fixture.arena), Arc::clone(isa));
            let (mut args, expected) = weighted_arguments(12, 10);
            let mut place = [0_u64; 2];
            let stores = conv == "preserve_all";
            if stores {
                let address = place.as_mut_ptr().expose_provenance();
                args.push(DataValue::I64(address as i64));
            }
            for _ in 0..3 {
                // SAFETY: the stub leads to a function of this signature.
                let results = unsafe { invoker.invoke(&signature, slot.stub_address(), &args) };
                let mut results = results.unwrap();
                if stores {
                    // SAFETY: the function that wrote through the address has returned.
                    let [int, float] = unsafe { (&raw const place).read_volatile() };
                    results.push(DataValue::I64(int.cast_signed()));
                    results.push(DataValue::F64(f64::from_bits(float).into()));
                }
                assert_eq!(results, expected, "{conv}, tier {tier}");
            }
            assert_eq!(fixture.resolved.load(Ordering::Relaxed), before + 1);
            assert_eq!(slot.current(), linked.entry);
        }
    }
}

#[test]
fn rust_calls_a_lazy_stub_with_stack_arguments() {
    type Sums = extern "C" fn(i64, i64, i64, i64, i64, i64, i64, i64, f64, f64) -> i64;
    let fixture = fixture();
    let clif = "function %f(i64, i64, i64, i64, i64, i64, i64, i64, f64, f64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64, v5: i64, v6: i64, v7: i64, v8: f64, v9: f64):
    v10 = isub v6, v7
    v11 = fsub v8, v9
    v12 = fcvt_to_sint_sat.i64 v11
    v13 = imul v10, v12
    v14 = isub v0, v5
    v15 = imul v13, v14
    return v15
}";
    let (linked, _) = link_alone(&fixture.arena, &fixture.isas.tier1, clif);
    let slot = fixture.lazy(200, linked.entry);
    // SAFETY: the stub leads to a function of this signature.
    let function = unsafe { function::<Sums>(slot.stub_address()) };
    assert_eq!(function(10, 0, 0, 0, 0, 3, 100, 58, 9.5, 4.5), 42 * 5 * 7);
}

#[test]
fn many_return_values_come_back_through_a_lazy_stub() {
    let fixture = fixture();
    let clif = "function %f(i64, i8, f32, i128, f64x2) -> i64, i8, f32, i128, f64x2, i64, i64, i64, i64, i64, i64, i64 tail {
block0(v0: i64, v1: i8, v2: f32, v3: i128, v4: f64x2):
    v55 = iconst.i64 1
    v5 = iadd v0, v55
    v56 = iconst.i64 2
    v6 = iadd v0, v56
    v57 = iconst.i64 3
    v7 = iadd v0, v57
    return v0, v1, v2, v3, v4, v5, v6, v7, v5, v6, v7, v0
}";
    let args = [
        DataValue::I64(-5),
        DataValue::I8(-7),
        DataValue::F32(1.5.into()),
        DataValue::I128(-(1 << 100)),
        DataValue::V128([7; 16]),
    ];
    let mut expected = args.to_vec();
    expected.extend([-4, -3, -2, -4, -3, -2, -5].map(DataValue::I64));
    for (unit, isa) in [(300, &fixture.isas.tier0), (301, &fixture.isas.tier1)] {
        let (linked, signature) = link_alone(&fixture.arena, isa, clif);
        let slot = fixture.lazy(unit, linked.entry);
        let invoker = Invoker::new(Arc::clone(&fixture.arena), Arc::clone(isa));
        for _ in 0..2 {
            // SAFETY: the stub leads to a function of this signature.
            let results = unsafe { invoker.invoke(&signature, slot.stub_address(), &args) };
            assert_eq!(results.unwrap(), expected);
        }
    }
}

/// A caller that keeps more values alive across a `preserve_all` call than registers survive in
/// System V, and sums them after it.
fn caller_that_keeps_everything() -> String {
    let mut body = String::new();
    let (mut ints, mut floats) = (String::from("v0"), String::from("v1"));
    for index in 0..12 {
        writeln!(body, "    v5{index}00 = iconst.i64 {}", index + 3).unwrap();
        writeln!(body, "    v{} = imul v0, v5{index}00", 10 + index).unwrap();
        writeln!(body, "    v{} = f64const 0x{:x}.8p0", 30 + index, index + 1).unwrap();
        writeln!(body, "    v{} = fmul v1, v{}", 50 + index, 30 + index).unwrap();
    }
    body.push_str("    call fn0()\n");
    for index in 0..12 {
        writeln!(body, "    v{} = iadd {ints}, v{}", 70 + index, 10 + index).unwrap();
        writeln!(body, "    v{} = fadd {floats}, v{}", 90 + index, 50 + index).unwrap();
        (ints, floats) = (format!("v{}", 70 + index), format!("v{}", 90 + index));
    }
    format!(
        "function %f(i64, f64) -> i64, f64 tail {{\n    fn0 = u0:1() preserve_all\n\
         block0(v0: i64, v1: f64):\n{body}    return {ints}, {floats}\n}}"
    )
}

#[test]
fn a_preserve_all_callee_leaves_every_register_even_when_resolved() {
    let fixture = fixture();
    let callee = "function %nothing() preserve_all {\nblock0:\n    return\n}";
    for (unit, isa) in [(400, &fixture.isas.tier0), (401, &fixture.isas.tier1)] {
        let (callee, _) = link_alone(&fixture.arena, isa, callee);
        let slot = fixture.lazy(unit, callee.entry);
        let names = |_| Some(slot.stub_address());
        let clif = caller_that_keeps_everything();
        let (caller, signature) = try_link(&fixture.arena, isa, &clif, &names).unwrap();
        let invoker = Invoker::new(Arc::clone(&fixture.arena), Arc::clone(isa));
        let args = [DataValue::I64(1000), DataValue::F64(2.0.into())];
        let ints = 1000 + 1000 * (3..15).sum::<i64>();
        let floats = 2.0 + 2.0 * (1..13).map(|i| f64::from(i) + 0.5).sum::<f64>();
        for _ in 0..2 {
            // SAFETY: the entry of a function of this signature.
            let results = unsafe { invoker.invoke(&signature, caller.entry, &args) };
            let expected = [DataValue::I64(ints), DataValue::F64(floats.into())];
            assert_eq!(results.unwrap(), expected);
        }
    }
    assert_eq!(fixture.resolved.load(Ordering::Relaxed), 2);
}

/// Words that [`probe_registers`] stores.
const PROBED: usize = match cfg!(target_arch = "x86_64") {
    true => 48,
    false => 96 + 32 * cfg!(target_arch = "riscv64") as usize,
};

/// Sets every register that a callee could see, calls `stub`, and stores every register to `out`:
/// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15 with an unused place between, xmm0 to xmm15.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
extern "C" fn probe_registers(stub: usize, out: *mut [u64; PROBED]) {
    core::arch::naked_asm!(
        ".irp r, rbx, rbp, r12, r13, r14, r15, rsi, rdi",
        "push \\r",
        ".endr",
        "sub rsp, 8",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "mov rax, 0x2000 + \\n",
        "movq xmm\\n, rax",
        "punpcklqdq xmm\\n, xmm\\n",
        ".endr",
        ".set number, 0x1000",
        ".irp r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
        "mov \\r, number",
        ".set number, number + 1",
        ".endr",
        "call [rsp + 8]",
        "push rax",
        "mov rax, [rsp + 24]",
        ".set place, 8",
        ".irp r, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
        "mov [rax + place], \\r",
        ".set place, place + 8",
        ".endr",
        ".set place, 128",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movups [rax + place], xmm\\n",
        ".set place, place + 16",
        ".endr",
        "pop rcx",
        "mov [rax], rcx",
        "add rsp, 24",
        ".irp r, r15, r14, r13, r12, rbp, rbx",
        "pop \\r",
        ".endr",
        "ret",
    )
}

/// What [`probe_registers`] stores where no register changed.
#[cfg(target_arch = "x86_64")]
fn probed_registers() -> Vec<u64> {
    let vectors = (0x2000..0x2010).flat_map(|n| [n, n]);
    (0x1000..0x100f).chain([0]).chain(vectors).collect()
}

/// Sets every register that a callee could see, calls `stub`, and stores every register to `out`: x0 to x29 but
/// for x16 and x17, and from the 33rd place on v0 to v31.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
extern "C" fn probe_registers(stub: usize, out: *mut [u64; PROBED]) {
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-176]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "stp x0, x1, [sp, #160]",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "mov x9, 0x2000 + \\n",
        "dup v\\n\\().2d, x9",
        ".endr",
        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "mov x9, 0x2000 + \\n",
        "dup v\\n\\().2d, x9",
        ".endr",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "mov x\\n, 0x1000 + \\n",
        ".endr",
        ".irp n, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29",
        "mov x\\n, 0x1000 + \\n",
        ".endr",
        "ldr x16, [sp, #160]",
        "blr x16",
        "ldr x16, [sp, #168]",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "str x\\n, [x16, 8 * \\n]",
        "str q\\n, [x16, 256 + 16 * \\n]",
        ".endr",
        ".irp n, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29",
        "str x\\n, [x16, 8 * \\n]",
        ".endr",
        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "str q\\n, [x16, 256 + 16 * \\n]",
        ".endr",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #176",
        "ret",
    )
}

/// What [`probe_registers`] stores where no register changed.
#[cfg(target_arch = "aarch64")]
fn probed_registers() -> Vec<u64> {
    let kept = |n: &u64| ![16, 17, 30, 31].contains(n);
    let integers = (0..32).map(|n| if kept(&n) { 0x1000 + n } else { 0 });
    integers
        .chain((0x2000..0x2020).flat_map(|n| [n, n]))
        .collect()
}

/// Whether the processor has vector registers.
#[cfg(target_arch = "riscv64")]
pub fn has_vectors() -> bool {
    // SAFETY: it has no preconditions.
    unsafe { libc::getauxval(libc::AT_HWCAP) & 1 << (b'v' - b'a') != 0 }
}

/// Sets every register that a callee could see, calls `stub`, and stores every register to `out`: x3 to x29, from the
/// 33rd place on f0 to f31, and from the 65th on v0 to v31, if the first word of `out` says that there are any.
#[cfg(target_arch = "riscv64")]
#[unsafe(naked)]
extern "C" fn probe_registers(stub: usize, out: *mut [u64; PROBED]) {
    core::arch::naked_asm!(
        ".option push",
        ".option arch, +d, +v",
        "addi sp, sp, -256",
        "sd ra, 0(sp)",
        ".irp n, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27",
        "sd x\\n, 8 * \\n(sp)",
        ".endr",
        "sd gp, 24(sp)",
        "sd tp, 32(sp)",
        "sd a0, 80(sp)",
        "sd a1, 88(sp)",
        // Of the floating-point registers that it owns, the caller gets back what it had.
        "addi sp, sp, -256",
        ".irp n, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27",
        "fsd f\\n, 8 * \\n(sp)",
        ".endr",
        "ld t0, 0(a1)",
        "beqz t0, 2f",
        "vsetivli zero, 2, e64, m1, ta, ma",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "li t0, 0x3000 + \\n",
        "vmv.v.x v\\n, t0",
        ".endr",
        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "li t0, 0x3000 + \\n",
        "vmv.v.x v\\n, t0",
        ".endr",
        "2:",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "li t0, 0x2000 + \\n",
        "fmv.d.x f\\n, t0",
        ".endr",
        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "li t0, 0x2000 + \\n",
        "fmv.d.x f\\n, t0",
        ".endr",
        ".irp n, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22",
        "li x\\n, 0x1000 + \\n",
        ".endr",
        ".irp n, 23, 24, 25, 26, 27, 28, 29",
        "li x\\n, 0x1000 + \\n",
        ".endr",
        "ld t6, 336(sp)",
        "jalr t6",
        "ld t6, 344(sp)",
        ".irp n, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22",
        "sd x\\n, 8 * \\n(t6)",
        ".endr",
        ".irp n, 23, 24, 25, 26, 27, 28, 29",
        "sd x\\n, 8 * \\n(t6)",
        ".endr",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "fsd f\\n, 256 + 8 * \\n(t6)",
        ".endr",
        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "fsd f\\n, 256 + 8 * \\n(t6)",
        ".endr",
        "ld t0, 0(t6)",
        "beqz t0, 2f",
        "addi t0, t6, 512",
        "vsetivli zero, 2, e64, m1, ta, ma",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vse64.v v\\n, (t0)",
        "addi t0, t0, 16",
        ".endr",
        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "vse64.v v\\n, (t0)",
        "addi t0, t0, 16",
        ".endr",
        "2:",
        ".irp n, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27",
        "fld f\\n, 8 * \\n(sp)",
        ".endr",
        "addi sp, sp, 256",
        "ld t0, 24(sp)",
        "xor t0, t0, gp",
        "sd t0, 24(t6)",
        "ld t0, 32(sp)",
        "xor t0, t0, tp",
        "sd t0, 32(t6)",
        ".irp n, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27",
        "ld x\\n, 8 * \\n(sp)",
        ".endr",
        "ld ra, 0(sp)",
        "addi sp, sp, 256",
        "ret",
        ".option pop",
    )
}

/// What [`probe_registers`] stores where no register changed.
#[cfg(target_arch = "riscv64")]
fn probed_registers() -> Vec<u64> {
    let vectors = u64::from(has_vectors());
    let kept = |n: &u64| (5..30).contains(n);
    let integers = (1..32).map(|n| if kept(&n) { 0x1000 + n } else { 0 });
    std::iter::once(vectors)
        .chain(integers)
        .chain(0x2000..0x2020)
        .chain((0x3000..0x3020).flat_map(|n| [n * vectors; 2]))
        .collect()
}

/// The invariant "Transparent" of [`crate::arch`], register by register.
#[test]
fn no_register_changes_on_the_way_through_the_runtime() {
    let fixture = fixture();
    let nothing = "function %nothing() preserve_all {\nblock0:\n    return\n}";
    let (linked, _) = link_alone(&fixture.arena, &fixture.isas.tier1, nothing);
    let slot = fixture.lazy(700, linked.entry);
    let expected = probed_registers();
    for _ in 0..2 {
        let mut out = [0; PROBED];
        #[cfg(target_arch = "riscv64")]
        (out[0] = u64::from(has_vectors()));
        probe_registers(slot.stub_address(), &mut out);
        assert_eq!(out.as_slice(), expected);
    }
    assert_eq!(fixture.resolved.load(Ordering::Relaxed), 1);
}
