//! What people and tools see of an engine while it runs: events, the text of what was compiled.
//!
//! ```text
//!   machine code ── link ──▶ seen ──▶ Seen, held with the code     name, lines, bytes ──▶ perf, gdb, unwinder (symbols)
//!                              │ dropped: taken back, "freed"
//!   tiering, pipeline, define ── event ──▶ journal, tracing
//! ```
//!
//! Invariants:
//!
//! * Off by default, and then nothing is collected but the account of time (`account`), and generated code is the same, on or off.
//! * A version is seen when it is complete and before it can run; that it goes is said before its memory can be
//!   given again.
//!
//! Limitations: entries into regions are counted ([`crate::report`]); an event is only that a version was first seen
//! running, by a sample (`times`), as entries happen in generated code. Of events, the first [`journal::LIMIT`] are kept.
//!
//! Not here: how a report is made of this ([`crate::report`]) or a page (`regraft-page`); the formats of profilers and
//! debuggers (`regraft-symbols`).

pub mod account;
mod journal;
mod symbols;
mod times;

use crate::code::codemap::{CodeUnit, SampledCode};
use crate::code::generate::Wanted;
use crate::code::text::Texts;
use crate::config::Observe;
use crate::report::{EventKind, EventsReport, TimesReport};
use journal::Journal;
use regraft_symbols::{Shown, ToolError};
use std::sync::Arc;
pub(crate) use symbols::Complete;
use symbols::Served;
use times::Times;

/// An event, to whom it happened, and more about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub what: EventKind,
    pub function: &'a str,
    pub unit: CodeUnit,
    /// The tier, where there is one.
    pub tier: Option<u8>,
    /// How long it took, in microseconds; 0 for what is a moment.
    pub micros: u64,
}

impl<'a> Event<'a> {
    /// A moment in the life of a function or a part of it.
    pub fn new(what: EventKind, function: &'a str, unit: CodeUnit) -> Self {
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
    times: Option<Arc<Times>>,
    served: Option<Arc<Served>>,
}

impl Observer {
    /// An observer of code that runs in this process, or not.
    ///
    /// # Errors
    /// [`ToolError`], for what the configuration asks for.
    pub fn new(config: &Observe, here: bool) -> Result<Self, ToolError> {
        Ok(Self {
            inspect: config.inspect,
            journal: config.inspect.then(Arc::default),
            times: config.inspect.then(Arc::default),
            served: Served::new(config, here)?.map(Arc::new),
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

    /// Whether somebody looks at code: its text, its lines, its frames.
    pub fn looks_at_code(&self) -> bool {
        self.inspect || self.served.is_some()
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
            "{}", event.what
        );
        if let Some(journal) = &self.journal {
            journal.record(event);
        }
    }

    /// Whether it is to be known where time goes.
    pub fn wants_times(&self) -> bool {
        self.times.is_some()
    }

    /// A sample was taken in code of a function.
    pub fn sampled(&self, function: Option<&str>, code: &SampledCode) {
        let Some(times) = &self.times else {
            return;
        };
        let first = times.add(code.tier, code.start);
        if let Some(function) = function.filter(|_| first && code.tier > 0) {
            let entered = Event::new(EventKind::Entered, function, code.unit);
            self.event(Event {
                tier: Some(code.tier),
                ..entered
            });
        }
    }

    /// Where time went so far.
    pub fn times(&self) -> Option<TimesReport> {
        self.times.as_ref().map(|times| times.report())
    }

    /// The events so far.
    pub fn events(&self) -> Option<EventsReport> {
        self.journal.as_ref().map(|journal| journal.report())
    }
}

/// A version that was shown; dropping it says that it is freed.
#[derive(Debug)]
pub(crate) struct Seen {
    observer: Observer,
    function: Arc<str>,
    unit: CodeUnit,
    tier: u8,
    start: usize,
    _shown: Option<Shown>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        if let Some(times) = &self.observer.times {
            times.forget(self.start);
        }
        let freed = Event::new(EventKind::Freed, &self.function, self.unit);
        self.observer.event(Event {
            tier: Some(self.tier),
            ..freed
        });
    }
}
