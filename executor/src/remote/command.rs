//! The `regraft-executor` command, as a function, for programs that are executors themselves.

use super::sandbox;
use super::serve::{Options, STACK, ServeError, serve};
use clap::Parser;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Run what a regraft engine in another process makes
#[derive(Debug, Parser)]
#[command(name = "regraft-executor", version)]
struct Args {
    /// Wait for engines at this socket, with a process for each, instead of serving standard input
    #[arg(long, value_name = "PATH")]
    listen: Option<PathBuf>,

    /// Once there is memory for code, make no executable memory, open nothing, and connect nowhere
    #[arg(long)]
    sandbox: bool,

    /// The stack of each thread that runs code, in MiB
    #[arg(long, value_name = "MIB", default_value_t = STACK >> 20, value_parser = mebibytes)]
    stack: usize,

    /// How long calls may go on when the engine is gone
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    patience: u64,
}

/// A number of MiB whose bytes can be addressed.
fn mebibytes(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "not a number".to_string())?;
    match number {
        1..=65_536 => Ok(number),
        _ => Err("not between 1 and 65536".to_string()),
    }
}

/// Runs the command with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let errors = tracing_subscriber::fmt().with_writer(io::stderr);
    errors.with_max_level(tracing::Level::ERROR).init();
    let done = match &args.listen {
        None => on_standard_input(&args),
        Some(path) => listen(path, &args).map_err(|error| format!("{}: {error}", path.display())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("regraft-executor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the connection that is standard input.
fn on_standard_input(args: &Args) -> Result<(), String> {
    let options = Options {
        patience: Duration::from_secs(args.patience),
        stack: args.stack << 20,
        confine: args.sandbox.then_some(sandbox::confine),
    };
    let control = connection().map_err(|error| error.to_string())?;
    match serve(control, &options) {
        // They end with the process.
        Ok(()) | Err(ServeError::Running { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Standard input as a connection of its own; what generated code reads there is empty.
fn connection() -> io::Result<OwnedFd> {
    let control = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(control)
}

/// Waits for engines.
fn listen(path: &Path, args: &Args) -> io::Result<()> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let listener = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&listener, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&listener, 16)?;
    let program = std::env::current_exe()?;
    let mut children = vec![];
    loop {
        let accepted = match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(accepted) => accepted,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut command = Command::new(&program);
        command.arg(format!("--patience={}", args.patience));
        command.arg(format!("--stack={}", args.stack));
        if args.sandbox {
            command.arg("--sandbox");
        }
        let child = command.stdin(Stdio::from(accepted)).spawn()?;
        children.push(child);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}
