//! A module of `regraft::jit` computes what one of cranelift-jit computes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{modules, fuzz};

fuzz_target!(|bytes: &[u8]| fuzz(modules::check, bytes));
