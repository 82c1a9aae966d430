//! The lines before the first function: what to test, with which settings, on which targets.
//!
//! They are read here rather than by `cranelift-reader`, which refuses files whose `set` lines are all
//! followed by targets that it was built without. What was read is blanked, so that the reader sees the
//! same lines without it.
//!
//! Invariants:
//!
//! * `set` lines are cumulative: a target has the settings of all lines above it.
//! * A target has exactly the ISA flags of its line, not those of the CPU: a file that names `sse41`
//!   tests what a machine without AVX gets. A file without any target line runs on the host as it is.
//!
//! Not here: functions and comments (`file`).

use super::{ClifError, locate};
use cranelift_codegen::isa::{Builder as IsaBuilder, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Builder as FlagsBuilder, Configurable, SetError};
use cranelift_reader::{Location, ParseError, parse_option};
use std::fmt;
use std::str::FromStr;
use target_lexicon::{Architecture, Triple};

/// One target of a file that names the host's architecture.
#[derive(Clone)]
pub struct Target {
    name: String,
    line: usize,
    isa: OwnedTargetIsa,
    missing: Vec<&'static str>,
}

impl Target {
    /// The target as the file writes it, `x86_64 sse42` for example; `host` if it names none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line that names it, from 1; 0 if none does.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The target with the file's settings.
    pub fn isa(&self) -> &OwnedTargetIsa {
        &self.isa
    }

    /// The ISA flags that the target asks for and this CPU lacks: empty if it can run.
    pub fn missing(&self) -> &[&'static str] {
        &self.missing
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("line", &self.line)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// What the header says.
pub(super) struct Header {
    /// The text with `set` and `target` lines blanked, the same length.
    pub text: String,
    pub targets: Vec<Target>,
}

/// A word of a line and its column.
type Word<'a> = (usize, &'a str);

/// Reads the header; `extra` settings are added to every target, after its own.
pub(super) fn read(
    file: &str,
    text: &str,
    extra: &[(String, String)],
) -> Result<Header, ClifError> {
    let mut header = Reader {
        file,
        flags: settings::builder(),
        extra,
        line: 0,
        targets: vec![],
        named_any: false,
        dangling: None,
    };
    let mut blanked = String::with_capacity(text.len());
    let mut in_header = true;
    for line in text.split_inclusive('\n') {
        header.line += 1;
        let code = line.split_once(';').map_or(line, |(code, _)| code);
        let taken = match code.split_whitespace().next() {
            _ if !in_header => false,
            Some("set") => {
                header.set(&words(code))?;
                true
            }
            Some("target") => {
                header.target(&words(code))?;
                true
            }
            None | Some("test" | "feature") => false,
            Some(_) => {
                in_header = false;
                false
            }
        };
        if taken {
            let blank = |c: char| if c.is_whitespace() { c } else { ' ' };
            // A character of several bytes becomes as many spaces: offsets stay.
            blanked.extend(line.chars().flat_map(|c| {
                let count = if c.is_whitespace() { 1 } else { c.len_utf8() };
                std::iter::repeat_n(blank(c), count)
            }));
        } else {
            blanked.push_str(line);
        }
    }
    header.finish(blanked)
}

/// The words of a line with their columns, from 1.
fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = vec![];
    let (mut column, mut counted) = (1, 0);
    for word in line.split_whitespace() {
        let offset = word.as_ptr().addr() - line.as_ptr().addr();
        let between = line.get(counted..offset).unwrap_or_default();
        column += locate::count(between);
        counted = offset;
        words.push((column, word));
    }
    words
}

struct Reader<'a> {
    file: &'a str,
    flags: FlagsBuilder,
    extra: &'a [(String, String)],
    line: usize,
    targets: Vec<Target>,
    named_any: bool,
    /// Line and column of the last `set` below all targets so far.
    dangling: Option<(usize, usize)>,
}

impl Reader<'_> {
    fn error(&self, column: usize, message: impl ToString) -> ClifError {
        ClifError {
            file: self.file.to_string(),
            line: self.line,
            column,
            message: message.to_string(),
        }
    }

    fn options(&self, words: &[Word<'_>], into: &mut dyn Configurable) -> Result<(), ClifError> {
        let location = Location {
            line_number: self.line,
        };
        for &(column, word) in words {
            parse_option(word, into, location)
                .map_err(|error| self.error(column, ParseError::from(error).message))?;
        }
        Ok(())
    }

    fn set(&mut self, words: &[Word<'_>]) -> Result<(), ClifError> {
        let column = words.first().map_or(1, |&(column, _)| column);
        self.dangling = Some((self.line, column));
        let mut flags = self.flags.clone();
        self.options(words.get(1..).unwrap_or_default(), &mut flags)?;
        self.flags = flags;
        Ok(())
    }

    fn target(&mut self, words: &[Word<'_>]) -> Result<(), ClifError> {
        let end = words
            .last()
            .map_or(1, |&(column, word)| column + word.len());
        let Some(&(column, name)) = words.get(1) else {
            return Err(self.error(end, "expected a target after `target`"));
        };
        let triple = Triple::from_str(name)
            .map_err(|error| self.error(column, format!("target {name}: {error}")))?;
        self.named_any = true;
        self.dangling = None;
        if !same_architecture(triple.architecture, Triple::host().architecture) {
            return Ok(());
        }
        let mut target = self.host(false, column)?;
        self.options(words.get(2..).unwrap_or_default(), &mut target)?;
        let name: Vec<&str> = words.iter().skip(1).map(|&(_, word)| word).collect();
        self.add(name.join(" "), target, column)
    }

    fn host(&self, inferred: bool, column: usize) -> Result<IsaBuilder, ClifError> {
        cranelift_native::builder_with_options(inferred).map_err(|why| self.error(column, why))
    }

    fn add(
        &mut self,
        name: String,
        mut target: IsaBuilder,
        column: usize,
    ) -> Result<(), ClifError> {
        let mut flags = self.flags.clone();
        for (name, value) in self.extra {
            let result = match flags.set(name, value) {
                Err(SetError::BadName(_)) => target.set(name, value),
                result => result,
            };
            result.map_err(|error| self.error(column, format!("{name}={value}: {error}")))?;
        }
        let isa = target
            .finish(settings::Flags::new(flags))
            .map_err(|error| self.error(column, format!("target {name}: {error}")))?;
        let native = self
            .host(true, column)?
            .finish(settings::Flags::new(settings::builder()))
            .map_err(|error| self.error(column, error))?;
        let missing = missing_flags(&isa, &native);
        self.targets.push(Target {
            name,
            line: self.line,
            isa,
            missing,
        });
        Ok(())
    }

    fn finish(mut self, text: String) -> Result<Header, ClifError> {
        if !self.named_any {
            self.line = 0;
            let target = self.host(true, 1)?;
            self.add("host".to_string(), target, 1)?;
        } else if let Some((line, column)) = self.dangling {
            self.line = line;
            return Err(self.error(column, "this `set` has no effect: no `target` follows"));
        }
        Ok(Header {
            text,
            targets: self.targets,
        })
    }
}

fn same_architecture(a: Architecture, b: Architecture) -> bool {
    let both_riscv = matches!((a, b), (Architecture::Riscv64(_), Architecture::Riscv64(_)));
    a == b || both_riscv
}

/// The flags that are on in `requested` but not in what the CPU was found to have.
fn missing_flags(requested: &OwnedTargetIsa, native: &OwnedTargetIsa) -> Vec<&'static str> {
    let available = native.isa_flags();
    let has = |name| {
        let flag = available.iter().find(|flag| flag.name == name);
        flag.and_then(|flag| flag.as_bool()).unwrap_or(false)
    };
    let flags = requested.isa_flags();
    let wanted = flags.iter().filter(|flag| flag.as_bool() == Some(true));
    wanted
        .map(|flag| flag.name)
        // Hints that every AArch64 CPU executes, whether it checks return addresses and branch targets or not.
        .filter(|&name| !name.starts_with("sign_return_address") && name != "use_bti")
        .filter(|&name| !has(name))
        .collect()
}
