//! Counts reconstructed from few counters against counts of everything.
//!
//! At tier 0 they must be equal, block by block and edge by edge. While functions tier up, the engine counts
//! what runs at tier 0 only: no more than what was executed, and conserved where the profile says so. With several
//! copies of the counters, calls are made on several stacks, one at a time: so each copy is used, and none loses counts.

use super::engines::{base, chain, define, every_loop};
use super::instrumented::{Counts, Instrumented};
use super::plain::{Plain, name_of};
use super::{Sabotage, Stats};
use crate::generate::host::Host;
use crate::generate::{MAIN, Program, Source};
use cranelift_codegen::ir::Function;
use regraft::regions::{Counting, SavedFunction};
use regraft::{Config, Engine, Mode};

const REPEAT: usize = 2;

/// How many stacks calls are made on, where counters have copies.
const STACKS: usize = 4;

/// The engine's profile agrees with brute force.
///
/// # Errors
///
/// The first count that differs, and the CLIF.
pub fn check(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let program = Program::draw(&mut Source::new(bytes));
    let text = |what: String| format!("{what}\n{}", program.to_clif());
    let host = Host::new();
    let instrumented: Result<Vec<_>, _> = program.functions.iter().map(Instrumented::new).collect();
    let instrumented = instrumented.map_err(&text)?;
    let functions: Vec<Function> = instrumented
        .iter()
        .map(|one| one.function.clone())
        .collect();
    let plain = Plain::compile(&functions, MAIN, &host).map_err(&text)?;
    for args in &program.inputs {
        for _ in 0..REPEAT {
            plain.run(&host, args);
        }
    }
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    for (name, config, exact) in configs() {
        let defined = define(&program.functions, config, &host);
        let (engine, main) = defined.map_err(|error| text(format!("{name}: {error}")))?;
        let copied = engine.config().memory.counter_copies > 1;
        for (at, args) in program.inputs.iter().enumerate() {
            for round in 0..REPEAT {
                if sabotage == Some(Sabotage::LoseCall) && copied && (at, round) == (0, 0) {
                    stats.sabotaged = 1;
                    continue;
                }
                let stack = if copied {
                    (REPEAT * at + round) % STACKS
                } else {
                    0
                };
                let values = host.arguments(args);
                host.reset();
                // SAFETY: generated programs touch only their frame and the host's buffers.
                let called = on_stack(stack, &|| unsafe { engine.call(main, &values) }.map(drop));
                called.map_err(|error| text(format!("{name}: {}", chain(&error))))?;
                stats.calls += 1;
            }
        }
        for (function, truth) in program.functions.iter().zip(&instrumented) {
            let function = name_of(function);
            let mut measured = measured(&engine, &function);
            if sabotage == Some(Sabotage::MiscountEdge)
                && let Some(count) = measured.edges.values_mut().next()
            {
                *count += 1;
                stats.sabotaged = 1;
            }
            let compared = compare(&measured, &truth.counts(), exact);
            compared.map_err(|error| text(format!("{name}, {function}: {error}")))?;
        }
        for region in engine
            .report()
            .functions
            .values()
            .flat_map(|function| &function.regions)
        {
            stats.regions += usize::from(!region.versions.is_empty());
            stats.entered += region.entries;
        }
    }
    Ok(stats)
}

/// Runs on a stack that is another for each number.
fn on_stack<T: Send>(stack: usize, run: &(dyn Fn() -> T + Sync)) -> T {
    match stack {
        0 => run(),
        // The stacks of the threads that wait are in use.
        _ => std::thread::scope(|scope| {
            let deeper = scope.spawn(|| on_stack(stack - 1, run));
            match deeper.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }),
    }
}

/// Configurations, and whether all that is executed is counted.
fn configs() -> Vec<(&'static str, Config, bool)> {
    let tiered = base(Mode::Tiered)
        .policy(every_loop())
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(5)
        .entry_threshold(4)
        .check(false);
    let counting = |counting| base(Mode::Tier0).counting(counting);
    let copies = |counter_copies, config: &Config| config.clone().counter_copies(counter_copies);
    vec![
        ("spanning tree", counting(Counting::SpanningTree), true),
        ("every block", counting(Counting::EveryBlock), true),
        (
            "not yet hot",
            tiered
                .clone()
                .pacing(regraft::Pacing::Counts)
                .loop_threshold(1 << 20)
                .entry_threshold(1 << 20),
            true,
        ),
        (
            "2 copies",
            copies(2, &counting(Counting::SpanningTree)),
            true,
        ),
        ("8 copies", copies(8, &counting(Counting::EveryBlock)), true),
        ("tiered, 8 copies", copies(8, &tiered), false),
        ("tiered", tiered, false),
    ]
}

fn measured(engine: &Engine, name: &str) -> Counts {
    let profile = engine.profile();
    let Some(SavedFunction {
        entries,
        blocks,
        edges,
        ..
    }) = profile.functions.get(name)
    else {
        return Counts::default();
    };
    let edges = edges.iter();
    Counts {
        entries: *entries,
        blocks: blocks
            .iter()
            .map(|(name, &count)| (name.clone(), count))
            .collect(),
        edges: edges
            .map(|edge| ((edge.from.clone(), edge.index, edge.to.clone()), edge.count))
            .collect(),
    }
}

fn compare(measured: &Counts, truth: &Counts, exact: bool) -> Result<(), String> {
    let wrong = |measured: u64, truth: u64| measured > truth || (exact && measured < truth);
    let differs = |what: String, measured: u64, truth: u64| {
        let than = if exact { "not" } else { "more than" };
        Err(format!(
            "{what} is counted {measured} times, {than} {truth}"
        ))
    };
    if wrong(measured.entries, truth.entries) {
        return differs("the entry".into(), measured.entries, truth.entries);
    }
    for block in measured.blocks.keys().chain(truth.blocks.keys()) {
        let count = |counts: &Counts| counts.blocks.get(block).copied().unwrap_or(0);
        let (measured, truth) = (count(measured), count(truth));
        if wrong(measured, truth) {
            return differs(block.clone(), measured, truth);
        }
    }
    for edge in measured.edges.keys().chain(truth.edges.keys()) {
        let count = |counts: &Counts| counts.edges.get(edge).copied().unwrap_or(0);
        let (measured, truth) = (count(measured), count(truth));
        if wrong(measured, truth) {
            let (from, index, to) = edge;
            return differs(format!("edge {index} of {from} to {to}"), measured, truth);
        }
    }
    Ok(())
}
