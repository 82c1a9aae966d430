//! Generated WebAssembly modules do the same here, in every mode, as in an interpreter.
#![no_main]

#[path = "../../examples/wasm/tests/modes/mod.rs"]
mod modes;
#[path = "../../examples/wasm/tests/oracle/mod.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(difference) = oracle::check(bytes) {
        panic!("{difference}");
    }
});
