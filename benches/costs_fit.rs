//! What compiling costs: a line for each tier, through all functions of real programs.
//!
//! A version's time is from CLIF to linked code, by the wall clock. What a job takes besides, for forming and extracting, is told
//! by the account of time of the compile threads.

use regraft::report::{Phase, Report, VersionReport};
use regraft::{Config, Engine, Mode};
use regraft_benches::Result;
use regraft_benches::fit::{Fit, Point};
use regraft_benches::real::{Program, STACK};
use std::sync::Mutex;

/// Runs each program in each mode so often: a version's time is its least, where it is the same version.
const ROUNDS: usize = 3;

/// Fits the lines, and prints them.
pub fn fit() -> Result<()> {
    println!(
        "fit: nanoseconds = fixed + each × CLIF instructions, over real programs; relative errors"
    );
    let programs = Program::fetched();
    if programs.is_empty() {
        println!("no programs: benches/programs/fetch gets them");
        return Ok(());
    }
    let names: Vec<&str> = programs
        .iter()
        .map(|program| program.name.as_str())
        .collect();
    println!("programs: {}", names.join(", "));
    println!(
        "{:<22} {:>7} {:>9} {:>9} {:>6} {:>6} {:>6}   measured by fit, up to 30, 100, 300, 1000, 3000, more",
        "versions", "number", "fixed", "each", "10 %", "50 %", "90 %"
    );
    let all = |mode, what: &dyn Fn(&Report) -> Vec<Point>| -> Result<(Vec<Point>, Vec<Report>)> {
        let mut points = vec![];
        let mut reports = vec![];
        for program in &programs {
            let mut least: Vec<Point> = vec![];
            for _ in 0..ROUNDS {
                let report = report_of(program, mode)?;
                let found = what(&report);
                // The same versions in the same order, where nothing depends on time; else all are counted.
                match mode {
                    Mode::Tiered => points.extend(found),
                    _ if least.len() == found.len() => {
                        for (least, found) in least.iter_mut().zip(found) {
                            least.time = least.time.min(found.time);
                        }
                    }
                    _ => least = found,
                }
                reports.push(report);
            }
            points.extend(least);
        }
        Ok((points, reports))
    };
    let (tier0, _) = all(Mode::Tier0, &|report| versions(report, 0))?;
    let (eager, _) = all(Mode::Eager, &|report| versions(report, 1))?;
    let (jobs, reports) = all(Mode::Tiered, &|report| jobs_of(report))?;
    print_fit("tier 0, templates", &tier0)?;
    print_fit("tier 1, whole", &eager)?;
    print_fit("tier 1, what got hot", &jobs)?;
    let (mut spent, mut compiled) = (0, 0.0);
    for report in &reports {
        let threads = report.account.threads.iter();
        let phases = threads
            .filter(|thread| thread.name == "regraft-compile")
            .flat_map(|thread| &thread.phases);
        // Continuations are made by the program's thread.
        spent += phases
            .filter(|(phase, _)| **phase != Phase::Wait)
            .map(|(_, micros)| micros)
            .sum::<u64>();
        compiled += jobs_of(report).iter().map(|job| job.time).sum::<f64>();
    }
    println!(
        "compile threads, forming and extracting included: {:.2} of the time of their versions",
        spent as f64 * 1e3 / compiled
    );
    Ok(())
}

/// Runs a program, on a stack that is large enough, and waits for what is compiled.
fn report_of(program: &Program, mode: Mode) -> Result<Report> {
    let engine: Mutex<Option<Engine>> = Mutex::default();
    std::thread::scope(|scope| -> Result<()> {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let thread = thread.spawn_scoped(scope, || {
            let ran = program.run(Config::default().mode(mode), |started| {
                if let Ok(mut engine) = engine.lock() {
                    *engine = Some(started.clone());
                }
                Ok(())
            });
            ran.map_err(|error| error.to_string())
        })?;
        match thread.join() {
            Ok(ran) => Ok(ran?),
            Err(_) => Err("a program ended with a panic".into()),
        }
    })?;
    let engine = engine.lock().map_err(|_| "a program ended with a panic")?;
    let engine = engine.as_ref().ok_or("a program began without an engine")?;
    engine.wait_idle();
    Ok(engine.report())
}

/// The report has whole microseconds, cut off.
fn point(version: &VersionReport) -> Point {
    Point {
        size: version.instructions_before as f64,
        time: (version.compile_micros as f64 + 0.5) * 1e3,
    }
}

/// The first versions at a tier.
fn versions(report: &Report, tier: u8) -> Vec<Point> {
    let functions = report.functions.values();
    let versions = functions.filter_map(|function| function.versions.first());
    versions
        .filter(|version| version.tier == tier)
        .map(point)
        .collect()
}

/// What compile threads made at tier 1: regions, and functions that had a version before.
fn jobs_of(report: &Report) -> Vec<Point> {
    let functions = report.functions.values();
    let jobs = functions.flat_map(|function| {
        let regions = function.regions.iter().flat_map(|region| &region.versions);
        function.versions.iter().skip(1).chain(regions)
    });
    jobs.map(point).collect()
}

fn print_fit(name: &str, points: &[Point]) -> Result<()> {
    let fit = Fit::of(points).ok_or("all of one size")?;
    let residuals = fit.residuals(points);
    let quantile = |share: f64| residuals[((residuals.len() - 1) as f64 * share) as usize];
    let classes = fit
        .classes(points)
        .into_iter()
        .map(|class| match class.points {
            0 => "–".to_string(),
            points => format!("{:.2} ({points})", class.ratio),
        });
    println!(
        "{name:<22} {:>7} {:>6.1} µs {:>6.0} ns {:>6.2} {:>6.2} {:>6.2}   {}",
        points.len(),
        fit.fixed / 1e3,
        fit.each,
        quantile(0.1),
        quantile(0.5),
        quantile(0.9),
        classes.collect::<Vec<_>>().join(", ")
    );
    Ok(())
}
