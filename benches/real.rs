//! Real programs, as WebAssembly with WASI, in an engine of this process.
//!
//! `programs/fetch` gets them into `programs/build`; `programs/race` runs them in processes of their own, and more of them.

use crate::Result;
use regraft::{Config, Engine};
use regraft_wasm::{Error, Imports, Instance, Module, Store, Wasi};
use std::path::{Path, PathBuf};

/// A program, and what it gets.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// The module.
    pub file: PathBuf,
    /// The host's path and the program's name of each folder, with two colons between.
    pub folders: Vec<String>,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// What is compiled of it is much, and differs: name, file and argument.
const FETCHED: [(&str, &str, &str); 7] = [
    ("bzip2", "bzip2.wasm", "200000"),
    ("lz4", "lz4.wasm", "1000000"),
    ("sql", "sql.wasm", "5000"),
    ("script", "script.wasm", "3"),
    ("script -O0", "script-O0.wasm", "3"),
    ("regex", "regex.wasm", "100000"),
    ("webp", "webp.wasm", "320"),
];

/// Compiled programs expect some megabytes.
pub const STACK: usize = 256 << 20;

impl Program {
    /// Programs that need no folder, as far as they are there.
    pub fn fetched() -> Vec<Self> {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/build");
        let programs = FETCHED.iter().map(|&(name, file, argument)| Self {
            name: name.to_string(),
            file: build.join(file),
            folders: vec![],
            arguments: vec![argument.to_string()],
        });
        programs.filter(|program| program.file.exists()).collect()
    }

    /// Runs it on this thread, which needs [`STACK`]; `begin` gets the engine before. What it prints is dropped.
    ///
    /// # Errors
    ///
    /// It cannot be loaded, or traps.
    pub fn run(&self, config: Config, begin: impl FnOnce(&Engine) -> Result<()>) -> Result<()> {
        let module = Module::new(&std::fs::read(&self.file)?)?;
        let settings = vec![("enable_verifier".to_string(), "false".to_string())];
        let store = Store::new(config.settings(settings))?;
        begin(store.engine())?;
        let mut wasi = Wasi::new();
        let name = self.file.file_name().unwrap_or_default();
        wasi.argument(&name.to_string_lossy());
        for argument in &self.arguments {
            wasi.argument(argument);
        }
        for folder in &self.folders {
            let (host, guest) = folder.split_once("::").unwrap_or((folder, folder));
            wasi.directory(host.as_ref(), guest)?;
        }
        let (_said, _complained) = (wasi.capture(), wasi.capture_error());
        let mut imports = Imports::new();
        wasi.define(&store, &mut imports)?;
        let instance = Instance::new(&store, &module, &imports)?;
        match instance.call("_start", &[]) {
            // A solver says by its exit code what it has found.
            Ok(_) | Err(Error::Exit(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
