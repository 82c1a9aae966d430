//! A region that is outlined and inlined again does what the source does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{fuzz, outline};

fuzz_target!(|bytes: &[u8]| fuzz(outline::check_round_trip, bytes));
