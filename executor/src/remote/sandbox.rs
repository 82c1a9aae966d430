//! What a confined executor may ask of the system.
//!
//! A filter of system calls (seccomp) for all threads: what is not listed fails with `EPERM`. What is left to a program that
//! turns bad is its data: memory that is not executable, threads, what was open already, and the end of itself.
//!
//! Invariants: no memory becomes executable, nothing is opened, connected or executed, no process is made or touched.
//!
//! Limitations: descriptors that the process has inherited stay open; standard output and error can be written.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;

/// Allowed whatever the arguments are.
const ALLOWED: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    // Refused by the other filter.
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    // Timers of own threads, for samples.
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_settime,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Confines all threads of the process, for good.
///
/// # Errors
/// What the system refused.
pub fn confine() -> Result<(), String> {
    // glibc finds out about `clone3` by trying; its arguments are in memory, where a filter cannot see them.
    let absent = filter(
        [(libc::SYS_clone3, vec![])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
    )?;
    let listed = filter(
        rules()?,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        SeccompAction::Allow,
    )?;
    // Both run, and an error counts for more than an allowance. After the second, no other can be added.
    for program in [absent, listed] {
        seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn filter(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, String> {
    let arch = std::env::consts::ARCH.try_into();
    let arch = arch.map_err(|error: seccompiler::BackendError| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, listed, arch);
    let program = filter.and_then(BpfProgram::try_from);
    program.map_err(|error| error.to_string())
}

/// What is allowed, and with which arguments.
fn rules() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, String> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|&call| (call, vec![])).collect();
    let mut allow = |call: c_long, conditions: Vec<SeccompCondition>| {
        let rule = SeccompRule::new(conditions).map_err(|error| error.to_string())?;
        rules.entry(call).or_default().push(rule);
        Ok::<_, String>(())
    };
    let has = |argument: u8, mask: i32, bits: i32| {
        let operator = SeccompCmpOp::MaskedEq(mask.cast_unsigned().into());
        let bits = bits.cast_unsigned().into();
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, bits)
            .map_err(|error| error.to_string())
    };
    let is = |argument: u8, value: i32| has(argument, -1, value);
    // Memory that cannot be executed; no files, whose contents may be.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allow(call, vec![has(2, libc::PROT_EXEC, 0)?])?;
    }
    // Threads, not processes.
    let thread = libc::CLONE_THREAD | libc::CLONE_VM;
    allow(libc::SYS_clone, vec![has(0, thread, thread)?])?;
    // Checks of the standard library that a descriptor is open.
    allow(libc::SYS_fcntl, vec![is(1, libc::F_GETFD)?])?;
    // Where a packet goes without an address: to who is connected.
    let nowhere = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0);
    let nowhere = nowhere.map_err(|error| error.to_string())?;
    allow(libc::SYS_sendto, vec![nowhere])?;
    // An abort.
    let own = i32::try_from(std::process::id()).map_err(|error| error.to_string())?;
    allow(libc::SYS_tgkill, vec![is(0, own)?])?;
    Ok(rules)
}
