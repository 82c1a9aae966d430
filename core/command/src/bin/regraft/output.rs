//! Where the command writes, and how it fails.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table, TableComponent};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Why a subcommand did not succeed.
#[derive(Debug)]
pub enum CliError {
    /// What was asked for was done, and did not succeed; it has been said already or is said here.
    Failed(String),
    /// The input or the command line is no good.
    BadInput(String),
    /// Writing failed.
    Output(io::Error),
}

impl CliError {
    /// Says on standard error what is wrong, unless nobody listens or it was said.
    pub fn explain(&self) {
        let message = match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
            Self::Output(error) => format!("cannot write: {error}"),
            Self::Failed(message) | Self::BadInput(message) => message.clone(),
        };
        if !message.is_empty() {
            // If standard error is gone too, there is nobody to tell.
            let _ = writeln!(io::stderr(), "regraft: {message}");
        }
    }

    /// The exit code of the command.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Failed(_) | Self::Output(_) => ExitCode::from(1),
            Self::BadInput(_) => ExitCode::from(2),
        }
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Standard output for results, standard error for progress.
#[derive(Debug)]
pub struct Output {
    lines_to_stderr: bool,
    progress: bool,
}

impl Output {
    /// Results and lines go to standard output.
    pub fn new() -> Self {
        Self {
            lines_to_stderr: false,
            progress: io::stderr().is_terminal() && !io::stdout().is_terminal(),
        }
    }

    /// Leaves standard output to a document: lines go to standard error.
    pub fn reserve_stdout(&mut self) {
        self.lines_to_stderr = true;
        self.progress = false;
    }

    /// Writes a line for people.
    pub fn line(&mut self, line: impl fmt::Display) -> Result<(), CliError> {
        if self.lines_to_stderr {
            writeln!(io::stderr(), "{line}")?;
        } else {
            writeln!(io::stdout(), "{line}")?;
        }
        Ok(())
    }

    /// Writes a document to standard output.
    pub fn document(&mut self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()?;
        Ok(())
    }

    /// Shows how far a long job is, on a terminal that shows nothing else.
    pub fn progress(&mut self, done: usize, total: usize, what: &str) {
        if self.progress && total > 1 {
            // Only for show: a terminal that cannot be written is no error.
            let _ = write!(io::stderr(), "\r\x1b[K[{done}/{total}] {what}");
            let _ = io::stderr().flush();
        }
    }

    /// Removes the progress line.
    pub fn end_progress(&mut self) {
        if self.progress {
            let _ = write!(io::stderr(), "\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}

/// A table with lines above, below and under its header; as wide as the terminal, if it is for one.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    for component in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(component);
    }
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}
