//! Where the command writes, and how it fails.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table, TableComponent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

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
    progress: Option<Progress>,
}

/// A bar on a terminal, once the job has taken long.
#[derive(Debug)]
struct Progress {
    bar: ProgressBar,
    /// Steps that have begun.
    begun: u64,
    /// Dropped when the job ends, which a thread waits for.
    _job: Sender<()>,
}

/// What takes less needs no bar.
const LONG: Duration = Duration::from_secs(1);

impl Output {
    /// Results and lines go to standard output.
    pub fn new() -> Self {
        Self {
            lines_to_stderr: false,
            progress: None,
        }
    }

    /// Leaves standard output to a document: lines go to standard error.
    pub fn reserve_stdout(&mut self) {
        self.lines_to_stderr = true;
    }

    /// Writes a line for people.
    pub fn line(&mut self, line: impl fmt::Display) -> Result<(), CliError> {
        let write = || match self.lines_to_stderr {
            true => writeln!(io::stderr(), "{line}"),
            false => writeln!(io::stdout(), "{line}"),
        };
        match &self.progress {
            Some(progress) => progress.bar.suspend(write)?,
            None => write()?,
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

    /// Begins a job of so many steps. How far it is, is shown on a terminal, and nowhere else.
    pub fn begin(&mut self, steps: usize) {
        if io::stderr().is_terminal() {
            self.progress = Some(Progress::new(steps));
        }
    }

    /// The job comes to its next step.
    pub fn step(&mut self, what: &dyn fmt::Display) {
        if let Some(Progress { bar, begun, .. }) = &mut self.progress {
            bar.set_message(what.to_string());
            bar.set_position(*begun);
            *begun += 1;
        }
    }

    /// The job is done; the bar goes.
    pub fn end(&mut self) {
        self.progress = None;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress {
    fn new(steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::hidden());
        // The template is ours; the style by default is none that anything depends on.
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed}  {wide_msg}")
        {
            bar.set_style(style);
        }
        let (job, ended) = channel();
        let shown = bar.clone();
        // Without a thread there is no bar.
        let _ = std::thread::Builder::new().spawn(move || {
            if ended.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(LONG / 4);
            }
        });
        Self {
            bar,
            begun: 0,
            _job: job,
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
