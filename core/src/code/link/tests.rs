//! Tests of [`super`]: what is linked, what is refused, and what linking costs.

use super::testing::*;
use super::*;
use regraft_executor::arena::ArenaConfig;
use regraft_executor::slots::{OwnedSlot, SlotTable};

const ADD_ONE: &str = "function %f(i64) -> i64 system_v {
block0(v0: i64):
    v51 = iconst.i64 1
    v1 = iadd v0, v51
    return v1
}";

const CALL_SEVEN: &str = "function %g(i64) -> i64 system_v {
    fn0 = u0:7(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v52 = iconst.i64 10
    v2 = imul v1, v52
    return v2
}";

fn call(linked: &Linked, argument: i64) -> i64 {
    // SAFETY: all functions of these tests that are called have this signature.
    unsafe { function::<extern "C" fn(i64) -> i64>(linked.entry)(argument) }
}

#[test]
fn calls_go_through_the_stub_of_the_callee() {
    let (arena, isas) = (arena(), isas());
    let slots = Arc::new(SlotTable::new(Arc::clone(&arena), Box::new(|_| 0)).unwrap());
    let slot = OwnedSlot::lazy(&slots, 7).unwrap();
    for isa in [&isas.tier0, &isas.tier1] {
        let (callee, _) = link_alone(&arena, isa, ADD_ONE);
        slot.publish(callee.entry);
        let names = |index| (index == 7).then(|| slot.stub_address());
        let (caller, _) = try_link(&arena, isa, CALL_SEVEN, &names).unwrap();
        assert_eq!(call(&caller, 4), 50);
    }
}

#[test]
fn constants_and_jump_tables_are_part_of_the_code() {
    let (arena, isas) = (arena(), isas());
    let clif = "function %f(i64) -> i64 system_v {
block0(v0: i64):
    v1 = ireduce.i32 v0
    br_table v1, block4, [block1, block2, block3]
block1:
    v2 = f64const 0x1.8p3
    v3 = fcvt_to_sint_sat.i64 v2
    return v3
block2:
    v4 = vconst.i32x4 [1 2 3 4]
    v5 = extractlane v4, 2
    v6 = sextend.i64 v5
    return v6
block3:
    v7 = iconst.i64 0x1122_3344_5566_7788
    return v7
block4:
    v8 = iconst.i64 -1
    return v8
}";
    for isa in [&isas.tier0, &isas.tier1] {
        let (linked, _) = link_alone(&arena, isa, clif);
        let results = [0, 1, 2, 3].map(|argument| call(&linked, argument));
        assert_eq!(results, [12, 3, 0x1122_3344_5566_7788, -1]);
    }
}

#[test]
fn library_calls_are_resolved_by_the_caller() {
    let arena = arena();
    // Without SSE 4.1, ceil is a call.
    let isas = crate::code::isa::TierIsas::native(match cfg!(target_arch = "x86_64") {
        true => &[
            ("has_sse41", "false"),
            ("has_avx", "false"),
            ("has_avx2", "false"),
        ],
        false => &[],
    })
    .unwrap();
    let clif = "function %f(i64) -> i64 system_v {
block0(v0: i64):
    v1 = bitcast.f64 v0
    v2 = ceil v1
    v3 = fcvt_to_sint_sat.i64 v2
    return v3
}";
    let (linked, _) = link_alone(&arena, &isas.tier1, clif);
    assert_eq!(call(&linked, 2.25_f64.to_bits().cast_signed()), 3);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn vectors_reach_library_calls_as_they_reach_generated_code() {
    let arena = arena();
    let old = [
        ("has_sse41", "false"),
        ("has_ssse3", "false"),
        ("has_sse42", "false"),
        ("has_avx", "false"),
        ("has_avx2", "false"),
    ];
    let isas = crate::code::isa::TierIsas::native(&old).unwrap();
    let clif = "function %f(i64) -> i64 system_v {
block0(v0: i64):
    v1 = vconst.i8x16 0x0f0e0d0c0b0a09080706050403020100
    v2 = splat.i64x2 v0
    v3 = bitcast.i8x16 little v2
    v4 = swizzle v1, v3
    v5 = bitcast.i64x2 little v4
    v6 = extractlane v5, 1
    return v6
}";
    let (linked, _) = link_alone(&arena, &isas.tier0, clif);
    assert_eq!(call(&linked, 0x0f00_8003_0201_ff07), 0x0f00_0003_0201_0007);
}

#[test]
fn addresses_of_data_carry_their_addend() {
    let (arena, isas) = (arena(), isas());
    let clif = "function %f(i64) -> i64 system_v {
    gv0 = symbol u0:3+40
block0(v0: i64):
    v1 = symbol_value.i64 gv0
    return v1
}";
    let (linked, _) = try_link(&arena, &isas.tier1, clif, &|_| Some(0x1000)).unwrap();
    assert_eq!(call(&linked, 0), 0x1028);
    let far = try_link(&arena, &isas.tier1, clif, &|_| Some(usize::MAX - 8));
    assert!(matches!(far, Err(LinkError::OutOfRange { addend: 40, .. })));
}

#[test]
fn a_name_without_an_address_is_an_error_and_costs_nothing() {
    let (arena, isas) = (arena(), isas());
    let error = try_link(&arena, &isas.tier0, CALL_SEVEN, &|_| None).unwrap_err();
    assert_eq!(error.to_string(), "no address is known for u0:7");
    assert_eq!(arena.stats().code.live, 0);
    let by_name = CALL_SEVEN.replace("u0:7", "%seven");
    let error = try_link(&arena, &isas.tier0, &by_name, &|_| Some(1)).unwrap_err();
    assert!(matches!(error, LinkError::UnresolvedSymbol { .. }));
}

#[test]
fn relative_calls_reach_their_target_or_are_refused() {
    let (arena, isas) = (arena(), isas());
    let near = CALL_SEVEN.replace("u0:7", "colocated u0:7");
    let (callee, _) = link_alone(&arena, &isas.tier1, ADD_ONE);
    let (caller, _) = try_link(&arena, &isas.tier1, &near, &|_| Some(callee.entry)).unwrap();
    assert_eq!(call(&caller, 4), 50);
    let far = try_link(&arena, &isas.tier1, &near, &|_| Some(0x1000)).unwrap_err();
    assert!(
        // Less what the instruction counts from its end, where it does.
        matches!(far, LinkError::OutOfReach { address, .. } if (0xff0..=0x1000).contains(&address)),
        "{far}"
    );
}

#[test]
fn thread_locals_are_refused() {
    let arena = arena();
    let thread_local = "function %f() -> i64 system_v {
    gv0 = symbol tls u0:1
block0:
    v0 = tls_value.i64 gv0
    return v0
}";
    let tls = crate::code::isa::TierIsas::native(&[("tls_model", "elf_gd")]).unwrap();
    let error = try_link(&arena, &tls.tier1, thread_local, &|_| Some(1)).unwrap_err();
    assert!(matches!(error, LinkError::Relocation { .. }), "{error}");
    assert_eq!(arena.stats().code.live, 0);
}

#[test]
fn a_full_arena_is_told_from_other_failures() {
    let arena = Arena::new(ArenaConfig {
        code_bytes: 4096,
        data_bytes: 4096,
    })
    .unwrap();
    let isas = isas();
    let _rest = arena.alloc_code(4096, 16).unwrap();
    let error = try_link(&arena, &isas.tier0, ADD_ONE, &|_| None).unwrap_err();
    assert!(matches!(
        error,
        LinkError::Arena(ArenaError::Full { free: 0, .. })
    ));
}

#[test]
fn freed_versions_make_room_for_new_ones() {
    let arena = Arena::new(ArenaConfig {
        code_bytes: 4096,
        data_bytes: 4096,
    })
    .unwrap();
    let isas = isas();
    for argument in 0..1000 {
        let (linked, _) = link_alone(&arena, &isas.tier1, ADD_ONE);
        assert_eq!(call(&linked, argument), argument + 1);
        drop(linked.code);
    }
    assert_eq!(arena.stats().code.live, 0);
}

/// Run it with `--ignored --nocapture` to see what a `JITModule` per version costs.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_module() {
    let (arena, isas) = (arena(), isas());
    for clif in [ADD_ONE, CALL_SEVEN] {
        let (code, func) = compile(&isas.tier0, clif);
        let code = ObjectCode::of(&code, &func, None);
        let start = std::time::Instant::now();
        for _ in 0..10_000 {
            let allocation = allocate(&arena, &code).unwrap();
            let linked = link(allocation, &isas.tier0, "test", &code, &|_| Some(64)).unwrap();
            drop(linked.code);
        }
        println!(
            "{} relocations: {:?}",
            code.relocations.len(),
            start.elapsed() / 10_000
        );
    }
}
