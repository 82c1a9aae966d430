//! The `regraft` command, where there is an engine for it: see [`command`].

#![deny(missing_docs)]

cfg_if::cfg_if! {
    if #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))] {
        mod command;
        mod diff;
        mod html;
        mod input;
        mod outline;
        mod output;
        mod regions;
        mod report;
        mod run;
        mod story;
        mod trace;

        fn main() -> std::process::ExitCode {
            command::main()
        }
    } else {
        fn main() -> std::process::ExitCode {
            eprintln!("regraft: code does not tier up on this target, and there is nothing to show");
            std::process::ExitCode::from(2)
        }
    }
}
