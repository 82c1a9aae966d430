//! What the runtime does between two functions of generated code does not show.

use super::*;
use crate::config::Faults;
use std::sync::atomic::AtomicU64;

const BEFORE: libc::c_int = 77;

fn errno() -> libc::c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn set_errno(value: libc::c_int) {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() = value };
}

/// A host function that fails.
pub(super) extern "C" fn host() {
    set_errno(BEFORE);
}

/// A quotient that is rounded, which the exception flags then say.
fn inexact() -> f64 {
    std::hint::black_box(1.0) / std::hint::black_box(3.0)
}

/// Compilations in which something fails, and is computed.
fn noisy() -> Config {
    Config::default()
        .compilation(Compilation::AtFirstCall)
        .faults(Some(Faults::new(|_, _| {
            set_errno(1);
            false
        })))
}

#[test]
fn errno_survives_a_first_call_a_hot_loop_and_a_side_exit() {
    for call in ["", "    call fn0()"] {
        let engine = engine(noisy());
        let f = define(&engine, &with_side_exit(call));
        let raw = raw(&engine, f);
        for n in [3, 1000, 1000] {
            set_errno(BEFORE);
            assert_eq!(raw(n), expected(n));
            assert_eq!(errno(), BEFORE, "{call}");
        }
    }
}

#[test]
fn errno_survives_what_safe_calls_do_besides() {
    let engine = engine(noisy());
    let f = define(&engine, &with_side_exit(""));
    let typed = engine.get::<(i64,), i64>(f).unwrap();
    // The first safe call of a thread prepares it.
    let call = move || {
        for n in [3, 1000, 1000] {
            set_errno(BEFORE);
            // SAFETY: the function touches no memory.
            assert_eq!(unsafe { typed.try_call((n,)) }.unwrap(), expected(n));
            assert_eq!(errno(), BEFORE);
        }
    };
    std::thread::spawn(call).join().unwrap();
}

/// What floating-point instructions go by, and the flags that they raise.
#[cfg(target_arch = "x86_64")]
mod float {
    pub const DEFAULT: u64 = 0x1f80;
    pub const FLAGS: u64 = 0x3f;
    const UNMASKED: u64 = 1 << 12 | 1 << 9;
    const UPWARDS: u64 = 2 << 13;
    const FLUSH: u64 = 1 << 15;
    /// With exceptions unmasked, rounding upwards, and denormals flushed.
    pub const CHOSEN: u64 = DEFAULT & !UNMASKED | UPWARDS | FLUSH;

    pub fn control() -> u64 {
        let mut control = 0_u32;
        // SAFETY: it stores to `control`.
        unsafe { core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control) };
        control.into()
    }

    pub fn set_control(control: u64) {
        let control = control as u32;
        // SAFETY: the test puts it back; rounding differs meanwhile.
        unsafe { core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control) };
    }
}

/// What floating-point instructions go by, and from bit 32 on the flags that they raise.
#[cfg(target_arch = "aarch64")]
mod float {
    pub const DEFAULT: u64 = 0;
    pub const FLAGS: u64 = u64::MAX << 32;
    /// Rounding upwards, and denormals flushed. No processor need have exceptions that trap.
    pub const CHOSEN: u64 = 1 << 22 | 1 << 24;

    pub fn control() -> u64 {
        let (control, status): (u64, u64);
        // SAFETY: registers that every program may read.
        unsafe {
            core::arch::asm!("mrs {}, fpcr", "mrs {}, fpsr", out(reg) control, out(reg) status);
        }
        control | status << 32
    }

    pub fn set_control(control: u64) {
        let (control, status) = (control & !FLAGS, control >> 32);
        // SAFETY: the test puts it back; rounding differs meanwhile.
        unsafe {
            core::arch::asm!("msr fpcr, {}", "msr fpsr, {}", in(reg) control, in(reg) status);
        }
    }
}

/// What floating-point instructions go by, and in the low bits the flags that they raise.
#[cfg(target_arch = "riscv64")]
mod float {
    pub const DEFAULT: u64 = 0;
    pub const FLAGS: u64 = 0x1f;
    /// Rounding upwards.
    pub const CHOSEN: u64 = 3 << 5;

    pub fn control() -> u64 {
        let control: u64;
        // SAFETY: a register that every program may read.
        unsafe { core::arch::asm!("frcsr {}", out(reg) control) };
        control
    }

    pub fn set_control(control: u64) {
        // SAFETY: the test puts it back; rounding differs meanwhile.
        unsafe { core::arch::asm!("fscsr {}", in(reg) control) };
    }
}

#[test]
fn floating_point_state_survives_and_does_not_reach_the_compiler() {
    use float::{CHOSEN, DEFAULT, FLAGS, control, set_control};
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let engine = engine(
        Config::default()
            .compilation(Compilation::AtFirstCall)
            .faults(Some(Faults::new(|_, _| {
                SEEN.store(control() & !FLAGS, Ordering::Relaxed);
                inexact() > 1.0
            }))),
    );
    let f = define(&engine, &with_side_exit(""));
    let raw = raw(&engine, f);
    let before = control();
    for n in [3, 1000, 1000] {
        set_control(CHOSEN);
        let sum = raw(n);
        let after = control();
        set_control(before);
        assert_eq!((sum, after), (expected(n), CHOSEN));
        assert_eq!(SEEN.load(Ordering::Relaxed), DEFAULT);
    }
}
