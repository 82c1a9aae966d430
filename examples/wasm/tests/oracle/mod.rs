//! The oracle: a generated module does the same here, in every mode, as in the interpreter `wasmi`.
//!
//! Compared are results, kinds of traps, and after all calls the exported globals and memories. What a NaN
//! carries is made canonical by the generator. After a stack overflow, and after running out of fuel in
//! the middle of something that overflowed, there is nothing to compare: both engines have their own
//! depth.

mod ours;
mod theirs;

use arbitrary::Unstructured;
use regraft_wasm::{TrapKind, ValueType};

/// What came of a comparison.
pub enum Verdict {
    /// No difference in so many calls, of which so many trapped.
    #[allow(dead_code, reason = "read by those who print it")]
    Same { calls: usize, traps: usize },
    /// Nothing could be compared.
    #[allow(dead_code, reason = "read by those who print it")]
    Skipped(String),
}

/// What one call did.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The results, as bits; a reference is 0 if null and 1 if not.
    Values(Vec<u128>),
    Trap(TrapKind),
    /// Nothing that follows can be compared.
    Overflow,
}

/// What an engine did with a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    pub instantiation: Outcome,
    pub calls: Vec<(String, Outcome)>,
    pub globals: Vec<(String, u128)>,
    pub memories: Vec<(String, Vec<u8>)>,
}

/// How often each function is called: the later calls run code of tier 1.
const ROUNDS: usize = 3;
const FUEL: u32 = 2000;

/// Half of the modules are made so that they do not trap, and get further.
fn config(traps: bool) -> wasm_smith::Config {
    wasm_smith::Config {
        disallow_traps: !traps,
        max_imports: 0,
        min_types: 4,
        export_everything: true,
        canonicalize_nans: true,
        allow_start_export: traps,
        max_data_segments: if traps { 4 } else { 0 },
        max_element_segments: if traps { 6 } else { 1 },
        max_memories: 2,
        max_tables: 3,
        min_funcs: 4,
        max_funcs: 20,
        max_instructions: 400,
        max_memory32_bytes: 4 << 16,
        memory_max_size_required: true,
        table_max_size_required: true,
        max_table_elements: 1000,
        tail_call_enabled: true,
        simd_enabled: true,
        relaxed_simd_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        compact_imports_enabled: false,
        ..wasm_smith::Config::default()
    }
}

/// Generates a module of `bytes` and runs it everywhere.
///
/// # Errors
///
/// The first difference.
pub fn check(bytes: &[u8]) -> Result<Verdict, String> {
    // Not a byte that the generator reads too: its first bit says whether there are types at all.
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let traps = first % 2 == 0;
    let mut input = Unstructured::new(rest);
    let Ok(mut module) = wasm_smith::Module::new(config(traps), &mut input) else {
        return Ok(Verdict::Skipped("not enough input".to_string()));
    };
    if module.ensure_termination(FUEL).is_err() {
        return Ok(Verdict::Skipped("no fuel".to_string()));
    }
    let wasm = module.to_bytes();
    check_module(&wasm).map_err(|difference| {
        let kept = std::env::temp_dir().join("regraft-wasm-difference.wasm");
        match std::fs::write(&kept, &wasm) {
            Ok(()) => format!("{difference}\nThe module is in {}", kept.display()),
            Err(_) => difference,
        }
    })
}

/// Runs a module everywhere.
///
/// # Errors
///
/// The first difference.
pub fn check_module(wasm: &[u8]) -> Result<Verdict, String> {
    let expected = match theirs::observe(wasm, ROUNDS) {
        Ok(expected) => expected,
        Err(reason) => return Ok(Verdict::Skipped(reason)),
    };
    for (mode, config) in crate::modes::modes() {
        let found = ours::observe(wasm, ROUNDS, config)?;
        if let Some(difference) = difference(&expected, &found) {
            return Err(format!("{mode}: {difference}"));
        }
    }
    let trapped = expected.calls.iter();
    Ok(Verdict::Same {
        calls: expected.calls.len(),
        traps: trapped
            .filter(|(_, outcome)| matches!(outcome, Outcome::Trap(_)))
            .count(),
    })
}

fn difference(expected: &Observed, found: &Observed) -> Option<String> {
    if expected.instantiation == Outcome::Overflow || found.instantiation == Outcome::Overflow {
        return None;
    }
    if expected.instantiation != found.instantiation {
        return Some(format!(
            "instantiation gives {:?} instead of {:?}",
            found.instantiation, expected.instantiation
        ));
    }
    for (index, (expected, found)) in expected.calls.iter().zip(&found.calls).enumerate() {
        if expected.1 == Outcome::Overflow || found.1 == Outcome::Overflow {
            return None;
        }
        if expected != found {
            return Some(format!("call {index}: {found:?} instead of {expected:?}"));
        }
    }
    if expected.globals != found.globals {
        return Some(format!(
            "globals are {:?} instead of {:?}",
            found.globals, expected.globals
        ));
    }
    for (expected, found) in expected.memories.iter().zip(&found.memories) {
        if expected != found {
            return Some(format!("the memory {} differs", expected.0));
        }
    }
    (expected.calls.len() != found.calls.len()).then(|| "more or fewer calls".to_string())
}

/// The bits of an argument: some small, some large, by its position.
pub fn argument(ty: ValueType, position: usize, round: usize) -> u128 {
    let number = (position as u128 * 0x9e37_79b9 + round as u128 * 77 + 3) & 0xffff;
    match ty {
        ValueType::I32 => number & 0xffff_ffff,
        ValueType::I64 => number * 0x1_0001,
        ValueType::F32 => u128::from((number as f32 / 8.0).to_bits()),
        ValueType::F64 => u128::from((number as f64 / 8.0).to_bits()),
        ValueType::V128 => number * 0x0001_0002_0003_0004_0005_0006_0007,
        ValueType::FuncRef | ValueType::ExternRef | ValueType::ExnRef => 0,
    }
}
