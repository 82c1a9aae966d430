//! Residual, region and continuations do together what the source does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{fuzz, outline};

fuzz_target!(|bytes: &[u8]| fuzz(outline::check_by_running, bytes));
