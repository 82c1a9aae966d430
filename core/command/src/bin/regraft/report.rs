//! `regraft report`: a saved region report as tables.

use crate::output::{self, CliError, Output};
use crate::{html, input};
use comfy_table::{CellAlignment, Table};
use regraft::Report;
use regraft::report::{FunctionReport, PartReport, RegionReport, TierMemoryReport, VersionReport};
use std::path::{Path, PathBuf};

/// Print a report that `regraft run --report` wrote, as tables
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The report; `-` is standard input
    #[arg(value_name = "REPORT.json")]
    file: PathBuf,

    /// Write a page that shows the report, instead of the tables
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<(), CliError> {
    match &args.html {
        Some(html) => {
            let text = input::read(&args.file)?;
            html::write(html, &text, &args.file.display().to_string())
        }
        None => out.document(&tables(&read(&args.file)?)),
    }
}

/// Reads a report.
pub fn read(path: &Path) -> Result<Report, CliError> {
    let text = input::read(path)?;
    let report = Report::from_json(&text);
    report.map_err(|error| {
        let file = path.display();
        CliError::BadInput(format!("{file}: this is no region report: {error}"))
    })
}

fn tables(report: &Report) -> String {
    let functions = &report.functions;
    let regions = functions.iter().flat_map(|(_, function)| &function.regions);
    let mut text = format!(
        "mode {}, detection by {}, target {}: {} functions, {} loops\n",
        report.mode,
        report.detection,
        report.target,
        functions.len(),
        regions.clone().count()
    );
    for (tier, bytes) in &report.memory.tiers {
        let TierMemoryReport {
            live,
            retired,
            freed,
        } = bytes;
        text.push_str(&format!(
            "{tier}: {live} bytes of code live, {retired} retired, {freed} freed\n"
        ));
    }
    let header = [
        "function",
        "tier",
        "calls",
        "blocks",
        "instructions",
        "bytes",
        "µs tier 0",
        "µs tier 1",
        "found by",
        "whole function",
    ];
    let mut table = table(&header, 2..8);
    for (name, function) in functions {
        table.add_row(function_row(name, function));
    }
    text.push_str(&format!("{table}\n"));
    if regions.clone().next().is_some() {
        let header = [
            "function",
            "header",
            "depth",
            "share",
            "entered",
            "running",
            "instructions",
            "bytes",
            "side exits",
            "found by",
            "state",
        ];
        let mut table = self::table(&header, 2..8);
        for region in regions {
            table.add_row(region_row(region));
        }
        text.push_str(&format!("{table}\n"));
    }
    text
}

fn table(header: &[&str], right: std::ops::Range<usize>) -> Table {
    let mut table = output::table(header);
    for column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn function_row(name: &str, function: &FunctionReport) -> Vec<String> {
    let micros = |tier: &str| match function.compile_micros.get(tier) {
        Some(micros) => micros.to_string(),
        None => "-".to_string(),
    };
    vec![
        name.to_string(),
        function
            .tier
            .map_or_else(|| "-".to_string(), |tier| tier.to_string()),
        function.entries.to_string(),
        function.blocks.to_string(),
        function.instructions.to_string(),
        newest(&function.versions, |version| version.code_bytes.to_string()),
        micros("tier0"),
        micros("tier1"),
        found_by(&function.whole_function),
        state(&function.whole_function),
    ]
}

fn region_row(region: &RegionReport) -> Vec<String> {
    let side_exits = region.part.side_exits.iter();
    let side_exits = side_exits.map(|side| format!("{}: {}", side.to, side.count));
    vec![
        region.function.clone(),
        region.header.clone(),
        region.loop_depth.to_string(),
        format!("{:.1}%", region.share * 100.0),
        region.entries.to_string(),
        region.entries_while_running.to_string(),
        newest(&region.versions, |version| {
            format!(
                "{} → {}",
                version.instructions_before, version.instructions_after
            )
        }),
        newest(&region.versions, |version| version.code_bytes.to_string()),
        side_exits.collect::<Vec<_>>().join(", "),
        found_by(&region.part),
        state(&region.part),
    ]
}

fn newest(versions: &[VersionReport], what: impl Fn(&VersionReport) -> String) -> String {
    versions.last().map_or_else(|| "-".to_string(), what)
}

fn found_by(part: &PartReport) -> String {
    part.found_by
        .map_or_else(|| "-".to_string(), |found_by| found_by.to_string())
}

fn state(part: &PartReport) -> String {
    match part.reason.is_empty() {
        true => part.state.to_string(),
        false => format!("{}: {}", part.state, part.reason),
    }
}
