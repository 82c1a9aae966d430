//! The engines that modules share: one for each target with its settings.
//!
//! Invariants: an engine, once made, lives as long as the process, since code of modules that are gone
//! may still run. When its memory gets short, new modules get another one.
//!
//! Not here: engines that a client chooses.

use crate::code::isa::IsaError;
use crate::config::Config;
use crate::context::Engine;
use crate::error::Error;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use regraft_executor::arena::ArenaConfig;
use regraft_executor::locks::lock;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

/// The variable that sets when code is hot.
const THRESHOLD: &str = "REGRAFT_THRESHOLD";
/// The variable that turns checks on: `Config::check`.
const CHECK: &str = "REGRAFT_CHECK";

/// Address space for one engine: so small that machine code of clients, which reaches 2 GiB far, reaches
/// data that are mapped next to both views.
const ARENA: ArenaConfig = ArenaConfig {
    code_bytes: 512 << 20,
    data_bytes: 128 << 20,
};

/// The part of its memory, as a divisor, that an engine must have free to get another module.
const LEAST_FREE: usize = 16;

static ENGINES: Mutex<Vec<(OwnedTargetIsa, Engine)>> = Mutex::new(Vec::new());

/// The engine for modules with this target and these settings.
///
/// # Errors
///
/// As [`Engine::with_isa`].
pub(super) fn shared(isa: &OwnedTargetIsa) -> Result<Engine, Error> {
    let mut engines = lock(&ENGINES);
    let known = engines.iter_mut().find(|(other, _)| same(&**isa, &**other));
    match known {
        Some((_, engine)) => {
            if is_short_of_memory(engine)
                && let Ok(another) = new(&**isa)
            {
                // The old one is kept for its code.
                std::mem::forget(std::mem::replace(engine, another));
            }
            Ok(engine.clone())
        }
        None => {
            let engine = new(&**isa)?;
            engines.push((Arc::clone(isa), engine.clone()));
            Ok(engine)
        }
    }
}

/// Checks that an engine of the client makes code for a target.
///
/// # Errors
///
/// `Isa`: the targets differ.
pub(super) fn check_target(engine: &Engine, isa: &dyn TargetIsa) -> Result<(), Error> {
    let (own, asked) = (engine.isa().triple(), isa.triple());
    match own.architecture == asked.architecture {
        true => Ok(()),
        false => Err(Error::Isa(IsaError::ForeignTarget {
            triple: asked.to_string(),
            host: own.to_string(),
        })),
    }
}

fn same(one: &dyn TargetIsa, other: &dyn TargetIsa) -> bool {
    std::ptr::addr_eq(one, other)
        || (one.triple() == other.triple()
            && one.flags().hash_key() == other.flags().hash_key()
            && bytes(&one.isa_flags_hash_key()) == bytes(&other.isa_flags_hash_key()))
}

/// What a value tells a hasher: all of it, where the value cannot be compared.
fn bytes(value: &impl Hash) -> Vec<u8> {
    struct Bytes(Vec<u8>);
    impl Hasher for Bytes {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut bytes = Bytes(vec![]);
    value.hash(&mut bytes);
    bytes.0
}

fn is_short_of_memory(engine: &Engine) -> bool {
    let memory = engine.memory();
    memory.code.free < ARENA.code_bytes / LEAST_FREE
        || memory.data.free < ARENA.data_bytes / LEAST_FREE
}

fn new(isa: &dyn TargetIsa) -> Result<Engine, Error> {
    let [threshold, check] = [THRESHOLD, CHECK].map(std::env::var_os);
    Engine::with_isa(isa, config(threshold.as_deref(), check.as_deref()))
}

/// The configuration of a shared engine, as the variables say.
fn config(threshold: Option<&OsStr>, check: Option<&OsStr>) -> Config {
    let mut config = Config::default()
        .arena(ARENA)
        .check(check.is_some_and(|value| value == "1"));
    if let Some(threshold) = threshold {
        match threshold.to_str().and_then(|text| text.parse().ok()) {
            Some(threshold) => {
                config.pacing = crate::Pacing::Counts;
                config.thresholds.loops = threshold;
                config.thresholds.entries = threshold;
            }
            None => tracing::warn!(?threshold, "{THRESHOLD} is not a number"),
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::isa::TierIsas;

    #[test]
    fn variables_set_thresholds_and_checks() {
        let of = |threshold: Option<&str>, check: Option<&str>| {
            let config = config(threshold.map(OsStr::new), check.map(OsStr::new));
            (
                config.thresholds.loops,
                config.thresholds.entries,
                config.testing.check,
            )
        };
        let default = (
            Config::default().thresholds.loops,
            Config::default().thresholds.entries,
            false,
        );
        assert_eq!(of(None, None), default);
        assert_eq!(of(Some("often"), Some("0")), default);
        assert_eq!(of(Some("1"), Some("1")), (1, 1, true));
    }

    #[test]
    fn equal_settings_share_an_engine() {
        let isa = |verify| {
            let settings = [
                ("enable_verifier", "true"),
                ("enable_nan_canonicalization", verify),
            ];
            // The tiers' own settings are equal for both.
            TierIsas::native(&settings).unwrap().tier1
        };
        let [one, two, other] = ["false", "false", "true"].map(|verify| shared(&isa(verify)));
        let [one, two, other] = [one, two, other].map(Result::unwrap);
        assert!(Arc::ptr_eq(&one.inner, &two.inner));
        assert!(!Arc::ptr_eq(&one.inner, &other.inner));
    }
}
