//! Run tests, Cranelift's own among them, through every mode of the engine.
//!
//! Each run command of the corpus must return the bits that it does under plain `cranelift-jit`: at tier 0,
//! at tier 1, while tiering up, and with every function's body wrapped in a loop, so that each instruction,
//! type, signature and setting passes through a region hook, is outlined and entered while it runs.
//!
//! The files are those of the project and, where they lie beside it, Cranelift's own (`corpus`).

use crate::corpus::{self, Corpus, corpora};
use regraft::config::{FoundBy, Optimizer};
use regraft::optimizer::Passes;
use regraft::regions::{Profile, function_hash};
use regraft::report::PartReport;
use regraft::report::{PartState, SideExitState};
use regraft::warm::{Digest, WarmStart};
use regraft::{CompileMode, Config, Detection, Mode, Sampling};
use regraft_command::clif::{Effect, Program, Target, TestFile, Verdict, Wrapping};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The figures of plain cranelift-jit 0.135.8, on x86-64 and AArch64; those of RISC-V are counted in the files.
const FILES: usize = 203;
const APPLICABLE_FILES: usize = [152, 173, 179][MACHINE];
const PAIRS: usize = [320, 193, 371][MACHINE];
const FUNCTIONS: usize = [1939, 1240, 2245][MACHINE];
const RUN_COMMANDS: usize = [12_999, 7560, 14_226][MACHINE];
const MACHINE: usize =
    cfg!(target_arch = "aarch64") as usize + 2 * cfg!(target_arch = "riscv64") as usize;

/// The function for which Cranelift itself panics at `opt_level=speed` on AArch64, by file: it makes no constants
/// of 64-bit vectors.
pub const CRANELIFT_PANICS: (&str, &str) = ("issue-12696.clif", "isub_repro");

/// What a run over the corpus found.
#[derive(Debug, Default)]
struct Tally {
    files: usize,
    applicable: usize,
    pairs: usize,
    skipped_pairs: usize,
    skipped_commands: usize,
    /// Over all pairs, skipped ones too.
    functions: usize,
    passed: usize,
    printed: usize,
    failures: Vec<String>,
    wrappings: BTreeMap<&'static str, usize>,
    loops: usize,
    outlined: usize,
    entered: usize,
    entered_while_running: usize,
    /// Loops that a saved profile found.
    found_by_profile: usize,
    /// Whole functions compiled again.
    whole: usize,
    /// Cold blocks with side exits to them, and those of them that were taken.
    side_exits: usize,
    side_exits_taken: usize,
    continuations: usize,
    formed_again: usize,
    states: BTreeMap<String, usize>,
    /// What of [`CRANELIFT_PANICS`] was met.
    panicked: usize,
    /// Functions whose code an earlier run has left, and that could not be used.
    loaded: u64,
    unusable: u64,
}

fn run_corpus(corpus: &Corpus, runs: &Runs, wrap: Option<u32>, repeat: usize) -> Tally {
    let mut tally = Tally::default();
    for path in &corpus.files {
        let file = corpus::read(path, &runs.settings);
        let name = file.name();
        // No exception is thrown where code runs in another process.
        if !runs.judged.executor.is_here() && name == "exceptions.clif" {
            continue;
        }
        tally.files += 1;
        if file.inapplicable().is_some() {
            continue;
        }
        tally.applicable += 1;
        let commands = file
            .functions()
            .iter()
            .map(|function| function.commands.len());
        let commands: usize = commands.sum();
        for target in file.targets() {
            tally.pairs += 1;
            tally.functions += file.functions().len();
            if !target.missing().is_empty() {
                tally.skipped_pairs += 1;
                tally.skipped_commands += commands;
                continue;
            }
            let place = format!("{name} [{}]", target.name());
            let config = runs.config(&file, target, wrap);
            let config = config.and_then(|config| match &runs.warm {
                Some(folder) => run_cold(&file, target, config, wrap, folder, &place),
                None => Ok(config),
            });
            match config.and_then(|config| Program::build(&file, target, config, wrap)) {
                Ok(program) => run_program(&mut tally, &place, &file, &program, repeat),
                Err(error) => tally.failures.push(format!("{place}: {error}")),
            }
        }
    }
    tally
}

/// The run that is judged, and the run before it whose profile it is given, if any.
struct Runs {
    judged: Config,
    earlier: Option<Config>,
    /// For every target, besides those of the file.
    settings: Vec<(String, String)>,
    /// Where a run before it leaves what it starts with, if one does.
    warm: Option<PathBuf>,
}

impl From<Config> for Runs {
    fn from(judged: Config) -> Self {
        Self {
            judged,
            earlier: None,
            settings: vec![],
            warm: None,
        }
    }
}

impl Runs {
    fn config(
        &self,
        file: &TestFile,
        target: &Target,
        wrap: Option<u32>,
    ) -> Result<Config, regraft::Error> {
        let earlier = self.earlier.clone();
        let profile = earlier.map(|earlier| profile_of(file, target, earlier, wrap));
        Ok(self
            .judged
            .clone()
            .profile(profile.transpose()?.map(Arc::new)))
    }
}

/// The same configuration with a warm start, which a run before has saved.
fn run_cold(
    file: &TestFile,
    target: &Target,
    config: Config,
    wrap: Option<u32>,
    folder: &Path,
    place: &str,
) -> Result<Config, regraft::Error> {
    let start = WarmStart::new(folder, Digest::of([place]));
    let config = config.warm_start(Some(start.spend(Some(Duration::from_secs(600)))));
    let program = Program::build(file, target, config.clone(), wrap)?;
    call_all(file, &program);
    program.engine().save_warm_start()?;
    Ok(config)
}

/// Runs every command, whatever comes of it.
fn call_all(file: &TestFile, program: &Program) {
    for (function, id) in file.functions().iter().zip(program.ids()) {
        let Ok(id) = id else { continue };
        for command in &function.commands {
            // SAFETY: the corpus was written to be run.
            let _ = unsafe { program.engine().call(id, command.args()) };
        }
    }
}

/// The profile of a run, written and read again.
fn profile_of(
    file: &TestFile,
    target: &Target,
    config: Config,
    wrap: Option<u32>,
) -> Result<Profile, regraft::Error> {
    let program = Program::build(file, target, config, wrap)?;
    call_all(file, &program);
    let mut profile = program.engine().profile();
    for (function, source) in file.functions().iter().zip(program.sources()) {
        if let Some(saved) = profile.functions.get_mut(&function.name) {
            saved.hash = function_hash(source);
        }
    }
    Ok(Profile::from_json(&profile.to_json()).expect("what was written"))
}

fn run_program(tally: &mut Tally, place: &str, file: &TestFile, program: &Program, repeat: usize) {
    for (function, id) in file.functions().iter().zip(program.ids()) {
        if id.is_err() && CRANELIFT_PANICS == (file.name(), &*function.name) {
            tally.panicked += 1;
            tally.skipped_commands += function.commands.len();
            continue;
        }
        for command in &function.commands {
            let mut passed = true;
            for _ in 0..repeat {
                let results = id.map_err(ToString::to_string).and_then(|id| {
                    // SAFETY: the corpus was written to be run.
                    let results = unsafe { program.engine().call(id, command.args()) };
                    results.map_err(|error| error.to_string())
                });
                let verdict = results.map(|results| command.judge(&results));
                passed &= matches!(verdict, Ok(Verdict::Passed | Verdict::Printed { .. }));
                match verdict {
                    Ok(Verdict::Passed) => {}
                    Ok(Verdict::Printed { .. }) => tally.printed += 1,
                    Ok(Verdict::Failed { actual }) => {
                        let line = command.line;
                        let failure = format!("{place}:{line}: {command}, got {actual}");
                        tally.failures.push(failure);
                    }
                    Err(error) => {
                        tally
                            .failures
                            .push(format!("{place}:{}: {error}", command.line));
                    }
                }
                // What got hot is there when the command is run again.
                program.engine().wait_idle();
            }
            tally.passed += usize::from(passed && !command.is_print());
        }
    }
    program.engine().wait_idle();
    for wrapping in program.wrappings() {
        let code = match wrapping {
            Wrapping::Unwrapped => "unwrapped",
            Wrapping::Looped => "looped",
            Wrapping::Once(effect) => Effect::code(effect),
            Wrapping::Refused(refusal) => refusal.code(),
        };
        *tally.wrappings.entry(code).or_default() += 1;
    }
    let report = program.engine().report();
    if let Some(warm) = &report.warm_start {
        tally.loaded += warm.loaded;
        tally.unusable += warm.unusable;
    }
    for function in report.functions.values() {
        tally.whole += usize::from(function.whole_function.state == PartState::Published);
        count_side_exits(tally, &function.whole_function);
        for region in &function.regions {
            if region.part.state == PartState::Failed
                && CRANELIFT_PANICS == (file.name(), &*region.function)
            {
                tally.panicked += 1;
                continue;
            }
            tally.loops += 1;
            tally.outlined += usize::from(!region.versions.is_empty());
            tally.entered += usize::from(region.entries > 0);
            tally.entered_while_running += usize::from(region.entries_while_running > 0);
            let part = &region.part;
            tally.found_by_profile += usize::from(part.found_by == Some(FoundBy::Profile));
            count_side_exits(tally, part);
            let state = match &*part.reason_code {
                "" => part.state.to_string(),
                code => format!("{}: {code}", part.state),
            };
            if part.state == PartState::Failed {
                println!(
                    "{place}: {} {}: {}",
                    region.function, region.header, part.reason
                );
            }
            *tally.states.entry(state).or_default() += 1;
        }
    }
}

fn count_side_exits(tally: &mut Tally, part: &PartReport) {
    for side in &part.side_exits {
        tally.side_exits += 1;
        tally.side_exits_taken += usize::from(side.count > 0);
        tally.continuations += usize::from(side.state == SideExitState::Compiled);
    }
    tally.formed_again += usize::from(part.formations > 1);
}

/// Runs what there is and checks what holds in every mode.
fn check(what: &str, runs: impl Into<Runs>, wrap: Option<u32>, repeat: usize) -> Vec<Tally> {
    let runs = runs.into();
    let corpora = corpora().into_iter();
    let checked = corpora.map(|corpus| {
        let what = format!("{what}, {}", corpus.name);
        check_corpus(&what, &corpus, run_corpus(&corpus, &runs, wrap, repeat))
    });
    checked.collect()
}

fn check_corpus(what: &str, corpus: &Corpus, tally: Tally) -> Tally {
    println!(
        "{what}: {} files, {} applicable, {} pairs ({} skipped: this CPU), {} functions, \
         {} run commands passed, {} skipped, {} printed, {} failed",
        tally.files,
        tally.applicable,
        tally.pairs,
        tally.skipped_pairs,
        tally.functions,
        tally.passed,
        tally.skipped_commands,
        tally.printed,
        tally.failures.len()
    );
    println!(
        "{what}: functions per target {:?}, {} compiled again as a whole; {} side exits, {} taken, \
         {} continuations, {} formed again",
        tally.wrappings,
        tally.whole,
        tally.side_exits,
        tally.side_exits_taken,
        tally.continuations,
        tally.formed_again
    );
    println!(
        "{what}: {} loops, {} outlined, {} entered, {} of them while running; {:?}; {} panics of Cranelift",
        tally.loops,
        tally.outlined,
        tally.entered,
        tally.entered_while_running,
        tally.states,
        tally.panicked
    );
    let shown: Vec<&String> = tally.failures.iter().take(20).collect();
    assert!(shown.is_empty(), "{what}: {shown:#?}");
    assert!(tally.passed > 0 && tally.applicable > 0, "{what}");
    if corpus.name == "cranelift" && tally.files == FILES {
        assert_eq!(tally.applicable, APPLICABLE_FILES);
        assert_eq!(tally.pairs, PAIRS);
        assert_eq!(tally.functions, FUNCTIONS);
        // What this CPU cannot run is counted, and is little.
        assert_eq!(tally.passed + tally.skipped_commands, RUN_COMMANDS);
        assert!(tally.skipped_pairs < PAIRS / 10);
    }
    tally
}

/// Tiers up at the first opportunity, in the calling thread.
fn eager_to_tier_up() -> Config {
    Config::default()
        .compile(CompileMode::Synchronous)
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(1)
        .entry_threshold(1)
}

#[test]
fn tiered() {
    check("tiered", eager_to_tier_up(), None, 3);
}

#[test]
fn tier0() {
    let config = Config::default().mode(Mode::Tier0);
    check("tier 0", config, None, 1);
}

#[test]
fn eager() {
    let config = Config::default().mode(Mode::Eager);
    check("eager", config, None, 1);
}

/// Functions of a corpus, at most, that are to run only once, or have loops of their own besides.
const SPECIAL: usize = 16;

/// Whether every loop around a function was entered; of a corpus whose functions all have just that, every loop.
fn all_entered(tally: &Tally, entered: usize) {
    let functions: usize = tally.wrappings.values().sum();
    let looped = tally.wrappings.get("looped").copied().unwrap_or(0);
    assert!(functions - looped <= SPECIAL, "{:?}", tally.wrappings);
    assert!(tally.loops - entered <= SPECIAL, "{:?}", tally.states);
    if looped == functions {
        assert_eq!(entered, tally.loops, "{:?}", tally.states);
    } else {
        assert!(entered >= looped, "{:?}", tally.states);
    }
}

/// Every loop is hot at its second iteration: it is entered while it runs, and everything generated is checked.
#[test]
fn wrapped() {
    let config = eager_to_tier_up().check(true);
    for tally in check("wrapped", config, Some(8), 1) {
        all_entered(&tally, tally.entered_while_running);
    }
}

/// The same, with every pass.
#[test]
fn wrapped_with_passes() {
    let config = eager_to_tier_up().check(true).optimizer(Optimizer {
        passes: Passes::all(),
        ..Optimizer::default()
    });
    for tally in check("wrapped, with passes", config, Some(8), 1) {
        all_entered(&tally, tally.entered_while_running);
    }
}

/// The same, in a process that was started for it, with a session for each file.
#[test]
fn wrapped_in_another_process() {
    let config = eager_to_tier_up()
        .check(true)
        .executor(crate::remote::spawn());
    for tally in check("wrapped, another process", config, Some(8), 1) {
        all_entered(&tally, tally.entered_while_running);
    }
}

/// What a run leaves is what the next one starts with: most functions are loaded, and return the same. Both tiers leave code:
/// that of tier 1, and what of tier 0 is compiled when it is saved.
#[test]
fn warm_start() {
    let folder = std::env::temp_dir().join(format!("regraft-conformance-{}", std::process::id()));
    for (what, judged) in [
        ("warm, eager", Config::default().mode(Mode::Eager)),
        ("warm, tiered", eager_to_tier_up()),
        ("warm, by cost", Config::default()),
    ] {
        let runs = Runs {
            warm: Some(folder.clone()),
            ..judged.into()
        };
        for tally in check(what, runs, None, 1) {
            println!(
                "{what}: {} loaded, {} unusable",
                tally.loaded, tally.unusable
            );
            assert_eq!(tally.unusable, 0, "{what}");
            let functions = tally.functions - tally.skipped_pairs;
            assert!(tally.loaded as usize > functions / 2, "{what}");
        }
        std::fs::remove_dir_all(&folder).expect("it was written");
    }
}

/// With return addresses that are signed, and branch targets that are marked.
#[cfg(target_arch = "aarch64")]
#[test]
fn wrapped_and_protected() {
    let on = |name: &str| (name.to_string(), "true".to_string());
    let config = eager_to_tier_up().check(true);
    let runs = Runs {
        settings: ["sign_return_address", "sign_return_address_all", "use_bti"]
            .map(on)
            .into(),
        ..config.into()
    };
    for tally in check("wrapped and protected", runs, Some(8), 1) {
        all_entered(&tally, tally.entered_while_running);
    }
}

/// Hooks without counters: a saved profile has every loop compiled before the first call.
#[test]
fn wrapped_and_uncounted() {
    // Whole functions would have no use for their hooks.
    let loops_only = eager_to_tier_up().entry_threshold(u32::MAX);
    let runs = Runs {
        judged: loops_only
            .clone()
            .detection(Detection::Sampling(Sampling::default()))
            .check(true),
        earlier: Some(loops_only),
        settings: vec![],
        warm: None,
    };
    for tally in check("wrapped, uncounted", runs, Some(8), 1) {
        all_entered(&tally, tally.entered.min(tally.found_by_profile));
    }
}

/// Loops get hot late, when the counts say which blocks are cold: those become side exits, and later calls
/// take them.
#[test]
fn wrapped_and_pruned() {
    let config = eager_to_tier_up()
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(20)
        .side_exit_threshold(4)
        .check(true);
    for tally in check("wrapped and pruned", config, Some(24), 2) {
        all_entered(&tally, tally.entered);
    }
}

/// As a client gets it by default, with a worker that publishes while code runs.
#[test]
fn wrapped_in_the_background() {
    let config = Config::default()
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(2)
        .entry_threshold(3);
    check("wrapped, background", config, Some(64), 2);
}
