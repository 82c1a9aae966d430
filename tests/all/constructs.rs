//! Every construct of CLIF: outlined correctly, or refused with its own reason.
//!
//! Each file in `tests/constructs` is one construct. Its comments say what is expected of it:
//!
//! ```text
//!   ; What it is, up to an empty comment.
//!   ;
//!   ; wrap: …                      each function's body is put into a loop of 8 first
//!   ; expect: outlined             every loop is outlined,
//!   ; expect: refused CODE         or every loop is refused, with this reason
//!   ; expect regions: CODE         other regions may be refused with it
//!   ; not run: why
//!   ; not run on x86-64: why
//!   ; print: %f(1)                 has to return the same in every mode
//! ```
//!
//! Of each function these are outlined: its loops; for each block, the blocks that it dominates (returns and
//! tail calls among them); both with each block in turn left out as cold; and the function less each block.
//! All that comes of it goes through Cranelift's verifier and the checker.
//!
//! `outliner/CONSTRUCTS.md` is what the test found; `REGRAFT_UPDATE=1` writes it anew.

mod examine;

use cranelift_codegen::ir::{Function, Opcode};
use examine::{Fate, Fates, Found, examine, note, verified};
use regraft::regions::Policy;
use regraft::report::{PartState, SideExitState};
use regraft::{CompileMode, Config, Engine, Error, Mode, Report};
use regraft_command::clif::{Program, Target, TestFile, wrap_all};
use regraft_regions::{Flow, LoopForest};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// How often a wrapped body runs.
const WRAP: u32 = 8;

/// How often each command is run per mode.
const REPEAT: usize = 4;

/// A file, and what its comments ask for.
struct Construct {
    name: String,
    title: String,
    wrap: Option<u32>,
    /// The reason with which every loop is refused, if they are.
    refused: Option<String>,
    /// Reasons with which other regions may be refused.
    tolerated: BTreeSet<String>,
    not_run: Option<String>,
    file: TestFile,
}

impl Construct {
    fn read(path: &Path) -> Self {
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(path).expect("readable");
        let comments = text
            .lines()
            .filter_map(|line| line.strip_prefix(';'))
            .map(str::trim);
        let title: Vec<&str> = comments
            .clone()
            .take_while(|line| !line.is_empty())
            .collect();
        let find = |key: &str| {
            let mut values = comments.clone().filter_map(|line| line.strip_prefix(key));
            values.next().map(|value| value.trim().to_string())
        };
        let expect = find("expect:").expect("the file says what is expected");
        let refused = expect.strip_prefix("refused ").map(str::to_string);
        assert!(
            refused.is_some() || expect == "outlined",
            "{name}: {expect}"
        );
        let tolerated = find("expect regions:").into_iter().chain(refused.clone());
        let elsewhere = find("not run on x86-64:").filter(|_| cfg!(target_arch = "x86_64"));
        Self {
            title: title.join(" "),
            wrap: find("wrap:").map(|_| WRAP),
            tolerated: tolerated.collect(),
            refused,
            not_run: find("not run:").or(elsewhere),
            file: TestFile::parse(&name, &text).unwrap_or_else(|error| panic!("{error}")),
            name,
        }
    }

    fn functions(&self) -> Vec<Function> {
        let functions = wrap_all(&self.file, self.wrap).into_iter();
        functions.map(|(function, _)| function).collect()
    }
}

fn constructs() -> Vec<Construct> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("constructs");
    let entries = std::fs::read_dir(folder).expect("the constructs are there");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| Construct::read(path)).collect()
}

fn config(mode: Mode, threshold: u32) -> Config {
    Config::default()
        .mode(mode)
        .compile(CompileMode::Synchronous)
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(threshold)
        .entry_threshold(threshold)
        .side_exit_threshold(threshold)
        .check(true)
        .policy(Policy {
            min_trip_count: 0.0,
            min_share: 0.0,
            ..Policy::default()
        })
}

/// Runs all commands of a file, each some times; results as text.
fn run(construct: &Construct, target: &Target, config: Config) -> (Vec<String>, Report) {
    let program = Program::build(&construct.file, target, config, construct.wrap);
    let program = program.expect("an engine");
    let mut results = vec![];
    for (function, id) in construct.file.functions().iter().zip(program.ids()) {
        let id = match id {
            // Opcodes and types of x86-64.
            Err(Error::Compile { source, .. }) if cfg!(not(target_arch = "x86_64")) => {
                println!(
                    "{}: %{} is not run: {source}",
                    construct.name, function.name
                );
                continue;
            }
            id => id.unwrap_or_else(|error| panic!("{}: {error:?}", construct.name)),
        };
        for command in &function.commands {
            for _ in 0..REPEAT {
                // SAFETY: the constructs touch their own frames only.
                let values = unsafe { program.engine().call(id, command.args()) };
                let values = values.unwrap_or_else(|error| panic!("{}: {error}", construct.name));
                results.push(format!("{command}: {values:?}"));
            }
        }
    }
    (results, program.engine().report())
}

/// What has run must have been compiled as expected.
fn inspect(construct: &Construct, report: &Report) -> BTreeSet<(String, String)> {
    let mut entered = BTreeSet::new();
    for (name, function) in &report.functions {
        assert_ne!(
            function.whole_function.state,
            PartState::Failed,
            "{:?}",
            function.whole_function
        );
        for region in &function.regions {
            let place = format!(
                "{}, {name} at {}: {:?}",
                construct.name, region.header, region.part
            );
            assert!(
                ["published", "refused", "cold", "superseded"]
                    .contains(&region.part.state.as_str()),
                "{place}"
            );
            assert!(
                region
                    .part
                    .side_exits
                    .iter()
                    .all(|side| side.state != SideExitState::Failed),
                "{place}"
            );
            let runs = region.blocks[&region.header];
            if region.part.state == PartState::Refused {
                assert_eq!(
                    Some(&region.part.reason_code),
                    construct.refused.as_ref(),
                    "{place}"
                );
                assert!(function.entries == 0 || function.tier == Some(1), "{place}");
            } else if runs > 2 && function.tier == Some(0) {
                assert!(region.entries > 0, "{place} ran {runs} times");
            }
            if region.entries > 0 {
                entered.insert((name.clone(), region.header.clone()));
            }
        }
    }
    entered
}

fn check(construct: &Construct, target: &Target, fates: &mut Fates) -> Found {
    let mut found = Found::default();
    let engine = Engine::with_isa(&**target.isa(), Config::default()).expect("an engine");
    let functions = construct.functions();
    for func in &functions {
        verified(engine.isa(), func, func);
        examine(engine.isa(), func, &mut found, fates);
    }
    let Found {
        loops,
        regions,
        functions: pruned,
        ..
    } = &found;
    assert!(
        loops.outlined + loops.refused.len() > 0,
        "{} has no loop",
        construct.name
    );
    match &construct.refused {
        None => assert!(loops.refused.is_empty(), "{}: {loops}", construct.name),
        Some(code) => assert!(
            loops.outlined == 0 && loops.refused.keys().eq([code]),
            "{}: {loops}",
            construct.name
        ),
    }
    for code in regions.refused.keys().chain(pruned.refused.keys()) {
        assert!(
            construct.tolerated.contains(code),
            "{}: {code}",
            construct.name
        );
    }
    if construct.not_run.is_some() || !target.missing().is_empty() {
        return found;
    }
    let (expected, _) = run(construct, target, config(Mode::Eager, 1));
    found.commands = expected.len() / REPEAT;
    for (mode, threshold) in [(Mode::Tier0, 1), (Mode::Tiered, 1), (Mode::Tiered, 3)] {
        let (results, report) = run(construct, target, config(mode, threshold));
        assert_eq!(results, expected, "{} in {mode:?}", construct.name);
        if mode == Mode::Tiered && threshold == 1 {
            let entered = inspect(construct, &report);
            for (test, func) in construct.file.functions().iter().zip(&functions) {
                let flow = Flow::compute(func).expect("control flow");
                let loops = LoopForest::compute(func, &flow);
                for id in loops.loops() {
                    if entered.contains(&(test.name.clone(), loops.header(id).to_string())) {
                        note(fates, func, loops.blocks(id).into_iter(), &Fate::Entered);
                    }
                }
            }
            found.whole = construct.refused.is_some();
        }
    }
    found
}

fn opcodes(table: &mut String, title: &str, fates: &Fates, wanted: impl Fn(&Fate) -> bool) {
    let names = fates.iter().filter(|(_, fate)| wanted(fate));
    let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
    writeln!(table, "\n{title} ({}):\n{}", names.len(), names.join(", ")).expect("a string");
}

#[test]
fn every_construct_is_outlined_or_refused_with_its_reason() {
    let mut fates = Fates::new();
    let mut rows = String::new();
    let mut commands = 0;
    for construct in constructs() {
        let Some(target) = construct.file.targets().first() else {
            println!("skipped: {} is for another target", construct.name);
            continue;
        };
        let found = check(&construct, target, &mut fates);
        commands += found.commands;
        let run = match (&construct.not_run, found.whole) {
            (Some(why), _) => format!("no: {why}"),
            (None, true) => format!("{}, as whole functions", found.commands),
            (None, false) => found.commands.to_string(),
        };
        let (name, title) = (&construct.name, &construct.title);
        let Found {
            loops,
            regions,
            functions,
            ..
        } = &found;
        writeln!(
            rows,
            "| {title} [`{name}`] | {loops} | {regions} | {functions} | {run} |"
        )
        .expect("a string");
    }
    println!("{} opcodes, {commands} commands in 4 modes", fates.len());
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let all = Opcode::all().iter().map(ToString::to_string);
    let missing: Vec<String> = all.filter(|opcode| !fates.contains_key(opcode)).collect();
    assert!(
        missing.is_empty(),
        "no construct has the opcodes {missing:?}"
    );

    let mut table = include_str!("constructs/table.md").to_string();
    table += &rows;
    table += "\n## Opcodes\n";
    opcodes(&mut table, "In loops entered at tier 1", &fates, |fate| {
        *fate == Fate::Entered
    });
    opcodes(&mut table, "Outlined", &fates, |fate| {
        *fate == Fate::Outlined
    });
    let reasons: BTreeSet<&Fate> = fates
        .values()
        .filter(|fate| **fate < Fate::Outlined)
        .collect();
    for reason in reasons {
        if let Fate::Refused(code) = reason {
            opcodes(
                &mut table,
                &format!("Refused as `{code}`"),
                &fates,
                |fate| fate == reason,
            );
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../outliner/CONSTRUCTS.md");
    if std::env::var_os("REGRAFT_UPDATE").is_some() {
        std::fs::write(&path, &table).expect("writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == table,
        "CONSTRUCTS.md is out of date: run the test with REGRAFT_UPDATE=1"
    );
}
