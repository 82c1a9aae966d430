//! What concerns the whole process: other people's handlers, and faults that are not ours. Each test
//! runs again in a child process that may end by a signal.

use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

const CHILD: &str = "REGRAFT_CHILD";

/// Runs `test` in a child process; the child runs `body` and ends.
fn in_child(test: &str, body: impl FnOnce()) -> Option<ExitStatus> {
    if std::env::var_os(CHILD).is_some() {
        body();
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let tests = module_path!().trim_end_matches("::process");
    let tests = tests.split_once("::").unwrap().1;
    child.args(["--exact", &format!("{tests}::{test}")]);
    child.args(["--test-threads", "1"]).env(CHILD, "1");
    Some(child.output().unwrap().status)
}

fn one_trap() {
    let engine = Where::Tier0.engine();
    let f = define(&engine, &hot_loop("    v20 = udiv v6, v10"));
    trap(call(&engine, f, &[1, 1, 0]));
}

/// A fault in Rust code.
fn fault() {
    // SAFETY: none; it must end the process, or be handled.
    unsafe { std::hint::black_box(16 as *const u8).read_volatile() };
}

#[test]
fn a_fault_in_rust_code_ends_the_process() {
    let status = in_child("process::a_fault_in_rust_code_ends_the_process", || {
        one_trap();
        fault();
        std::process::exit(0);
    });
    if let Some(status) = status {
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
    }
}

extern "C" fn faulting_host_function(_: i64) -> i64 {
    fault();
    0
}

#[test]
fn a_fault_in_a_host_function_ends_the_process() {
    let status = in_child(
        "process::a_fault_in_a_host_function_ends_the_process",
        || {
            let engine = Where::Tier0.engine();
            let f = define(&engine, &hot_loop("    v20 = call_indirect sig0, v10(v6)"));
            let host = faulting_host_function as *const ();
            let host = host.expose_provenance() as i64;
            let _ = call(&engine, f, &[1, host, host]);
            std::process::exit(0);
        },
    );
    if let Some(status) = status {
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
    }
}

#[test]
fn a_raw_call_is_not_protected() {
    let status = in_child("process::a_raw_call_is_not_protected", || {
        one_trap();
        let engine = Where::Tier0.engine();
        let f = define(
            &engine,
            "function %f() system_v {\nblock0:\n    trap user1\n}",
        );
        let f = engine.get::<(), ()>(f).unwrap();
        // SAFETY: none: it ends the process.
        unsafe { f.call(()) };
        std::process::exit(0);
    });
    if let Some(status) = status {
        assert_eq!(status.signal(), Some(libc::SIGILL), "{status}");
    }
}

#[test]
fn a_signal_from_outside_ends_the_process() {
    let status = in_child("process::a_signal_from_outside_ends_the_process", || {
        one_trap();
        // SAFETY: it has no preconditions.
        unsafe { libc::raise(libc::SIGFPE) };
        std::process::exit(0);
    });
    if let Some(status) = status {
        assert_eq!(status.signal(), Some(libc::SIGFPE), "{status}");
    }
}

extern "C" fn earlier_handler(_: libc::c_int) {
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(42) };
}

extern "C" fn earlier_handler_of_three(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `info`; the rest is async-signal-safe.
    unsafe {
        let right = signal == libc::SIGSEGV && (*info).si_addr().addr() == 16;
        libc::_exit(if right { 43 } else { 1 })
    };
}

fn handle_faults(handler: usize, flags: libc::c_int) {
    // SAFETY: a structure that zero is a value of.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handler is of the form that the flags say.
    let failed = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
    assert_eq!(failed, 0);
}

#[test]
fn an_earlier_handler_gets_what_is_not_ours() {
    let status = in_child("process::an_earlier_handler_gets_what_is_not_ours", || {
        let handler = earlier_handler as *const ();
        handle_faults(handler.expose_provenance(), 0);
        one_trap();
        fault();
    });
    if let Some(status) = status {
        assert_eq!(status.code(), Some(42), "{status}");
    }
}

#[test]
fn an_earlier_handler_of_three_arguments_too() {
    let status = in_child("process::an_earlier_handler_of_three_arguments_too", || {
        let handler = earlier_handler_of_three as *const ();
        handle_faults(handler.expose_provenance(), libc::SA_SIGINFO);
        one_trap();
        fault();
    });
    if let Some(status) = status {
        assert_eq!(status.code(), Some(43), "{status}");
    }
}

/// A client's handler: asks where it was, and says so by its exit code.
extern "C" fn clients_handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the context of this signal.
    let pc = unsafe { regraft_executor::Interrupted::new(context) }.pc();
    let found = crate::location::locate(pc).and_then(|location| location.block);
    let code = found.map_or(1, |block| 100 + block.as_u32());
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(code.cast_signed()) };
}

#[test]
fn a_handler_of_the_client_can_locate() {
    let status = in_child("process::a_handler_of_the_client_can_locate", || {
        let handler = clients_handler as *const ();
        handle_faults(handler.expose_provenance(), libc::SA_SIGINFO);
        let engine = Where::Region.engine();
        let f = define(&engine, &hot_loop("    v20 = load.i64 v10"));
        let place = 0_i64;
        let good = (&raw const place).expose_provenance() as i64;
        let f = engine.get::<(i64, i64, i64), i64>(f).unwrap();
        // SAFETY: the handler ends the process.
        unsafe { f.call((1000, good, 8)) };
    });
    if let Some(status) = status {
        assert_eq!(status.code(), Some(102), "{status}");
    }
}

/// Alone in its process, where no other engine gets the address of one that is gone.
#[test]
fn a_dropped_engine_is_unknown() {
    let status = in_child("process::a_dropped_engine_is_unknown", || {
        let (pc, start) = {
            let engine = Where::Tier0.engine();
            let f = define(&engine, &hot_loop("    v20 = udiv v6, v10"));
            let trap = trap(call(&engine, f, &[1, 1, 0]));
            assert!(crate::location::locate(trap.pc).is_some());
            assert_eq!(crate::location::locate(trap.pc), engine.locate(trap.pc));
            let other = Where::Tier0.engine();
            assert_eq!(other.locate(trap.pc), None);
            (trap.pc, engine.pointer(f).unwrap().addr())
        };
        assert_eq!(crate::location::locate(pc), None);
        assert_eq!(crate::location::locate(start), None);
    });
    if let Some(status) = status {
        assert!(status.success(), "{status}");
    }
}

#[test]
fn memory_does_not_grow() {
    let status = in_child("process::memory_does_not_grow", || {
        super::after::ten_thousand_traps_leave_nothing();
    });
    if let Some(status) = status {
        assert!(status.success(), "{status}");
    }
}
