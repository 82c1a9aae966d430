//! What the `regraft` command shares with the tests: CLIF test files, read and run through an engine.
//!
//! It is a client of `regraft`, with a parser of CLIF and a command line that no other client has to build.
//!
//! Not here: the engine; the command line, which is the binary's.

#![deny(missing_docs)]

#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
pub mod clif;
