//! Packages of the npm registry, fetched by `npm`: it knows the user's registry and settings, and checks
//! what it fetches.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// The files of a package by their names in it, or why there are none. Fetched once, then kept in the
/// target folder.
pub fn package(name: &str, version: &str) -> Result<HashMap<String, Vec<u8>>, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let plain = name.trim_start_matches('@').replace('/', "-");
    let archive = folder.join(format!("{plain}-{version}.tgz"));
    if !archive.exists() {
        let output = Command::new("npm")
            .args(["pack", "--silent", "--pack-destination"])
            .arg(&folder)
            .arg(format!("{name}@{version}"))
            .output()
            .map_err(|error| format!("npm cannot be run: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let line = text.lines().next().unwrap_or_default().to_string();
            return Err(format!("{name} cannot be fetched: {line}"));
        }
    }
    let file = std::fs::File::open(&archive).map_err(|error| error.to_string())?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files = HashMap::new();
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let path = entry.path().map_err(|error| error.to_string())?;
        let path = path.to_string_lossy().into_owned();
        let mut bytes = vec![];
        entry
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        let path = path.strip_prefix("package/").unwrap_or(&path);
        files.insert(path.to_string(), bytes);
    }
    Ok(files)
}
