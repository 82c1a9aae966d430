//! A version: one compiled body of a unit.

use crate::code::codemap::{CodeTables, Listing};
use crate::code::error::CompileError;
use crate::code::generate::{Generated, Unwind};
use crate::code::link::{Allocation, link};
use crate::config::detection::FoundBy;
use crate::report::CodeReport;
use crate::units::ledger::{Account, Code, Releasable};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_module::ModuleRelocTarget;
use regraft_optimizer::Effort;
use std::time::{Duration, Instant};

/// One compiled body of a unit.
#[derive(Debug)]
pub(crate) struct Version {
    /// 0 or 1.
    pub tier: u8,
    /// The address of its first instruction, in the executable view.
    pub entry: usize,
    /// The code itself, until it is reclaimed.
    pub code: Releasable<Code>,
    /// Bytes of machine code, constants included.
    pub code_bytes: usize,
    /// CLIF instructions handed to the code generator.
    pub instructions_before: usize,
    /// CLIF instructions left after its optimiser.
    pub instructions_after: usize,
    /// From CLIF to linked code.
    pub compile_time: Duration,
    /// What found its part hot; nothing did for a first version.
    pub found_by: Option<FoundBy>,
    /// Whether an earlier run has compiled it.
    pub loaded: bool,
    /// What each pass did to its CLIF.
    pub passes: Vec<Effort>,
    /// Its text, where that is kept.
    pub text: Option<Box<CodeReport>>,
}

/// Makes a version of machine code that has a place; the tables say what its addresses are. How callers' frames are
/// found is there where it was wanted.
///
/// # Errors
///
/// [`CompileError::Link`]; nothing is left behind then.
pub fn link_version(
    allocation: Allocation,
    isa: &OwnedTargetIsa,
    name: &str,
    generated: Generated,
    resolve: &dyn Fn(&ModuleRelocTarget) -> Option<usize>,
) -> Result<(Version, CodeTables, Option<Unwind>), CompileError> {
    let start = Instant::now();
    let linked = link(allocation, isa, name, &generated.code, resolve)?;
    let version = Version {
        tier: generated.tier,
        entry: linked.entry,
        code_bytes: linked.len,
        code: Releasable::new(Code {
            listing: None,
            account: None,
            seen: None,
            memory: linked.code,
            kept: vec![],
        }),
        instructions_before: generated.instructions_before,
        instructions_after: generated.instructions_after,
        compile_time: generated.compile_time + start.elapsed(),
        found_by: None,
        loaded: false,
        passes: vec![],
        text: generated.text,
    };
    Ok((version, generated.tables, generated.unwind))
}

impl Version {
    /// A number that is greater than those of versions that were made before; `None` once its code is gone.
    pub fn serial(&self) -> Option<u64> {
        self.code
            .with(|code| code.listing.as_ref().map(Listing::serial))
            .flatten()
    }

    /// Counts its bytes as retired.
    pub fn retire(&self) {
        self.code
            .with(|code| code.account.as_mut().map(Account::retire));
    }
}
