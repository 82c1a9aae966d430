//! What every crate that is published must have, by what cargo knows of the workspace.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages of the workspace that are published.
fn published() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let published = packages
        .iter()
        .filter(|package| package["publish"].is_null());
    published.cloned().collect()
}

/// What is missing in a package. Texts are read by `read`.
fn defects(package: &Value, read: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let mut defects = vec![];
    for field in [
        "description",
        "license",
        "repository",
        "rust_version",
        "readme",
    ] {
        if package[field].as_str().is_none_or(str::is_empty) {
            defects.push(format!("no {field}"));
        }
    }
    for (field, most) in [("keywords", 5), ("categories", 5)] {
        let len = package[field].as_array().map_or(0, Vec::len);
        if !(1..=most).contains(&len) {
            defects.push(format!("{len} {field}"));
        }
    }
    let docs = &package["metadata"]["docs"]["rs"];
    if docs["all-features"] != true || docs["targets"].as_array().is_none_or(Vec::is_empty) {
        defects.push("docs.rs is not told its features and targets".to_string());
    }
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
    let folder = manifest.parent().unwrap_or(Path::new(""));
    if read(&folder.join("LICENSE")).is_none() {
        defects.push("no LICENSE in its folder".to_string());
    }
    let readme = package["readme"].as_str().unwrap_or("README.md");
    let readme = read(&folder.join(readme)).unwrap_or_default();
    // Links that only hold in the repository.
    for link in readme.split("](").skip(1) {
        if !link.starts_with("https://") && !link.starts_with('#') {
            let link = link.split(')').next().unwrap_or_default();
            defects.push(format!("the README links to {link}"));
        }
    }
    let none = serde_json::Map::new();
    let features = package["features"].as_object().unwrap_or(&none);
    for feature in features.keys().filter(|name| *name != "default") {
        if !readme.contains(&format!("`{feature}`")) {
            defects.push(format!(
                "the README does not say what the feature {feature} is"
            ));
        }
    }
    defects
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[test]
fn every_published_crate_has_what_a_registry_shows() {
    let packages = published();
    assert!(packages.len() >= 5, "{}", packages.len());
    let defects: BTreeMap<String, Vec<String>> = packages
        .iter()
        .map(|package| (package["name"].to_string(), defects(package, read)))
        .filter(|(_, defects)| !defects.is_empty())
        .collect();
    assert_eq!(defects, BTreeMap::new());
}

/// The check above sees what is missing.
#[test]
fn what_is_missing_is_found() {
    let named = published()
        .into_iter()
        .find(|package| package["name"] == "regraft");
    let whole = named.expect("the library");
    assert_eq!(defects(&whole, read), Vec::<String>::new());
    for field in [
        "description",
        "license",
        "repository",
        "rust_version",
        "keywords",
        "categories",
        "metadata",
    ] {
        let mut package = whole.clone();
        package[field] = Value::Null;
        assert_eq!(defects(&package, read).len(), 1, "{field}");
    }
    let without =
        |name: &'static str| move |path: &Path| read(path).filter(|_| !path.ends_with(name));
    assert_eq!(
        defects(&whole, without("LICENSE")),
        ["no LICENSE in its folder"]
    );
    let undocumented = defects(&whole, without("README.md"));
    assert_eq!(undocumented.len(), 4, "{undocumented:?}");
    let relative = |path: &Path| read(path).map(|text| text + "[map](ARCHITECTURE.md)");
    assert_eq!(
        defects(&whole, relative),
        ["the README links to ARCHITECTURE.md"]
    );
}
