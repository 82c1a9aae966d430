//! What finds hot code, compared: counters, sampling, and the profile of an earlier run.
//!
//! ```text
//! cargo bench -p regraft-benches --bench detectors [-- SECTION…]
//! ```
//!
//! Sections: `speed`, `found`, `warm`; all by default. `found` and `warm` are by the wall clock, as
//! compilation is on another thread.

use regraft::regions::Profile;
use regraft::report::PartState;
use regraft::{Config, Detection, Engine, Mode, Sampling, TypedFn};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{Contender, Result, measure, nanos_each, ratio, run, shapes, timed};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    run(&[("speed", speed), ("found", found), ("warm", warm)])
}

type Code = TypedFn<(u64,), u64>;

const DETECTIONS: [Detection; 2] = [
    Detection::Counters,
    Detection::Sampling(Sampling {
        interval: Duration::from_millis(1),
        samples: 2,
    }),
];

/// (a) Tier 0 that counts, and tier 0 that is sampled, against the same settings without either.
fn speed() -> Result<()> {
    const ROUNDS: usize = 31;
    println!("speed: a loop at tier 0, in units of cranelift-jit at the same settings");
    println!(
        "{:<10} {:>9} {:>10} {:>10} {:>20}",
        "loop", "ns/iter", "counters", "sampling", "sampling / counters"
    );
    for (name, text) in shapes::LOOPS {
        let mut plain = Plain::new(Level::None)?;
        let address = plain.define(shapes::parse(text, name)?)?;
        // SAFETY: all functions of this benchmark have this signature.
        let without =
            unsafe { std::mem::transmute::<*const u8, unsafe extern "C" fn(u64) -> u64>(address) };
        let at_tier0 = |detection| -> Result<Code> {
            let engine = Engine::new(
                Config::default()
                    .mode(Mode::Tier0)
                    .detection(detection)
                    .pacing(regraft::Pacing::Counts),
            )?;
            let function = engine.define_function(shapes::parse(text, name)?)?;
            Ok(engine.get(function)?)
        };
        let [counted, sampled] = [at_tier0(DETECTIONS[0])?, at_tier0(DETECTIONS[1])?];
        let iterations = 2_000_000;
        // SAFETY: none of the functions touches memory of ours.
        let [without, counted, sampled] = measure(
            ROUNDS,
            [
                &mut || timed(|| Ok(unsafe { without(iterations) })),
                &mut || timed(|| Ok(unsafe { counted.call((iterations,)) })),
                &mut || timed(|| Ok(unsafe { sampled.call((iterations,)) })),
            ],
        )?;
        println!(
            "{name:<10} {:>9.3} {:>10.3} {:>10.3} {:>20.3}",
            nanos_each(without, iterations),
            ratio(counted, without),
            ratio(sampled, without),
            ratio(sampled, counted)
        );
    }
    println!("the thread is sampled while each of the three runs");
    Ok(())
}

/// (b) From the first call of a loop to its region being published.
fn found() -> Result<()> {
    const ROUNDS: usize = 15;
    println!(
        "found: from the first call of a loop to its region being published, in the background"
    );
    println!(
        "{:<10} {:>6} {:>12} {:>12} {:>20}",
        "loop", "insts", "counters", "sampling", "sampling / counters"
    );
    for (name, steps) in [("small", 20), ("large", 400)] {
        let text = busy_loop(steps, 7);
        let func = shapes::parse(&text, name)?;
        let run = |detection| -> Result<Duration> {
            let engine = Engine::new(
                Config::default()
                    .detection(detection)
                    .pacing(regraft::Pacing::Counts),
            )?;
            let code: Code = engine.get(engine.define_function(func.clone())?)?;
            // As many as take a tenth of a millisecond, about.
            let iterations = 20_000 / steps as u64;
            let published = || {
                let report = engine.report();
                let mut regions = report.functions[name].regions.iter();
                regions.any(|region| region.part.state == PartState::Published)
            };
            let start = Instant::now();
            while !published() {
                if start.elapsed() > Duration::from_secs(10) {
                    return Err(format!("{name} is not found by {detection:?}").into());
                }
                // SAFETY: the function touches no memory.
                std::hint::black_box(unsafe { code.call((iterations,)) });
            }
            Ok(start.elapsed())
        };
        let [counters, sampling] = measure(
            ROUNDS,
            [&mut || run(DETECTIONS[0]), &mut || run(DETECTIONS[1])],
        )?;
        println!(
            "{name:<10} {:>6} {:>9.2} ms {:>9.2} ms {:>20.1}",
            shapes::instructions(&func),
            millis(counters),
            millis(sampling),
            ratio(sampling, counters)
        );
    }
    Ok(())
}

/// How many functions the program of [`warm`] has, and how long their loops are.
const FUNCTIONS: usize = 12;
const STEPS: usize = 60;
const ITERATIONS: u64 = 100;

/// (c) A program of many functions, from its first definition to nine tenths of its peak.
fn warm() -> Result<()> {
    const ROUNDS: usize = 9;
    println!(
        "warm: {FUNCTIONS} functions with a loop of {} instructions, called in turns;\n\
         from the engine to the first of ten rounds in a row at 0.9 of peak speed or more",
        5 * STEPS
    );
    let program = Program::new()?;
    let profile = Arc::new(program.profile()?);
    let cold = |detection| {
        Config::default()
            .detection(detection)
            .pacing(regraft::Pacing::Counts)
    };
    let warm = |detection| cold(detection).profile(Some(Arc::clone(&profile)));
    let [counters, sampling] = DETECTIONS;
    let contenders: [Contender<'_>; 4] = [
        &mut || program.time_to_peak(cold(counters)),
        &mut || program.time_to_peak(warm(counters)),
        &mut || program.time_to_peak(cold(sampling)),
        &mut || program.time_to_peak(warm(sampling)),
    ];
    let [cold_counters, warm_counters, cold_sampling, warm_sampling] = measure(ROUNDS, contenders)?;
    println!(
        "{:<10} {:>12} {:>12} {:>12}",
        "", "cold", "warm", "warm / cold"
    );
    for (name, cold, warm) in [
        ("counters", cold_counters, warm_counters),
        ("sampling", cold_sampling, warm_sampling),
    ] {
        println!(
            "{name:<10} {:>9.2} ms {:>9.2} ms {:>12.2}",
            millis(cold),
            millis(warm),
            ratio(warm, cold)
        );
    }
    println!(
        "warm, sampling / cold, counters: {:.2}",
        ratio(warm_sampling, cold_counters)
    );
    Ok(())
}

/// Functions that are called in turns.
struct Program(Vec<cranelift_codegen::ir::Function>);

impl Program {
    fn new() -> Result<Self> {
        // No two are the same.
        let functions = (0..FUNCTIONS)
            .map(|number| shapes::parse(&busy_loop(STEPS, 7 + number), &format!("f{number}")));
        Ok(Self(functions.collect::<Result<_>>()?))
    }

    fn start(&self, config: Config) -> Result<(Engine, Vec<Code>)> {
        let engine = Engine::new(config)?;
        let functions = self.0.iter().map(|func| -> Result<Code> {
            let id = engine.define_function(func.clone())?;
            Ok(engine.get(id)?)
        });
        let functions = functions.collect::<Result<_>>()?;
        Ok((engine, functions))
    }

    /// The profile of a run that has reached its peak, through JSON.
    fn profile(&self) -> Result<Profile> {
        let (engine, functions) = self.start(Config::default())?;
        for _ in 0..100 {
            round(&functions);
        }
        engine.wait_idle();
        Ok(Profile::from_json(&engine.profile().to_json())?)
    }

    fn time_to_peak(&self, config: Config) -> Result<Duration> {
        const IN_A_ROW: usize = 10;
        const PATIENCE: Duration = Duration::from_secs(20);
        let start = Instant::now();
        let (engine, functions) = self.start(config)?;
        let mut rounds = vec![];
        let all_published = || {
            let functions = engine.report().functions;
            let mut regions = functions.values().flat_map(|function| &function.regions);
            regions.all(|region| region.part.state == PartState::Published)
        };
        // The report takes time: it is asked rarely, and then rounds go on until all are fast.
        while rounds.len() % 64 != 63 || !all_published() {
            rounds.push((start.elapsed(), round(&functions)));
            if start.elapsed() > PATIENCE {
                return Err("not all functions are found".into());
            }
        }
        let peak = (0..200).map(|_| round(&functions)).collect::<Vec<_>>();
        let peak = median(peak);
        rounds.extend((0..IN_A_ROW).map(|_| (start.elapsed(), peak)));
        let fast = |time: Duration| time.as_secs_f64() <= peak.as_secs_f64() / 0.9;
        // One slow round in ten may be another program's.
        let steady = rounds.windows(IN_A_ROW).find(|window| {
            let slow = window.iter().filter(|(_, time)| !fast(*time)).count();
            fast(window[0].1) && slow <= 1
        });
        Ok(steady.map_or(start.elapsed(), |window| window[0].0))
    }
}

/// Calls each function once; the time it took.
fn round(functions: &[Code]) -> Duration {
    let start = Instant::now();
    for function in functions {
        // SAFETY: the functions touch no memory.
        std::hint::black_box(unsafe { function.call((ITERATIONS,)) });
    }
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A loop of one block with `steps` times five instructions, most of which tier 1 does once for all.
fn busy_loop(steps: usize, seed: usize) -> String {
    const DISTINCT: usize = 6;
    let mut text = format!(
        "function %busy(i64) -> i64 {{
block0(v0: i64):
    v1 = iconst.i64 {seed}
    jump block1(v0, v1)
block1(v2: i64, v3: i64):
"
    );
    let (mut sum, mut next) = (3, 4);
    for step in 0..steps {
        let [constant, product, rotated, mixed, added] = [0, 1, 2, 3, 4].map(|n| next + n);
        text.push_str(&format!(
            "    v{constant} = iconst.i64 {}
    v{product} = imul v0, v{constant}
    v{rotated} = rotl v{product}, v0
    v{mixed} = bxor v{rotated}, v1
    v{added} = iadd v{sum}, v{mixed}
",
            1001 + 2 * (step % DISTINCT),
        ));
        (sum, next) = (added, next + 5);
    }
    let [one, left] = [next, next + 1];
    text.push_str(&format!(
        "    v{one} = iconst.i64 -1
    v{left} = iadd v2, v{one}
    brif v{left}, block1(v{left}, v{sum}), block2
block2:
    return v{sum}
}}"
    ));
    text
}
