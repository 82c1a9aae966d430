//! The `regraft-executor` command, for the benches to spawn.

fn main() -> std::process::ExitCode {
    regraft_executor::remote::command::main()
}
