//! What people and tools see of an engine while it runs: events, the text of what was compiled.
//!
//! ```text
//!   machine code ── link ──▶ seen ──▶ Seen, held with the code     name, lines, bytes ──▶ perf, gdb, unwinder (symbols)
//!                              │ dropped: taken back, "freed"
//!   detect, tierup, publish, redefine ── event ──▶ journal, tracing
//! ```
//!
//! Invariants:
//!
//! * Off by default, and then nothing is collected, and generated code is the same, on or off.
//! * A version is seen when it is complete and before it can run; that it goes is said before its memory can be
//!   given again.
//!
//! Limitations: entries into regions are counted ([`crate::report`]), not recorded as events: they happen in
//! generated code. Of events, the first [`journal::LIMIT`] are kept.
//!
//! Not here: how a report is made of this ([`crate::report`]) or a page (`regraft-page`); the formats of profilers and
//! debuggers (`regraft-symbols`).

mod journal;
mod lines;
mod symbols;
mod text;

use crate::code::codemap::CodeUnit;
use crate::engine::Inner;
use crate::report::EventsReport;
use crate::tiering::tierup::HotPart;
use crate::units::table::FunctionUnit;
use crate::units::tiering::Tiering;
use journal::Journal;
pub(crate) use lines::Lines;
use regraft_symbols::{Perf, Shown, ToolError};
use std::path::PathBuf;
use std::sync::Arc;
use symbols::Served;
pub(crate) use text::{CodeText, Texts};

/// What is made visible of an engine; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observe {
    /// The report has the CLIF of every function, with counts of blocks and edges; for each version the CLIF that was
    /// compiled, what the optimiser left of it, and the machine code; and the events. Takes memory in proportion to
    /// all code that was ever compiled.
    pub inspect: bool,
    /// The report has the events alone.
    pub events: bool,
    /// What a profiler is told of generated code: perf, samply and others then know names of functions, regions and
    /// continuations. Also switched on by the environment, `REGRAFT_PERF=map` or `REGRAFT_PERF=jitdump`.
    pub perf: Option<Perf>,
    /// Whether a debugger knows generated code, by GDB's interface for compilers at run time: names, lines of the
    /// CLIF, unwind information. Also switched on by the environment, `REGRAFT_GDB=1`. Needs the feature `debug`. Code
    /// memory is writable where it runs, then, since breakpoints are written there.
    pub debugger: bool,
    /// Whether the unwinder of the system's runtime library knows generated code, so that backtraces in callbacks go through
    /// it (`std::backtrace`, crash handlers). Needs the feature `debug`, and the GNU C library.
    pub unwinder: bool,
    /// Where jitdumps and the CLIF of functions are saved, for debugger and jitdump; by default the directory of
    /// temporary files.
    pub directory: Option<PathBuf>,
}

/// What is to be kept of a compilation.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its text.
    pub texts: Texts,
    /// Its unwind information.
    pub frames: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Defined,
    Redefined,
    Removed,
    Hot,
    Queued,
    Compiled,
    Published,
    SideExitHot,
    FormedAgain,
    Freed,
}

impl Happened {
    /// Its name in reports and traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Defined => "defined",
            Self::Redefined => "redefined",
            Self::Removed => "removed",
            Self::Hot => "hot",
            Self::Queued => "queued",
            Self::Compiled => "compiled",
            Self::Published => "published",
            Self::SideExitHot => "side-exit-hot",
            Self::FormedAgain => "formed-again",
            Self::Freed => "freed",
        }
    }
}

/// An event, to whom it happened, and more about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub what: Happened,
    pub function: &'a str,
    pub unit: CodeUnit,
    /// The tier, where there is one.
    pub tier: Option<u8>,
    /// How long it took, in microseconds; 0 for what is a moment.
    pub micros: u64,
}

impl<'a> Event<'a> {
    /// A moment in the life of a function or a part of it.
    pub fn new(what: Happened, function: &'a str, unit: CodeUnit) -> Self {
        Self {
            what,
            function,
            unit,
            tier: None,
            micros: 0,
        }
    }
}

/// Where an engine shows what it does.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    inspect: bool,
    journal: Option<Arc<Journal>>,
    served: Option<Arc<Served>>,
}

impl Observer {
    pub fn new(config: &Observe) -> Result<Self, ToolError> {
        Ok(Self {
            inspect: config.inspect,
            journal: (config.inspect || config.events).then(Arc::default),
            served: Served::new(config)?.map(Arc::new),
        })
    }

    /// What is to be kept of what is compiled.
    pub fn wanted(&self) -> Wanted {
        let served = self.served.as_ref();
        Wanted {
            texts: match self.inspect {
                true => Texts::Keep,
                false => Texts::None,
            },
            frames: served.is_some_and(|served| served.wants_frames()),
        }
    }

    /// Whether the report has everything.
    pub fn inspects(&self) -> bool {
        self.inspect
    }

    /// Takes note of an event.
    pub fn event(&self, event: Event<'_>) {
        tracing::trace!(
            target: "regraft::event",
            function = event.function, unit = %event.unit, tier = event.tier, micros = event.micros,
            "{}", event.what.name()
        );
        if let Some(journal) = &self.journal {
            journal.record(event);
        }
    }

    /// The events so far.
    pub fn events(&self) -> Option<EventsReport> {
        self.journal.as_ref().map(|journal| journal.report())
    }
}

impl Inner {
    /// Something happened to a function.
    pub fn happened(&self, what: Happened, function: &FunctionUnit) {
        let event = Event::new(what, &function.name, CodeUnit::Function);
        self.observer.event(event);
    }

    /// Something happened to a part of a function.
    pub fn happened_to(
        &self,
        what: Happened,
        function: &FunctionUnit,
        tiering: &Tiering,
        part: HotPart,
    ) {
        let unit = match part {
            HotPart::Function => CodeUnit::Function,
            HotPart::Loop(hook) => CodeUnit::Region {
                entry: tiering.hooks[hook].region.entry(),
            },
        };
        self.observer.event(Event::new(what, &function.name, unit));
    }
}

/// A version that was shown; dropping it says that it is freed.
#[derive(Debug)]
pub(crate) struct Seen {
    observer: Observer,
    function: Arc<str>,
    unit: CodeUnit,
    tier: u8,
    _shown: Option<Shown>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        let freed = Event::new(Happened::Freed, &self.function, self.unit);
        self.observer.event(Event {
            tier: Some(self.tier),
            ..freed
        });
    }
}
