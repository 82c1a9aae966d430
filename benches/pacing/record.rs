//! Records a WebAssembly program: run at tier 0, its counters read every now and then by another thread; then all at tier 1.
//!
//! # Limitations
//! Counters are read while the program runs: what a step says is as of about its end, and what a count seems to be before it is at the
//! end, or at a look in between, is corrected by that. How long the program's thread has compiled is by the wall clock.

use crate::trace::{Function, LEAST, Part, Run, Step, Trace, VERSION};
use regraft::report::AccountReport;
use regraft::simulation::{Counted, each_function, rule};
use regraft::{Config, Engine, Mode};
use regraft_benches::Result;
use regraft_benches::real::{Program, STACK};
use std::collections::BTreeMap;
use std::os::unix::thread::JoinHandleExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The name of the program's thread.
const THREAD: &str = "program";

/// Steps take so long, or this share of the time so far: what matters is decided early.
const STEP: u64 = 1_000;
const STEP_SHARE: u64 = 24;

/// A run that nobody looks at is taken to be the fastest of so many.
const RUNS: usize = 3;

/// Runs a program at tier 0 and at tier 1.
///
/// # Errors
///
/// It cannot be run.
pub fn record(program: &Program) -> Result<Trace> {
    let mut recorder = Recorder::default();
    run(program, Mode::Tier0, |engine, now| {
        recorder.look(engine, now);
    })?;
    let fastest = |mode| -> Result<Run> {
        let runs: Result<Vec<Run>> = (0..RUNS).map(|_| run(program, mode, |_, _| {})).collect();
        let fastest = runs?.into_iter().min_by_key(|run| run.micros);
        fastest.ok_or_else(|| "there are no runs".into())
    };
    let tier0 = fastest(Mode::Tier0)?;
    let mut trace = Trace {
        program: program.name.clone(),
        eager: fastest(Mode::Eager)?,
        ..recorder.trace()
    };
    trace.last_as_long_as(tier0);
    trace.check()?;
    Ok(trace)
}

/// Runs a program on a thread of its own, and `look`s at it, also at its end.
fn run(program: &Program, mode: Mode, mut look: impl FnMut(&Engine, Run)) -> Result<Run> {
    let (send, engines) = channel();
    let (end, ends) = channel::<()>();
    let copy = program.clone();
    let thread = std::thread::Builder::new().name(THREAD.into());
    let thread = thread.stack_size(STACK).spawn(move || {
        let config = Config::default().mode(mode);
        let result = copy.run(config, |engine| Ok(send.send(engine.clone())?));
        // The last look is before the thread ends, whose clock ends with it.
        drop(send);
        let _ended = ends.recv();
        result.map_err(|error| error.to_string())
    })?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the thread was not joined, so that it exists, and the pointer is to a clock of ours.
    let code = unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &raw mut clock) };
    if code != 0 {
        return Err(format!("no clock of the program's thread: error {code}").into());
    }
    let last = watch(&engines, clock, &mut look);
    drop(end);
    match thread.join() {
        Ok(result) => result?,
        Err(_) => return Err("the program's thread ended with a panic".into()),
    }
    last
}

/// Looks at a program until its thread hangs up.
fn watch(
    engines: &Receiver<Engine>,
    clock: libc::clockid_t,
    look: &mut dyn FnMut(&Engine, Run),
) -> Result<Run> {
    let engine = engines.recv()?;
    let mut before = Run::default();
    loop {
        let ended = engines.recv_timeout(Duration::from_micros(STEP / 4));
        let now = Run {
            micros: micros(clock)?,
            compiling: compiling(&engine.account()),
        };
        let ended = matches!(ended, Err(RecvTimeoutError::Disconnected));
        if ended || now.micros - before.micros >= STEP.max(before.micros / STEP_SHARE) {
            look(&engine, now);
            before = now;
        }
        if ended {
            return Ok(now);
        }
    }
}

/// What a clock says.
fn micros(clock: libc::clockid_t) -> Result<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a time of ours; a clock that is not there is an error.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err("the clock of the program's thread is gone".into());
    }
    Ok(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000)
}

/// How long the program's thread has compiled.
fn compiling(account: &AccountReport) -> u64 {
    let program = account
        .threads
        .iter()
        .filter(|thread| thread.name == THREAD);
    program.flat_map(|thread| thread.phases.values()).sum()
}

/// What was seen of each function.
#[derive(Debug, Default)]
struct Recorder {
    functions: BTreeMap<u32, Seen>,
    looks: Vec<Look>,
}

/// A look: when, and what had changed.
#[derive(Debug)]
struct Look {
    at: Run,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    parts: Vec<Part>,
    executions: Vec<u64>,
}

/// What a function has executed until a look.
#[derive(Debug)]
struct Change {
    function: u32,
    is_first: bool,
    executions: Vec<u64>,
    executed: Vec<u64>,
}

impl Seen {
    fn new(counted: Counted<'_>) -> Self {
        let part = |part: regraft::simulation::Part| Part {
            parent: part.parent,
            executed: part.weight.executed,
            instructions: part.weight.instructions,
        };
        let parts: Vec<Part> = counted.parts().into_iter().map(part).collect();
        Self {
            name: counted.name.to_string(),
            executions: vec![0; parts.len()],
            parts,
        }
    }

    fn is_small(&self) -> bool {
        self.parts[0].instructions <= rule::SMALL
    }

    /// Whether anything is ever decided about it.
    fn may_get_hot(&self) -> bool {
        !self.is_small() && self.executions.iter().any(|&count| count >= LEAST)
    }
}

/// Counts that grow, made of counts that were read while they did: none is more than a later one.
fn grow<'a>(counts: impl DoubleEndedIterator<Item = &'a mut Vec<u64>>) {
    let mut later: Vec<u64> = vec![];
    for counts in counts.rev() {
        for (count, &later) in counts.iter_mut().zip(&later) {
            *count = later.min(*count);
        }
        later.clone_from(counts);
    }
}

/// What is in `now` more than before, which becomes it.
fn more(before: &mut Vec<u64>, now: &[u64]) -> Vec<u64> {
    before.resize(now.len(), 0);
    let pairs = now.iter().zip(before.iter());
    let more = pairs.map(|(now, before)| now.saturating_sub(*before));
    let more = more.collect();
    before.copy_from_slice(now);
    more
}

impl Recorder {
    fn look(&mut self, engine: &Engine, at: Run) {
        let mut changes = vec![];
        each_function(engine, &mut |counted| {
            let executions = counted.executions();
            if executions.iter().all(|&count| count == 0) {
                return;
            }
            let is_first = !self.functions.contains_key(&counted.number);
            let seen = self.functions.entry(counted.number);
            let seen = seen.or_insert_with(|| Seen::new(counted));
            if seen.executions == executions {
                return;
            }
            seen.executions.clone_from(&executions);
            changes.push(Change {
                function: counted.number,
                is_first,
                executions,
                executed: counted.executed(),
            });
        });
        self.looks.push(Look { at, changes });
    }

    fn trace(mut self) -> Trace {
        for &number in self.functions.keys() {
            let changes = self.looks.iter_mut().flat_map(|look| &mut look.changes);
            let mut changes: Vec<&mut Change> = changes.filter(|c| c.function == number).collect();
            grow(changes.iter_mut().map(|change| &mut change.executions));
            grow(changes.iter_mut().map(|change| &mut change.executed));
        }
        let mut before: BTreeMap<u32, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
        let mut functions = vec![];
        // The number of the first part of those that are kept.
        let mut numbers = BTreeMap::new();
        let mut parts = 0;
        for (&number, seen) in &self.functions {
            if seen.may_get_hot() {
                numbers.insert(number, parts);
                parts += seen.parts.len();
                functions.push(Function {
                    name: seen.name.clone(),
                    parts: seen.parts.clone(),
                });
            }
        }
        let steps = self.looks.iter().map(|look| {
            let mut step = Step {
                micros: look.at.micros,
                compiling: look.at.compiling,
                ..Step::default()
            };
            for change in &look.changes {
                let seen = &self.functions[&change.function];
                let (executions, executed) = before.entry(change.function).or_default();
                let executions = more(executions, &change.executions);
                let executed = more(executed, &change.executed);
                let sum: u64 = executed.iter().sum();
                if seen.is_small() {
                    step.small += sum;
                    continue;
                }
                if change.is_first {
                    step.first[0] += 1;
                    step.first[1] += seen.parts[0].instructions as u64;
                }
                let Some(&first) = numbers.get(&change.function) else {
                    step.cold += sum;
                    continue;
                };
                let counts = executions.iter().zip(&executed);
                for (at, (&executions, &executed)) in counts.enumerate() {
                    if executions > 0 || executed > 0 {
                        step.counts.push((first + at, executions, executed));
                    }
                }
            }
            step
        });
        Trace {
            version: VERSION,
            program: String::new(),
            tier0: Run::default(),
            eager: Run::default(),
            steps: steps.collect(),
            functions,
        }
    }
}
