//! The engine computes in every mode what plain cranelift-jit computes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{engines, fuzz};

fuzz_target!(|bytes: &[u8]| fuzz(engines::check, bytes));
