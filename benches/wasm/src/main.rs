//! WebAssembly engines side by side on one set of programs.
//!
//! Every module exports `run(i32) -> f64`, whose argument scales the work. Three tables, each a ratio of
//! medians to wasmtime with Cranelift at `speed` (below 1 is faster), and peak memory:
//!
//! * **peak**: the second half of 80 calls of about 6 ms;
//! * **single**: one call of about 0.5 s, in a fresh engine;
//! * **short**: compile, instantiate and one call of about 6 ms, in a fresh engine.
//!
//! Engines take turns within one process; Node and Bun run as processes of their own, in the same turn.

#![deny(missing_docs)]

mod contenders;
mod script;
mod tables;

use clap::Parser;
use contenders::Contender;
use std::error::Error;
use std::path::PathBuf;

/// Race WebAssembly engines.
#[derive(Debug, Parser)]
struct Options {
    /// Modules, or folders of modules.
    #[arg(default_value = "../shared/workloads")]
    paths: Vec<PathBuf>,
    /// Only modules whose name contains this.
    #[arg(long, default_value = "O3")]
    only: String,
    /// Which tables: peak, single, short, memory.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "peak,single,short,memory"
    )]
    tables: Vec<String>,
    /// How often everything but the calls of `peak` is repeated.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Runs one call in one engine and prints the peak resident size; for the memory table.
    #[arg(long, hide = true, value_names = ["ENGINE", "ARGUMENT"], num_args = 2)]
    memory_of: Option<Vec<String>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut files = vec![];
    for path in &options.paths {
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                files.push(entry?.path());
            }
        } else {
            files.push(path.clone());
        }
    }
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wasm")
            && (options.paths.contains(path) || name(path).contains(&options.only))
    });
    files.sort();
    if let Some([engine, argument]) = options.memory_of.as_deref() {
        let contender = Contender::all()
            .into_iter()
            .find(|one| one.name() == engine);
        let contender = contender.ok_or("no such engine")?;
        return tables::memory_of(contender, &files[0], argument.parse()?);
    }
    if files.is_empty() {
        return Err("no modules: name files or a folder".into());
    }
    for table in &options.tables {
        tables::table(table, &files, options.rounds)?;
    }
    Ok(())
}
