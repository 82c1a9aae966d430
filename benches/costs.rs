//! What regraft costs, each against the same thing done by cranelift-jit alone
//! or by tier 0 alone.
//!
//! ```text
//! cargo bench -p regraft-benches --bench costs [-- SECTION…]
//! ```
//!
//! Sections: `counters`, `compile`, `calls`, `entries`, `publish`, `fit`; all by
//! default. Aims that are missed are printed as missed. `fit` is what compiling costs by size, on real programs
//! (`programs/fetch`): the lines that `pacing` goes by.

mod costs_fit;

use regraft::regions::{Counting, Policy};
use regraft::report::PartState;
use regraft::{CompileMode, Config, Engine, Mode, Report, TypedFn};
use regraft_benches::plain::{Level, Plain};
use regraft_benches::{
    Contender, Result, elapsed, measure, nanos_each, ratio, run, shapes, timed, verdict,
};
use std::time::Duration;

const ROUNDS: usize = 31;

fn main() -> Result<()> {
    run(&[
        ("counters", counters),
        ("compile", compile),
        ("calls", calls),
        ("entries", entries),
        ("publish", publish),
        ("fit", costs_fit::fit),
    ])
}

/// A function of generated code.
type Code = unsafe extern "C" fn(u64) -> u64;

fn plain_code(address: *const u8) -> Code {
    // SAFETY: all functions that are called have this signature.
    unsafe { std::mem::transmute::<*const u8, Code>(address) }
}

fn config(mode: Mode) -> Config {
    Config::default().mode(mode).pacing(regraft::Pacing::Counts)
}

/// (a) Tier 0 with counters against the same settings without.
fn counters() -> Result<()> {
    println!(
        "counters: a loop at tier 0, in units of cranelift-jit at the same settings (aim ≤ 1.05)"
    );
    println!(
        "{:<10} {:>9} {:>14} {:>14}",
        "loop", "ns/iter", "spanning tree", "every block"
    );
    for (name, text) in shapes::LOOPS {
        let mut plain = Plain::new(Level::None)?;
        let without = plain_code(plain.define(shapes::parse(text, name)?)?);
        let counted = |counting| -> Result<TypedFn<(u64,), u64>> {
            let engine = Engine::new(config(Mode::Tier0).counting(counting))?;
            let function = engine.define_function(shapes::parse(text, name)?)?;
            Ok(engine.get(function)?)
        };
        let few = counted(Counting::SpanningTree)?;
        let all = counted(Counting::EveryBlock)?;
        let iterations = 2_000_000;
        // SAFETY: none of the functions touches memory of ours.
        let [without, few, all] = measure(
            ROUNDS,
            [
                &mut || timed(|| Ok(unsafe { without(iterations) })),
                &mut || timed(|| Ok(unsafe { few.call((iterations,)) })),
                &mut || timed(|| Ok(unsafe { all.call((iterations,)) })),
            ],
        )?;
        let few = ratio(few, without);
        println!(
            "{name:<10} {:>9.3} {few:>14.3} {:>14.3}  {}",
            nanos_each(without, iterations),
            ratio(all, without),
            verdict(few <= 1.05)
        );
    }
    Ok(())
}

/// (b) From CLIF to a pointer at tier 0, against the same settings without
/// counters, and against `speed`.
fn compile() -> Result<()> {
    println!(
        "compile: Engine::define at tier 0, in units of cranelift-jit at the same settings (aim ≤ 1.25)"
    );
    println!(
        "{:<12} {:>6} {:>6} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "shape",
        "insts",
        "hooks",
        "none",
        "+verif",
        "tier 0",
        "speed",
        "t0/none",
        "+verif",
        "codegen",
        "rest",
        "t0/speed"
    );
    type Shape = fn(usize) -> String;
    let all: [(&str, Shape); 2] = [
        ("interpreter", shapes::interpreter),
        ("nests", shapes::nests),
    ];
    for (name, shape) in all {
        for size in [20, 400, 4_000, 40_000] {
            compile_one(name, &shape(size), if size < 10_000 { ROUNDS } else { 5 })?;
        }
    }
    println!(
        "neither tier 0 nor none verifies its input; +verif: both do, as is Cranelift's default\n\
         codegen, rest: tier 0 from instrumented CLIF to linked code, and all else, in units of none;\n\
         codegen is the report's, by the wall clock, so that on a busy machine it is too high and rest too low"
    );
    Ok(())
}

fn compile_one(name: &str, text: &str, rounds: usize) -> Result<()> {
    let func = shapes::parse(text, name)?;
    let instructions = shapes::instructions(&func);
    let mut serial = 0;
    let mut fresh = || {
        serial += 1;
        let mut func = func.clone();
        func.name = cranelift_codegen::ir::UserFuncName::testcase(format!("{name}{serial}"));
        func
    };
    let mut functions: Vec<_> = (0..5 * (rounds + 1)).map(|_| fresh()).collect();
    let functions = std::cell::RefCell::new(&mut functions);
    let next = || functions.borrow_mut().pop().ok_or("out of functions");
    let without = config(Mode::Tier0).settings(vec![("enable_verifier".into(), "false".into())]);
    let engine = Engine::new(without)?;
    let verifying = Engine::new(config(Mode::Tier0))?;
    let mut none = Plain::new(Level::None)?;
    let mut verified = Plain::with_verifier(Level::None, true)?;
    let mut speed = Plain::new(Level::Speed)?;
    let contenders: [Contender<'_>; 5] = [
        &mut || {
            let func = next()?;
            timed(|| none.define(func))
        },
        &mut || {
            let func = next()?;
            timed(|| verified.define(func))
        },
        &mut || {
            let func = next()?;
            timed(|| Ok(engine.define_function(func)?))
        },
        &mut || {
            let func = next()?;
            timed(|| Ok(verifying.define_function(func)?))
        },
        &mut || {
            let func = next()?;
            timed(|| speed.define(func))
        },
    ];
    let [none, verified, tier0, both, speed] = measure(rounds, contenders)?;
    let report = engine.report();
    let mut codegen: Vec<u64> = report
        .functions
        .values()
        .flat_map(|function| &function.versions)
        .map(|version| version.compile_micros)
        .collect();
    codegen.sort_unstable();
    let codegen = Duration::from_micros(codegen[codegen.len() / 2]);
    let hooks = report
        .functions
        .values()
        .next()
        .map_or(0, |function| function.regions.len());
    let micros = |time: Duration| format!("{:.0} µs", time.as_secs_f64() * 1e6);
    println!(
        "{name:<12} {instructions:>6} {hooks:>6} {:>10} {:>10} {:>10} {:>10} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}  {}",
        micros(none),
        micros(verified),
        micros(tier0),
        micros(speed),
        ratio(tier0, none),
        ratio(both, verified),
        ratio(codegen, none),
        ratio(tier0.saturating_sub(codegen), none),
        ratio(tier0, speed),
        verdict(ratio(tier0, none) <= 1.25)
    );
    Ok(())
}

/// (c) A call through a stub and a slot against a direct call.
fn calls() -> Result<()> {
    println!("calls: one call from a loop, at speed (aim: at most 1 ns more than direct)");
    let mut plain = Plain::new(Level::Speed)?;
    plain.define(shapes::parse(shapes::CALLEE, "callee")?)?;
    let direct = plain_code(plain.define(shapes::parse(shapes::CALLER, "caller")?)?);
    let engine = Engine::new(config(Mode::Eager))?;
    engine.define_function(shapes::parse(shapes::CALLEE, "callee")?)?;
    let caller = engine.define_function(shapes::parse(shapes::CALLER, "caller")?)?;
    let slot: TypedFn<(u64,), u64> = engine.get(caller)?;
    let count = 2_000_000;
    let run_direct = || {
        // SAFETY: the functions touch no memory.
        timed(|| Ok(unsafe { direct(count) }))
    };
    let run_slot = || {
        // SAFETY: the functions touch no memory.
        timed(|| Ok(unsafe { slot.call((count,)) }))
    };
    let [direct, slot] = measure(ROUNDS, [&mut { run_direct }, &mut { run_slot }])?;
    let (direct, slot) = (nanos_each(direct, count), nanos_each(slot, count));
    println!(
        "direct {direct:.2} ns, through a slot {slot:.2} ns: {:+.2} ns, {:.2}  {}",
        slot - direct,
        slot / direct,
        verdict(slot - direct <= 1.0)
    );
    Ok(())
}

/// (d) One region entry and exit, with sixteen live-ins.
///
/// The inner loop of `entries` is a region, the outer one is too large to be.
/// Time per entry is a + b × trips on either tier; with the time at two trip
/// counts, both are known, and a₁ − a₀ is what entering and leaving costs. The
/// difference at one trip is what a program sees: it contains b₁ − b₀ as well,
/// what a single trip gains.
fn entries() -> Result<()> {
    println!("entries: a region entered from tier 0 and left again, 16 live-ins (aim ≤ 10 ns)");
    let text = shapes::entries();
    type Entries = TypedFn<(u64, u64), u64>;
    let engine = |mode| -> Result<(Engine, Entries)> {
        let engine = Engine::new(
            config(mode)
                .compile(CompileMode::Synchronous)
                .pacing(regraft::Pacing::Counts)
                .loop_threshold(100)
                .entry_threshold(u32::MAX)
                .policy(Policy {
                    min_trip_count: 0.0,
                    min_share: 0.0,
                    max_region_instructions: 20,
                    ..Policy::default()
                }),
        )?;
        let function = engine.define_function(shapes::parse(&text, "entries")?)?;
        let code = engine.get(function)?;
        Ok((engine, code))
    };
    let (_, tier0) = engine(Mode::Tier0)?;
    let (tiered_engine, tiered) = engine(Mode::Tiered)?;
    let count = 1_000_000;
    let long = 41;
    let run = |code: &Entries, trips| {
        // SAFETY: the function touches no memory.
        timed(|| Ok(unsafe { code.call((count, trips)) }))
    };
    let times = measure(
        ROUNDS,
        [
            &mut || run(&tier0, 1),
            &mut || run(&tiered, 1),
            &mut || run(&tier0, long),
            &mut || run(&tiered, long),
        ],
    )?;
    let [short0, short1, long0, long1] = times.map(|time| nanos_each(time, count));
    let slope0 = (long0 - short0) / (long - 1) as f64;
    let slope1 = (long1 - short1) / (long - 1) as f64;
    let cost = (short1 - slope1) - (short0 - slope0);
    println!(
        "one trip:  tier 0 {short0:.2} ns, region {short1:.2} ns: {:+.2} ns",
        short1 - short0
    );
    println!("more trips: tier 0 {slope0:.2} ns, region {slope1:.2} ns each");
    println!("entry and exit: {cost:.2} ns  {}", verdict(cost <= 10.0));
    print_regions(&tiered_engine.report(), "entries");
    Ok(())
}

fn print_regions(report: &Report, name: &str) {
    for region in report
        .functions
        .get(name)
        .into_iter()
        .flat_map(|function| &function.regions)
    {
        println!(
            "  loop at {}: {} live-ins, {}, entered {} times {}",
            region.header,
            region.live_ins.len(),
            region.part.state,
            region.entries,
            region.part.reason
        );
    }
}

/// (e) From the iteration in which a loop gets hot to its published region.
fn publish() -> Result<()> {
    println!("publish: from a loop getting hot to its region being published, in the background");
    println!(
        "{:<12} {:>6} {:>10} {:>10} {:>10}",
        "loop", "insts", "first", "median", "codegen"
    );
    for (name, body) in [("tiny", 1), ("small", 20), ("large", 400), ("huge", 4_000)] {
        let text = straight_loop(body);
        let mut times = vec![];
        let mut codegen = vec![];
        let mut first = Duration::ZERO;
        let mut instructions = 0;
        let engine = Engine::new(config(Mode::Tiered))?;
        for round in 0..=ROUNDS {
            let name = format!("{name}{round}");
            let function = engine.define_function(shapes::parse(&text, &name)?)?;
            let run: TypedFn<(u64,), u64> = engine.get(function)?;
            // As many iterations as make it hot: the call ends at once.
            let enough = u64::from(engine.config().thresholds.loops) + 2;
            let time = elapsed(|| {
                // SAFETY: the function touches no memory.
                let result = unsafe { run.call((enough,)) };
                engine.wait_idle();
                Ok(result)
            })?;
            // The first call also starts the thread.
            match round {
                0 => first = time,
                _ => times.push(time),
            }
            let report = engine.report();
            let function = &report.functions[&name];
            for region in &function.regions {
                if region.part.state != PartState::Published {
                    return Err(format!("{name} is {}", region.part.state).into());
                }
                instructions = region.versions[0].instructions_before;
                codegen.push(Duration::from_micros(region.versions[0].compile_micros));
            }
        }
        times.sort_unstable();
        codegen.sort_unstable();
        let micros = |time: Duration| format!("{:.0} µs", time.as_secs_f64() * 1e6);
        println!(
            "{name:<12} {instructions:>6} {:>10} {:>10} {:>10}",
            micros(first),
            micros(times[times.len() / 2]),
            micros(codegen[codegen.len() / 2])
        );
    }
    println!(
        "first: with the start of the compile thread; all include the 1002 iterations at tier 0"
    );
    Ok(())
}

/// A loop of one block with `steps` times two instructions.
fn straight_loop(steps: usize) -> String {
    let mut text = String::from(
        "function %f(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 7
    jump block1(v0, v1)
block1(v2: i64, v3: i64):
    v5 = imul v3, v2
",
    );
    let mut last = 5;
    for step in 1..steps {
        let operation = ["imul", "iadd", "bxor", "isub"][step % 4];
        let rotated = 5 + 2 * step;
        text.push_str(&format!(
            "    v{rotated} = rotl v{last}, v2\n    v{} = {operation} v{rotated}, v3\n",
            rotated + 1
        ));
        last = rotated + 1;
    }
    // No gaps in the numbers: tables are indexed by them.
    let (one, less) = (last + 1, last + 2);
    text.push_str(&format!(
        "    v{one} = iconst.i64 -1
    v{less} = iadd v2, v{one}
    brif v{less}, block1(v{less}, v{last}), block2
block2:
    return v{last}
}}"
    ));
    text
}
