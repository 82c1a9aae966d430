//! What safety costs. Run with `--ignored --nocapture`, optimised.

use super::*;
use std::time::{Duration, Instant};

/// Time that this thread has computed for: other processes do not count.
fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn fastest(mut run: impl FnMut()) -> Duration {
    let times = (0..9).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_safe_call_and_of_a_trap() {
    const CALLS: u32 = 100_000;
    let engine = Where::Eager.engine();
    let f = "function %f(i64) -> i64 system_v {\nblock0(v0: i64):\n    trapz v0, user1\n    return v0\n}";
    let id = define(&engine, f);
    let f = engine.get::<(i64,), i64>(id).unwrap();
    let per_call = |time: Duration| time.as_nanos() as f64 / f64::from(CALLS);
    // SAFETY: the function is sound but for its trap, for this and the calls below.
    let raw = fastest(|| (0..CALLS).for_each(|_| _ = unsafe { f.call((1,)) }));
    // SAFETY: as above.
    let safe = fastest(|| (0..CALLS).for_each(|_| _ = unsafe { f.try_call((1,)) }));
    // SAFETY: as above.
    let closure = fastest(|| (0..CALLS).for_each(|_| _ = unsafe { engine.catch(|| f.call((1,))) }));
    let by_values = fastest(|| (0..CALLS).for_each(|_| _ = call(&engine, id, &[1])));
    // SAFETY: as above.
    let trapped = fastest(|| (0..CALLS).for_each(|_| _ = unsafe { f.try_call((0,)) }));
    println!(
        "raw {:.1} ns, try_call {:.1} ns, catch {:.1} ns, by values {:.0} ns, with a trap {:.0} ns",
        per_call(raw),
        per_call(safe),
        per_call(closure),
        per_call(by_values),
        per_call(trapped)
    );
}

/// A function of `loops` loops, each with loads, stores and a branch.
fn large(loops: usize) -> String {
    let mut blocks = String::new();
    let mut value = 10;
    for index in 0..loops {
        let block = 3 * index + 1;
        let [a, b, c, d, e, g, h] = std::array::from_fn(|offset| value + offset);
        value += 7;
        blocks += &format!(
            "block{block}(v{a}: i64):
    v{b} = load.i64 v0+{offset}
    v{c} = iadd v{b}, v{a}
    brif v{c}, block{next}, block{after}
block{next}:
    store v{c}, v0+{offset}
    v{d} = iconst.i64 1
    v{e} = isub v{a}, v{d}
    v{g} = imul v{e}, v{c}
    store v{g}, v0+{offset}
    brif v{e}, block{block}(v{e}), block{after}
block{after}:
    v{h} = iconst.i64 100
    jump block{end}(v{h})
",
            next = block + 1,
            after = block + 2,
            end = block + 3,
            offset = 8 * (index % 16),
        );
    }
    format!(
        "function %f(i64) system_v {{
block0(v0: i64):
    v1 = iconst.i64 100
    jump block1(v1)
{blocks}block{end}(v2: i64):
    return
}}",
        end = 3 * loops + 1
    )
}

#[test]
#[ignore = "a measurement"]
fn cost_of_block_locations() {
    for loops in [1, 20, 400] {
        let func = parse_functions(&large(loops)).unwrap().remove(0);
        let rounds = 400 / loops;
        // Alternating, so that both meet the same machine.
        let mut best = [Duration::MAX; 2];
        for _ in 0..40 {
            for (block_locations, best) in [false, true].into_iter().zip(&mut best) {
                let engine = engine(
                    Config::default()
                        .block_locations(block_locations)
                        .arena(crate::config::ArenaConfig::default())
                        .mode(Mode::Tier0),
                );
                let start = thread_time();
                for round in 0..rounds {
                    let name = format!("f{round}");
                    let id = engine.declare(&name, &func.signature).unwrap();
                    engine.define(id, func.clone()).unwrap();
                }
                *best = (thread_time() - start).min(*best);
            }
        }
        let [without, with] = best.map(|time| time.as_secs_f64());
        println!("{loops} loops: {:+.2} %", (with / without - 1.0) * 100.0);
    }
}
