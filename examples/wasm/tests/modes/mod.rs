//! The modes that must agree.

use regraft::{CompileMode, Config, Mode};

/// Every mode, by name; tiered with low thresholds, synchronously, so that everything gets to tier 1.
#[allow(dead_code, reason = "not every test binary needs it")]
pub fn modes() -> Vec<(&'static str, Config)> {
    let config = |mode, threshold| {
        Config::default()
            .mode(mode)
            .compile(CompileMode::Synchronous)
            .pacing(regraft::Pacing::Counts)
            .loop_threshold(threshold)
            .entry_threshold(threshold)
    };
    vec![
        ("eager", config(Mode::Eager, 1)),
        ("tier0", config(Mode::Tier0, 1)),
        ("tiered, threshold 1", config(Mode::Tiered, 1)),
        ("tiered, threshold 20", config(Mode::Tiered, 20)),
    ]
}
