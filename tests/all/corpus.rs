//! The test files that run in every mode: those of the project, and Cranelift's own where they lie beside it.
//!
//! `tests/corpus` is part of the project; its README says what is in it. Cranelift's run tests are at
//! `../shared/conformance/runtests`: a clone alone does without them, but where `CI` is set they have to be there.

use cranelift_codegen::ir::{Function, Opcode};
use regraft_command::clif::TestFile;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A folder of test files.
pub struct Corpus {
    /// `project` or `cranelift`.
    pub name: &'static str,
    /// In order.
    pub files: Vec<PathBuf>,
}

/// The folders that are there.
pub fn corpora() -> Vec<Corpus> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = files(&root.join("corpus"));
    assert!(!project.is_empty(), "the project's own files are there");
    let mut corpora = vec![Corpus {
        name: "project",
        files: project,
    }];
    let beside = root.join("../../shared/conformance/runtests");
    let cranelift = files(&beside);
    if !cranelift.is_empty() {
        corpora.push(Corpus {
            name: "cranelift",
            files: cranelift,
        });
    } else {
        let must = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        assert!(!must, "CI is set, and there is no {}", beside.display());
        println!(
            "only the project's own files: there is no {}",
            beside.display()
        );
    }
    corpora
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "clif"))
        .collect();
    files.sort();
    files
}

/// A file, with more settings for each target.
pub fn read(path: &Path, settings: &[(String, String)]) -> TestFile {
    let name = path.file_name().expect("a file").to_string_lossy();
    let text = std::fs::read_to_string(path).expect("readable");
    TestFile::parse_with(&name, &text, settings).unwrap_or_else(|error| panic!("{error}"))
}

fn opcodes<'f>(functions: impl Iterator<Item = &'f Function>) -> BTreeSet<String> {
    let of = |func: &Function| -> Vec<Opcode> {
        let blocks = func.layout.blocks();
        let insts = blocks.flat_map(|block| func.layout.block_insts(block));
        insts.map(|inst| func.dfg.insts[inst].opcode()).collect()
    };
    let opcodes = functions.flat_map(of);
    opcodes.map(|opcode| opcode.to_string()).collect()
}

fn opcodes_of(paths: &[PathBuf]) -> BTreeSet<String> {
    let files: Vec<TestFile> = paths.iter().map(|path| read(path, &[])).collect();
    let run = files.iter().filter(|file| file.inapplicable().is_none());
    opcodes(
        run.flat_map(|file| file.functions())
            .map(|test| &test.function),
    )
}

/// A clone alone runs every instruction that Cranelift's own tests run, in the corpus or among the constructs.
#[test]
fn the_projects_files_have_every_instruction_of_cranelifts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut own = files(&root.join("corpus"));
    own.extend(files(&root.join("constructs")));
    let own = opcodes_of(&own);
    let all = Opcode::all().len();
    println!("{} of {all} opcodes", own.len());
    for corpus in corpora() {
        let theirs = opcodes_of(&corpus.files);
        let missing: Vec<&String> = theirs.difference(&own).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", corpus.name);
    }
}

/// The generated files are those that `generate.py` writes; where there is no Python, nobody has changed it here.
#[test]
fn the_generated_files_are_up_to_date() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/generate.py");
    let mut python = std::process::Command::new("python3");
    match python.arg(script).arg("--check").output() {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{error}");
        }
        Err(error) => {
            let must = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
            assert!(!must, "CI is set, and python3 cannot be run: {error}");
            println!("skipped: python3 cannot be run: {error}");
        }
    }
}
