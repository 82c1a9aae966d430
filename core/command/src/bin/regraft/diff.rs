//! `regraft diff`: two reports compared.

use crate::output::{self, CliError, Output};
use crate::report;
use comfy_table::CellAlignment;
use regraft::Report;
use regraft::report::{FunctionReport, PartReport};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Compare two reports: what is hot now, what was refused then, compile time and entries
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The report from before; `-` is standard input
    #[arg(value_name = "A.json")]
    before: PathBuf,

    /// The report from after
    #[arg(value_name = "B.json")]
    after: PathBuf,
}

/// What is compared of a part of a function; nothing where it is not in a report.
#[derive(Clone, Debug, Default, PartialEq)]
struct Figures {
    state: String,
    reason: String,
    entries: u64,
    side_exits: u64,
    micros: u64,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<(), CliError> {
    if args.before == args.after {
        let message = "the two reports are the same file".to_string();
        return Err(CliError::BadInput(message));
    }
    let before = report::read(&args.before)?;
    let after = report::read(&args.after)?;
    out.document(&compare(&before, &after))
}

fn compare(before: &Report, after: &Report) -> String {
    let mut text = String::new();
    for (what, of) in [
        ("functions", functions as fn(&Report) -> u64),
        ("compile time in µs at tier 0", |report| {
            micros(report, "tier0")
        }),
        ("compile time in µs at tier 1", |report| {
            micros(report, "tier1")
        }),
        ("entries into regions", entries),
    ] {
        let (a, b) = (of(before), of(after));
        text.push_str(&format!("{what}: {a} → {b}{}\n", change(a, b)));
    }
    let names: BTreeSet<&String> = before
        .functions
        .keys()
        .chain(after.functions.keys())
        .collect();
    let mut rows = vec![];
    for name in names {
        let (a, b) = (before.functions.get(name), after.functions.get(name));
        let mut parts: Vec<String> = vec![];
        for function in [b, a].into_iter().flatten() {
            for part in std::iter::once("").chain(function.regions.iter().map(|r| &*r.header)) {
                if !parts.iter().any(|known| known == part) {
                    parts.push(part.to_string());
                }
            }
        }
        for part in parts {
            let (a, b) = (figures(a, &part), figures(b, &part));
            if (&a.state, &a.reason) != (&b.state, &b.reason) || a.entries.max(b.entries) > 0 {
                rows.push((name, part, a, b));
            }
        }
    }
    if rows.is_empty() {
        text.push_str("no part differs in what became of it\n");
        return text;
    }
    rows.sort_by_key(|(_, _, a, b)| Reverse((a.state != b.state, a.entries.abs_diff(b.entries))));
    let header = [
        "function",
        "part",
        "state",
        "entries",
        "side exits",
        "µs",
        "why",
    ];
    let mut table = output::table(&header);
    for column in 3..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (name, part, a, b) in rows {
        table.add_row([
            name.clone(),
            if part.is_empty() {
                "whole".to_string()
            } else {
                part
            },
            pair(&a.state, &b.state),
            pair(&a.entries.to_string(), &b.entries.to_string()),
            pair(&a.side_exits.to_string(), &b.side_exits.to_string()),
            pair(&a.micros.to_string(), &b.micros.to_string()),
            pair(&a.reason, &b.reason),
        ]);
    }
    text.push_str(&format!("{table}\n"));
    text
}

fn pair(a: &str, b: &str) -> String {
    match (a == b, a.is_empty(), b.is_empty()) {
        (true, ..) => a.to_string(),
        (_, true, _) => format!("now: {b}"),
        (_, _, true) => format!("was: {a}"),
        _ => format!("{a} → {b}"),
    }
}

fn change(a: u64, b: u64) -> String {
    match a {
        _ if a == b => String::new(),
        0 => String::new(),
        _ => format!(" ({:+.1} %)", (b as f64 / a as f64 - 1.0) * 100.0),
    }
}

fn figures(function: Option<&FunctionReport>, part: &str) -> Figures {
    let Some(function) = function else {
        return Figures {
            state: "absent".to_string(),
            ..Figures::default()
        };
    };
    let of = |part: &PartReport, entries, micros| Figures {
        state: part.state.to_string(),
        reason: part.reason.clone(),
        entries,
        side_exits: part.side_exits.iter().map(|side| side.count).sum(),
        micros,
    };
    if part.is_empty() {
        let versions = function.versions.iter().filter(|version| version.tier == 1);
        let micros = versions.map(|version| version.compile_micros).sum();
        return of(&function.whole_function, function.entries, micros);
    }
    match function.regions.iter().find(|region| region.header == part) {
        Some(region) => {
            let micros = region.versions.iter().map(|version| version.compile_micros);
            of(&region.part, region.entries, micros.sum())
        }
        None => Figures {
            state: "absent".to_string(),
            ..Figures::default()
        },
    }
}

fn functions(report: &Report) -> u64 {
    report.functions.len() as u64
}

fn micros(report: &Report, tier: &str) -> u64 {
    let functions = report.functions.values();
    functions
        .filter_map(|function| function.compile_micros.get(tier))
        .sum()
}

fn entries(report: &Report) -> u64 {
    let regions = report
        .functions
        .values()
        .flat_map(|function| &function.regions);
    regions.map(|region| region.entries).sum()
}
