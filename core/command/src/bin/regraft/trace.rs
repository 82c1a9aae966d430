//! `--trace FILE`.

use crate::output::CliError;
use regraft_trace::Trace;
use std::io;
use std::path::Path;

/// Creates the file, before anything is run for nothing.
pub fn create(path: &Path) -> Result<Trace, CliError> {
    Trace::create(path).map_err(|error| {
        let file = path.display();
        CliError::BadInput(format!("{file} cannot be written: {error}"))
    })
}

/// Ends the trace.
pub fn finish(trace: &Trace) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::Failed(format!("the trace is not whole: {error}"));
    trace.finish().map_err(failed)
}
