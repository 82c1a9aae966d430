//! Making failures small, and keeping them.
//!
//! The bytes of a case are dropped chunk by chunk, then simplified one by one, as long as the oracle still
//! fails. What is left is written to `tests/regressions`, with the failure beside it, and replayed by a test
//! from then on.

use super::{Check, Oracle, Sabotage};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where regressions are kept.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")
}

/// The smallest bytes found, within the time, for which the oracle still fails.
pub fn minimise(check: Check, sabotage: Option<Sabotage>, bytes: &[u8], time: Duration) -> Vec<u8> {
    let end = Instant::now() + time;
    let fails = |bytes: &[u8]| check(bytes, sabotage).is_err();
    let mut best = bytes.to_vec();
    let mut chunk = best.len().div_ceil(2);
    while chunk > 0 && Instant::now() < end {
        let mut at = 0;
        let mut dropped = false;
        while at < best.len() && Instant::now() < end {
            let mut shorter = best.clone();
            shorter.drain(at..(at + chunk).min(best.len()));
            if fails(&shorter) {
                best = shorter;
                dropped = true;
            } else {
                at += chunk;
            }
        }
        if !dropped {
            chunk /= 2;
        }
    }
    for at in 0..best.len() {
        if Instant::now() >= end {
            break;
        }
        for simple in [0, 1] {
            let mut simpler = best.clone();
            if simpler[at] > simple {
                simpler[at] = simple;
                if fails(&simpler) {
                    best = simpler;
                    break;
                }
            }
        }
    }
    best
}

/// Writes a failing case to the folder of regressions; returns the path of the bytes.
///
/// # Errors
///
/// The file system's.
pub fn keep(oracle: Oracle, bytes: &[u8], failure: &str) -> io::Result<PathBuf> {
    // FNV-1a: a name that is the same for the same case.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let name = format!("{}-{hash:016x}", oracle.name);
    let path = folder().join(format!("{name}.bin"));
    std::fs::create_dir_all(folder())?;
    std::fs::write(&path, bytes)?;
    std::fs::write(folder().join(format!("{name}.txt")), failure)?;
    Ok(path)
}

/// The kept cases: the name of the oracle and the bytes.
///
/// # Errors
///
/// The file system's.
pub fn kept() -> io::Result<Vec<(String, PathBuf, Vec<u8>)>> {
    let mut cases = vec![];
    if !folder().exists() {
        return Ok(cases);
    }
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some((oracle, _)) = name
            .strip_suffix(".bin")
            .and_then(|name| name.rsplit_once('-'))
        {
            let bytes = std::fs::read(&path)?;
            cases.push((oracle.to_string(), path, bytes));
        }
    }
    cases.sort();
    Ok(cases)
}
