//! The events of an engine, in the order in which they happened.

use super::Event;
use crate::report::{EventReport, EventsReport};
use regraft_executor::locks::lock;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// How many events are kept: the first ones. Of those after them only the number.
pub(super) const LIMIT: usize = 100_000;

/// The events so far.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<EventsReport>);

/// The moment that times count from: the same for all engines of the process, so that their events can be put
/// side by side.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl Default for EventsReport {
    fn default() -> Self {
        // The first journal comes before the first event.
        epoch();
        Self {
            list: vec![],
            left_out: 0,
        }
    }
}

impl Journal {
    /// Appends an event of the calling thread.
    pub fn record(&self, event: Event<'_>) {
        let ended = u64::try_from(epoch().elapsed().as_micros()).unwrap_or(u64::MAX);
        let thread = std::thread::current();
        let thread = match thread.name() {
            Some(name) => name.to_string(),
            None => format!("{:?}", thread.id()),
        };
        let mut events = lock(&self.0);
        if events.list.len() >= LIMIT {
            events.left_out += 1;
            return;
        }
        events.list.push(EventReport {
            at_micros: ended.saturating_sub(event.micros),
            micros: event.micros,
            thread,
            event: event.what,
            function: event.function.to_string(),
            unit: event.unit.to_string(),
            tier: event.tier,
        });
    }

    /// What was recorded.
    pub fn report(&self) -> EventsReport {
        lock(&self.0).clone()
    }
}
