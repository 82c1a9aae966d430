//! Any passes in any order leave a program with loops what it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{fuzz, loops};

fuzz_target!(|bytes: &[u8]| fuzz(loops::check, bytes));
