//! Damaged CLIF: an error, or code, but never a panic.
//!
//! Texts are the project's own test data, damaged byte by byte, token by token and line by line. What still
//! reads and verifies is defined in an engine; it is not run.

use super::{Sabotage, Stats};
use crate::generate::{Source, random_bytes};
use regraft::Mode;
use regraft_command::clif::{Program, TestFile};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The texts to start from, in a stable order.
fn texts() -> &'static [String] {
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut paths = vec![];
        for folder in ["outliner/testdata", "regions/tests/clif", "examples/clif"] {
            if let Ok(entries) = std::fs::read_dir(root.join(folder)) {
                let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
                paths.extend(
                    entries.filter(|path| path.extension().is_some_and(|ext| ext == "clif")),
                );
            }
        }
        paths.sort();
        let read = |path: &PathBuf| std::fs::read_to_string(path).ok();
        paths.iter().filter_map(read).collect()
    })
}

/// Damages a text.
fn damaged(source: &mut Source<'_>, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..source.below(5) {
        let at = source.below(bytes.len().max(1));
        match source.below(6) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = source.bits() as u8;
                }
            }
            1 => {
                bytes.truncate(at);
            }
            2 => {
                let to = (at + source.below(40)).min(bytes.len());
                bytes.drain(at.min(to)..to);
            }
            3 => exchange_lines(source, &mut bytes),
            _ => exchange_tokens(source, &mut bytes),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Puts a copy of a line over or before another.
fn exchange_lines(source: &mut Source<'_>, bytes: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = bytes
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let (from, to) = (source.below(lines.len()), source.below(lines.len()));
    let line = lines[from].clone();
    match source.below(3) {
        0 => lines[to] = line,
        1 => lines.insert(to, line),
        _ => {
            lines.remove(to);
        }
    }
    *bytes = lines.join(&b'\n');
}

/// Puts a token, of the text or of a list, in the place of another.
fn exchange_tokens(source: &mut Source<'_>, bytes: &mut Vec<u8>) {
    const TOKENS: [&str; 18] = [
        "0",
        "-1",
        "18446744073709551616",
        "0x7fff_ffff_ffff_ffff",
        "v0",
        "v4294967295",
        "block0",
        "block9999999",
        "i128",
        "f64x2",
        "i8x16",
        "tail",
        "vmctx",
        "sret",
        "ss0",
        "fn0",
        "brif",
        "(",
    ];
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-%+:".contains(&byte);
    let mut spans = vec![];
    let mut start = None;
    for (at, &byte) in bytes.iter().chain(b" ").enumerate() {
        match (start, word(byte)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                spans.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    if spans.is_empty() {
        return;
    }
    let place = spans[source.below(spans.len())].clone();
    let token = match source.below(2) {
        0 => bytes[spans[source.below(spans.len())].clone()].to_vec(),
        _ => source.pick(&TOKENS).as_bytes().to_vec(),
    };
    bytes.splice(place, token);
}

/// Reading and defining damaged text does not panic.
///
/// # Errors
///
/// The panic's message, and the text.
pub fn check(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let texts = texts();
    if texts.is_empty() {
        return Ok(Stats::SKIPPED);
    }
    let mut source = Source::new(bytes);
    let text = &texts[source.below(texts.len())];
    let text = damaged(&mut source, text);
    let wrap = source.percent(50).then_some(3);
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    let run = super::quietly(|| {
        if sabotage == Some(Sabotage::PanickingParser) {
            stats.sabotaged = 1;
            assert!(!text.contains("block9999999"), "sabotage");
        }
        let Ok(file) = TestFile::parse("damaged.clif", &text) else {
            return;
        };
        for target in file
            .targets()
            .iter()
            .filter(|target| target.missing().is_empty())
        {
            let config = super::engines::base(Mode::Tiered);
            if let Ok(program) = Program::build(&file, target, config, wrap) {
                stats.regions += program.ids().filter(Result::is_ok).count();
                let _ = program.engine().report().to_json();
            }
        }
    });
    match run {
        Ok(()) => Ok(stats),
        Err(message) => Err(format!("panic: {message}\n{text}")),
    }
}

/// Bytes that make [`check`] damage its text in some way: for corpora.
pub fn seed(number: u64) -> Vec<u8> {
    random_bytes(number, 96)
}
