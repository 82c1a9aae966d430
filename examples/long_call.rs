//! One call, one loop: what a call that never comes back gains.
//!
//! A function that is entered once cannot be helped by compiling it again for
//! its next call. Here the loop is outlined while it runs, and the running
//! call goes on in the region. The same program runs in three engines: eager
//! (the whole function at the tier-1 settings before it starts), tiered, and
//! tier 0 alone. Times are from CLIF to result, compilation included.
//!
//! `long_call [iterations] [rounds]`

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Function, InstBuilder, Value, types::I64};
use cranelift_frontend::{FunctionBuilder, Variable};
use regraft::{Error, Mode};
use regraft_examples::{Aim, build, engine, fastest, print_regions, ratio, timed, verdict};
use std::time::Duration;

/// The state of one generator: four words.
type State = [Variable; 4];

/// Two generators xoshiro256**, and a hash of what they draw.
///
/// ```text
/// fn draw(n) { do { hash = mix(hash, next(&mut s) + next(&mut t)); n -= 1 } while n != 0; hash }
/// ```
fn draw(engine: &regraft::Engine) -> Function {
    build(engine, "draw", &[I64], &[I64], |b, params| {
        let n = b.declare_var(I64);
        let hash = b.declare_var(I64);
        let states: [State; 2] =
            std::array::from_fn(|_| std::array::from_fn(|_| b.declare_var(I64)));
        b.def_var(n, params[0]);
        let zero = b.ins().iconst(I64, 0);
        b.def_var(hash, zero);
        for (&word, seed) in states.iter().flatten().zip(1..) {
            let seed = b.ins().iconst(I64, seed);
            b.def_var(word, seed);
        }
        let (body, done) = (b.create_block(), b.create_block());
        b.ins().jump(body, &[]);

        b.switch_to_block(body);
        let [first, second] = states.map(|state| next(b, state));
        let drawn = b.ins().iadd(first, second);
        let mixed = b.use_var(hash);
        let mixed = b.ins().bxor(mixed, drawn);
        let mixed = rotate(b, mixed, 29);
        let mixed = times(b, mixed, 5);
        let mixed = b.ins().bxor(mixed, first);
        b.def_var(hash, mixed);
        let left = b.use_var(n);
        let left = b.ins().iadd_imm_s(left, -1);
        b.def_var(n, left);
        let more = b.ins().icmp_imm_s(IntCC::NotEqual, left, 0);
        b.ins().brif(more, body, &[], done, &[]);

        b.switch_to_block(done);
        let hash = b.use_var(hash);
        b.ins().return_(&[hash]);
    })
}

/// Draws a number and advances the state.
fn next(b: &mut FunctionBuilder<'_>, state: State) -> Value {
    let [s0, s1, s2, s3] = state.map(|word| b.use_var(word));
    let drawn = times(b, s1, 5);
    let drawn = rotate(b, drawn, 7);
    let drawn = times(b, drawn, 9);
    let shifted = b.ins().ishl_imm_u(s1, 17);
    let s2 = b.ins().bxor(s2, s0);
    let s3 = b.ins().bxor(s3, s1);
    let s1 = b.ins().bxor(s1, s2);
    let s0 = b.ins().bxor(s0, s3);
    let s2 = b.ins().bxor(s2, shifted);
    let s3 = rotate(b, s3, 45);
    for (word, value) in state.into_iter().zip([s0, s1, s2, s3]) {
        b.def_var(word, value);
    }
    drawn
}

fn times(b: &mut FunctionBuilder<'_>, value: Value, factor: i64) -> Value {
    b.ins().imul_imm_s(value, factor)
}

fn rotate(b: &mut FunctionBuilder<'_>, value: Value, by: i64) -> Value {
    b.ins().rotl_imm_u(value, by)
}

/// From CLIF to the result of one call, in an engine of its own.
fn run(mode: Mode, iterations: u64) -> Result<(u64, regraft::Report), Error> {
    let engine = engine(mode)?;
    let draw = engine.define_function(draw(&engine))?;
    let draw = engine.get::<(u64,), u64>(draw)?;
    // SAFETY: the function touches no memory.
    let hash = unsafe { draw.call((iterations,)) };
    Ok((hash, engine.report()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let iterations: u64 = args.next().map_or(Ok(500_000_000), |arg| arg.parse())?;
    let rounds: u32 = args.next().map_or(Ok(3), |arg| arg.parse())?;

    let mut results = vec![];
    let modes = [Mode::Eager, Mode::Tiered, Mode::Tier0];
    let [eager, tiered, tier0] = fastest(rounds, modes, |&mode| {
        let (result, time) = timed(|| run(mode, iterations));
        let (hash, report) = result?;
        results.push((mode, hash, report));
        Ok::<_, Error>(time)
    })?;

    println!("{iterations} iterations in one call, shortest of {rounds} rounds, CLIF to result");
    for (name, time) in [("eager", eager), ("tiered", tiered), ("tier 0", tier0)] {
        print_time(name, time, eager);
    }
    let agree = results.windows(2).all(|pair| pair[0].1 == pair[1].1);
    println!("{}  the three agree", if agree { "PASS" } else { "FAIL" });
    verdict(
        "tiered, in units of eager",
        ratio(tiered, eager),
        Aim::AtMost(1.10),
    );
    verdict(
        "tier 0, in units of eager",
        ratio(tier0, eager),
        Aim::AtLeast(2.0),
    );

    let report = results.iter().find(|(mode, ..)| *mode == Mode::Tiered);
    let Some(function) = report.and_then(|(_, _, report)| report.functions.get("draw")) else {
        return Err("the report lacks the function".into());
    };
    print_regions(function);
    for region in &function.regions {
        verdict("entries", region.entries as f64, Aim::Exactly(1.0));
        let running = region.entries_while_running as f64;
        verdict("entries into the running loop", running, Aim::Exactly(1.0));
    }
    verdict(
        "versions of the function itself",
        function.versions.len() as f64,
        Aim::Exactly(1.0),
    );
    verdict(
        "tier of that version",
        f64::from(function.versions[0].tier),
        Aim::Exactly(0.0),
    );
    Ok(())
}

fn print_time(name: &str, time: Duration, unit: Duration) {
    println!(
        "  {name:<7} {:>8.3} s  {:>5.2} × eager",
        time.as_secs_f64(),
        ratio(time, unit)
    );
}
