//! No text makes the parser or the engine panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regraft_tests::oracles::{fuzz, text};

fuzz_target!(|bytes: &[u8]| fuzz(text::check, bytes));
