//! CLIF test files: reading them, running them, and wrapping their functions in loops.
//!
//! A test file is what Cranelift's own file tests are: `test`, `set` and `target` lines, functions, and
//! behind each function comments that call it:
//!
//! ```text
//!   test run
//!   set enable_multi_ret_implicit_sret
//!   target x86_64 sse42 has_avx
//!
//!   function %add(i32, i32) -> i32 { … }
//!   ; run: %add(1, 2) == 3
//!   ; print: %add(4, 5)
//! ```
//!
//! [`TestFile::parse`] reads one; [`TestFile::targets`] are the engines it asks for on this host;
//! [`Program::build`] makes such an engine; [`Command::judge`] compares what a call returned. [`wrap()`]
//! turns a function into one that runs its body in a counted loop, so that files without loops
//! exercise tier-up.
//!
//! ```
//! use regraft::Config;
//! use regraft_command::clif::{Program, TestFile, Verdict};
//!
//! let text = "
//!     function %add(i32, i32) -> i32 {
//!     block0(v0: i32, v1: i32):
//!         v2 = iadd v0, v1
//!         return v2
//!     }
//!     ; run: %add(1, 2) == 3";
//! let file = TestFile::parse("add.clif", text)?;
//! let program = Program::build(&file, &file.targets()[0], Config::default(), None)?;
//! for (function, id) in file.functions().iter().zip(program.ids()) {
//!     for command in &function.commands {
//!         let id = id.map_err(ToString::to_string)?;
//!         // SAFETY: the function adds two numbers.
//!         let results = unsafe { program.engine().call(id, command.args()) }?;
//!         assert_eq!(command.judge(&results), Verdict::Passed);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants:
//!
//! * Every error of the text names file, line and column.
//! * A file means the same as under `cranelift-filetests`: the same targets are run and skipped, and
//!   results are compared bit by bit.
//!
//! Limitations: `feature` lines that ask for something make a file inapplicable; other test kinds than
//! `run` (and `interpret`, which says nothing here) too.
//!
//! Not here: the calls themselves, which are unsafe and left to the caller; files and terminals.

mod command;
mod effects;
mod file;
mod header;
mod limits;
mod locate;
mod program;
mod throw;
mod wrap;

pub use command::{Command, Verdict};
pub use effects::{Effect, effects};
pub use file::{TestFile, TestFunction};
pub use header::Target;
pub use program::{Program, Wrapping, wrap_all};
pub use wrap::{WrapRefusal, Wrapped, wrap};

use cranelift_codegen::ir::UserFuncName;

/// A defect of a test file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ClifError {
    /// The file, as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// The name of a function as engines know it: `add` for `%add`, `u0:3` for `u0:3`.
pub fn function_name(name: &UserFuncName) -> String {
    match name {
        UserFuncName::Testcase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
        UserFuncName::User(name) => name.to_string(),
    }
}
