//! What formation says about each loop it looked at.
//!
//! # Purpose
//! A refusal by policy is a value, not an error: the report prints it. These types are plain data.
//!
//! # Not here
//! The rules that lead to a decision ([`super`]).

use std::fmt;

use cranelift_codegen::ir::Block;

use crate::loops::LoopId;

/// Why a candidate is not compiled as a region of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum SkipReason {
    /// A region around it has been taken.
    CoveredBy {
        /// The header of that region.
        header: Block,
    },
    /// A loop inside it has been taken, and little is left beside that.
    InnerTaken {
        /// The header of the inner region.
        header: Block,
    },
    /// It runs too few times per entry, so it gives way to the loop around it (which may give way in turn).
    SmallTripCount {
        /// Mean trips per entry.
        trips: f64,
        /// The header of the loop around it.
        around: Block,
    },
    /// It has too many instructions.
    TooLarge {
        /// How many it has.
        instructions: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Too little of the function's time is spent in it.
    LowShare {
        /// The share it has.
        share: f64,
        /// The share it needs.
        limit: f64,
    },
    /// It cannot be outlined, for the reason given by the caller.
    Refused(String),
    /// It is a cycle with several entries.
    Irreducible,
    /// The hot block is not the header of a loop.
    NoLoop,
    /// The function itself: a loop in it is hot enough to be entered through its own hook.
    LeftToLoop {
        /// The header of such a loop.
        header: Block,
    },
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CoveredBy { header } => {
                write!(f, "the region around it, at {header}, has been taken")
            }
            Self::InnerTaken { header } => write!(
                f,
                "the loop inside it, at {header}, has been taken, and little is left"
            ),
            Self::SmallTripCount { trips, around } => write!(
                f,
                "it runs {trips:.1} times per entry, so it gives way to the loop around it, at {around}"
            ),
            Self::TooLarge {
                instructions,
                limit,
            } => write!(
                f,
                "it has {instructions} instructions, and the limit is {limit}"
            ),
            Self::LowShare { share, limit } => write!(
                f,
                "only {:.2}% of the function's instructions are executed in it, and the limit is {:.2}%",
                share * 100.0,
                limit * 100.0
            ),
            Self::Refused(reason) => write!(f, "it cannot be outlined: {reason}"),
            Self::Irreducible => write!(f, "it is a cycle with several entries"),
            Self::NoLoop => write!(f, "it is not the header of a loop"),
            Self::LeftToLoop { header } => {
                write!(f, "the loop at {header} is entered through its own hook")
            }
        }
    }
}

/// What becomes of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is compiled as a region (or, for the function itself, as a whole).
    Take,
    /// It is not.
    Skip(SkipReason),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Take => write!(f, "taken"),
            Self::Skip(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// A loop, an irreducible cycle or the function itself, and what was decided about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The natural loop, if it is one.
    pub loop_id: Option<LoopId>,
    /// The loop's header, the cycle's first entry, or the function's entry block.
    pub header: Block,
    /// Nesting depth; an outermost loop has 1, the function 0.
    pub depth: u32,
    /// Mean trips per entry; `None` if it is no natural loop or was never entered.
    pub trips: Option<f64>,
    /// Its share of the function's executed instructions.
    pub share: f64,
    /// What was decided.
    pub decision: Decision,
}

impl Candidate {
    /// A candidate that is no natural loop and was skipped.
    pub(crate) fn of_block(header: Block, share: f64, reason: SkipReason) -> Candidate {
        Candidate {
            loop_id: None,
            header,
            depth: 0,
            trips: None,
            share,
            decision: Decision::Skip(reason),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loop_id {
            Some(l) => write!(f, "{l} at {}", self.header)?,
            None => write!(f, "{}", self.header)?,
        }
        write!(f, ", depth {}, ", self.depth)?;
        if let Some(trips) = self.trips {
            write!(f, "{trips:.1} trips, ")?;
        }
        write!(f, "{:.2}%: {}", self.share * 100.0, self.decision)
    }
}
