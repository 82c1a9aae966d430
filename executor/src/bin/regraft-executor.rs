//! `regraft-executor`: runs what an engine in another process makes.
//!
//! By default the connection is standard input, as an engine that starts it has it. With `--listen` it waits at a socket, and
//! each connection gets a process of its own.

#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
fn main() -> std::process::ExitCode {
    regraft_executor::remote::command::main()
}

#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
)))]
fn main() -> std::process::ExitCode {
    eprintln!("regraft-executor: there is nothing to run on this target");
    std::process::ExitCode::FAILURE
}
