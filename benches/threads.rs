//! What several threads cost and gain: counters that they share, and compile threads.
//!
//! ```text
//! cargo bench -p regraft-benches --bench threads [-- SECTION…]
//! ```
//!
//! Sections: `contention`, `workers`; both by default. Aims that are missed are printed as missed. All times are by
//! the wall clock, as it is about what happens at the same time; the machine should have nothing else to do.

use regraft::report::PartState;
use regraft::{Config, Engine, Mode, TypedFn};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{Result, measure, ratio, run, shapes, verdict};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;

fn main() -> Result<()> {
    run(&[("contention", contention), ("workers", workers)])
}

/// The time from the start of so many threads, which begin together, to the end of the last.
fn together(threads: usize, run: impl Fn(usize) -> u64 + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let times = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, run) = (&barrier, &run);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    black_box(run(thread));
                    (start, Instant::now())
                })
            })
            .collect();
        let ended = spawned.into_iter().filter_map(|thread| thread.join().ok());
        ended.collect::<Vec<_>>()
    });
    let first = times.iter().map(|(start, _)| *start).min();
    let last = times.iter().map(|(_, end)| *end).max();
    match (first, last) {
        (Some(first), Some(last)) => last - first,
        _ => Duration::ZERO,
    }
}

/// A function of generated code.
type Code = unsafe extern "C" fn(u64) -> u64;

/// (a) The throughput of two threads in one function, in units of one thread's: at tier 0, which counts; of the same
/// code without counters, which is what the machine can do; of tier 0 with eight copies of its counters; and as it is by
/// default, where a loop leaves tier 0 while it runs.
fn contention() -> Result<()> {
    println!(
        "contention: throughput of two threads in one function at tier 0, in units of one thread's (aim ≥ 1.9)"
    );
    println!(
        "{:<10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "loop",
        "1 thread",
        "2 threads",
        "no counters",
        "1 copy",
        "8 copies",
        "8 to 1 copy",
        "default"
    );
    for (name, text) in shapes::LOOPS {
        let mut plain = Plain::new(Level::None)?;
        let address = plain.define(shapes::parse(text, name)?)?;
        // SAFETY: the function has this signature.
        let without = unsafe { std::mem::transmute::<*const u8, Code>(address) };
        let counting = |counter_copies| -> Result<TypedFn<(u64,), u64>> {
            let engine = Engine::new(
                Config::default()
                    .mode(Mode::Tier0)
                    .counter_copies(counter_copies),
            )?;
            let function = engine.define_function(shapes::parse(text, name)?)?;
            Ok(engine.get(function)?)
        };
        let (tier0, copied) = (counting(1)?, counting(8)?);
        // A function that no call has made hot yet.
        let by_default = || -> Result<TypedFn<(u64,), u64>> {
            let engine = Engine::new(Config::default())?;
            let function = engine.define_function(shapes::parse(text, name)?)?;
            Ok(engine.get(function)?)
        };
        let iterations = 4_000_000;
        // SAFETY: the functions touch no memory of ours.
        let run_without = |_| unsafe { without(iterations) };
        // SAFETY: as above.
        let run_tier0 = |_| unsafe { tier0.call((iterations,)) };
        // SAFETY: as above.
        let run_copied = |_| unsafe { copied.call((iterations,)) };
        let [
            alone,
            both,
            alone_counting,
            both_counting,
            alone_copied,
            both_copied,
            alone_default,
            both_default,
        ] = measure(
            ROUNDS,
            [
                &mut || Ok(together(1, run_without)),
                &mut || Ok(together(2, run_without)),
                &mut || Ok(together(1, run_tier0)),
                &mut || Ok(together(2, run_tier0)),
                &mut || Ok(together(1, run_copied)),
                &mut || Ok(together(2, run_copied)),
                &mut || {
                    let code = by_default()?;
                    // SAFETY: as above.
                    Ok(together(1, |_| unsafe { code.call((iterations,)) }))
                },
                &mut || {
                    let code = by_default()?;
                    // SAFETY: as above.
                    Ok(together(2, |_| unsafe { code.call((iterations,)) }))
                },
            ],
        )?;
        let machine = 2.0 * ratio(alone, both);
        let counting = 2.0 * ratio(alone_counting, both_counting);
        let copies = 2.0 * ratio(alone_copied, both_copied);
        let price = ratio(alone_copied, alone_counting);
        let tiered = 2.0 * ratio(alone_default, both_default);
        let nanos = |time: Duration| time.as_secs_f64() * 1e9 / iterations as f64;
        println!(
            "{name:<10} {:>9.3} ns {:>9.3} ns {machine:>12.2} {counting:>12.2} {copies:>12.2} {price:>12.2} {tiered:>12.2}  {}, {}, {}",
            nanos(alone_counting),
            nanos(both_counting),
            verdict(counting >= 1.9),
            verdict(copies >= 1.9),
            verdict(tiered >= 1.9)
        );
    }
    println!(
        "8 to 1 copy: time of one thread with eight copies, in units of its time with one\n\
         default: from a fresh function on, in tiered mode, compile thread included
         the aim, with one copy, with eight and by default, is in the last columns"
    );
    Ok(())
}

/// Functions that get hot at once.
const FUNCTIONS: usize = 32;

/// (b) From many loops getting hot at once to all of them being published, with one compile thread and with two; and
/// of one loop by itself.
fn workers() -> Result<()> {
    println!("workers: from loops getting hot to the last of them being published");
    let round = |functions: usize, workers: usize| -> Result<Duration> {
        let engine = Engine::new(
            Config::default()
                .workers(workers)
                .pacing(regraft::Pacing::Counts),
        )?;
        let mut all: Vec<TypedFn<(u64,), u64>> = vec![];
        for number in 0..functions {
            let func = shapes::parse(shapes::MEDIUM, &format!("medium{number}"))?;
            all.push(engine.get(engine.define_function(func)?)?);
        }
        // The compile threads start with the first job: not counted.
        let first = engine.define_function(shapes::parse(shapes::TINY, "tiny")?)?;
        let first: TypedFn<(u64,), u64> = engine.get(first)?;
        let enough = u64::from(engine.config().thresholds.loops) + 2;
        // SAFETY: the functions touch no memory.
        unsafe { first.call((enough,)) };
        engine.wait_idle();
        let start = Instant::now();
        for code in &all {
            // SAFETY: as above.
            black_box(unsafe { code.call((enough,)) });
        }
        engine.wait_idle();
        let time = start.elapsed();
        let report = engine.report();
        let published = |name: &String| {
            let mut regions = report.functions[name].regions.iter();
            regions.any(|region| region.part.state == PartState::Published)
        };
        match report.functions.keys().all(published) {
            true => Ok(time),
            false => Err("not everything was published".into()),
        }
    };
    let [single, one, two] = measure(
        ROUNDS,
        [
            &mut || round(1, 1),
            &mut || round(FUNCTIONS, 1),
            &mut || round(FUNCTIONS, 2),
        ],
    )?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("one loop: {:.0} µs", micros(single));
    println!(
        "{FUNCTIONS} loops: one worker {:.0} µs, two {:.0} µs: {:.2} of it",
        micros(one),
        micros(two),
        ratio(two, one)
    );
    Ok(())
}
