//! What was recorded of a program: how often its parts were executed, over time.
//!
//! # Notation
//! A *part* is what can get hot: a function, or a loop that has a hook. Parts are numbered through all functions. Times are
//! microseconds of the processor time of the program's thread; *instructions* are CLIF instructions.
//!
//! # Invariants
//! [`Trace::read`] returns what [`Trace::check`] has found to be in order: numbers of parts are those of parts, parents come
//! before their children, and time does not run backwards.
//!
//! # Limitations
//! Functions without a part that was executed [`LEAST`] times are not kept apart: nothing is ever decided about them. What
//! they execute is a sum.

use regraft::simulation::rule::Weight;
use regraft_benches::Result;
use serde::{Deserialize, Serialize};

/// The version of the format.
pub const VERSION: u32 = 1;

/// Parts that were executed less often were never asked about.
pub const LEAST: u64 = 1000;

/// A program that ran at tier 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    pub version: u32,
    pub program: String,
    /// All of the program at tier 0, while it was recorded.
    pub tier0: Run,
    /// And all at tier 1 at once.
    pub eager: Run,
    pub functions: Vec<Function>,
    pub steps: Vec<Step>,
}

/// How long a program took.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// From loading to its end.
    pub micros: u64,
    /// Of which it was compiled.
    pub compiling: u64,
}

/// A function that may get hot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// The function itself, then its loops.
    pub parts: Vec<Part>,
}

/// A part of a function.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The index in the function of what is around it; the function has none.
    pub parent: Option<usize>,
    /// Instructions for each execution, by estimate.
    pub executed: f64,
    pub instructions: usize,
}

/// What has happened since the step before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// When it ended.
    pub micros: u64,
    /// How much of the time until then was compiling.
    pub compiling: u64,
    /// Functions that were called for the first time, but small ones, and their instructions.
    pub first: [u64; 2],
    /// Instructions executed in small functions, which start at tier 1.
    pub small: u64,
    /// And in functions that are not kept apart.
    pub cold: u64,
    /// Parts that were executed: number, executions, instructions in it but not in parts within.
    pub counts: Vec<(usize, u64, u64)>,
}

impl Part {
    pub fn weight(self) -> Weight {
        Weight {
            executed: self.executed,
            instructions: self.instructions,
        }
    }
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    ///
    /// Where it is none, of another version, or not in order.
    pub fn read(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(format!("a trace of version {version}, not {VERSION}").into());
        }
        let trace: Self = serde_json::from_str(text)?;
        trace.check()?;
        Ok(trace)
    }

    /// # Errors
    ///
    /// What is not in order.
    pub fn check(&self) -> Result<()> {
        for function in &self.functions {
            let parents = function.parts.iter().map(|part| part.parent);
            for (at, parent) in parents.enumerate() {
                if (at == 0) != parent.is_none() || parent.is_some_and(|parent| parent >= at) {
                    return Err(format!("{}: part {at} is in no order", function.name).into());
                }
            }
        }
        let parts: usize = self.functions.iter().map(|f| f.parts.len()).sum();
        let mut before = &Step::default();
        for (at, step) in self.steps.iter().enumerate() {
            if step.micros < before.micros || step.compiling < before.compiling {
                return Err(format!("step {at} ends before it begins").into());
            }
            if step.counts.iter().any(|&(part, ..)| part >= parts) {
                return Err(format!("step {at} has parts that there are not").into());
            }
            before = step;
        }
        Ok(())
    }

    /// Stretches time: a run that was looked at takes longer than one that was not.
    pub fn last_as_long_as(&mut self, run: Run) {
        let last = self.steps.last().map_or(Run::default(), |step| Run {
            micros: step.micros,
            compiling: step.compiling,
        });
        // Either kind of time by itself: together they are the whole.
        let by = |whole: u64, part: u64, now: u64| match whole {
            0 => 0,
            _ => u64::try_from(u128::from(part) * u128::from(now) / u128::from(whole)).unwrap_or(0),
        };
        for step in &mut self.steps {
            let running = step.micros.saturating_sub(step.compiling);
            step.compiling = by(last.compiling, step.compiling, run.compiling);
            step.micros = step.compiling + by(last.running(), running, run.running());
        }
        self.tier0 = run;
        // Where compiling, by another clock, seems to take longer than all, steps could go back.
        let mut before = 0;
        for step in &mut self.steps {
            before = step.micros.max(before);
            step.micros = before;
        }
    }

    /// Functions that were called, but small ones, and their instructions.
    pub fn called(&self) -> [u64; 2] {
        let sums = self.steps.iter().map(|step| step.first);
        sums.fold([0, 0], |[a, b], [c, d]| [a + c, b + d])
    }

    /// All instructions that were executed.
    pub fn executed(&self) -> u64 {
        let of = |step: &Step| {
            let parts: u64 = step.counts.iter().map(|&(_, _, executed)| executed).sum();
            parts + step.small + step.cold
        };
        self.steps.iter().map(of).sum()
    }
}

impl Run {
    /// But compiling.
    pub fn running(self) -> u64 {
        self.micros.saturating_sub(self.compiling)
    }
}
