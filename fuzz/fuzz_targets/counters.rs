//! Reconstructed counts are those of counting everything.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{counters, fuzz};

fuzz_target!(|bytes: &[u8]| fuzz(counters::check, bytes));
