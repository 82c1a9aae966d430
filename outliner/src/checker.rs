//! A checker for outlining: a proof, for this very output, that it does what
//! the source does.
//!
//! Purpose: the outlined function, its continuations and the residual are held
//! against the source function, the region and the interface. The checker
//! shares no code with the outliner and computes what it needs anew; it
//! verifies the output, not the algorithm, in the manner of the symbolic
//! checker of regalloc2.
//!
//! The claim: a *simulation*. The function under test runs in step with the
//! source: each of its blocks is the copy of one source block (or glue of the
//! interface), each instruction of a copy has the same opcode, immediates,
//! types, flags, callee, location and tags as its counterpart, and each operand
//! holds the latest value of the source's operand. Calling conventions between
//! the three kinds of function are checked on both sides against one
//! [`Interface`], so that the proofs compose:
//!
//! ```text
//!   residual ──call──▶ region ──return_call──▶ continuation
//!      ▲                 ▲  │                     │   │
//!      └── exit k, live-outs ┴────────────────────┘   │
//!                        └───────── return_call ──────┘
//! ```
//!
//! Phases: `agreement` (interface against source) → `walk` (blocks paired,
//! instructions matched by `entities`, ways in and out by `exits` and
//! `residual`; yields bindings and obligations) → `proof` (obligations
//! discharged, with the rules and the argument for their soundness).
//!
//! Requires: all functions have passed Cranelift's verifier, and the region
//! belongs to the source.
//!
//! Limitations:
//!
//! * Incomplete by design: an output that folds, moves or drops instructions is
//!   refused, though it may be right. Only `stack_addr` may become a parameter,
//!   or a parameter plus a constant, and only constants may be made again
//!   where a function begins or an exit ends.
//! * Value labels, the names of functions and the cold marks of glue are not
//!   looked at.
//! * Functions pruned of cold blocks (`prune_function`) are not checked, their
//!   continuations are.
//! * What a tier-0 function does with the region (hooks) is `core`'s, and is
//!   not checked here; the interface it relies on is.
//!
//! Not here: whether the region may be outlined at all (`legality`), and
//! whether the result is fast.

mod agreement;
mod content;
mod correspondence;
mod entities;
mod error;
mod exits;
mod proof;
mod residual;
mod source;
mod tables;
mod walk;

#[cfg(test)]
mod tests;

pub use error::{CheckError, Meaning, Place};
pub use tables::check_side_tables;

use crate::{Interface, Outlined};
use agreement::check_interface;
use correspondence::Subject;
use cranelift_codegen::ir::{FuncRef, Function, UserFuncName};
use regraft_regions::Region;
use source::Source;
use walk::Walk;

/// Checks that `outlined` implements `region` of `source` as `interface` says.
///
/// `side_calls` says which function references of `outlined` are the
/// continuations of which side exits.
///
/// # Errors
///
/// The first disagreement found: see [`CheckError`].
///
/// # Complexity
///
/// O(instructions + live ranges of parameters and of values that leave).
pub fn check_region(
    source: &Function,
    region: &Region,
    interface: &Interface,
    outlined: &Function,
    side_calls: &[(u32, FuncRef)],
) -> Result<(), CheckError> {
    let source = Source::new(source, region)?;
    check_interface(&source, interface)?;
    region_of(&source, interface, outlined, side_calls)
}

/// Checks that `continuation` goes on where side exit `number` leaves the
/// region, to natural exits or, through `reentry`, back to the region.
///
/// # Errors
///
/// The first disagreement found: see [`CheckError`].
///
/// # Complexity
///
/// As [`check_region`].
pub fn check_continuation(
    source: &Function,
    region: &Region,
    interface: &Interface,
    number: u32,
    continuation: &Function,
    reentry: Option<FuncRef>,
) -> Result<(), CheckError> {
    let source = Source::new(source, region)?;
    check_interface(&source, interface)?;
    let reentry: Vec<FuncRef> = reentry.into_iter().collect();
    continuation_of(&source, interface, number, continuation, &reentry)
}

/// Checks that `residual` is `source` with the region replaced by a call of
/// `callee`.
///
/// # Errors
///
/// The first disagreement found: see [`CheckError`].
///
/// # Complexity
///
/// As [`check_region`].
pub fn check_residual(
    source: &Function,
    region: &Region,
    interface: &Interface,
    residual: &Function,
    callee: &UserFuncName,
) -> Result<(), CheckError> {
    let source = Source::new(source, region)?;
    check_interface(&source, interface)?;
    residual_of(&source, interface, residual, callee)
}

/// Checks all that [`crate::outline`] returned: the region, every continuation
/// and the residual.
///
/// Calls between them are told by the names that the functions have.
///
/// # Errors
///
/// The first disagreement found: see [`CheckError`].
///
/// # Complexity
///
/// As [`check_region`], for each function.
pub fn check_outlined(
    source: &Function,
    region: &Region,
    outlined: &Outlined,
) -> Result<(), CheckError> {
    let source = Source::new(source, region)?;
    let interface = &outlined.interface;
    check_interface(&source, interface)?;
    let mut side_calls = Vec::new();
    for (number, continuation) in (0..).zip(&outlined.continuations) {
        let callees = named(&outlined.function, &continuation.name);
        side_calls.extend(callees.map(|callee| (number, callee)));
    }
    region_of(&source, interface, &outlined.function, &side_calls)?;
    if outlined.continuations.len() != region.side_exits().len() {
        return Err(CheckError::WrongInterface(
            "there is not one continuation for each side exit",
        ));
    }
    for (number, continuation) in (0..).zip(&outlined.continuations) {
        let reentry: Vec<FuncRef> = named(continuation, &outlined.function.name).collect();
        continuation_of(&source, interface, number, continuation, &reentry)?;
    }
    residual_of(
        &source,
        interface,
        &outlined.residual,
        &outlined.function.name,
    )
}

/// The function references that have this name.
fn named<'a>(func: &'a Function, name: &'a UserFuncName) -> impl Iterator<Item = FuncRef> + 'a {
    let functions = func.dfg.ext_funcs.iter();
    functions
        .filter(|(_, data)| content::names(func, &data.name, name))
        .map(|(callee, _)| callee)
}

fn region_of(
    source: &Source<'_>,
    interface: &Interface,
    outlined: &Function,
    side_calls: &[(u32, FuncRef)],
) -> Result<(), CheckError> {
    check_stack_limit(source, outlined)?;
    let mut walk = Walk::new(source, interface, outlined, Subject::Region(side_calls));
    walk.start_region()?;
    walk.run()?;
    proof::discharge(&mut walk)
}

fn continuation_of(
    source: &Source<'_>,
    interface: &Interface,
    number: u32,
    continuation: &Function,
    reentry: &[FuncRef],
) -> Result<(), CheckError> {
    let Some(side_exit) = source.region.side_exits().get(number as usize) else {
        return Err(CheckError::NoSideExit { number });
    };
    check_stack_limit(source, continuation)?;
    let mut walk = Walk::new(
        source,
        interface,
        continuation,
        Subject::Continuation(reentry),
    );
    walk.start_continuation(side_exit.to)?;
    walk.run()?;
    proof::discharge(&mut walk)
}

fn residual_of(
    source: &Source<'_>,
    interface: &Interface,
    residual: &Function,
    callee: &UserFuncName,
) -> Result<(), CheckError> {
    if residual.signature != source.func.signature {
        return Err(CheckError::WrongSignature);
    }
    check_stack_limit(source, residual)?;
    let entries = (
        source.func.layout.entry_block(),
        residual.layout.entry_block(),
    );
    let (Some(entry), Some(copy)) = entries else {
        return Err(CheckError::Malformed("the function has no entry block"));
    };
    let mut walk = Walk::new(source, interface, residual, Subject::Residual(callee));
    walk.pair(entry, copy)?;
    walk.run()?;
    proof::discharge(&mut walk)
}

/// The stack limit is checked in the prologue of every function.
fn check_stack_limit(source: &Source<'_>, outlined: &Function) -> Result<(), CheckError> {
    let same = match (source.func.stack_limit, outlined.stack_limit) {
        (None, None) => true,
        (Some(our), Some(their)) => content::same_global(source.func, our, outlined, their),
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(CheckError::WrongStackLimit)
    }
}
