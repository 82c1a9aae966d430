//! The `regraft-wasm` command: runs a WebAssembly module with tier-up and OSR.
//!
//! Exit codes: that of a WASI program that exits; else 0 fine, 1 the program failed or trapped, 2 bad
//! input or usage, 3 its time was up (`--timeout`).

#![deny(missing_docs)]

mod cli;
mod timeout;

use std::process::ExitCode;

fn main() -> ExitCode {
    let options = cli::Options::read();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match cli::on_large_stack(options) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("regraft-wasm: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
