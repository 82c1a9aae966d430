//! The workloads beside the project: the same results in all modes. Skipped where they are absent.

mod common;

use common::modes;
use regraft_wasm::{Imports, Instance, Module, Store, Value};
use std::path::{Path, PathBuf};

fn workloads() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/workloads");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return vec![];
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    files.sort();
    files
}

#[test]
fn results_are_the_same_in_all_modes() {
    let files = workloads();
    if files.is_empty() {
        println!("skipped: there is no folder ../shared/workloads with modules");
        return;
    }
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let module = Module::new(&std::fs::read(file).unwrap()).unwrap();
        let mut results = vec![];
        for (mode, config) in modes() {
            let store = Store::new(config).unwrap();
            let instance = Instance::new(&store, &module, &Imports::new()).unwrap();
            let mut sums = vec![];
            for argument in [1, 0, 2, 1] {
                let result = instance.call("run", &[Value::I32(argument)]).unwrap();
                match result[..] {
                    [Value::F64(bits)] => sums.push(bits),
                    _ => panic!("{name}: run returned {result:?}"),
                }
            }
            results.push((mode, sums));
        }
        let (_, first) = &results[0];
        for (mode, sums) in &results {
            assert_eq!(sums, first, "{name}: {mode} and eager differ");
        }
        // Both builds of a program compute the same.
        println!(
            "{name}: {:?}",
            first
                .iter()
                .map(|bits| f64::from_bits(*bits))
                .collect::<Vec<_>>()
        );
    }
}
