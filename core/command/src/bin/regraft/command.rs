//! The `regraft` command.
//!
//! | subcommand | does |
//! |---|---|
//! | `run` | runs the run comments of CLIF test files through the engine |
//! | `regions` | says which loops would become regions, and why not, without running anything |
//! | `outline` | prints what outlining one loop makes of a function |
//! | `report` | prints a saved region report as tables, or makes an HTML page of it |
//! | `diff` | compares two saved region reports |
//!
//! Exit codes: 0 all went well; 1 what was run failed; 2 the input or the command line is no good.
//!
//! Invariants:
//!
//! * Results go to standard output, everything else to standard error.
//! * A reader that goes away ends the command quietly.
//! * No input makes it panic: panics of the code generator are caught by the engine, and would be
//!   errors here.
//!
//! Not here: the engine, and all that is decided about CLIF.

use crate::output::{CliError, Output};
use crate::{diff, outline, regions, report, run, trace};
use clap::{Parser, Subcommand};
use regraft_trace::Trace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Tier-up for Cranelift IR: runs CLIF, outlines its hot loops, and shows what became of them.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say on standard error what the engine does; RUST_LOG chooses in detail
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Regions(regions::Args),
    Outline(outline::Args),
    Report(report::Args),
    Diff(diff::Args),
}

/// Runs what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let trace = match &cli.command {
        Command::Run(args) => args.trace.as_deref().map(trace::create).transpose(),
        _ => Ok(None),
    };
    let trace = match trace {
        Ok(trace) => trace,
        Err(error) => {
            error.explain();
            return error.exit_code();
        }
    };
    start_tracing(cli.verbose, trace.as_ref());
    // What panics in the code generator becomes an error of the function; the message is in that.
    std::panic::set_hook(Box::new(
        |panic| tracing::debug!(%panic, "a panic, to be caught"),
    ));
    let mut out = Output::new();
    let result = catch_unwind(AssertUnwindSafe(|| match &cli.command {
        Command::Run(args) => run::run(args, &mut out),
        Command::Regions(args) => regions::run(args, &mut out),
        Command::Outline(args) => outline::run(args, &mut out),
        Command::Report(args) => report::run(args, &mut out),
        Command::Diff(args) => diff::run(args, &mut out),
    }));
    let result = result.unwrap_or_else(|_| {
        let message = "internal error: this is a defect of regraft (RUST_LOG=debug shows where)";
        Err(CliError::Failed(message.to_string()))
    });
    out.end();
    let traced = trace.map_or(Ok(()), |trace| trace::finish(&trace));
    match result.and(traced) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.explain();
            error.exit_code()
        }
    }
}

/// Sends events to standard error and to a trace, if they were asked for.
fn start_tracing(verbose: bool, trace: Option<&Trace>) {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => Some(filter),
        Err(_) => verbose.then(|| EnvFilter::new("regraft=debug")),
    };
    if filter.is_none() && trace.is_none() {
        return;
    }
    let for_people = filter.map(|filter| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_filter(filter)
    });
    let subscriber = tracing_subscriber::registry()
        .with(for_people)
        .with(trace.map(Trace::layer));
    // Nothing else has set one.
    let _ = subscriber.try_init();
}
