//! What it costs to take a side exit for the first time: its continuation is extracted and compiled while the caller waits.
//!
//! ```text
//! cargo bench -p regraft-benches --bench exits
//! ```
//!
//! A loop with many cold blocks, by a table. Each call takes one of them, twice: the difference of the two calls is what the
//! first taking costs. By the wall clock.

use regraft::regions::Policy;
use regraft::report::PartState;
use regraft::{CompileMode, Config, Engine, Pacing, TypedFn};
use regraft_benches::{Result, elapsed, machine, shapes, verdict};
use std::time::Duration;

/// Cold blocks.
const COLD: u64 = 32;
/// The iteration in which a cold block is taken.
const TAKEN: u64 = 100;

fn main() -> Result<()> {
    println!("machine: {}", machine());
    println!("exits: a side exit taken for the first time (aim ≤ 20 µs)");
    for instructions in [400, 4_000, 40_000] {
        let [least, median, most] = first_taking(instructions)?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{instructions:>6} instructions: median {:>7.1} µs ({:.1} to {:.1}): {}",
            micros(median),
            micros(least),
            micros(most),
            verdict(median <= Duration::from_micros(20))
        );
    }
    Ok(())
}

/// The least, the median and the most time that the first taking of an exit costs.
fn first_taking(instructions: usize) -> Result<[Duration; 3]> {
    let config = Config::default()
        .compile(CompileMode::Synchronous)
        .pacing(Pacing::Counts)
        .policy(Policy {
            max_region_instructions: usize::MAX,
            ..Policy::default()
        });
    let engine = Engine::new(config)?;
    let function = engine.define_function(shapes::parse(&text(instructions), "exits")?)?;
    let code: TypedFn<(u64, u64), u64> = engine.get(function)?;
    // SAFETY: the function touches no memory.
    let call = |iterations, cold| elapsed(|| Ok(unsafe { code.call((iterations, cold)) }));
    call(3_000, COLD)?;
    let report = engine.report();
    let loops = &report.functions["exits"].regions;
    if !loops
        .iter()
        .any(|region| region.part.state == PartState::Published)
    {
        return Err("the loop has no region".into());
    }
    let mut costs = vec![];
    for cold in 0..COLD {
        let first = call(TAKEN + 1, cold)?;
        costs.push(first.saturating_sub(call(TAKEN + 1, cold)?));
    }
    let taken = engine.report();
    let sides: usize = taken.functions["exits"]
        .regions
        .iter()
        .map(|region| region.part.side_exits.len())
        .sum();
    if sides < costs.len() {
        return Err(format!("{sides} side exits only").into());
    }
    costs.sort_unstable();
    Ok([costs[0], costs[costs.len() / 2], costs[costs.len() - 1]])
}

/// A loop of so many instructions, which goes to the cold block with the number of the second argument in one iteration.
fn text(instructions: usize) -> String {
    let mut text = format!(
        "function %exits(i64, i64) -> i64 system_v {{
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    v3 = iconst.i64 {TAKEN}
    v4 = iconst.i64 {COLD}
    jump block1(v2, v2)
block1(v5: i64, v6: i64):
    v7 = icmp eq v5, v3
    v8 = select v7, v1, v4
    v9 = ireduce.i32 v8
"
    );
    let mut last = 6;
    for step in 0..instructions.saturating_sub(12) {
        let operation = ["imul", "iadd", "bxor", "rotl"][step % 4];
        let next = 1_000 + step;
        text.push_str(&format!("    v{next} = {operation} v{last}, v5\n"));
        last = next;
    }
    let cold: Vec<String> = (0..COLD)
        .map(|cold| format!("block{}", cold + 10))
        .collect();
    text.push_str(&format!(
        "    br_table v9, block2(v{last}), [{}]\n",
        cold.join(", ")
    ));
    for number in 0..COLD {
        let (block, value) = (number + 10, 2 * number + 100);
        text.push_str(&format!(
            "block{block}:
    v{value} = iconst.i64 {number}
    v{} = iadd v{last}, v{value}
    jump block2(v{})\n",
            value + 1,
            value + 1
        ));
    }
    text.push_str(
        "block2(v10: i64):
    v11 = iconst.i64 1
    v12 = iadd v5, v11
    v13 = icmp ult v12, v0
    brif v13, block1(v12, v10), block3
block3:
    return v10
}",
    );
    text
}
