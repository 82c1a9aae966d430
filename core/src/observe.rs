//! What people and tools see of an engine while it runs: events, the text of what was compiled.
//!
//! ```text
//!   machine code ── link ──▶ listed in the code map ── seen ──▶ Seen, held with the code
//!   tiering, pipeline, define ── event ──▶ journal, tracing                │ dropped
//!                                                                         ▼ "freed"
//! ```
//!
//! Invariants:
//!
//! * Off by default, and then nothing is collected, and generated code is the same, on or off.
//! * A version is seen after it is in the code map and before it can run; that it goes is said before its
//!   memory can be given again.
//!
//! Limitations: entries into regions are counted ([`crate::report`]), not recorded as events: they happen in
//! generated code. Of events, the first [`journal::LIMIT`] are kept.
//!
//! Not here: how a report is made of this ([`crate::report`]) or a page (`regraft-page`).

mod journal;

use crate::code::codemap::CodeUnit;
use crate::code::text::Texts;
use crate::config::Observe;
use crate::report::{EventKind, EventsReport};
use journal::Journal;
use std::sync::Arc;

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
    config: Observe,
    journal: Option<Arc<Journal>>,
}

impl Observer {
    pub fn new(config: Observe) -> Self {
        Self {
            journal: config.inspect.then(Arc::default),
            config,
        }
    }

    /// Which texts are to be kept of what is compiled.
    pub fn texts(&self) -> Texts {
        match self.config.inspect {
            true => Texts::Keep,
            false => Texts::None,
        }
    }

    /// Whether the report has everything.
    pub fn inspects(&self) -> bool {
        self.config.inspect
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

    /// What is to be kept as long as the code of a version.
    pub fn seen(&self, function: &Arc<str>, unit: CodeUnit, tier: u8) -> Option<Seen> {
        self.journal.as_ref()?;
        Some(Seen {
            observer: self.clone(),
            function: Arc::clone(function),
            unit,
            tier,
        })
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
}

impl Drop for Seen {
    fn drop(&mut self) {
        let freed = Event::new(EventKind::Freed, &self.function, self.unit);
        self.observer.event(Event {
            tier: Some(self.tier),
            ..freed
        });
    }
}
