//! Reading files, and finding in them what the command line names.

use crate::output::CliError;
use cranelift_codegen::ir::Function;
use regraft::isa::TierIsas;
use regraft::regions::{Flow, FunctionProfile, LoopForest, Profile, estimate};
use regraft_command::clif::{TestFile, Wrapping, wrap_all};
use std::io::Read;
use std::path::Path;

/// How often the entry of a function is taken to run where there is no profile.
const ESTIMATED_ENTRIES: u64 = 1000;

/// The text of a file; `-` is standard input.
pub fn read(path: &Path) -> Result<String, CliError> {
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = vec![];
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bad =
        |why: &dyn std::fmt::Display| CliError::BadInput(format!("{}: {why}", path.display()));
    let bytes = bytes.map_err(|error| bad(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to());
        let good = String::from_utf8_lossy(good.unwrap_or_default());
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let path = path.display();
        CliError::BadInput(format!("{path}:{line}:{column}: this is not UTF-8 text"))
    })
}

/// Makes sure that a file can be written, so that nothing runs whose result would be lost.
pub fn can_write(path: &Path) -> Result<(), CliError> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(false).open(path);
    let opened = opened.map(drop);
    opened.map_err(|error| CliError::BadInput(format!("{}: {error}", path.display())))
}

/// Writes a file that was asked for by name.
pub fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let written = std::fs::write(path, text);
    written.map_err(|error| CliError::BadInput(format!("{}: {error}", path.display())))
}

/// Reads a CLIF file.
pub fn parse(path: &Path, settings: &[(String, String)]) -> Result<TestFile, CliError> {
    let text = read(path)?;
    let name = path.display().to_string();
    TestFile::parse_with(&name, &text, settings)
        .map_err(|error| CliError::BadInput(error.to_string()))
}

/// The functions of a file by name, wrapped if that is asked for; all of them verify.
pub fn functions(
    path: &Path,
    wrap: Option<u32>,
) -> Result<Vec<(String, Function, Wrapping)>, CliError> {
    let file = parse(path, &[])?;
    let isas = TierIsas::native(&[]).map_err(|error| CliError::Failed(error.to_string()))?;
    for test in file.functions() {
        cranelift_codegen::verify_function(&test.function, &*isas.tier1).map_err(|errors| {
            let place = format!("{}:{}:1", path.display(), test.line);
            CliError::BadInput(format!("{place}: {} does not verify:\n{errors}", test.name))
        })?;
    }
    let wrapped = wrap_all(&file, wrap).into_iter();
    let names = file
        .functions()
        .iter()
        .map(|function| function.name.clone());
    let named = names.zip(wrapped);
    Ok(named
        .map(|(name, (function, how))| (name, function, how))
        .collect())
}

/// Reads a saved profile.
pub fn profile(path: &Path) -> Result<Profile, CliError> {
    let text = read(path)?;
    Profile::from_json(&text).map_err(|error| {
        let path = path.display();
        CliError::BadInput(format!(
            "{path}: {error}; `regraft run --save-profile` writes profiles"
        ))
    })
}

/// The counts of a function: saved ones, or estimated where there are none. Says which.
pub fn counts(
    name: &str,
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    saved: Option<&Profile>,
) -> Result<(FunctionProfile, &'static str), CliError> {
    match saved.and_then(|profile| profile.functions.get(name)) {
        Some(saved) => {
            let counts = saved.to_profile(func, flow);
            let counts = counts
                .map_err(|error| CliError::BadInput(format!("the profile of {name}: {error}")))?;
            Ok((counts, "saved"))
        }
        None => {
            let estimated = estimate(func, flow, loops);
            Ok((estimated.to_profile(flow, ESTIMATED_ENTRIES), "estimated"))
        }
    }
}

/// The error for a name that is not among `known`.
pub fn unknown(what: &str, name: &str, known: impl IntoIterator<Item = String>) -> CliError {
    let known: Vec<String> = known.into_iter().collect();
    let known = match known.is_empty() {
        true => "there are none".to_string(),
        false => format!("there are: {}", known.join(", ")),
    };
    CliError::BadInput(format!("there is no {what} {name}; {known}"))
}

/// A name as the command line may give it, without CLIF's `%`.
pub fn plain_name(name: &str) -> &str {
    name.strip_prefix('%').unwrap_or(name)
}
