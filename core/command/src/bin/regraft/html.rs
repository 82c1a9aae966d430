//! A report as an HTML page.

use crate::input;
use crate::output::CliError;
use regraft_page::{Limits, page};
use std::path::Path;

/// Writes the page of a report, given as JSON, which comes from `source`.
pub fn write(path: &Path, report: &str, source: &str) -> Result<(), CliError> {
    let page = page(report, source, &Limits::default());
    let page = page.map_err(|error| CliError::BadInput(format!("{source}: {error}")))?;
    input::write(path, &page)
}
