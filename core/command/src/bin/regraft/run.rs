//! `regraft run`: the run comments of CLIF files, through the engine.
//!
//! Output: a line per command, then `N passed, N failed`, and `, N skipped` if there were commands for
//! targets that this machine cannot run. A function that traps ends the process: there is no handler.

use crate::output::{CliError, Output};
use crate::{html, input, story};
use clap::ValueEnum;
use cranelift_codegen::data_value::DataValue;
use regraft::config::{FoundBy, Optimizer, SharedFuel};
use regraft::isa::TierIsas;
use regraft::optimizer::Passes;
use regraft::regions::{Profile, function_hash};
use regraft::report::{REPORT_VERSION, SavedProfileReport, WorkersReport};
use regraft::{
    CompileMode, Config, Detection, Executor, FunctionId, Mode, Observe, Pacing, Report, Sampling,
};
use regraft_command::clif::{Command, Program, Target, TestFile, Verdict};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Run the `; run:` and `; print:` comments of CLIF test files
///
/// Each file is compiled once for every `target` line that names this machine's architecture and that
/// this CPU can run; files without `test` and `target` lines run on the host.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// CLIF files; `-` is standard input
    #[arg(required = true, value_name = "FILE.clif")]
    files: Vec<PathBuf>,

    /// How functions are compiled
    #[arg(long, value_enum, default_value_t = ModeArg::Tiered)]
    mode: ModeArg,

    /// Executions after which a loop or a function is hot [default: 1000]
    #[arg(long, value_name = "N")]
    threshold: Option<u32>,

    /// Compile hot code in the running thread, which waits: deterministic
    #[arg(long)]
    sync: bool,

    /// Verify all generated code, and check outlined code against its source
    #[arg(long)]
    check: bool,

    /// Run every command N times; all must succeed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Passes that run before the code generator's own optimiser, separated by commas; `all`, `default` or `none`
    #[arg(long, value_name = "PASSES", default_value = "none")]
    passes: String,

    /// Let the passes make N changes at most: to find the one that breaks a program
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,

    /// What finds hot code while it runs
    #[arg(long, value_enum, default_value_t = DetectorArg::Counters)]
    detector: DetectorArg,

    /// When parts are compiled at tier 1, and at which tier functions start
    #[arg(long, value_enum, default_value = "counts")]
    pacing: PacingArg,

    /// Compile at once what this profile shows hot, which `--save-profile` wrote
    ///
    /// Functions are known by a hash of their CLIF: one that has changed is run without its profile.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// Where code runs: `in-process`, `spawn` for a process of its own (the `regraft-executor` program), or the socket at which
    /// one listens
    #[arg(long, value_name = "spawn|PATH", default_value = "in-process")]
    executor: PathBuf,

    /// Run the body of every function N times per call, in a loop (once where it has side effects)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    wrap: Option<u32>,

    /// A Cranelift setting or ISA flag for all targets, after those of the file; can be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,

    /// Write the region report as JSON; `-` is standard output, which then has nothing else
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Write a page that shows what tier-up did; opens in a browser, from the file system
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write what the engine does as a trace, for Perfetto or chrome://tracing: compile jobs by thread, queueing, publication,
    /// side exits
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Put into the report all that the page shows: CLIF and machine code of all versions, graphs with counts, events
    #[arg(long)]
    inspect: bool,

    /// Leave out the table of what tier-up did
    #[arg(short, long)]
    quiet: bool,

    /// Write counts and formed regions as JSON, for `--profile` and `regraft regions --profile`
    #[arg(long, value_name = "FILE")]
    save_profile: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// Tier 0 with counters first, tier 1 for what gets hot
    Tiered,
    /// Tier 0 with counters only
    Tier0,
    /// Whole functions at tier 1, without counters
    Eager,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PacingArg {
    /// By the threshold: every function starts at tier 0
    Counts,
    /// By what compiling costs and is likely to gain, as an engine does by default
    Cost,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DetectorArg {
    /// Counters in tier-0 code
    Counters,
    /// A timer that samples program counters; tier-0 code does not count
    Sampling,
}

impl ModeArg {
    fn mode(self) -> Mode {
        match self {
            Self::Tiered => Mode::Tiered,
            Self::Tier0 => Mode::Tier0,
            Self::Eager => Mode::Eager,
        }
    }
}

impl DetectorArg {
    fn detection(self) -> Detection {
        match self {
            Self::Counters => Detection::Counters,
            Self::Sampling => Detection::Sampling(Sampling::default()),
        }
    }
}

/// Parses `NAME=VALUE`; a bare `NAME` switches a setting on.
fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    match name.is_empty() {
        true => Err("expected NAME=VALUE".to_string()),
        false => Ok((name.to_string(), value.to_string())),
    }
}

/// Counts over all files, and what they leave behind.
#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Functions that do not compile and have no commands that would fail for it.
    broken: usize,
    report: Option<Report>,
    profile: Profile,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<(), CliError> {
    let is_stdout = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if is_stdout(&args.report) || is_stdout(&args.save_profile) {
        out.reserve_stdout();
    }
    let config = config(args)?;
    let files = parse_all(args)?;
    let written = [&args.report, &args.html, &args.save_profile];
    for path in written.into_iter().flatten() {
        if path != Path::new("-") {
            input::can_write(path)?;
        }
    }
    let mut totals = Totals::default();
    out.begin(files.iter().map(commands).sum());
    for file in &files {
        run_file(args, &config, file, &mut totals, out)?;
    }
    out.end();
    let summary = format!("{} passed, {} failed", totals.passed, totals.failed);
    match totals.skipped {
        0 => out.line(summary)?,
        skipped => out.line(format_args!("{summary}, {skipped} skipped"))?,
    }
    let report = totals.report.unwrap_or_else(|| empty_report(args));
    if let Some(story) = story::story(&report).filter(|_| !args.quiet) {
        out.line(story)?;
    }
    if args.report.is_some() || args.html.is_some() {
        let report = report.to_json();
        if let Some(path) = &args.report {
            save(path, &report, out)?;
        }
        if let Some(path) = &args.html {
            html::write(path, &report, &title(args))?;
        }
    }
    if let Some(path) = &args.save_profile {
        save(path, &totals.profile.to_json(), out)?;
    }
    match totals.failed + totals.broken {
        0 => Ok(()),
        _ => Err(CliError::Failed(String::new())),
    }
}

fn config(args: &Args) -> Result<Config, CliError> {
    let settings = args.settings.iter();
    let settings: Vec<(&str, &str)> = settings.map(|(name, value)| (&**name, &**value)).collect();
    TierIsas::native(&settings).map_err(|error| CliError::BadInput(error.to_string()))?;
    let passes: Result<Passes, _> = args.passes.parse();
    let mut config = Config::default()
        .mode(args.mode.mode())
        .compile(match args.sync {
            true => CompileMode::Synchronous,
            false => CompileMode::Background,
        })
        .check(args.check)
        .detection(args.detector.detection())
        .pacing(match args.pacing {
            PacingArg::Cost => Pacing::Cost,
            PacingArg::Counts => Pacing::Counts,
        })
        .observe(Observe {
            inspect: args.inspect || args.html.is_some(),
            ..Observe::default()
        })
        .profile(
            args.profile
                .as_deref()
                .map(input::profile)
                .transpose()?
                .map(Arc::new),
        )
        .executor(executor(&args.executor)?)
        .optimizer(Optimizer {
            passes: passes.map_err(|error| CliError::BadInput(error.to_string()))?,
            fuel: args
                .fuel
                .map_or_else(SharedFuel::default, SharedFuel::limited),
            ..Optimizer::default()
        });
    if let Some(threshold) = args.threshold {
        config.thresholds.loops = threshold;
        config.thresholds.entries = threshold;
    }
    Ok(config)
}

/// The process that was asked for.
fn executor(place: &Path) -> Result<Executor, CliError> {
    let executor = match place.to_str() {
        Some("in-process") => return Ok(Executor::in_process()),
        Some("spawn") => Executor::spawn(),
        _ => Executor::connect(place),
    };
    executor.map_err(|error| CliError::BadInput(error.to_string()))
}

/// Reads all files before anything runs; every bad one is named.
fn parse_all(args: &Args) -> Result<Vec<TestFile>, CliError> {
    let mut files = vec![];
    let mut errors = vec![];
    for path in &args.files {
        match input::parse(path, &args.settings) {
            Ok(file) => files.push(file),
            Err(CliError::BadInput(error)) => errors.push(error),
            Err(error) => return Err(error),
        }
    }
    match errors.is_empty() {
        true => Ok(files),
        false => Err(CliError::BadInput(errors.join("\nregraft: "))),
    }
}

/// How many commands of a file are run.
fn commands(file: &TestFile) -> usize {
    let functions = file.functions().iter();
    let commands: usize = functions.map(|function| function.commands.len()).sum();
    let targets = file.targets().iter();
    let runs = targets.filter(|target| target.missing().is_empty());
    match file.inapplicable() {
        Some(_) => 0,
        None => commands * runs.count(),
    }
}

fn run_file(
    args: &Args,
    config: &Config,
    file: &TestFile,
    totals: &mut Totals,
    out: &mut Output,
) -> Result<(), CliError> {
    let name = file.name();
    let commands = file
        .functions()
        .iter()
        .map(|function| function.commands.len());
    let commands: usize = commands.sum();
    if let Some(reason) = file.inapplicable() {
        out.line(format_args!("skip  {name}: {reason}"))?;
        totals.skipped += commands.max(1);
        return Ok(());
    }
    for target in file.targets() {
        if !target.missing().is_empty() {
            let missing = target.missing().join(", ");
            let target = target.name();
            out.line(format_args!(
                "skip  {name} [{target}]: this CPU lacks {missing}"
            ))?;
            totals.skipped += commands;
            continue;
        }
        match Program::build(file, target, config.clone(), args.wrap) {
            Ok(program) => {
                run_program(args, file, target, &program, totals, out)?;
                if args.profile.is_some() {
                    explain_ignored(file, &program, out)?;
                }
                keep(file, target, &program, totals);
            }
            Err(error) => {
                out.line(format_args!("FAIL  {name} [{}]: {error}", target.name()))?;
                totals.failed += commands.max(1);
            }
        }
    }
    Ok(())
}

fn run_program(
    args: &Args,
    file: &TestFile,
    target: &Target,
    program: &Program,
    totals: &mut Totals,
    out: &mut Output,
) -> Result<(), CliError> {
    let place = |line: usize| format!("{}:{line} [{}]", file.name(), target.name());
    for (function, id) in file.functions().iter().zip(program.ids()) {
        let id = match id {
            Ok(id) => id,
            Err(error) => {
                out.line(format_args!("FAIL  {} {error}", place(function.line)))?;
                totals.failed += function.commands.len();
                totals.broken += 1;
                continue;
            }
        };
        for command in &function.commands {
            let place = place(command.line);
            tracing::debug!(%place, %command, "running");
            out.step(&place);
            match repeat(args.repeat, program, id, command) {
                Ok(Verdict::Passed) => {
                    totals.passed += 1;
                    out.line(format_args!("ok    {place} {command}"))?;
                }
                Ok(Verdict::Printed { actual }) => {
                    out.line(format_args!("print {place} {command} -> {actual}"))?;
                }
                Ok(Verdict::Failed { actual }) => {
                    totals.failed += 1;
                    out.line(format_args!("FAIL  {place} {command}, got {actual}"))?;
                }
                Err(error) => {
                    totals.failed += 1;
                    out.line(format_args!("FAIL  {place} {command}: {error}"))?;
                }
            }
        }
    }
    program.engine().wait_idle();
    Ok(())
}

/// Runs a command so many times, or until it fails.
fn repeat(
    times: u32,
    program: &Program,
    id: FunctionId,
    command: &Command,
) -> Result<Verdict, regraft::Error> {
    let mut verdict = Verdict::Passed;
    for _ in 0..times {
        verdict = command.judge(&call(program, id, command)?);
        if matches!(verdict, Verdict::Failed { .. }) {
            break;
        }
    }
    Ok(verdict)
}

fn call(
    program: &Program,
    id: FunctionId,
    command: &Command,
) -> Result<Vec<DataValue>, regraft::Error> {
    // SAFETY: who runs a file by this command vouches for its code, as who runs a script does.
    unsafe { program.engine().call(id, command.args()) }
}

/// Says whose profile was not used, and why.
fn explain_ignored(file: &TestFile, program: &Program, out: &mut Output) -> Result<(), CliError> {
    for (name, function) in program.engine().report().functions {
        let ignored = function
            .saved_profile
            .filter(|saved| !saved.reason.is_empty());
        if let Some(SavedProfileReport { reason, .. }) = ignored {
            let file = file.name();
            out.line(format_args!(
                "note  {file}: the profile of {name} is ignored: {reason}; save it anew"
            ))?;
        }
    }
    Ok(())
}

/// Adds what the engine reports to what others did. A name that is taken gets the file's and the
/// target's.
fn keep(file: &TestFile, target: &Target, program: &Program, totals: &mut Totals) {
    let free_name = |name: &str, taken: &dyn Fn(&str) -> bool| {
        if !taken(name) {
            return name.to_string();
        }
        let stem = Path::new(file.name()).file_stem().unwrap_or_default();
        let long = format!("{name}@{}:{}", stem.to_string_lossy(), target.name());
        let numbered = (2..).map(|number: u64| format!("{long}#{number}"));
        let mut names = std::iter::once(long.clone()).chain(numbered);
        names.find(|name| !taken(name)).unwrap_or(long)
    };
    let mut report = program.engine().report();
    let mut functions = std::mem::take(&mut report.functions);
    let (workers, memory) = (report.workers.clone(), report.memory.clone());
    let account = std::mem::take(&mut report.account);
    let (events, times) = (report.events.take(), report.times.take());
    let merged = totals.report.get_or_insert_with(|| Report {
        workers: Default::default(),
        memory: Default::default(),
        account: Default::default(),
        ..report
    });
    merged.memory.add(memory);
    merged.account.add(account);
    merged.workers = WorkersReport {
        threads: merged.workers.threads + workers.threads,
        jobs: merged.workers.jobs + workers.jobs,
        panics: merged.workers.panics + workers.panics,
        queued: merged.workers.queued + workers.queued,
    };
    let mut renamed = HashMap::new();
    for (old, mut function) in functions.drain(..) {
        let name = free_name(&old, &|name| merged.functions.contains_key(name));
        renamed.insert(old, name.clone());
        for region in &mut function.regions {
            region.function.clone_from(&name);
        }
        merged.functions.insert(name, function);
    }
    if let Some(times) = times {
        merged.times.get_or_insert_default().add(times);
    }
    if let Some(mut events) = events {
        for event in &mut events.list {
            if let Some(name) = renamed.get(&event.function) {
                event.function.clone_from(name);
            }
        }
        let all = merged.events.get_or_insert_default();
        all.list.append(&mut events.list);
        all.left_out += events.left_out;
    }
    // The engine numbers names, and hashes what it numbered; a profile is for the file's text.
    let mut profile = program.engine().profile();
    for (function, source) in file.functions().iter().zip(program.sources()) {
        if let Some(mut saved) = profile.functions.swap_remove(&function.name) {
            saved.hash = function_hash(source);
            let taken = |name: &str| totals.profile.functions.contains_key(name);
            let name = free_name(&function.name, &taken);
            totals.profile.functions.insert(name, saved);
        }
    }
}

fn empty_report(args: &Args) -> Report {
    Report {
        version: REPORT_VERSION,
        mode: args.mode.mode(),
        detection: match args.detector {
            DetectorArg::Counters => FoundBy::Counters,
            DetectorArg::Sampling => FoundBy::Sampling,
        },
        target: target_lexicon::Triple::host().to_string(),
        workers: Default::default(),
        memory: Default::default(),
        account: Default::default(),
        warm_start: None,
        functions: Default::default(),
        times: None,
        events: None,
    }
}

/// What the page is about.
fn title(args: &Args) -> String {
    let files: Vec<String> = args
        .files
        .iter()
        .take(3)
        .map(|file| file.display().to_string())
        .collect();
    let more = args.files.len() - files.len();
    match more {
        0 => files.join(", "),
        more => format!("{} and {more} more", files.join(", ")),
    }
}

fn save(path: &Path, text: &str, out: &mut Output) -> Result<(), CliError> {
    match path == Path::new("-") {
        true => out.document(text),
        false => input::write(path, text),
    }
}
