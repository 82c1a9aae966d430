//! The account of time in the report.

use super::names::Phase;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// What threads have spent on an engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountReport {
    /// The age of the engine, in microseconds of the wall clock.
    pub micros: u64,
    /// The threads that have done something for the engine, those of the same name added up.
    pub threads: Vec<ThreadReport>,
}

/// The time of threads of one name, in microseconds of the wall clock: that of the phases and the rest are the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadReport {
    /// Their name; empty if they have none. Compile threads are called `regraft-compile` and `regraft-ahead`.
    pub name: String,
    /// How many there were.
    pub threads: usize,
    /// How long they have been there, since each first did something for the engine.
    pub micros: u64,
    /// How long they were in each phase; phases that took no time are left out.
    pub phases: IndexMap<Phase, u64>,
    /// The rest: generated code and what the client does itself; on compile threads, decisions and the queue.
    pub rest_micros: u64,
}

impl AccountReport {
    /// Adds what was spent on another engine. The engines were there one after the other.
    pub fn add(&mut self, other: AccountReport) {
        self.micros += other.micros;
        for thread in other.threads {
            let same = self
                .threads
                .iter_mut()
                .find(|same| same.name == thread.name);
            let Some(same) = same else {
                self.threads.push(thread);
                continue;
            };
            same.threads = same.threads.max(thread.threads);
            same.micros += thread.micros;
            same.rest_micros += thread.rest_micros;
            for (phase, micros) in thread.phases {
                *same.phases.entry(phase).or_default() += micros;
            }
        }
    }
}

impl Phase {
    /// All of them, in the order of the report.
    pub const ALL: [Phase; 10] = [
        Phase::Define,
        Phase::Analyze,
        Phase::Form,
        Phase::Extract,
        Phase::Check,
        Phase::Optimize,
        Phase::GenerateTier0,
        Phase::GenerateTier1,
        Phase::Link,
        Phase::Wait,
    ];

    /// Generating code at a tier.
    pub(crate) fn generating(tier: u8) -> Self {
        match tier {
            0 => Phase::GenerateTier0,
            _ => Phase::GenerateTier1,
        }
    }
}
