//! Run commands: the comments behind a function that call it.
//!
//! Invariants:
//!
//! * Results are compared bit by bit: a NaN equals itself only with the same payload.
//! * `; run` without an expression passes for any result that is not zero.
//!
//! Limitations: the name in an expression is for the reader; the function that is called is the one
//! that the comment follows, as in Cranelift's file tests.

use super::ClifError;
use cranelift_codegen::data_value::{DataValue, DisplayDataValues};
use cranelift_codegen::ir::Signature;
use cranelift_reader::{Comparison, RunCommand, parse_run_command};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A run or print command.
#[derive(Debug)]
pub struct Command {
    command: RunCommand,
    any_nonzero: bool,
    /// The line of the comment, from 1.
    pub line: usize,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The results are as expected.
    Passed,
    /// The results are not; they are given in CLIF's notation.
    Failed {
        /// What the call returned.
        actual: String,
    },
    /// A print command: nothing is expected.
    Printed {
        /// What the call returned.
        actual: String,
    },
}

impl Command {
    /// Reads a comment; `None` if it is no command. `comment` lies at `line` and `column` of `file`.
    pub(super) fn parse(
        comment: &str,
        signature: &Signature,
        (file, line, column): (&str, usize, usize),
    ) -> Result<Option<Self>, ClifError> {
        let error = |message: &str| ClifError {
            file: file.to_string(),
            line,
            column,
            message: format!("{message} in `{}`", comment.trim()),
        };
        // The reader has no values of some types.
        let command = catch_unwind(AssertUnwindSafe(|| parse_run_command(comment, signature)))
            .map_err(|_| error("the reader panicked"))?
            .map_err(|found| error(&found.message))?;
        Ok(command.map(|command| {
            let text = comment.trim_start_matches([' ', ';']).trim_end();
            let any_nonzero = text == "run" && matches!(command, RunCommand::Run(..));
            Self {
                command,
                any_nonzero,
                line,
            }
        }))
    }

    /// The arguments of the call.
    pub fn args(&self) -> &[DataValue] {
        match &self.command {
            RunCommand::Print(invocation) | RunCommand::Run(invocation, ..) => &invocation.args,
        }
    }

    /// Whether it is a print command, which cannot fail.
    pub fn is_print(&self) -> bool {
        matches!(self.command, RunCommand::Print(_))
    }

    /// Judges what the call returned.
    pub fn judge(&self, results: &[DataValue]) -> Verdict {
        let actual = || DisplayDataValues(results).to_string();
        let (comparison, expected) = match &self.command {
            RunCommand::Print(_) => return Verdict::Printed { actual: actual() },
            RunCommand::Run(_, comparison, expected) => (comparison, expected),
        };
        let pairs = || results.iter().zip(expected);
        let passed = if self.any_nonzero {
            matches!(results, [result] if !is_zero(result))
        } else {
            let equal = results.len() == expected.len()
                && pairs().all(|(result, expected)| result.bitwise_eq(expected));
            equal == (*comparison == Comparison::Equals)
        };
        if passed {
            Verdict::Passed
        } else {
            Verdict::Failed { actual: actual() }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.any_nonzero {
            true => f.write_str("run"),
            false => self.command.fmt(f),
        }
    }
}

fn is_zero(value: &DataValue) -> bool {
    let mut bytes = [0; 16];
    value.write_to_slice_ne(&mut bytes);
    bytes == [0; 16]
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::ir::{AbiParam, types};
    use cranelift_codegen::isa::CallConv;

    fn command(text: &str, params: usize) -> Command {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params = vec![AbiParam::new(types::I32); params];
        signature.returns.push(AbiParam::new(types::I32));
        let parsed = Command::parse(text, &signature, ("f", 1, 1));
        parsed.expect("well-formed").expect("a command")
    }

    #[test]
    fn a_bare_run_wants_anything_but_zero() {
        let run = command("; run", 0);
        assert_eq!(run.judge(&[DataValue::I32(3)]), Verdict::Passed);
        let zero = run.judge(&[DataValue::I32(0)]);
        assert_eq!(zero, Verdict::Failed { actual: "0".into() });
    }

    #[test]
    fn comparisons_and_prints() {
        let equals = command("; run: %f(1) == 3", 1);
        assert_eq!(equals.args(), [DataValue::I32(1)]);
        assert_eq!(equals.judge(&[DataValue::I32(3)]), Verdict::Passed);
        assert_ne!(equals.judge(&[DataValue::I32(4)]), Verdict::Passed);
        let differs = command("; run: %f(1) != 3", 1);
        assert_eq!(differs.judge(&[DataValue::I32(4)]), Verdict::Passed);
        let print = command("; print: %f(1)", 1);
        let printed = print.judge(&[DataValue::I32(9)]);
        assert_eq!(printed, Verdict::Printed { actual: "9".into() });
    }
}
