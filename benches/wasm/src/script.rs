//! Engines for JavaScript, where they are installed: the same measurement in a process of its own.

use std::error::Error;
use std::path::Path;
use std::process::Command;

/// What the process does; it prints seconds.
const SCRIPT: &str = r#"
const [kind, file, argument, rounds] = process.argv.slice(-4);
const bytes = require("fs").readFileSync(file);
const n = Number(argument), now = () => performance.now() / 1000;
const load = () => new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.run;
const median = (list) => list.sort((x, y) => x - y)[list.length >> 1];
let seconds;
if (kind === "short") {
  const begin = now(); load()(n); seconds = now() - begin;
} else {
  const run = load();
  const times = [];
  for (let i = 0; i < Number(rounds); i++) { const begin = now(); run(n); times.push(now() - begin); }
  seconds = median(times.slice(times.length >> 1));
}
console.log(seconds);
"#;

/// Which of Node and Bun there are.
pub fn installed() -> Vec<&'static str> {
    let found = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    ["node", "bun"].into_iter().filter(found).collect()
}

/// Measures in a process: `peak` with 80 calls, `single` and `short` with one.
pub fn measure(
    runtime: &str,
    kind: &str,
    file: &Path,
    argument: i32,
) -> Result<f64, Box<dyn Error>> {
    let rounds = if kind == "peak" { "80" } else { "1" };
    let script = std::env::temp_dir().join("regraft-wasm-race.cjs");
    std::fs::write(&script, SCRIPT)?;
    let output = Command::new(runtime)
        .arg(&script)
        .arg(kind)
        .arg(file)
        .arg(argument.to_string())
        .arg(rounds)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().parse()?)
}
