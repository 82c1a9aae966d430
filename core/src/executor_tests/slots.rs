//! Tests of `regraft_executor::slots`: publication, reuse, failure, threads.

use crate::code::isa::TierIsas;
use crate::code::link::testing::*;
use regraft_executor::arena::Arena;
use regraft_executor::slots::{OwnedSlot, Runtime, SlotError, SlotTable};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

mod transparent;

/// Overwrites every register that a C function may overwrite.
fn trash_registers() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: all registers that change are declared.
    unsafe {
        core::arch::asm!(
            "mov rax, 0x5a5a5a5a5a5a5a5a",
            "movq xmm0, rax",
            "punpcklqdq xmm0, xmm0",
            "mov rcx, rax",
            "mov rdx, rax",
            "mov rsi, rax",
            "mov rdi, rax",
            "mov r8, rax",
            "mov r9, rax",
            "mov r10, rax",
            "mov r11, rax",
            "movaps xmm1, xmm0",
            "movaps xmm2, xmm0",
            "movaps xmm3, xmm0",
            "movaps xmm4, xmm0",
            "movaps xmm5, xmm0",
            "movaps xmm6, xmm0",
            "movaps xmm7, xmm0",
            "movaps xmm8, xmm0",
            "movaps xmm9, xmm0",
            "movaps xmm10, xmm0",
            "movaps xmm11, xmm0",
            "movaps xmm12, xmm0",
            "movaps xmm13, xmm0",
            "movaps xmm14, xmm0",
            "movaps xmm15, xmm0",
            clobber_abi("C"),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: all registers that change are declared.
    unsafe {
        core::arch::asm!(
            "mov x17, 0x5a5a",
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16",
            "mov x\\n, x17",
            ".endr",
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "dup v\\n\\().2d, x17",
            ".endr",
            ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
            "dup v\\n\\().2d, x17",
            ".endr",
            clobber_abi("C"),
        );
    }
    #[cfg(target_arch = "riscv64")]
    // SAFETY: all registers that change are declared.
    unsafe {
        core::arch::asm!(
            "li t6, 0x5a5a",
            ".irp r, t0, t1, t2, t3, t4, t5, a0, a1, a2, a3, a4, a5, a6, a7",
            "mv \\r, t6",
            ".endr",
            ".irp r, ft0, ft1, ft2, ft3, ft4, ft5, ft6, ft7, ft8, ft9, ft10, ft11",
            "fmv.d.x \\r, t6",
            ".endr",
            ".irp r, fa0, fa1, fa2, fa3, fa4, fa5, fa6, fa7",
            "fmv.d.x \\r, t6",
            ".endr",
            clobber_abi("C"),
        );
        if transparent::has_vectors() {
            core::arch::asm!(
                ".option push",
                ".option arch, +v",
                "vsetivli zero, 2, e64, m1, ta, ma",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "vmv.v.i v\\n, 7",
                ".endr",
                ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                "vmv.v.i v\\n, 7",
                ".endr",
                ".option pop",
                clobber_abi("C"),
            );
        }
    }
}

/// A table whose resolver finds every unit at the address put here, publishes it, and counts.
struct Fixture {
    slots: Arc<SlotTable>,
    arena: Arc<Arena>,
    isas: TierIsas,
    resolved: Arc<AtomicU32>,
}

impl Fixture {
    /// The unit's slot; its first call finds `entry`.
    fn lazy(&self, unit: u32, entry: usize) -> Arc<OwnedSlot> {
        let slot = Arc::new(OwnedSlot::lazy(&self.slots, unit).unwrap());
        let known = (Arc::clone(&slot), unit, entry);
        ENTRIES.lock().unwrap().push(known);
        slot
    }
}

/// What the fixtures' resolvers know; units are unique among all tests.
static ENTRIES: Mutex<Vec<(Arc<OwnedSlot>, u32, usize)>> = Mutex::new(Vec::new());

fn fixture() -> Fixture {
    let (arena, isas) = (arena(), isas());
    let resolved = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&resolved);
    let resolver = move |unit| {
        count.fetch_add(1, Ordering::Relaxed);
        let found = ENTRIES
            .lock()
            .unwrap()
            .iter()
            .rfind(|(_, u, _)| *u == unit)
            .cloned();
        let (slot, _, entry) = found.unwrap();
        slot.publish(entry);
        trash_registers();
        entry
    };
    let slots = SlotTable::new(Arc::clone(&arena), Box::new(resolver)).unwrap();
    Fixture {
        slots: Arc::new(slots),
        arena,
        isas,
        resolved,
    }
}

fn constant(value: i64) -> String {
    format!(
        "function %f() -> i64 system_v {{\nblock0:\n    v0 = iconst.i64 {value}\n    return v0\n}}"
    )
}

fn call(address: usize) -> i64 {
    // SAFETY: the addresses in these tests lead to functions without parameters.
    unsafe { function::<extern "C" fn() -> i64>(address)() }
}

#[test]
fn what_is_published_is_what_is_called() {
    let fixture = fixture();
    let isa = &fixture.isas.tier0;
    let [one, two] = [1, 2].map(|value| link_alone(&fixture.arena, isa, &constant(value)).0);
    let slot = fixture.lazy(500, one.entry);
    assert_eq!(slot.current(), slot.lazy_address());
    assert_eq!(call(slot.stub_address()), 1);
    slot.publish(two.entry);
    assert_eq!(call(slot.stub_address()), 2);
    slot.publish(slot.lazy_address());
    assert_eq!(call(slot.current()), 1);
    assert_eq!(fixture.resolved.load(Ordering::Relaxed), 2);
    assert!(!slot.replace(two.entry, 8) && slot.replace(one.entry, two.entry));
    assert_eq!(call(slot.stub_address()), 2);
}

#[test]
fn slots_are_reused_and_never_shared() {
    let fixture = fixture();
    let slots = &fixture.slots;
    let mut all: Vec<_> = (0..300)
        .map(|unit| OwnedSlot::empty(slots, unit).unwrap())
        .collect();
    assert!(all.iter().all(|slot| slot.current() == 0));
    let mut stubs: Vec<_> = all.iter().map(|slot| slot.stub_address()).collect();
    stubs.sort_unstable();
    stubs.dedup();
    assert_eq!((stubs.len(), slots.live()), (300, 300));
    let before = fixture.arena.stats();
    all.truncate(100);
    assert_eq!(slots.live(), 100);
    all.extend((0..200).map(|unit| OwnedSlot::empty(slots, unit).unwrap()));
    assert_eq!(fixture.arena.stats(), before);
    let mut again: Vec<_> = all.iter().map(|slot| slot.stub_address()).collect();
    again.sort_unstable();
    assert_eq!(again, stubs);
}

#[test]
fn a_dropped_table_returns_its_memory() {
    let arena = arena();
    let slots = SlotTable::new(Arc::clone(&arena), Box::new(|_| 0)).unwrap();
    let slots = Arc::new(slots);
    drop(OwnedSlot::lazy(&slots, 0).unwrap());
    assert_ne!(arena.stats().data.live, 0);
    drop(slots);
    assert_eq!((arena.stats().code.live, arena.stats().data.live), (0, 0));
}

#[test]
fn no_memory_for_slots_is_an_error_and_not_a_leak() {
    let arena = Arena::new(regraft_executor::arena::ArenaConfig {
        code_bytes: 64 << 10,
        data_bytes: 4096,
    })
    .unwrap();
    let slots = SlotTable::new(Arc::clone(&arena), Box::new(|_| 0)).unwrap();
    let slots = Arc::new(slots);
    let mut all = vec![];
    let error = loop {
        match OwnedSlot::lazy(&slots, 0) {
            Ok(slot) => all.push(slot),
            Err(error) => break error,
        }
    };
    let before = arena.stats();
    assert!(!all.is_empty() && matches!(error, SlotError::Arena(_)));
    OwnedSlot::lazy(&slots, 0).unwrap_err();
    assert_eq!(arena.stats().code.live, before.code.live);
}

#[test]
fn a_resolver_that_fails_gives_the_trap_stub() {
    for resolver in [
        Box::new(|_| 0_usize) as Box<dyn Runtime>,
        Box::new(|unit| panic!("no unit {unit}")),
    ] {
        let slots = Arc::new(SlotTable::new(arena(), resolver).unwrap());
        let slot = OwnedSlot::lazy(&slots, 1).unwrap();
        assert_eq!(slots.resolve(&slot), slots.trap_stub_address());
    }
}

#[test]
fn the_trap_stub_stops_the_process_with_a_signal() {
    let slots = Arc::new(SlotTable::new(arena(), Box::new(|_| 0)).unwrap());
    let slot = OwnedSlot::lazy(&slots, 1).unwrap();
    // SAFETY: the child does nothing but call the stub, which ends it; nothing is allocated.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        call(slot.stub_address());
        // SAFETY: ends the process without running what belongs to the parent.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: a child of this process.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert!(libc::WIFSIGNALED(status));
    let signal = libc::WTERMSIG(status);
    assert!([libc::SIGILL, libc::SIGTRAP].contains(&signal), "{signal}");
}

#[test]
fn threads_that_race_to_a_lazy_stub_all_arrive() {
    let fixture = fixture();
    let (linked, _) = link_alone(&fixture.arena, &fixture.isas.tier0, &constant(77));
    for unit in 600..620 {
        let slot = fixture.lazy(unit, linked.entry);
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(call(slot.stub_address()), 77);
                });
            }
        });
    }
}

/// The resolver may call generated code, which may call a lazy stub in turn.
#[test]
fn resolving_nests() {
    static INNER: OnceLock<OwnedSlot> = OnceLock::new();
    let (arena, isas) = (arena(), isas());
    let (linked, _) = link_alone(&arena, &isas.tier0, &constant(5));
    let entry = linked.entry;
    let resolver = move |unit| {
        if unit == 0 {
            assert_eq!(call(INNER.get().unwrap().stub_address()), 5);
        }
        entry
    };
    let slots = Arc::new(SlotTable::new(arena, Box::new(resolver)).unwrap());
    let outer = OwnedSlot::lazy(&slots, 0).unwrap();
    INNER.set(OwnedSlot::lazy(&slots, 1).unwrap()).unwrap();
    assert_eq!(call(outer.stub_address()), 5);
}
