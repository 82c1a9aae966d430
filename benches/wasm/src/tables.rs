//! Measuring, and the tables.

use crate::contenders::{Contender, Running};
use crate::script;
use comfy_table::Table;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const CALLS: usize = 80;
const SHORT: f64 = 0.006;
const LONG: f64 = 0.5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Measures and prints one table.
pub fn table(kind: &str, files: &[PathBuf], rounds: usize) -> Result<()> {
    let scripts = match kind {
        "memory" => vec![],
        _ => script::installed(),
    };
    let mut table = Table::new();
    let mut header = vec![kind.to_string()];
    header.extend(Contender::all().iter().map(|one| one.name().to_string()));
    header.extend(scripts.iter().map(ToString::to_string));
    header.push(match kind {
        "memory" => "wasmtime speed, MiB".to_string(),
        _ => "wasmtime speed, ms".to_string(),
    });
    let columns = header.len() - 2;
    table.set_header(header);
    let mut logs = vec![0.0; columns];
    for file in files {
        let wasm = std::fs::read(file)?;
        let argument = calibrate(&wasm, if kind == "single" { LONG } else { SHORT })?;
        let medians = match kind {
            "peak" => peak(&wasm, file, argument, &scripts)?,
            "single" => fresh(&wasm, file, argument, rounds, &scripts, false)?,
            "short" => fresh(&wasm, file, argument, rounds * 3, &scripts, true)?,
            "memory" => memory(file, argument)?,
            _ => return Err(format!("there is no table {kind}").into()),
        };
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let mut row = vec![name.into_owned()];
        for (column, median) in medians.iter().enumerate() {
            let ratio = median / medians[0];
            logs[column] += ratio.ln();
            row.push(format!("{ratio:.2}"));
        }
        let scale = if kind == "memory" { 1.0 } else { 1000.0 };
        row.push(format!("{:.2}", medians[0] * scale));
        table.add_row(row);
    }
    let mut row = vec!["geometric mean".to_string()];
    row.extend(
        logs.iter()
            .map(|log| format!("{:.2}", (log / files.len() as f64).exp())),
    );
    row.push(String::new());
    table.add_row(row);
    println!("{table}");
    Ok(())
}

/// The argument for a call of about so many seconds.
fn calibrate(wasm: &[u8], seconds: f64) -> Result<i32> {
    let mut running = Contender::Speed.load(wasm)?;
    let mut argument = 1;
    running.call(1)?;
    loop {
        let taken = timed(|| running.call(argument).map(|_| ()))?;
        if taken > seconds / 4.0 || argument > 1 << 24 {
            return Ok(((f64::from(argument) * seconds / taken) as i32).max(1));
        }
        argument *= 2;
    }
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    run()?;
    Ok(begin.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn peak(wasm: &[u8], file: &Path, argument: i32, scripts: &[&str]) -> Result<Vec<f64>> {
    let contenders = Contender::all();
    let running: Result<Vec<Running>> = contenders.iter().map(|one| one.load(wasm)).collect();
    let mut running = running?;
    let mut times = vec![vec![]; running.len()];
    let mut results = vec![0.0; running.len()];
    for call in 0..CALLS {
        for (index, one) in running.iter_mut().enumerate() {
            let taken = timed(|| {
                results[index] = one.call(argument)?;
                Ok(())
            })?;
            if call >= CALLS / 2 {
                times[index].push(taken);
            }
        }
        if results.iter().any(|result| *result != results[0]) {
            return Err(format!("{}: results differ: {results:?}", file.display()).into());
        }
    }
    let mut medians: Vec<f64> = times.into_iter().map(median).collect();
    for runtime in scripts {
        medians.push(script::measure(runtime, "peak", file, argument)?);
    }
    Ok(medians)
}

/// One call in a fresh engine; with `loading`, the time to compile and instantiate counts too.
fn fresh(
    wasm: &[u8],
    file: &Path,
    argument: i32,
    rounds: usize,
    scripts: &[&str],
    loading: bool,
) -> Result<Vec<f64>> {
    let contenders = Contender::all();
    let mut times = vec![vec![]; contenders.len() + scripts.len()];
    for _ in 0..rounds {
        for (index, contender) in contenders.iter().enumerate() {
            let mut begin = Instant::now();
            let mut running = contender.load(wasm)?;
            if !loading {
                begin = Instant::now();
            }
            running.call(argument)?;
            times[index].push(begin.elapsed().as_secs_f64());
        }
        for (index, runtime) in scripts.iter().enumerate() {
            let kind = if loading { "short" } else { "single" };
            let taken = script::measure(runtime, kind, file, argument)?;
            times[contenders.len() + index].push(taken);
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// Peak resident sizes in MiB, each in a process of its own.
fn memory(file: &Path, argument: i32) -> Result<Vec<f64>> {
    let mut sizes = vec![];
    for contender in Contender::all() {
        let output = Command::new(std::env::current_exe()?)
            .arg(file)
            .args(["--memory-of", contender.name(), &argument.to_string()])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        sizes.push(text.trim().parse::<f64>()? / 1024.0);
    }
    Ok(sizes)
}

/// Runs one call and prints the peak resident size in KiB.
pub fn memory_of(contender: Contender, file: &Path, argument: i32) -> Result<()> {
    let wasm = std::fs::read(file)?;
    let mut running = contender.load(&wasm)?;
    for _ in 0..10 {
        running.call(argument)?;
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.ok_or("the system does not say")?;
    println!("{}", peak.trim().trim_end_matches(" kB"));
    Ok(())
}
