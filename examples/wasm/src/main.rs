//! The `regraft-wasm` command: runs a WebAssembly module with tier-up and OSR.
//!
//! Exit codes: that of a WASI program that exits; else 0 fine, 1 the program failed or trapped, 2 bad
//! input or usage, 3 its time was up (`--timeout`).

#![deny(missing_docs)]

mod cli;
mod timeout;

use regraft_trace::Trace;
use std::process::ExitCode;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

fn main() -> ExitCode {
    let options = cli::Options::read();
    let result = options.start_trace().and_then(|trace| {
        let for_people = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_filter(EnvFilter::from_default_env());
        tracing_subscriber::registry()
            .with(for_people)
            .with(trace.as_ref().map(Trace::layer))
            .init();
        let result = cli::on_large_stack(options);
        if let Some(Err(error)) = trace.map(|trace| trace.finish()) {
            eprintln!("regraft-wasm: the trace is not whole: {error}");
        }
        result
    });
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("regraft-wasm: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
