//! What several threads cost and gain: counters that they share, and compile threads.
//!
//! ```text
//! cargo bench -p regraft-benches --bench threads [-- SECTION…]
//! ```
//!
//! Sections: `contention`, `workers`; both by default. Aims that are missed are printed as missed. All times are by
//! the wall clock, as it is about what happens at the same time; the machine should have nothing else to do.

use regraft::{Config, Engine, Mode, TypedFn};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{Result, machine, measure, ratio, shapes, verdict};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes options of the standard harness, `--bench` for one.
    let chosen: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    println!("machine: {}", machine());
    type Section = fn() -> Result<()>;
    let sections: [(&str, Section); 2] = [("contention", contention), ("workers", workers)];
    for (name, section) in sections {
        if chosen.is_empty() || chosen.iter().any(|chosen| *chosen == name) {
            println!();
            section()?;
        }
    }
    Ok(())
}

/// The time from the start of so many threads, which begin together, to the end of the last.
fn together(threads: usize, run: impl Fn() -> u64 + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let times = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let start = Instant::now();
                    black_box(run());
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

/// (a) The throughput of two threads in one function, in units of one thread's: at tier 0, which counts, and of the
/// same code without counters, which is what the machine can do.
fn contention() -> Result<()> {
    println!(
        "contention: throughput of two threads in one function at tier 0, in units of one thread's (aim ≥ 1.9)"
    );
    println!(
        "{:<10} {:>12} {:>12} {:>14} {:>12}",
        "loop", "1 thread", "2 threads", "no counters", "tier 0"
    );
    let loops = [
        ("tiny", shapes::TINY),
        ("medium", shapes::MEDIUM),
        ("nested", shapes::NESTED),
        ("branchy", shapes::BRANCHY),
    ];
    for (name, text) in loops {
        let mut plain = Plain::new(Level::None)?;
        let address = plain.define(shapes::parse(text, name)?)?;
        // SAFETY: the function has this signature.
        let without = unsafe { std::mem::transmute::<*const u8, Code>(address) };
        let engine = Engine::new(Config {
            mode: Mode::Tier0,
            ..Config::default()
        })?;
        let function = engine.define_function(shapes::parse(text, name)?)?;
        let tier0: TypedFn<(u64,), u64> = engine.get(function)?;
        let iterations = 4_000_000;
        // SAFETY: the functions touch no memory of ours.
        let run_without = || unsafe { without(iterations) };
        // SAFETY: as above.
        let run_tier0 = || unsafe { tier0.call((iterations,)) };
        let [alone, both, alone_counting, both_counting] = measure(
            ROUNDS,
            [
                &mut || Ok(together(1, run_without)),
                &mut || Ok(together(2, run_without)),
                &mut || Ok(together(1, run_tier0)),
                &mut || Ok(together(2, run_tier0)),
            ],
        )?;
        let machine = 2.0 * ratio(alone, both);
        let counting = 2.0 * ratio(alone_counting, both_counting);
        let nanos = |time: Duration| time.as_secs_f64() * 1e9 / iterations as f64;
        println!(
            "{name:<10} {:>9.3} ns {:>9.3} ns {machine:>14.2} {counting:>12.2}  {}",
            nanos(alone_counting),
            nanos(both_counting),
            verdict(counting >= 1.9)
        );
    }
    Ok(())
}

/// (b) From many loops getting hot at once to all of them being published.
fn workers() -> Result<()> {
    Ok(())
}
