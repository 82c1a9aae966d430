//! The pacing simulator: records programs, and replays them under policies, in seconds.
//!
//! ```text
//! pacing-simulator record TRACE FILE.wasm [--name NAME] [--dir HOST::GUEST]… [-- ARGUMENTS…]
//! pacing-simulator replay [--with NAME=VALUE,…]… TRACE…
//! ```
//!
//! `replay` prints, for each machine, the time of each program in units of the better of eager code and tier 0: the other of the two,
//! the bound (what no policy can be faster than), what the engine's rule does, and what each `--with` does, which changes
//! values of the rule. Then the geometric mean, the worst, and how much was compiled.
//!
//! Not here: which programs are recorded (`benches/programs/traces`).

mod record;
mod replay;
#[cfg(test)]
mod tests;
mod trace;

use record::record;
use regraft_benches::Result;
use regraft_benches::real::Program;
use replay::{BUSY, IDLE, Machine, Outcome, Policy, SINGLE, Truth, bound, eager, replay, tier0};
use trace::Trace;

const USAGE: &str = "\
pacing-simulator record TRACE FILE.wasm [--name NAME] [--dir HOST::GUEST]... [-- ARGUMENTS...]
pacing-simulator replay [--with NAME=VALUE,...]... TRACE...

Values: fixed, each (compiling at tier 1, in ns: the rule's idea of it), loss (ns an instruction), idle, busy (the share of
the loss that is waited for), budget (the share of the time run that compiling may take where it has to share), cold (the share
of its pace below which a part in the queue is forgotten), patience, threshold (executions), unaware (ms).";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((verb, rest)) if verb == "record" => record_to(rest),
        Some((verb, rest)) if verb == "replay" => compare(rest),
        Some((help, _)) if help == "--help" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

fn record_to(arguments: &[String]) -> Result<()> {
    let mut program = Program::default();
    let mut files = vec![];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or(USAGE);
        match argument.as_str() {
            "--name" => program.name = value()?,
            "--dir" => program.folders.push(value()?),
            "--" => program.arguments = rest.by_ref().cloned().collect(),
            file => files.push(file),
        }
    }
    let [to, file] = files[..] else {
        return Err(USAGE.into());
    };
    program.file = file.into();
    if program.name.is_empty() {
        program.name = file.to_string();
    }
    let trace = record(&program)?;
    std::fs::write(to, serde_json::to_string(&trace)?)?;
    Ok(())
}

/// A policy with some values that are not the engine's.
fn changed(values: &str) -> Result<Policy> {
    let mut policy = Policy {
        name: values.to_string(),
        ..Policy::default()
    };
    for value in values.split(',') {
        let (name, number) = value.split_once('=').ok_or(USAGE)?;
        let number: f64 = number.parse()?;
        let rule = &mut policy.rule;
        match name {
            "fixed" => rule.tier1.fixed = number,
            "each" => rule.tier1.each = number,
            "loss" => rule.loss = number,
            "idle" => rule.idle_share = number,
            "busy" => rule.busy_share = number,
            "budget" => rule.budget = number,
            "cold" => rule.cold_share = number,
            "patience" => policy.patience = number,
            "threshold" => policy.threshold = number,
            "unaware" => policy.unaware = number * 1e6,
            _ => return Err(format!("no value {name}\n{USAGE}").into()),
        }
    }
    Ok(policy)
}

fn compare(arguments: &[String]) -> Result<()> {
    let mut policies = vec![Policy::default()];
    let mut traces = vec![];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--with" => policies.push(changed(rest.next().ok_or(USAGE)?)?),
            file => traces.push(Trace::read(&std::fs::read_to_string(file)?)?),
        }
    }
    println!(
        "{:<14} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "program", "tier 0", "eager", "loss", "each", "parts"
    );
    for trace in &traces {
        let truth = Truth::of(trace);
        let parts: usize = trace.functions.iter().map(|f| f.parts.len()).sum();
        println!(
            "{:<14} {:>6.3} s {:>6.3} s {:>5.2} ns {:>5.0} ns {parts:>8}",
            trace.program,
            tier0(trace) / 1e9,
            eager(trace) / 1e9,
            truth.loss,
            truth.tier1.each
        );
    }
    for machine in [IDLE, BUSY, SINGLE] {
        table(machine, &policies, &traces);
    }
    Ok(())
}

/// One machine's table.
fn table(machine: Machine, policies: &[Policy], traces: &[Trace]) {
    println!("\n{}: by the better of eager and tier 0", machine.name);
    print!(
        "{:<14} {:>7} {:>7} {:>7}",
        "program", "tier 0", "eager", "bound"
    );
    for policy in policies {
        print!(" {:>22}", policy.name);
    }
    println!();
    let mut columns = vec![vec![]; 3 + policies.len()];
    for trace in traces {
        let better = tier0(trace).min(eager(trace));
        let fixed = [tier0(trace), eager(trace), bound(trace, machine)];
        let outcomes: Vec<Outcome> = policies
            .iter()
            .map(|policy| replay(trace, policy, machine))
            .collect();
        let times = fixed
            .into_iter()
            .chain(outcomes.iter().map(|outcome| outcome.elapsed));
        for (column, time) in columns.iter_mut().zip(times) {
            column.push(time / better);
        }
        let last = |at: usize| columns[at].last().copied().unwrap_or(f64::NAN);
        print!(
            "{:<14} {:>7.2} {:>7.2} {:>7.2}",
            trace.program,
            last(0),
            last(1),
            last(2)
        );
        for (at, outcome) in outcomes.iter().enumerate() {
            print!(
                " {:>7.2} {:>6.0} ms {:>4}",
                last(at + 3),
                outcome.compiling / 1e6,
                outcome.jobs
            );
        }
        println!();
    }
    for (name, of) in [("mean", mean as fn(&[f64]) -> f64), ("worst", worst)] {
        print!("{name:<14}");
        for (at, column) in columns.iter().enumerate() {
            let width = if at > 2 { 22 } else { 7 };
            print!(" {:>width$.3}", of(column));
        }
        println!();
    }
}

fn mean(ratios: &[f64]) -> f64 {
    let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (logs / ratios.len().max(1) as f64).exp()
}

fn worst(ratios: &[f64]) -> f64 {
    ratios.iter().copied().fold(0.0, f64::max)
}
