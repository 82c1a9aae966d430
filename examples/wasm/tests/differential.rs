//! Generated modules against an independent interpreter, in all modes.
//!
//! `REGRAFT_WASM_MODULES` says how many, `REGRAFT_WASM_SEED` where to begin.

mod modes;
mod oracle;

use oracle::{Verdict, check};

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

/// Bytes that are the same for the same seed (SplitMix64).
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    });
    words.take(length / 8).flat_map(u64::to_le_bytes).collect()
}

#[test]
fn generated_modules_do_the_same_as_in_an_interpreter() {
    let modules = number("REGRAFT_WASM_MODULES", 150);
    let first = number("REGRAFT_WASM_SEED", 1);
    let (mut compared, mut calls, mut traps, mut skipped) = (0, 0, 0, 0);
    for seed in first..first + modules {
        let bytes = bytes(seed, 8192 << (seed % 4));
        match check(&bytes) {
            Ok(Verdict::Same {
                calls: made,
                traps: trapped,
            }) => {
                compared += 1;
                calls += made;
                traps += trapped;
            }
            Ok(Verdict::Skipped(reason)) => {
                println!("seed {seed} skipped: {reason}");
                skipped += 1;
            }
            Err(difference) => panic!("seed {seed}: {difference}"),
        }
    }
    println!("{compared} modules, {calls} calls in each mode, {traps} traps; {skipped} skipped");
    assert!(compared * 2 > modules, "most modules were skipped");
}
