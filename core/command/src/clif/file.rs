//! A test file as data: targets, functions, and the commands behind them.

use super::command::Command;
use super::header::{self, Target};
use super::locate::{self, Lines};
use super::{ClifError, function_name, limits};
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::CallConv;
use cranelift_reader::{Comment, Feature, ParseError, ParseOptions, parse_test};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use target_lexicon::Triple;

/// A test file that was read.
#[derive(Debug)]
pub struct TestFile {
    name: String,
    targets: Vec<Target>,
    functions: Vec<TestFunction>,
    inapplicable: Option<String>,
}

/// A function of a test file.
#[derive(Debug)]
pub struct TestFunction {
    /// Its name as engines know it.
    pub name: String,
    /// The function.
    pub function: Function,
    /// The line of its name, from 1.
    pub line: usize,
    /// The commands behind it, in order.
    pub commands: Vec<Command>,
}

impl TestFile {
    /// Reads `text`; `name` is what errors call it.
    ///
    /// Text without a `test` line is plain functions: it runs on the host.
    ///
    /// # Errors
    ///
    /// [`ClifError`]: the text is not CLIF, a setting does not exist, a command does not fit its
    /// function, or two functions have the same name.
    pub fn parse(name: &str, text: &str) -> Result<Self, ClifError> {
        Self::parse_with(name, text, &[])
    }

    /// As [`TestFile::parse`], with more settings (of Cranelift or of the backend) for every target.
    ///
    /// # Errors
    ///
    /// As [`TestFile::parse`].
    pub fn parse_with(
        name: &str,
        text: &str,
        settings: &[(String, String)],
    ) -> Result<Self, ClifError> {
        let header = header::read(name, text, settings)?;
        let text = &*header.text;
        if let Some(excessive) = limits::excessive(text) {
            let limits::Excessive {
                line,
                column,
                entity,
                limit,
            } = excessive;
            return Err(ClifError {
                file: name.to_string(),
                line,
                column,
                message: format!(
                    "the number of {entity} is too large: a function of this length may number up to \
                     {limit}; number in order"
                ),
            });
        }
        let parsed = catch_unwind(AssertUnwindSafe(|| parse_test(text, options())));
        let parsed = match parsed {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(error)) => return Err(locate_error(name, text, &error)),
            Err(_) => {
                return Err(ClifError {
                    file: name.to_string(),
                    line: 1,
                    column: 1,
                    message: "cranelift-reader panicked on this file".to_string(),
                });
            }
        };
        let kinds: Vec<&str> = parsed.commands.iter().map(|test| test.command).collect();
        let inapplicable = inapplicable(&kinds, &parsed.features);
        let lines = Lines::of(text);
        let mut names = HashSet::new();
        let mut functions = Vec::with_capacity(parsed.functions.len());
        for (function, details) in parsed.functions {
            let function_name = function_name(&function.name);
            let line = details.location.line_number;
            if !names.insert(function_name.clone()) {
                return Err(ClifError {
                    file: name.to_string(),
                    line,
                    column: 1,
                    message: format!("there is a function {} already", function.name),
                });
            }
            let commands = match inapplicable {
                Some(_) => vec![],
                None => commands(name, &lines, &function, &details.comments)?,
            };
            functions.push(TestFunction {
                name: function_name,
                function,
                line,
                commands,
            });
        }
        Ok(Self {
            name: name.to_string(),
            targets: header.targets,
            functions,
            inapplicable,
        })
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The targets of the host's architecture, whether this CPU has their flags or not. None if the
    /// file is for other architectures.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The functions, in order.
    pub fn functions(&self) -> &[TestFunction] {
        &self.functions
    }

    /// Why the file is not for running here, if it is not: another kind of test, or other targets.
    pub fn inapplicable(&self) -> Option<String> {
        let foreign = || {
            let host = Triple::host().architecture;
            let foreign = self.targets.is_empty();
            foreign.then(|| format!("no target line names {host}"))
        };
        self.inapplicable.clone().or_else(foreign)
    }
}

/// Functions without a calling convention get the host's.
fn options<'a>() -> ParseOptions<'a> {
    ParseOptions {
        default_calling_convention: CallConv::triple_default(&Triple::host()),
        ..ParseOptions::default()
    }
}

fn locate_error(file: &str, text: &str, error: &ParseError) -> ClifError {
    ClifError {
        file: file.to_string(),
        line: error.location.line_number.max(1),
        column: locate::column(text, error, options()),
        message: error.message.clone(),
    }
}

fn inapplicable(kinds: &[&str], features: &[Feature<'_>]) -> Option<String> {
    if !kinds.is_empty() && !kinds.contains(&"run") {
        return Some(format!("no `test run`, but {}", kinds.join(", ")));
    }
    features.iter().find_map(|feature| match feature {
        Feature::With(name) => Some(format!("needs the feature {name}")),
        Feature::Without(_) => None,
    })
}

fn commands(
    file: &str,
    lines: &Lines<'_>,
    function: &Function,
    comments: &[Comment<'_>],
) -> Result<Vec<Command>, ClifError> {
    let mut commands = vec![];
    for comment in comments {
        let (line, column) = lines.place(comment.text);
        let place = (file, line, column);
        commands.extend(Command::parse(comment.text, &function.signature, place)?);
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let result = TestFile::parse("t.clif", text);
        result
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    const BODY: &str = "function %f() -> i8 {\nblock0:\n v0 = iconst.i8 1\n return v0\n}\n; run\n";

    #[test]
    fn plain_functions_run_on_the_host() {
        let file = TestFile::parse("t.clif", BODY).unwrap();
        assert_eq!(file.targets().len(), 1);
        assert_eq!(file.targets()[0].name(), "host");
        assert_eq!(file.inapplicable(), None);
        assert_eq!(file.functions()[0].commands[0].line, 6);
    }

    #[test]
    fn targets_of_other_architectures_are_left_out() {
        let host = Triple::host().architecture;
        let foreign = if cfg!(target_arch = "s390x") {
            "aarch64"
        } else {
            "s390x"
        };
        let text =
            format!("test run\ntarget {host}\nset opt_level=none\ntarget {foreign} x\n{BODY}");
        let file = TestFile::parse("t.clif", &text).unwrap();
        assert_eq!(file.targets().len(), 1);
        assert_eq!(file.targets()[0].line(), 2);
        let text = format!("test run\ntarget {foreign}\n{BODY}");
        let file = TestFile::parse("t.clif", &text).unwrap();
        assert!(file.inapplicable().is_some());
        let text = format!("test compile\n{BODY}");
        let file = TestFile::parse("t.clif", &text).unwrap();
        assert!(file.inapplicable().is_some());
    }

    /// What is counted is in proportion to the text: long lines, many lines, many comments.
    #[test]
    fn places_are_counted_once() {
        let table = "block2, ".repeat(20_000);
        let table = format!(
            "function %t(i32) {{\nblock0(v0: i32):\n br_table v0, block2, [{table} block2]\nblock2:\n return\n}}\n"
        );
        let many: String = (0..5000)
            .map(|index| BODY.replace("%f", &format!("%f{index}")))
            .collect();
        let settings = format!(
            "test run\nset {}\ntarget {}\n",
            "opt_level=none ".repeat(5000),
            Triple::host().architecture
        );
        let bad = BODY.replace(
            "iconst.i8 1",
            &format!("iconst.i8 {} 1", " ".repeat(100_000)),
        );
        let bad = format!("{bad}; run: %f(3");
        for text in [table, many, settings + BODY, bad] {
            locate::tests::COUNTED.set(0);
            let _ = TestFile::parse("t.clif", &text);
            let counted = locate::tests::COUNTED.get();
            assert!(counted <= 3 * text.len(), "{counted} of {}", text.len());
        }
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(
            error("test run\nset  warp_speed\n"),
            "t.clif:2:6: unknown setting 'warp_speed'"
        );
        assert!(error("test run\ntarget nonsense\n").starts_with("t.clif:2:8: target nonsense: "));
        let dangling = error("test run\ntarget s390x\n set opt_level=none\n");
        assert!(dangling.starts_with("t.clif:3:2: this `set`"), "{dangling}");
        assert!(error(&format!("{BODY}; run: %f( == 1\n")).starts_with("t.clif:7:1: "));
        let twice = error(&format!("{BODY}{BODY}"));
        assert!(twice.contains("there is a function %f already"), "{twice}");
        assert!(error("fnction %f() {}").starts_with("t.clif:1:1: "));
    }
}
