//! Traces whose optimum is known.

use crate::replay::{
    BUSY, IDLE, Machine, Outcome, Policy, SINGLE, Truth, bound, eager, replay, tier0,
};
use crate::trace::{Function, Part, Run, Step, Trace, VERSION};
use regraft::simulation::rule::{RULE, Rule};

/// Instructions of each loop, and of each execution of its header.
const SIZE: usize = 1_000;

/// What runs at tier 0 takes a nanosecond an instruction, at tier 1 so much less.
const SAVED: f64 = 0.8;

/// A rule that is right about the programs here, and spends what it likes.
const RIGHT: Rule = Rule {
    loss: SAVED,
    idle_share: 1.0 / 16.0,
    busy_share: 1.0,
    budget: f64::INFINITY,
    cold_share: 0.0,
    ..RULE
};

/// What compiling a loop of [`SIZE`] costs, and its function, in nanoseconds.
fn cost() -> f64 {
    RULE.tier1.at(SIZE)
}

/// A function with one loop, called once.
fn looping(name: &str) -> Function {
    let part = |parent| Part {
        parent,
        executed: SIZE as f64,
        instructions: SIZE,
    };
    Function {
        name: name.to_string(),
        parts: vec![part(None), part(Some(0))],
    }
}

/// Loops of which these run, for a millisecond each.
fn program(functions: usize, running: impl IntoIterator<Item = usize>) -> Trace {
    let mut trace = Trace {
        version: VERSION,
        program: "made by hand".to_string(),
        tier0: Run::default(),
        eager: Run::default(),
        functions: (0..functions).map(|at| looping(&at.to_string())).collect(),
        steps: vec![],
    };
    let mut called = vec![false; functions];
    for function in running {
        let mut step = Step {
            micros: 1_000 * (trace.steps.len() as u64 + 1),
            ..Step::default()
        };
        if !std::mem::replace(&mut called[function], true) {
            step.first = [1, SIZE as u64];
            step.counts.push((2 * function, 1, 0));
        }
        step.counts.push((2 * function + 1, 1_000, 1_000_000));
        trace.steps.push(step);
    }
    let micros = 1_000 * trace.steps.len() as u64;
    let compiling = called.iter().filter(|called| **called).count() as f64 * cost() / 1e3;
    trace.tier0.micros = micros;
    trace.eager.compiling = compiling.round() as u64;
    trace.eager.micros = (micros as f64 * (1.0 - SAVED)).round() as u64 + trace.eager.compiling;
    trace.check().expect("it is in order");
    trace
}

fn one_loop(millis: usize) -> Trace {
    program(1, std::iter::repeat_n(0, millis))
}

/// By a rule, which knows at once how busy processors are.
fn run_by(rule: Rule, trace: &Trace, machine: Machine) -> Outcome {
    let policy = Policy {
        rule,
        unaware: 0.0,
        ..Policy::default()
    };
    replay(trace, &policy, machine)
}

fn run(trace: &Trace, machine: Machine) -> Outcome {
    run_by(RIGHT, trace, machine)
}

/// So many nanoseconds are the fineness of a replay.
const FINE: f64 = 120_000.0;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < FINE
}

#[test]
fn truth_is_what_the_runs_say() {
    let Truth { tier1, loss } = Truth::of(&one_loop(50));
    assert!((loss - SAVED).abs() < 1e-3, "{loss}");
    assert!(
        (tier1.each / RULE.tier1.each - 1.0).abs() < 1e-2,
        "{tier1:?}"
    );
}

/// Without a policy that compiles, time is that of the trace.
#[test]
fn what_is_never_compiled_takes_its_time_at_tier_0() {
    let never = Policy {
        threshold: f64::INFINITY,
        ..Policy::default()
    };
    for machine in [IDLE, BUSY, SINGLE] {
        let trace = one_loop(20);
        let outcome = replay(&trace, &never, machine);
        assert!(close(outcome.elapsed, tier0(&trace)));
        assert_eq!((outcome.jobs, outcome.compiling), (0, 0.0));
    }
}

/// One loop: what is best in hindsight is to compile at once, or never.
#[test]
fn the_bound_is_the_better_of_at_once_and_never() {
    for millis in [1, 2, 100] {
        let trace = one_loop(millis);
        let time = millis as f64 * 1e6;
        let at_once = time * (1.0 - SAVED) + cost();
        assert!(close(bound(&trace, SINGLE), at_once.min(time)), "{millis}");
        assert!(close(bound(&trace, IDLE), time * (1.0 - SAVED)), "{millis}");
        assert!(bound(&trace, BUSY) <= bound(&trace, SINGLE));
        assert!(close(eager(&trace), at_once));
    }
}

/// On one processor: what is paid beside the program's time at tier 1 is at most twice what the best choice pays, and what is
/// lost while the compiler works, beside which the program goes on at tier 0.
#[test]
fn ski_rental_pays_at_most_twice_the_best_and_what_is_lost_meanwhile() {
    let mut worst = 0.0_f64;
    for millis in 1..60 {
        let trace = one_loop(millis);
        let least = tier0(&trace) * (1.0 - SAVED);
        let paid = run(&trace, SINGLE).elapsed - least;
        let best = bound(&trace, SINGLE) - least;
        let most = 2.0 * best + SAVED * cost() + FINE;
        assert!(paid <= most, "{millis} ms: {paid} of {best}");
        worst = worst.max(paid / best);
    }
    assert!(worst > 2.0, "{worst}");
}

/// An idle processor compiles almost at once, and costs the program nothing.
#[test]
fn an_idle_processor_compiles_at_once() {
    let trace = one_loop(100);
    let outcome = run(&trace, IDLE);
    // A thousand executions, then the compilation.
    let waiting = 1e6 + cost();
    let expected = waiting + (100e6 - waiting) * (1.0 - SAVED);
    assert!(close(outcome.elapsed, expected), "{outcome:?}");
    assert_eq!(outcome.jobs, 1);
    assert!((outcome.compiling - cost()).abs() < cost() / 100.0);
    // With a processor that is not, later.
    assert!(run(&trace, BUSY).elapsed > outcome.elapsed);
}

/// The more urgent of two comes first.
#[test]
fn the_most_urgent_job_comes_first() {
    let urgent = (0..40).map(|at| usize::from(at % 8 != 0));
    let mut trace = program(2, urgent);
    // The first has a hundred times as many instructions, and so is taken for dear.
    for part in &mut trace.functions[0].parts {
        part.instructions *= 100;
    }
    let outcome = run(&trace, SINGLE);
    assert_eq!(outcome.jobs, 1);
    assert!(outcome.elapsed < tier0(&trace) * 0.6);
}

/// What compiling takes is at most its share, wherever the program ends; an idle processor is not asked.
#[test]
fn the_budget_is_kept() {
    let rule = Rule {
        budget: 0.1,
        ..RIGHT
    };
    for loops in [1, 5, 20] {
        for millis in [10, 50, 200] {
            let trace = program(loops, (0..millis).map(|at| at % loops));
            for machine in [BUSY, SINGLE] {
                let outcome = run_by(rule, &trace, machine);
                let ran = outcome.elapsed
                    - outcome.compiling * (1.0 - machine.program) / machine.compiler;
                assert!(outcome.compiling <= 0.1 * ran + FINE, "{outcome:?}");
                assert!(outcome.elapsed <= tier0(&trace) * 1.1 + FINE, "{outcome:?}");
            }
            let [idle, free] = [rule, RIGHT].map(|rule| run_by(rule, &trace, IDLE));
            assert_eq!(idle, free);
        }
    }
}

/// Ten loops get hot one after the other, and run no more: what waits is forgotten where there is a budget, and what
/// runs for long after them is compiled instead.
#[test]
fn what_has_gone_cold_is_forgotten() {
    let phases = (0..10).flat_map(|at| std::iter::repeat_n(at, 10));
    let trace = program(11, phases.chain(std::iter::repeat_n(10, 300)));
    let remembers = Rule {
        budget: 0.05,
        ..RIGHT
    };
    let forgets = Rule {
        cold_share: 0.3,
        ..remembers
    };
    let [remembers, forgets] = [remembers, forgets].map(|rule| run_by(rule, &trace, SINGLE));
    assert!(
        remembers.forgotten == 0 && forgets.forgotten >= 5,
        "{forgets:?}"
    );
    assert!(forgets.jobs < remembers.jobs, "{forgets:?} {remembers:?}");
    assert!(
        forgets.elapsed <= remembers.elapsed + FINE,
        "{forgets:?} {remembers:?}"
    );
}

/// A loop that gives way has the loop around it compiled, and everything within gets faster.
#[test]
fn a_loop_of_few_trips_gives_way_to_the_loop_around_it() {
    let mut trace = one_loop(50);
    trace.functions[0].parts.push(Part {
        parent: Some(1),
        executed: 100.0,
        instructions: 100,
    });
    for step in &mut trace.steps {
        let around = step.counts.last().copied().expect("the loop runs");
        step.counts.push((2, around.1 * 4, 0));
    }
    let outcome = run(&trace, IDLE);
    assert_eq!(outcome.jobs, 1);
    assert!(outcome.compiling > cost() * 0.9, "the outer one");
}

#[test]
fn time_is_stretched_and_nothing_else() {
    let mut trace = one_loop(4);
    for (at, step) in trace.steps.iter_mut().enumerate() {
        step.compiling = 100 * (at as u64 + 1);
    }
    let executed = trace.executed();
    let run = Run {
        micros: 2_000,
        compiling: 200,
    };
    trace.last_as_long_as(run);
    trace.check().expect("it is in order");
    let times: Vec<_> = trace
        .steps
        .iter()
        .map(|step| (step.micros, step.compiling))
        .collect();
    assert_eq!(times, [(500, 50), (1_000, 100), (1_500, 150), (2_000, 200)]);
    assert_eq!((trace.executed(), trace.tier0.running()), (executed, 1_800));
}

#[test]
fn traces_are_checked() {
    let trace = one_loop(3);
    let text = serde_json::to_string(&trace).expect("it has no maps");
    let read = Trace::read(&text).expect("it is in order");
    assert_eq!(serde_json::to_string(&read).expect("as above"), text);
    let refused = |trace: &Trace| {
        let text = serde_json::to_string(trace).expect("it has no maps");
        Trace::read(&text).is_err()
    };
    let mut other = trace.clone();
    other.version += 1;
    assert!(refused(&other));
    let mut other = trace.clone();
    other.steps.swap(0, 2);
    assert!(refused(&other));
    let mut other = trace.clone();
    other.steps[1].counts[0].0 = 2;
    assert!(refused(&other));
    let mut other = trace;
    other.functions[0].parts[1].parent = Some(1);
    assert!(refused(&other));
    assert!(Trace::read("{").is_err());
}
