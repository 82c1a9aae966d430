//! No message makes either end of a connection panic or wait for ever.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{fuzz, messages};

fuzz_target!(|bytes: &[u8]| fuzz(messages::check, bytes));
