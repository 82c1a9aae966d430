//! Replays a trace under a policy, on a machine.
//!
//! ```text
//!   a slice of the trace ──▶ less what was saved at tier 1 ──▶ time passes, the compile thread works ──▶ parts asked about
//! ```
//!
//! # Model
//! The program's thread does what it did at tier 0, in less time by what each instruction at tier 1 saves: in every program as
//! much as its recorded runs at tier 0 and at tier 1 differ by. One compile thread; a compilation costs by size, by the line that
//! fits the recorded run at tier 1. Who shares a processor is slowed down at an even rate.
//!
//! # Invariants
//! *The rule is the engine's* (`regraft::simulation::rule`); what surrounds it is a model of `tiering` and `threads`.
//!
//! # Limitations
//! Instructions save the same wherever they are. Nothing is inlined, there are no side exits, nothing fails, an activation of a function
//! gets to tier 1 as soon as the function does, and nothing is compiled ahead.

use crate::trace::Trace;
use regraft::simulation::rule::{Linear, Load, RULE, Rule, Seen, Weight, prefers_whole};

/// How fast things go where a program and its compile thread want to run at once.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub name: &'static str,
    pub program: f64,
    pub compiler: f64,
    /// What the engine finds: whether compile threads have to share.
    pub contended: bool,
}

/// Two processors and nothing else.
pub const IDLE: Machine = Machine {
    name: "idle",
    program: 1.0,
    compiler: 1.0,
    contended: false,
};

/// Two processors, and something else that runs all the time.
pub const BUSY: Machine = Machine {
    name: "busy",
    program: 2.0 / 3.0,
    compiler: 2.0 / 3.0,
    contended: true,
};

/// One processor.
pub const SINGLE: Machine = Machine {
    name: "single",
    program: 0.5,
    compiler: 0.5,
    contended: true,
};

/// How the engine decides.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub rule: Rule,
    pub patience: f64,
    /// Executions until a part is asked about.
    pub threshold: f64,
    /// How long processors are taken for free, in nanoseconds.
    pub unaware: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: "tiered".to_string(),
            rule: RULE,
            patience: 1.0,
            threshold: 1000.0,
            unaware: 6e6,
        }
    }
}

/// What became of a program, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// From loading to the end.
    pub elapsed: f64,
    /// What the compile thread used.
    pub compiling: f64,
    pub jobs: usize,
    /// Jobs that were dropped since they had gone cold.
    pub forgotten: usize,
}

/// What is true of a program, whatever the rule takes it for.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    pub tier1: Linear,
    /// What an instruction takes longer at tier 0.
    pub loss: f64,
}

impl Truth {
    /// What the recorded runs say.
    pub fn of(trace: &Trace) -> Self {
        let [functions, instructions] = trace.called().map(|count| count as f64);
        let fixed = RULE.tier1.fixed;
        let compiling = trace.eager.compiling as f64 * 1e3 - fixed * functions;
        let saved = trace.tier0.running() as f64 - trace.eager.running() as f64;
        Self {
            tier1: Linear {
                fixed,
                each: (compiling / instructions.max(1.0)).max(100.0),
            },
            loss: (saved * 1e3 / trace.executed().max(1) as f64).max(0.0),
        }
    }
}

/// The least time that a slice takes, by its time at tier 0.
const LEAST: f64 = 0.1;

/// How long a slice is, in nanoseconds, and how many there are to a step at most.
const SLICE: f64 = 50_000.0;
const SLICES: f64 = 200.0;

/// Trips of a loop below which the loop around it is compiled: `Policy::min_trip_count`.
const TRIPS: f64 = 16.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Status {
    Cold,
    /// What was counted then.
    Queued(Seen),
    /// In the compiler, or at tier 1.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct State {
    executions: f64,
    /// Executions at which it is asked about.
    due: f64,
    /// When its function was first executed.
    since: f64,
    status: Status,
    fast: bool,
}

/// A job in the hands of the compile thread.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// Which parts get to tier 1: from, to; those within `root` only.
    root: usize,
    left: f64,
}

/// All that changes.
#[derive(Debug)]
struct Replay<'a> {
    trace: &'a Trace,
    policy: &'a Policy,
    machine: Machine,
    truth: Truth,
    /// The function of each part, and the number of that function's first part.
    homes: Vec<(usize, usize)>,
    states: Vec<State>,
    queue: Vec<usize>,
    job: Option<Job>,
    /// How long the program has run.
    ran: f64,
    outcome: Outcome,
}

/// Replays a trace.
///
/// # Complexity
/// O(time / slice × parts that run in a step + jobs × queue).
pub fn replay(trace: &Trace, policy: &Policy, machine: Machine) -> Outcome {
    let mut homes = vec![];
    for (at, function) in trace.functions.iter().enumerate() {
        let first = homes.len();
        homes.extend(function.parts.iter().map(|_| (at, first)));
    }
    let state = State {
        executions: 0.0,
        due: policy.threshold,
        since: f64::NAN,
        status: Status::Cold,
        fast: false,
    };
    let mut replay = Replay {
        trace,
        policy,
        machine,
        truth: Truth::of(trace),
        states: vec![state; homes.len()],
        homes,
        queue: vec![],
        job: None,
        ran: 0.0,
        outcome: Outcome::default(),
    };
    replay.run();
    replay.outcome
}

impl Replay<'_> {
    fn run(&mut self) {
        let mut before = (0, 0);
        for step in &self.trace.steps {
            let time = (step.micros - before.0) as f64 * 1e3;
            let compiling = ((step.compiling - before.1) as f64 * 1e3).min(time);
            before = (step.micros, step.compiling);
            // What compiles for the program's thread is there at either tier.
            self.pass(compiling);
            let running = time - compiling;
            let slices = (running / SLICE).ceil().clamp(1.0, SLICES);
            for _ in 0..slices as usize {
                let fast = step.counts.iter().filter(|count| self.states[count.0].fast);
                let executed: u64 = fast.map(|count| count.2).sum();
                let saved = (executed + step.small) as f64 * self.truth.loss;
                let work = (running - saved).max(running * LEAST) / slices;
                self.pass(work);
                for &(part, executions, _) in &step.counts {
                    self.count(part, executions as f64 / slices);
                }
            }
        }
    }

    /// The program runs for so long, in time that it has a processor.
    fn pass(&mut self, mut work: f64) {
        while work > 0.0 {
            let Some(left) = self.in_hand() else {
                self.ran += work;
                self.outcome.elapsed += work;
                return;
            };
            let Machine {
                program, compiler, ..
            } = self.machine;
            let time = (work / program).min(left / compiler);
            work -= time * program;
            self.ran += time * program;
            self.outcome.elapsed += time;
            self.outcome.compiling += time * compiler;
            self.compile(time * compiler);
            // What is left is a rounding error.
            if work < 1e-3 {
                return;
            }
        }
    }

    /// What is left of the job in hand; takes one if there is none.
    fn in_hand(&mut self) -> Option<f64> {
        while self.job.is_none() {
            let most = (0..self.queue.len()).max_by(|&a, &b| {
                let urgency = |at: usize| self.urgency(self.queue[at]);
                urgency(a).total_cmp(&urgency(b)).then(b.cmp(&a))
            })?;
            self.take(most)?;
        }
        self.job.map(|job| job.left)
    }

    fn urgency(&self, part: usize) -> f64 {
        self.policy
            .rule
            .urgency(self.weight(part), self.executions(part))
    }

    fn weight(&self, part: usize) -> Weight {
        let (function, first) = self.homes[part];
        self.trace.functions[function].parts[part - first].weight()
    }

    fn executions(&self, part: usize) -> u64 {
        // `as` saturates.
        self.states[part].executions as u64
    }

    /// Takes a job from the queue; nothing if it has to wait.
    fn take(&mut self, at: usize) -> Option<()> {
        let part = self.queue[at];
        let root = self.root(part);
        let rule = &self.policy.rule;
        if let Status::Queued(queued) = self.states[part].status
            && self.load().contended
            && rule.has_gone_cold(queued, self.seen(part))
        {
            self.queue.swap_remove(at);
            let counted = self.states[part].executions;
            // As much again as if nothing had been lost yet.
            let left =
                rule.executions_left(self.weight(part), 0, self.load(), self.policy.patience);
            self.states[part].due = counted + left.max(1) as f64;
            self.states[part].status = Status::Cold;
            self.outcome.forgotten += 1;
            return Some(());
        }
        let instructions = self.weight(root).instructions;
        if self.load().contended && !rule.affords(self.outcome.compiling, self.ran, instructions) {
            return None;
        }
        self.queue.swap_remove(at);
        self.states[part].status = Status::Done;
        if !self.states[root].fast {
            self.outcome.jobs += 1;
            let left = self.truth.tier1.at(instructions);
            self.job = Some(Job { root, left });
        }
        Some(())
    }

    fn load(&self) -> Load {
        Load {
            queued: self.queue.len() + usize::from(self.job.is_some()),
            contended: self.machine.contended && self.outcome.elapsed >= self.policy.unaware,
        }
    }

    /// What is counted of a part now.
    fn seen(&self, part: usize) -> Seen {
        Seen {
            age: self.ran - self.states[self.homes[part].1].since,
            executions: self.executions(part),
        }
    }

    /// What is compiled where a part is hot: `tiering::decide`.
    fn root(&self, part: usize) -> usize {
        let (function, first) = self.homes[part];
        if part == first
            || prefers_whole(
                self.weight(part),
                self.weight(first),
                self.executions(first),
            )
        {
            return first;
        }
        let parts = &self.trace.functions[function].parts;
        let mut root = part;
        while let Some(parent @ 1..) = parts[root - first].parent {
            let trips =
                self.states[root].executions / self.states[first + parent].executions.max(1.0);
            if trips >= TRIPS {
                break;
            }
            root = first + parent;
        }
        root
    }

    /// The compile thread works for so long.
    fn compile(&mut self, time: f64) {
        let Some(job) = &mut self.job else {
            return;
        };
        job.left -= time;
        if job.left > 1e-3 {
            return;
        }
        let root = job.root;
        self.job = None;
        let (function, first) = self.homes[root];
        let parts = &self.trace.functions[function].parts;
        self.states[root].fast = true;
        // Parents come first.
        for (at, part) in parts.iter().enumerate() {
            let around = part
                .parent
                .is_some_and(|parent| self.states[first + parent].fast);
            self.states[first + at].fast |= around && first + at >= root;
        }
    }

    /// A part is executed: `tiering::hot`.
    fn count(&mut self, part: usize, executions: f64) {
        let load = self.load();
        let (ran, weight) = (self.ran, self.weight(part));
        let first = self.homes[part].1;
        if self.states[first].since.is_nan() {
            self.states[first].since = ran;
        }
        let state = &mut self.states[part];
        if state.fast {
            return;
        }
        state.executions += executions;
        if state.status != Status::Cold || state.executions < state.due {
            return;
        }
        let counted = state.executions as u64;
        let left = self
            .policy
            .rule
            .executions_left(weight, counted, load, self.policy.patience);
        if left > 0 {
            state.due = state.executions + left as f64;
            return;
        }
        self.states[part].status = Status::Queued(self.seen(part));
        self.queue.push(part);
    }
}

/// All at tier 0.
pub fn tier0(trace: &Trace) -> f64 {
    trace.tier0.micros as f64 * 1e3
}

/// All at tier 1.
pub fn eager(trace: &Trace) -> f64 {
    trace.eager.micros as f64 * 1e3
}

/// What no policy can be faster than that compiles after the program has begun and by the same units: what gains less than it
/// costs stays at tier 0, all else is at tier 1 from its first execution on.
pub fn bound(trace: &Trace, machine: Machine) -> f64 {
    let truth = Truth::of(trace);
    let mut gains = vec![];
    let mut small = 0;
    let parts: usize = trace.functions.iter().map(|f| f.parts.len()).sum();
    gains.resize(parts, 0.0);
    for step in &trace.steps {
        small += step.small;
        for &(part, _, executed) in &step.counts {
            gains[part] += executed as f64 * truth.loss;
        }
    }
    // What the program waits while the compiler works.
    let price = (1.0 - machine.program) / machine.compiler;
    let mut saved = small as f64 * truth.loss;
    let mut first = 0;
    for function in &trace.functions {
        let count = function.parts.len();
        let own = &gains[first..first + count];
        // Of each part with all within: what it gains at tier 1, and the best that can be had.
        let (mut whole, mut best) = (own.to_vec(), vec![0.0_f64; count]);
        for at in (0..count).rev() {
            let part = function.parts[at];
            let cost = truth.tier1.at(part.instructions) * price;
            best[at] = best[at].max(whole[at] - cost);
            if let Some(parent) = part.parent {
                whole[parent] += whole[at];
                best[parent] += best[at];
            }
        }
        saved += best.first().copied().unwrap_or(0.0);
        first += count;
    }
    (tier0(trace) - saved).max(tier0(trace) * LEAST)
}
