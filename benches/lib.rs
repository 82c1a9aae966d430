//! Interleaved measurement: medians of rounds in which every contender runs once.
//!
//! The machines that these benchmarks run on are shared. A figure by itself
//! says little there; what says something is how two contenders that took
//! turns compare, in processor time of their thread. [`measure`] is the one way of measuring, [`plain`] the one
//! thing measured against (cranelift-jit as anyone would use it), [`shapes`]
//! are the functions, [`real`] programs that nobody here wrote; [`fit`] draws lines.

pub mod fit;
pub mod frontend;
pub mod native;
pub mod plain;
pub mod real;
pub mod shapes;

use std::time::{Duration, Instant};

/// What a benchmark can fail with: there is nobody to handle it.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A part of a benchmark, by name.
pub type Section = (&'static str, fn() -> Result<()>);

/// Runs the sections that the command line names, or all.
///
/// # Errors
///
/// The first of a section; a name that no section has.
pub fn run(sections: &[Section]) -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes options of the standard harness, `--bench` for one.
    let chosen: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let unknown = |name: &str| sections.iter().all(|section| section.0 != name);
    if let Some(name) = chosen.iter().find(|name| unknown(name)) {
        let known: Vec<&str> = sections.iter().map(|section| section.0).collect();
        return Err(format!("no section {name}; there are: {}", known.join(", ")).into());
    }
    println!("machine: {}", machine());
    for (name, section) in sections {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            println!();
            section()?;
        }
    }
    Ok(())
}

/// A contender: runs once and says how long that took.
pub type Contender<'a> = &'a mut dyn FnMut() -> Result<Duration>;

/// The median time of each contender over `rounds` rounds, after one round
/// that does not count.
///
/// # Errors
///
/// The first of a contender.
pub fn measure<const N: usize>(
    rounds: usize,
    mut contenders: [Contender<'_>; N],
) -> Result<[Duration; N]> {
    let mut times = [const { vec![] }; N];
    for round in 0..=rounds.max(1) {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let time = contender()?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    }))
}

/// The time that `run` takes of this thread: what others do meanwhile on the
/// same core is not in it, what they do to its caches is.
///
/// # Errors
///
/// Its own.
pub fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = thread_time();
    let result = run()?;
    let time = thread_time().saturating_sub(start);
    drop(std::hint::black_box(result));
    Ok(time)
}

/// The time that passes while `run` runs.
///
/// # Errors
///
/// Its own.
pub fn elapsed<T>(run: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    let result = run()?;
    let time = start.elapsed();
    drop(std::hint::black_box(result));
    Ok(time)
}

/// The processor time that this thread has used.
fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of ours. The clock always exists,
    // so that the result says nothing.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// `a` in units of `b`.
pub fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Nanoseconds for each of `count`.
pub fn nanos_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e9 / count as f64
}

/// Whether an aim is met, as a word.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// The machine: CPU model and number of cores.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut names = info.lines().filter(|line| line.starts_with("model name"));
    let name = names.next().and_then(|line| line.split(':').nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", name.unwrap_or("unknown CPU").trim())
}
