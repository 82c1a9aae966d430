//! The passes, their switches and their order.

use crate::account::{Effort, Fuel, Summary, Tally};
use crate::callee::Callees;
use crate::error::{OptimizeError, UnknownPass};
use crate::passes::{
    checks, dead, devirtualize, forward, hoist, inline, invert, select, strength, thread, unroll,
};
use crate::policy::Policy;
use cranelift_codegen::ir::Function;

/// A pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pass {
    /// Indirect calls become direct ones where they reach what they usually do.
    Devirtualize,
    /// Copies of functions take the place of calls.
    Inline,
    /// Private stack slots become SSA values.
    Promote,
    /// Checks that cannot fail go.
    Checks,
    /// A branch that an edge decides is not taken twice.
    Thread,
    /// Short arms of a branch are computed both, and one is chosen.
    Select,
    /// Loops with few iterations become straight code.
    Unroll,
    /// Loop headers that test are copied in front of their loops.
    Invert,
    /// Loads of what a loop does not change are done before it.
    Hoist,
    /// Values that are known to be in memory are not loaded.
    Forward,
    /// Multiplications by a few constants become sums.
    Strength,
    /// Stores that nobody sees go.
    Dead,
}

impl Pass {
    /// All passes, in the order in which [`optimize`](crate::optimize) runs them.
    pub const ALL: [Self; 12] = [
        Self::Devirtualize,
        Self::Inline,
        Self::Promote,
        Self::Checks,
        Self::Thread,
        Self::Select,
        Self::Unroll,
        Self::Invert,
        Self::Hoist,
        Self::Forward,
        Self::Strength,
        Self::Dead,
    ];

    /// Its name, as in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Devirtualize => "devirtualize",
            Self::Inline => "inline",
            Self::Promote => "promote",
            Self::Checks => "checks",
            Self::Thread => "thread",
            Self::Select => "select",
            Self::Unroll => "unroll",
            Self::Invert => "invert",
            Self::Hoist => "hoist",
            Self::Forward => "forward",
            Self::Strength => "strength",
            Self::Dead => "dead",
        }
    }

    /// The pass with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pass| pass.name() == name)
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes(u32);

impl Passes {
    /// No pass.
    pub const NONE: Self = Self(0);

    /// Every pass.
    pub fn all() -> Self {
        Pass::ALL.into_iter().fold(Self::NONE, Self::with)
    }

    /// These, and `pass`.
    #[must_use]
    pub fn with(self, pass: Pass) -> Self {
        Self(self.0 | 1 << pass as u32)
    }

    /// These, less `pass`.
    #[must_use]
    pub fn without(self, pass: Pass) -> Self {
        Self(self.0 & !(1 << pass as u32))
    }

    /// Whether `pass` is one of them.
    pub fn contains(self, pass: Pass) -> bool {
        self.0 & 1 << pass as u32 != 0
    }
}

/// Names with commas between; `all`, `none`, and `default` for those that [pay](Passes::default).
impl std::str::FromStr for Passes {
    type Err = UnknownPass;

    fn from_str(names: &str) -> Result<Self, UnknownPass> {
        match names {
            "all" => return Ok(Self::all()),
            "default" => return Ok(Self::default()),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        names.split(',').try_fold(Self::NONE, |passes, name| {
            let pass = Pass::from_name(name).ok_or_else(|| UnknownPass {
                name: name.to_string(),
            })?;
            Ok(passes.with(pass))
        })
    }
}

/// The passes that pay: those without which programs that were measured run more slowly (benches/README.md). The others cost time
/// to compile for gains that could not be told from noise.
impl Default for Passes {
    fn default() -> Self {
        Self::all().without(Pass::Hoist).without(Pass::Dead)
    }
}

/// Runs one pass, and notes what it did.
///
/// # Requires
/// `func` verifies.
///
/// # Ensures
/// It verifies afterwards, and does the same.
///
/// # Errors
/// [`OptimizeError`]; the function is not to be used then.
pub fn run_pass(
    func: &mut Function,
    pass: Pass,
    callees: &mut dyn Callees,
    policy: &Policy,
    fuel: &mut Fuel,
    summary: &mut Summary,
) -> Result<(), OptimizeError> {
    let before = Tally::of(func);
    let burnt = fuel.burnt();
    match pass {
        Pass::Devirtualize => devirtualize::run(func, callees, policy, fuel)?,
        Pass::Inline => inline::run(func, callees, policy, fuel)?,
        Pass::Promote => {
            forward::run(func, forward::Scope::Slots, policy, fuel)?;
            dead::unread(func, policy, fuel)?;
        }
        Pass::Checks => checks::run(func, policy, fuel)?,
        Pass::Thread => thread::run(func, policy, fuel)?,
        Pass::Select => select::run(func, policy, fuel)?,
        Pass::Unroll => unroll::run(func, policy, fuel)?,
        Pass::Invert => invert::run(func, policy, fuel)?,
        Pass::Hoist => hoist::run(func, policy, fuel)?,
        Pass::Forward => forward::run(func, forward::Scope::Memory, policy, fuel)?,
        Pass::Strength => strength::run(func, fuel)?,
        Pass::Dead => dead::run(func, policy, fuel)?,
    }
    let changes = fuel.burnt() - burnt;
    if changes > 0 {
        summary.efforts.push(Effort {
            pass,
            changes,
            before,
            after: Tally::of(func),
        });
    }
    Ok(())
}
