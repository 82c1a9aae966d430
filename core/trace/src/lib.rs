//! What an engine does, as a trace for Perfetto and `chrome://tracing`.
//!
//! ```text
//!   regraft::event ── tracing ──▶ layer ──▶ one JSON object for each, by thread
//!   "compiled" with its time       a bar of that length
//!   "queued" … "compiled"          a bar of the part's own: how long it waited
//!   anything else                  a mark
//! ```
//!
//! An engine tells `tracing` of every event, with how long it took. That is after the fact, and on the thread that
//! took note of it; so bars are made of events here, and not of spans.
//!
//! Invariants:
//!
//! * The file is an array of JSON once [`Trace::finish`] has returned; before, its end is missing, which both viewers
//!   accept: a process that is killed leaves a trace.
//! * Writing never fails the program: what went wrong first is what [`Trace::finish`] returns.
//!
//! Limitations: entries into regions are no events, as they happen in generated code.
//!
//! Format: "Trace Event Format", Google, 2016.
//!
//! Not here: which events there are (`regraft`).

#![forbid(unsafe_code)]

mod event;

use event::Fields;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Instant;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The target of the engine's events.
const TARGET: &str = "regraft::event";

/// A trace that is being written.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Mutex<Writer>>);

impl Trace {
    /// Creates the file; times count from now.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = LineWriter::new(File::create(path)?);
        file.write_all(b"[\n")?;
        Ok(Self(Arc::new(Mutex::new(Writer {
            file,
            since: Instant::now(),
            is_empty: true,
            threads: HashMap::new(),
            waiting: HashMap::new(),
            waits: 0,
            failed: None,
        }))))
    }

    /// The layer that writes it, which sees nothing but an engine's events.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let wanted = |metadata: &Metadata<'_>| metadata.target() == TARGET;
        Writing(self.clone()).with_filter(filter_fn(wanted))
    }

    /// Ends the trace; later events are left out.
    ///
    /// # Errors
    /// What went wrong first, now or before.
    pub fn finish(&self) -> io::Result<()> {
        let mut writer = self.lock();
        let result = match writer.failed.take() {
            Some(error) => Err(error),
            None => writer.file.write_all(b"\n]\n"),
        };
        let result = result.and_then(|()| writer.file.flush());
        writer.failed = Some(io::Error::other("the trace has ended"));
        result
    }

    /// Locks, whatever happened to an earlier holder: at worst, a line is missing.
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer.
#[derive(Debug)]
struct Writing(Trace);

impl<S: Subscriber> Layer<S> for Writing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let fields = Fields::of(event);
        self.0.lock().write(&fields);
    }
}

/// What the file has so far.
#[derive(Debug)]
struct Writer {
    file: LineWriter<File>,
    since: Instant,
    is_empty: bool,
    /// Threads have numbers here.
    threads: HashMap<ThreadId, u64>,
    /// Parts that wait to be compiled, by what they are of, and the numbers of their bars.
    waiting: HashMap<(String, String), u64>,
    waits: u64,
    /// Why nothing is written any more.
    failed: Option<io::Error>,
}

/// A line of the file.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    #[serde(rename = "cat")]
    category: &'a str,
    #[serde(rename = "ph")]
    phase: &'static str,
    /// Microseconds.
    #[serde(rename = "ts")]
    at: u64,
    #[serde(rename = "dur", skip_serializing_if = "Option::is_none")]
    micros: Option<u64>,
    #[serde(rename = "pid")]
    process: u32,
    #[serde(rename = "tid")]
    thread: u64,
    /// What belongs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// That a mark is its thread's alone.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    args: Arguments<'a>,
}

/// More about it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Thread {
        name: &'a str,
    },
    Event {
        function: &'a str,
        unit: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tier: Option<u64>,
    },
}

impl Writer {
    /// Writes an event of the calling thread.
    fn write(&mut self, fields: &Fields) {
        let now = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let at = now.saturating_sub(fields.micros);
        let thread = self.thread();
        let title = fields.title();
        let line = Line {
            name: &title,
            category: &fields.what,
            phase: "i",
            at,
            micros: None,
            process: std::process::id(),
            thread,
            id: None,
            scope: None,
            args: Arguments::Event {
                function: &fields.function,
                unit: &fields.unit,
                tier: fields.tier,
            },
        };
        let part = || (fields.function.clone(), fields.unit.clone());
        match &*fields.what {
            "compiled" => {
                if let Some(id) = self.waiting.remove(&part()) {
                    self.wait(&fields.part(), "e", at, id, thread);
                }
                self.line(&Line {
                    phase: "X",
                    micros: Some(fields.micros),
                    ..line
                });
            }
            "queued" => {
                self.waits += 1;
                let id = self.waits;
                self.waiting.insert(part(), id);
                self.wait(&fields.part(), "b", at, id, thread);
            }
            _ => self.line(&Line {
                scope: Some("t"),
                ..line
            }),
        }
    }

    /// Begins or ends the bar of a part that waits.
    fn wait(&mut self, part: &str, phase: &'static str, at: u64, id: u64, thread: u64) {
        self.line(&Line {
            name: &format!("{part} waits"),
            category: "queue",
            phase,
            at,
            micros: None,
            process: std::process::id(),
            thread,
            id: Some(id),
            scope: None,
            args: Arguments::Thread { name: part },
        });
    }

    /// The number of the calling thread, whose name is written before it is first used.
    fn thread(&mut self) -> u64 {
        let thread = std::thread::current();
        if let Some(&number) = self.threads.get(&thread.id()) {
            return number;
        }
        let number = self.threads.len() as u64 + 1;
        self.threads.insert(thread.id(), number);
        self.line(&Line {
            name: "thread_name",
            category: "",
            phase: "M",
            at: 0,
            micros: None,
            process: std::process::id(),
            thread: number,
            id: None,
            scope: None,
            args: Arguments::Thread {
                name: thread.name().unwrap_or("a thread without a name"),
            },
        });
        number
    }

    fn line(&mut self, line: &Line<'_>) {
        if self.failed.is_some() {
            return;
        }
        let separator = match std::mem::replace(&mut self.is_empty, false) {
            true => "",
            false => ",\n",
        };
        let written = serde_json::to_string(line)
            .map_err(io::Error::from)
            .and_then(|json| write!(self.file, "{separator}{json}"));
        self.failed = written.err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use tracing_subscriber::prelude::*;

    #[test]
    fn events_become_bars_and_marks_by_thread() {
        let path = std::env::temp_dir().join(format!("regraft-trace-{}.json", std::process::id()));
        let trace = Trace::create(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(trace.layer());
        tracing::subscriber::with_default(subscriber, || {
            let tell = |what: &str, tier: Option<u8>, micros: u64| {
                tracing::trace!(
                    target: "regraft::event",
                    function = "sum\"", unit = %"region at block1", tier, micros, "{what}"
                );
            };
            tell("queued", None, 0);
            std::thread::sleep(std::time::Duration::from_millis(2));
            tell("compiled", Some(1), 1000);
            tell("published", None, 0);
            tracing::trace!("of somebody else");
        });
        trace.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<Value> = serde_json::from_str(&text).unwrap();
        let phases: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["ph"].as_str())
            .collect();
        assert_eq!(phases, ["M", "b", "e", "X", "i"], "{text}");
        let [_, waits, waited, compiled, published] = &lines[..] else {
            panic!("{text}");
        };
        assert_eq!(waits["id"], waited["id"]);
        assert_eq!(waited["ts"], compiled["ts"]);
        assert_eq!(compiled["dur"], 1000);
        assert_eq!(compiled["name"], "sum\", region at block1, tier 1");
        assert_eq!(compiled["args"]["tier"], 1);
        assert_eq!(published["name"], "published: sum\", region at block1");
        assert!(trace.finish().is_err(), "it has ended");
    }
}
