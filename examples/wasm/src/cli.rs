//! What the command does with its arguments.

use crate::timeout::{TIME_IS_UP, Timeout};
use clap::{Parser, ValueEnum};
use regraft::executor::Program;
use regraft::optimizer::Passes;
use regraft::report::AccountReport;
use regraft::warm::WarmStart;
use regraft::{CompileMode, Config, Executor, Mode};
use regraft_page::Limits;
use regraft_trace::Trace;
use regraft_wasm::{Error, Extern, ExternType, Imports, Instance, Module, Store, Value, Wasi};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run a WebAssembly module with tier-up and on-stack replacement.
#[derive(Debug, Parser)]
#[command(name = "regraft-wasm", version)]
pub struct Options {
    /// The module, in binary or text form.
    file: PathBuf,
    /// The exported function to call with the arguments that follow; without it, `_start`.
    #[arg(long, value_name = "NAME")]
    invoke: Option<String>,
    /// Arguments of the function.
    #[arg(value_name = "ARGS", allow_negative_numbers = true, value_parser = unmarked)]
    arguments: Vec<String>,
    /// How code is compiled.
    #[arg(long, value_enum, default_value = "tiered")]
    mode: ModeName,
    /// After how many executions a loop or function is hot.
    #[arg(long, value_name = "N")]
    threshold: Option<u32>,
    /// Compile hot code on the thread that runs it: deterministic.
    #[arg(long)]
    sync: bool,
    /// Passes that run before the code generator's own optimiser, separated by commas; `all`, `default` or `none`.
    #[arg(long, value_name = "PASSES", default_value = "none")]
    passes: Passes,
    /// Write the region report as JSON (`-` for standard output).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write a page that shows what tier-up did.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write what the engine does as a trace, for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Put all that the page shows into the report: CLIF and machine code of all versions, graphs, events.
    #[arg(long)]
    inspect: bool,
    /// Print on standard error how long each stage took, and in which phases each thread spent its time.
    #[arg(long)]
    time: bool,
    /// A directory that the program may read and write; it knows it as GUEST, or by the same name. A name
    /// with a colon needs a GUEST. May be repeated.
    #[arg(long, value_name = "HOST[::GUEST]")]
    dir: Vec<String>,
    /// A variable of the program's environment; without a value, with the value that it has here, if any. May
    /// be repeated.
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Load modules that import functions that are not there; calling one ends the program.
    #[arg(long)]
    stub_imports: bool,
    /// End the program after so many seconds; the exit code is 3 then.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Where code runs: in this process, in one of its own that is started, or in one that listens at a path.
    #[arg(
        long,
        value_name = "in-process|spawn|PATH",
        default_value = "in-process"
    )]
    executor: PathBuf,
    /// A folder in which a run leaves machine code, and what was hot, for later runs of the same module: they load it instead
    /// of compiling. It is made if need be, and must be yours alone.
    #[arg(long, value_name = "DIR")]
    profile_cache: Option<PathBuf>,
    /// Leave only what was hot in the profile cache: later runs compile that in the background from the start.
    #[arg(long, requires = "profile_cache")]
    no_code_cache: bool,
    /// Compile for later runs for so many seconds at the most once the program has ended; by default for as long as it ran, or
    /// for one second.
    #[arg(long, value_name = "SECONDS", requires = "profile_cache", value_parser = seconds)]
    profile_cache_time: Option<Duration>,
    /// Arguments of the program.
    #[arg(last = true, value_name = "PROGRAM ARGS")]
    program: Vec<String>,
}

/// A minus sign that is no hyphen, so that a number which begins with it is not taken for an option.
const MINUS: char = '\u{2212}';

impl Options {
    /// Reads the command line. Numbers such as `-inf` and `-0x10` look like options to the parser of options.
    pub fn read() -> Self {
        let mut own = true;
        Self::parse_from(std::env::args_os().map(|argument| {
            own &= argument != "--";
            match argument.to_str() {
                Some(text) if own => marked(text).unwrap_or(argument),
                _ => argument,
            }
        }))
    }
}

impl Options {
    /// Creates the trace, if one is wanted: a program is not run for nothing.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn start_trace(&self) -> Result<Option<Trace>, Failure> {
        let create = |path: &PathBuf| Trace::create(path).map_err(|error| unwritable(path, &error));
        self.trace.as_ref().map(create).transpose()
    }
}

/// A negative number with the other minus sign; nothing if the text is none.
fn marked(text: &str) -> Option<OsString> {
    let size = text.strip_prefix('-')?;
    let number = size.starts_with("0x") || size.parse::<f64>().is_ok();
    number.then(|| format!("{MINUS}{size}").into())
}

/// What [`marked`] was given.
fn unmarked(text: &str) -> Result<String, Infallible> {
    Ok(match text.strip_prefix(MINUS) {
        Some(size) => format!("-{size}"),
        None => text.to_string(),
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    /// Tier 0 first, tier 1 for what gets hot.
    Tiered,
    /// Tier 0 only.
    Tier0,
    /// Whole functions at tier 1, no counters.
    Eager,
}

/// Why the command failed.
#[derive(Debug)]
pub enum Failure {
    /// The input or the usage was wrong.
    Input(String),
    /// The program failed.
    Program(Error),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Program(Error::Interrupted { .. }) => TIME_IS_UP,
            Self::Program(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) => f.write_str(message),
            Self::Program(error) => error.fmt(f),
        }
    }
}

/// A time that is more than nothing.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a time to wait for".to_string()),
    }
}

fn input(message: impl Into<String>) -> Failure {
    Failure::Input(message.into())
}

/// The stack of the thread that runs the program; compiled programs expect some megabytes.
const STACK: usize = 256 << 20;

/// Runs the command on a thread with a large stack.
///
/// # Errors
///
/// What went wrong, with its exit code.
pub fn on_large_stack(options: Options) -> Result<ExitCode, Failure> {
    let thread = std::thread::Builder::new().stack_size(STACK);
    let thread = thread
        .spawn(move || run(&options))
        .map_err(|error| input(format!("no thread with a stack of 256 MiB: {error}")))?;
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn config(options: &Options, module: &Module) -> Config {
    let mut config = Config::default()
        .mode(match options.mode {
            ModeName::Tiered => Mode::Tiered,
            ModeName::Tier0 => Mode::Tier0,
            ModeName::Eager => Mode::Eager,
        })
        .settings(vec![("enable_verifier".to_string(), "false".to_string())]);
    config.optimizer.passes = options.passes;
    config.observe.inspect = options.inspect || options.html.is_some();
    config.warm_start = options.profile_cache.as_ref().map(|directory| {
        WarmStart::new(directory, module.digest())
            .code(!options.no_code_cache)
            .spend(options.profile_cache_time)
    });
    if options.sync {
        config.compile = CompileMode::Synchronous;
    }
    if let Some(threshold) = options.threshold {
        config.pacing = regraft::Pacing::Counts;
        config.thresholds.loops = threshold;
        config.thresholds.entries = threshold;
    }
    config
}

/// The process that was asked for. A program's stack is that of its own thread there, where it is started.
fn executor(place: &Path) -> Result<Executor, Failure> {
    let executor = match place.to_str() {
        Some("in-process") => return Ok(Executor::in_process()),
        Some("spawn") => Executor::spawn_program(&Program::find().stack(STACK >> 20)),
        _ => Executor::connect(place),
    };
    executor.map_err(|error| input(error.to_string()))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    input(format!("{} cannot be written: {error}", path.display()))
}

fn run(options: &Options) -> Result<ExitCode, Failure> {
    let clock = Instant::now();
    // A program is not run for nothing: what its report goes to comes first.
    let create = |path: Option<&PathBuf>| {
        let path = path.filter(|path| path.as_os_str() != "-");
        path.map(|path| File::create(path).map_err(|error| unwritable(path, &error)))
            .transpose()
    };
    let mut report_file = create(options.report.as_ref())?;
    let page_file = create(options.html.as_ref())?;
    let stage = |name: &str, since: Instant| {
        if options.time {
            eprintln!("{name:>12}  {:.6} s", since.elapsed().as_secs_f64());
        }
    };
    let file = options.file.display();
    let bytes = std::fs::read(&options.file)
        .map_err(|error| input(format!("{file} cannot be read: {error}")))?;
    let bytes = binary(bytes).map_err(|reason| input(format!("{file} {reason}")))?;
    let module = Module::new(&bytes).map_err(|error| input(format!("{file}: {error}")))?;
    stage("load", clock);

    let timeout = options.timeout.map(Timeout::after);
    if matches!(timeout, Some(None)) {
        return Err(input("--timeout: no thread that waits"));
    }
    let since = Instant::now();
    let refused = |error: Error| input(format!("{file}: {error}"));
    let config = config(options, &module).executor(executor(&options.executor)?);
    let store = Store::new(config).map_err(refused)?;
    let mut imports = Imports::new();
    wasi(options)?
        .define(&store, &mut imports)
        .map_err(refused)?;
    if options.stub_imports {
        imports.stub_functions(&store, &module).map_err(refused)?;
    }
    let instance = Instance::new(&store, &module, &imports).map_err(|error| match error {
        error @ (Error::Trap(_)
        | Error::Exit(_)
        | Error::Host(_)
        | Error::Exception(_)
        | Error::Interrupted { .. }) => Failure::Program(error),
        error => refused(error),
    })?;
    stage("instantiate", since);

    let since = Instant::now();
    let outcome = call(options, &module, &instance);
    drop(timeout);
    stage("run", since);
    if options.time {
        print_account(&store.engine().account());
    }
    if options.report.is_some() || options.html.is_some() {
        store.engine().wait_idle();
        let report = store.engine().report().to_json();
        match (&options.report, &mut report_file) {
            (Some(path), Some(file)) => write(file, path, &report)?,
            (Some(_), None) => println!("{report}"),
            (None, _) => {}
        }
        if let Some(path) = &options.html {
            let page = regraft_page::page(&report, &file.to_string(), &Limits::default());
            let page = page.map_err(|error| input(error.to_string()))?;
            match page_file {
                Some(mut file) => write(&mut file, path, &page)?,
                None => println!("{page}"),
            }
        }
    }
    // A program whose time is up has none to save in.
    let time_is_up = matches!(outcome, Err(Failure::Program(Error::Interrupted { .. })));
    if options.profile_cache.is_some() && !time_is_up {
        let since = Instant::now();
        // The program has done its work: that the next run starts cold is no failure of this one.
        if let Err(error) = store.engine().save_warm_start() {
            eprintln!("regraft-wasm: {error}");
        }
        stage("save", since);
    }
    stage("all", clock);
    match outcome {
        Err(Failure::Program(Error::Exit(code))) => Ok(ExitCode::from(code.to_le_bytes()[0])),
        Err(failure) => Err(failure),
        Ok(results) => {
            for result in results {
                println!("{result}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where the time of each thread went: phases, and last what is left, which is generated code and what is not the engine's.
fn print_account(account: &AccountReport) {
    let seconds = |micros: u64| micros as f64 / 1e6;
    for thread in &account.threads {
        let phases = thread.phases.iter();
        let phases = phases.map(|(phase, &micros)| (phase.as_str(), micros));
        eprintln!(
            "{:>12}  {:.6} s, of which",
            thread.name,
            seconds(thread.micros)
        );
        for (name, micros) in phases.chain([("rest", thread.rest_micros)]) {
            eprintln!("{:>28}  {:.6} s", name, seconds(micros));
        }
    }
}

fn write(file: &mut File, path: &Path, text: &str) -> Result<(), Failure> {
    let written = file.write_all(text.as_bytes());
    written.map_err(|error| unwritable(path, &error))
}

/// A module in binary form, assembled if it is text; or what is wrong with it.
fn binary(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.starts_with(b"\0asm") {
        return Ok(bytes);
    }
    let neither = "is not a WebAssembly module, neither in binary nor in text form";
    let text = std::str::from_utf8(&bytes).map_err(|_| neither.to_string())?;
    let wrong = |error: wast::Error| format!("{neither}: {error}");
    let buffer = wast::parser::ParseBuffer::new(text).map_err(wrong)?;
    let mut module = wast::parser::parse::<wast::Wat<'_>>(&buffer).map_err(wrong)?;
    module.encode().map_err(wrong)
}

/// What the program sees of the world.
fn wasi(options: &Options) -> Result<Wasi, Failure> {
    let mut wasi = Wasi::new();
    let name = options.file.file_name().unwrap_or_default();
    wasi.argument(&name.to_string_lossy());
    for argument in &options.program {
        wasi.argument(argument);
    }
    for directory in &options.dir {
        let (host, guest) = directory.split_once("::").unwrap_or((directory, directory));
        wasi.directory(host.as_ref(), guest)
            .map_err(|error| input(format!("--dir {directory}: {error}")))?;
    }
    for variable in &options.env {
        match variable.split_once('=') {
            Some(("", _)) => return Err(input(format!("--env {variable}: there is no name"))),
            Some((name, value)) => {
                wasi.variable(name, value);
            }
            None => {
                if let Some(value) = std::env::var_os(variable) {
                    wasi.variable(variable, &value.to_string_lossy());
                }
            }
        }
    }
    Ok(wasi)
}

/// Calls what the options name.
fn call(options: &Options, module: &Module, instance: &Instance) -> Result<Vec<Value>, Failure> {
    let name = options.invoke.as_deref().unwrap_or("_start");
    let Some(Extern::Func(function)) = instance.export(name) else {
        return Err(input(missing(name, module)));
    };
    let ty = function.ty();
    if ty.params.len() != options.arguments.len() {
        return Err(input(format!(
            "{name} takes {} arguments, {ty}; {} were given",
            ty.params.len(),
            options.arguments.len()
        )));
    }
    let arguments: Result<Vec<Value>, Error> = ty
        .params
        .iter()
        .zip(&options.arguments)
        .map(|(ty, text)| Value::parse(*ty, text))
        .collect();
    let arguments = arguments.map_err(|error| input(error.to_string()))?;
    function.call(&arguments).map_err(Failure::Program)
}

/// What to say where a function is not exported.
fn missing(name: &str, module: &Module) -> String {
    let functions: Vec<&str> = module
        .exports()
        .filter(|(_, ty)| matches!(ty, ExternType::Func(_)))
        .map(|(name, _)| name)
        .collect();
    match functions[..] {
        [] => format!("the module exports no function, so {name} cannot be called"),
        _ => format!(
            "the module exports no function {name}; name one with --invoke: {}",
            functions.join(", ")
        ),
    }
}
