//! Any passes in any order leave a program what it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{fuzz, optimize};

fuzz_target!(|bytes: &[u8]| fuzz(optimize::check, bytes));
