//! Oracles: what must hold for every program.
//!
//! Each oracle is a function from bytes to a verdict, so that the same code serves unit tests with fixed
//! seeds, long runs, fuzz targets, the minimiser and the replay of old failures.
//!
//! | oracle | what must agree |
//! |---|---|
//! | [`outline::check_symbolically`] | source and outlined functions, by the symbolic checker |
//! | [`outline::check_by_running`] | source and outlined functions, run under plain cranelift-jit |
//! | [`outline::check_round_trip`] | source and residual with the region inlined again |
//! | [`optimize::check`] | source and what any passes in any order make of it |
//! | [`loops::check`] | the same, for programs with loops as people write them, traps included |
//! | [`engines::check`] | interpreter, plain cranelift-jit and the engine in every mode |
//! | [`changes::check`] | plain cranelift-jit and an engine as the case chooses it, with redefinition and removal |
//! | [`modules::check`] | cranelift-jit's module and `regraft::jit`'s |
//! | [`counters::check`] | counts of the engine and of an instrumentation of its own kind |
//! | [`messages::check`] | nothing: no message makes either process panic or wait for ever |
//! | [`text::check`] | nothing: no text makes the parser or the engine panic |
//!
//! An oracle takes an optional [`Sabotage`], a defect put in between transformation and check; the tests
//! show that it is noticed.

pub mod changes;
pub mod choices;
pub mod counters;
pub mod engines;
pub mod instrumented;
pub mod interpreter;
pub mod loops;
pub mod messages;
pub mod minimise;
pub mod modules;
pub mod optimize;
pub mod outline;
pub mod plain;
pub mod sabotage;
pub mod text;

pub use sabotage::Sabotage;

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// What an oracle looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Cases checked.
    pub cases: usize,
    /// Cases that the oracle does not apply to.
    pub skipped: usize,
    /// Regions outlined, or loops that the engine outlined.
    pub regions: usize,
    /// Side exits among them.
    pub side_exits: usize,
    /// Entries into regions.
    pub entered: u64,
    /// Calls compared.
    pub calls: usize,
    /// Runs that Cranelift's interpreter took part in.
    pub interpreted: usize,
    /// Changes that passes made.
    pub optimized: u64,
    /// Cases in which the sabotage found something to spoil.
    pub sabotaged: usize,
}

impl Stats {
    /// A case that the oracle does not apply to.
    pub const SKIPPED: Self = Self {
        cases: 0,
        skipped: 1,
        regions: 0,
        side_exits: 0,
        entered: 0,
        calls: 0,
        interpreted: 0,
        optimized: 0,
        sabotaged: 0,
    };

    /// Adds what was looked at in another case.
    pub fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.skipped += other.skipped;
        self.regions += other.regions;
        self.side_exits += other.side_exits;
        self.entered += other.entered;
        self.calls += other.calls;
        self.interpreted += other.interpreted;
        self.optimized += other.optimized;
        self.sabotaged += other.sabotaged;
    }
}

/// Judges the case that the bytes stand for.
pub type Check = fn(&[u8], Option<Sabotage>) -> Result<Stats, String>;

/// An oracle and its name.
#[derive(Clone, Copy, Debug)]
pub struct Oracle {
    /// Its name, as in file names.
    pub name: &'static str,
    /// The oracle.
    pub check: Check,
}

/// All oracles.
pub const ORACLES: [Oracle; 11] = [
    Oracle {
        name: "symbolic",
        check: outline::check_symbolically,
    },
    Oracle {
        name: "outlined",
        check: outline::check_by_running,
    },
    Oracle {
        name: "roundtrip",
        check: outline::check_round_trip,
    },
    Oracle {
        name: "optimized",
        check: optimize::check,
    },
    Oracle {
        name: "loops",
        check: loops::check,
    },
    Oracle {
        name: "engines",
        check: engines::check,
    },
    Oracle {
        name: "changes",
        check: changes::check,
    },
    Oracle {
        name: "modules",
        check: modules::check,
    },
    Oracle {
        name: "counters",
        check: counters::check,
    },
    Oracle {
        name: "messages",
        check: messages::check,
    },
    Oracle {
        name: "text",
        check: text::check,
    },
];

/// The oracle with this name.
pub fn oracle(name: &str) -> Option<Oracle> {
    ORACLES.into_iter().find(|oracle| oracle.name == name)
}

/// Runs what may panic without a message on the terminal; an error if it did.
///
/// # Errors
///
/// The panic's message.
pub fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or(panic.downcast_ref::<&str>().copied());
        message.unwrap_or("?").to_string()
    })
}

/// What every fuzz target does.
///
/// # Panics
///
/// When the oracle fails, with what it said.
pub fn fuzz(check: Check, bytes: &[u8]) {
    if let Err(failure) = check(bytes, None) {
        panic!("{failure}");
    }
}
