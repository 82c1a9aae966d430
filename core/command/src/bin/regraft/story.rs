//! What a run's tier-up did, in a few lines: what `regraft run` ends with.

use crate::output;
use comfy_table::CellAlignment;
use regraft::Report;
use regraft::report::{FunctionReport, PartReport, RegionReport};
use regraft::report::{PartDecision, PartState};
use std::cmp::Reverse;

/// How many parts are shown: with the lines around them, the story has fifteen lines at most.
const MOST: usize = 9;

/// A part that is shown.
struct Part<'a> {
    function: &'a str,
    report: &'a FunctionReport,
    /// None for the function itself.
    region: Option<&'a RegionReport>,
}

impl<'a> Part<'a> {
    fn part(&self) -> &'a PartReport {
        match self.region {
            Some(region) => &region.part,
            None => &self.report.whole_function,
        }
    }

    /// What was executed of it, as far as tier 0 has counted.
    fn executed(&self) -> u64 {
        match self.region {
            Some(region) => region
                .blocks
                .values()
                .fold(0, |sum, &count| sum.saturating_add(count)),
            None => self.report.entries,
        }
    }

    fn row(&self) -> Vec<String> {
        let part = self.part();
        let versions = match self.region {
            Some(region) => region.versions.iter().collect(),
            None => self
                .report
                .versions
                .iter()
                .filter(|version| version.tier == 1)
                .collect(),
        };
        let versions: Vec<_> = versions;
        let micros: u64 = versions.iter().map(|version| version.compile_micros).sum();
        let side_exits: u64 = part.side_exits.iter().map(|side| side.count).sum();
        let all = self.report.instructions;
        vec![
            self.function.to_string(),
            self.region
                .map_or_else(|| "whole".to_string(), |region| region.header.clone()),
            self.region.map_or_else(
                || "-".to_string(),
                |region| format!("{:.1}%", region.share * 100.0),
            ),
            self.region
                .map_or(self.report.entries, |region| region.entries)
                .to_string(),
            self.region.map_or_else(
                || "-".to_string(),
                |region| region.entries_while_running.to_string(),
            ),
            side_exits.to_string(),
            versions.last().map_or_else(
                || "-".to_string(),
                |version| format!("{} / {all}", version.instructions_after),
            ),
            match versions.is_empty() {
                true => "-".to_string(),
                false => format!("{micros} µs"),
            },
            part.state.to_string(),
        ]
    }
}

/// The table; none where there is nothing that could tier up.
pub fn story(report: &Report) -> Option<String> {
    let mut parts: Vec<Part<'_>> = vec![];
    for (function, report) in &report.functions {
        let whole = &report.whole_function;
        if whole.state != PartState::Cold && whole.decision != PartDecision::Skip {
            parts.push(Part {
                function,
                report,
                region: None,
            });
        }
        parts.extend(report.regions.iter().map(|region| Part {
            function,
            report,
            region: Some(region),
        }));
    }
    if parts.is_empty() {
        return None;
    }
    let all = parts.len();
    parts.sort_by_key(|part| Reverse((part.part().state == PartState::Published, part.executed())));
    let header = [
        "function",
        "loop",
        "share",
        "entered",
        "running",
        "side exits",
        "instructions",
        "compiled in",
        "state",
    ];
    let mut table = output::table(&header);
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for part in parts.iter().take(MOST) {
        table.add_row(part.row());
    }
    let more = match all - parts.len().min(MOST) {
        0 => String::new(),
        more => format!("\n{more} more; `--html FILE` shows all"),
    };
    Some(format!(
        "what tier-up did (running: entered while the loop ran; instructions: at tier 1 / in the function)\n{table}{more}"
    ))
}
