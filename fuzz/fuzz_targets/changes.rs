//! The engine that a case chooses computes what plain cranelift-jit computes, whatever is redefined.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{changes, fuzz};

fuzz_target!(|bytes: &[u8]| fuzz(changes::check, bytes));
