//! Interleaved measurement: medians of rounds in which every contender runs once.
