//! Passes over Cranelift IR that Cranelift itself does not have.
//!
//! Cranelift's `speed` numbers values, folds constants, moves pure operations out of loops, and forwards stores to loads between which no other
//! store lies. It inlines only what it is told to, promotes no stack slot, merges no values of memory where paths meet, inverts no loop and hoists no load. These passes
//! do, from CLIF to CLIF, before Cranelift compiles a region or a function.
//!
//! | pass | what it does | source |
//! |---|---|---|
//! | [`Pass::Devirtualize`] | indirect calls become direct ones where they reach what they usually do | Hölzle and Ungar, PLDI 1994 |
//! | [`Pass::Inline`] | copies of functions take the place of calls | Arnold and others, Dynamo 2000 |
//! | [`Pass::Promote`] | private stack slots become SSA values | Braun et al., CC 2013 |
//! | [`Pass::Checks`] | checks that cannot fail go | Bodík et al., PLDI 2000 |
//! | [`Pass::Thread`] | a branch that an edge decides is not taken twice | Mueller and Whalley, PLDI 1995 |
//! | [`Pass::Select`] | short arms of a branch are computed both, and one is chosen | Allen et al., POPL 1983 |
//! | [`Pass::Unroll`] | loops with few iterations become straight code | Davidson and Jinturkar, CC 1996 |
//! | [`Pass::Invert`] | loops test at their bottom | Muchnick, 18.5 |
//! | [`Pass::Hoist`] | loads of what a loop does not change are done before it | Cooper and Lu, PLDI 1997 |
//! | [`Pass::Forward`] | what is known to be in memory is not loaded, over blocks | Chow et al., PLDI 1998 |
//! | [`Pass::Strength`] | multiplications by a few constants become sums | Bernstein, SP&E 1986 |
//! | [`Pass::Dead`] | stores that nobody sees go | |
//!
//! # Rules of the game
//!
//! * Memory is as CLIF has it: flags (`notrap`, `readonly`, `can_move`, alias regions), traps in order with stores and calls, atomic operations
//!   and fences as barriers. Accesses that are not atomic race with nobody.
//! * Every pass is right alone and in any order. Which run is a set ([`Passes`]), each change costs a unit of [`Fuel`], and what they did is
//!   data ([`Summary`]).
//! * Limits are in one place ([`Policy`]). What is beyond them is left as it is.
//!
//! ```
//! use regraft_optimizer::{Fuel, Passes, Policy, Unknown, optimize};
//!
//! let text = "function %f(i64) -> i64 {
//!     ss0 = explicit_slot 8
//! block0(v0: i64):
//!     v1 = stack_addr.i64 ss0
//!     store notrap aligned v0, v1
//!     v2 = load.i64 notrap aligned v1
//!     return v2
//! }";
//! let mut func = cranelift_reader::parse_functions(text)?.remove(0);
//! let summary = optimize(&mut func, Passes::all(), &mut Unknown, &Policy::default(), &mut Fuel::limited(1000))?;
//! assert_eq!(summary.efforts[0].after.loads, 0);
//! assert_eq!(summary.efforts[0].after.stores, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not here: addresses, threads, clocks, profiles' collection, machine code.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod access;
mod account;
mod address;
mod available;
mod callee;
mod copy;
mod edit;
mod error;
mod escape;
mod evaluate;
mod interval;
mod pass;
mod passes;
mod policy;
mod ranges;

#[cfg(test)]
mod tests;

pub use account::{Effort, Fuel, Summary, Tally};
pub use callee::{Callee, Callees, Guard, Unknown, can_be_copied, fits};
pub use error::{OptimizeError, UnknownPass};
pub use pass::{Pass, Passes, run_pass};
pub use passes::checks::has_checks;
pub use policy::Policy;

use cranelift_codegen::ir::Function;

/// Runs the chosen passes in their order.
///
/// # Requires
/// `func` verifies.
///
/// # Ensures
/// It verifies afterwards, and does the same.
///
/// # Errors
/// [`OptimizeError`]; the function is not to be used then.
///
/// # Complexity
/// O(instructions), within the bounds of the policy.
pub fn optimize(
    func: &mut Function,
    passes: Passes,
    callees: &mut dyn Callees,
    policy: &Policy,
    fuel: &mut Fuel,
) -> Result<Summary, OptimizeError> {
    let mut summary = Summary::default();
    for pass in Pass::ALL {
        if passes.contains(pass) {
            run_pass(func, pass, callees, policy, fuel, &mut summary)?;
        }
    }
    Ok(summary)
}
