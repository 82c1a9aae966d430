//! What the tests share.

#[path = "../modes/mod.rs"]
mod modes;
#[allow(unused_imports, reason = "not every test binary needs it")]
pub use modes::modes;

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
