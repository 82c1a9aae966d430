//! Rows of tables: regions, versions, and what was refused, skipped or failed.

use crate::model::{Code, Function, Part, Pass, Region, SideExit, Version};
use serde::Serialize;

/// A version, with its text if there is room for it.
#[derive(Debug, Serialize)]
pub struct VersionView<'a> {
    pub label: String,
    pub tier: u8,
    pub before: u64,
    pub after: u64,
    pub bytes: u64,
    pub micros: u64,
    pub passes: &'a [Pass],
    pub code: Option<&'a Code>,
}

/// A loop, and what became of it.
#[derive(Debug, Serialize)]
pub struct RegionView<'a> {
    pub function: &'a str,
    pub header: &'a str,
    pub depth: u32,
    /// Its share of what its function executed.
    pub share: f64,
    /// Its share of what the program executed.
    pub weight: f64,
    pub state: &'a str,
    pub decision: &'a str,
    pub reason: &'a str,
    pub settled: &'a str,
    pub found_by: &'a str,
    pub formations: u64,
    pub entries: u64,
    pub running: u64,
    pub before: u64,
    pub after: u64,
    pub micros: u64,
    pub hot_blocks: usize,
    pub blocks: usize,
    pub side_exits: Vec<(&'a str, u64, &'a str)>,
}

/// Something that is not at tier 1, and why.
#[derive(Debug, Serialize)]
pub struct Problem<'a> {
    pub function: &'a str,
    pub part: String,
    pub state: &'a str,
    pub code: &'a str,
    pub reason: &'a str,
}

impl<'a> RegionView<'a> {
    pub fn new(function: &'a str, region: &'a Region, weight: f64) -> Self {
        let Part {
            decision,
            reason,
            state,
            found_by,
            formations,
            hot_blocks,
            side_exits,
            settled,
            ..
        } = &region.part;
        let newest = region.versions.last();
        Self {
            function,
            header: &region.header,
            depth: region.loop_depth,
            share: region.share,
            weight: region.share * weight,
            state,
            decision,
            reason,
            settled,
            found_by,
            formations: *formations,
            entries: region.entries,
            running: region.entries_while_running,
            before: newest.map_or(0, |version| version.instructions_before),
            after: newest.map_or(0, |version| version.instructions_after),
            micros: region.versions.iter().fold(0, |sum: u64, version| {
                sum.saturating_add(version.compile_micros)
            }),
            hot_blocks: hot_blocks.len(),
            blocks: region.blocks.len(),
            side_exits: side_exits
                .iter()
                .take(50)
                .map(|side| (&*side.to, side.count, &*side.state))
                .collect(),
        }
    }
}

/// All versions of a function, of its regions and of their continuations.
pub fn versions(function: &Function) -> Vec<VersionView<'_>> {
    let whole = function.versions.iter();
    let mut views: Vec<VersionView<'_>> = whole
        .map(|version| version_view("function".to_string(), version))
        .collect();
    let parts = function.regions.iter().map(|region| {
        (
            format!("region {}", region.header),
            &region.versions[..],
            &region.part,
        )
    });
    let own = ("function".to_string(), &[][..], &function.whole_function);
    for (label, versions, part) in parts.chain([own]) {
        views.extend(
            versions
                .iter()
                .map(|version| version_view(label.clone(), version)),
        );
        let compiled = part.side_exits.iter().filter(|side| side.code_bytes > 0);
        views.extend(compiled.map(|side: &SideExit| VersionView {
            label: format!("{label} → {}", side.to),
            tier: 1,
            before: 0,
            after: 0,
            bytes: side.code_bytes,
            micros: side.compile_micros,
            passes: &[],
            code: side.code.as_ref(),
        }));
    }
    views
}

fn version_view(label: String, version: &Version) -> VersionView<'_> {
    VersionView {
        label,
        tier: version.tier,
        before: version.instructions_before,
        after: version.instructions_after,
        bytes: version.code_bytes,
        micros: version.compile_micros,
        passes: &version.passes,
        code: version.code.as_ref(),
    }
}

/// Adds what was refused, skipped, or failed.
pub fn list_problems<'a>(name: &'a str, function: &'a Function, problems: &mut Vec<Problem<'a>>) {
    if let Some(error) = &function.definition_error {
        problems.push(Problem {
            function: name,
            part: "definition".to_string(),
            state: "failed",
            code: "",
            reason: error,
        });
    }
    let regions = function
        .regions
        .iter()
        .map(|region| (format!("loop {}", region.header), &region.part));
    let whole = [("function".to_string(), &function.whole_function)];
    for (label, part) in regions.chain(whole) {
        if matches!(&*part.state, "refused" | "failed" | "stopped") || part.decision == "skip" {
            problems.push(Problem {
                function: name,
                part: label.clone(),
                state: &part.state,
                code: &part.reason_code,
                reason: &part.reason,
            });
        }
        let failed = part
            .side_exits
            .iter()
            .filter(|side| !side.reason.is_empty());
        problems.extend(failed.map(|side| Problem {
            function: name,
            part: format!("{label} → {}", side.to),
            state: &side.state,
            code: "",
            reason: &side.reason,
        }));
    }
}
