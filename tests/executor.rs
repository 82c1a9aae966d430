//! The `regraft-executor` command, for the tests to spawn.

fn main() -> std::process::ExitCode {
    regraft_executor::remote::command::main()
}
