//! What the tests share: the modes that must agree.

use regraft::{CompileMode, Config, Mode};

/// Every mode, by name; tiered with low thresholds, synchronously, so that everything gets to tier 1.
#[allow(dead_code, reason = "not every test binary needs it")]
pub fn modes() -> Vec<(&'static str, Config)> {
    let config = |mode, threshold| Config {
        mode,
        compile: CompileMode::Synchronous,
        loop_threshold: threshold,
        entry_threshold: threshold,
        ..Config::default()
    };
    vec![
        ("eager", config(Mode::Eager, 1)),
        ("tier0", config(Mode::Tier0, 1)),
        ("tiered, threshold 1", config(Mode::Tiered, 1)),
        ("tiered, threshold 20", config(Mode::Tiered, 20)),
    ]
}

/// A module in text form as a binary.
#[allow(dead_code, reason = "not every test binary needs it")]
pub fn assemble(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("text");
    let mut module = wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("a module");
    module.encode().expect("a binary")
}

/// An empty folder of its own in the target folder.
#[allow(dead_code, reason = "not every test binary needs it")]
pub fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}
