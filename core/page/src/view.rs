//! What the page shows: the hottest part of a report, in the order in which it is shown.

mod rows;

use crate::Limits;
use crate::graph::{Graph, Painter};
use crate::model::{Code, Event, Function, Memory, Report, Times, Workers};
use rows::{Problem, RegionView, VersionView, list_problems, versions};
use serde::Serialize;
use std::collections::HashMap;

/// All that the page's script gets.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    title: &'a str,
    mode: &'a str,
    detection: &'a str,
    target: &'a str,
    workers: &'a Workers,
    memory: &'a Memory,
    totals: Totals,
    functions: Vec<FunctionView<'a>>,
    regions: Vec<RegionView<'a>>,
    problems: Vec<Problem<'a>>,
    times: Option<&'a Times>,
    events: Option<EventsView<'a>>,
    left_out: LeftOut,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    functions: usize,
    loops: usize,
    published: usize,
    whole: usize,
    refused: usize,
    failed: usize,
    calls: u64,
    executed: u64,
    micros: [u64; 2],
    entries: u64,
    entries_while_running: u64,
    side_exits: u64,
}

/// How many of each are in the report and not on the page.
#[derive(Debug, Serialize)]
struct LeftOut {
    functions: usize,
    details: usize,
    regions: usize,
    problems: usize,
    events: u64,
}

#[derive(Debug, Serialize)]
struct FunctionView<'a> {
    name: &'a str,
    tier: Option<u8>,
    calls: u64,
    blocks: u64,
    instructions: u64,
    /// Instructions executed at tier 0.
    executed: u64,
    /// Its share of all of them.
    share: f64,
    micros: [u64; 2],
    state: &'a str,
    loops: usize,
    published: usize,
    irreducible: Vec<String>,
    clif: Option<&'a str>,
    graph: Option<Graph<'a>>,
    /// Why there is no text and no graph, where that is so.
    without: &'static str,
    versions: Vec<VersionView<'a>>,
}

#[derive(Debug, Serialize)]
struct EventsView<'a> {
    threads: Vec<&'a str>,
    list: Vec<&'a Event>,
}

impl<'a> View<'a> {
    /// What is shown of `report`.
    pub fn new(report: &'a Report, title: &'a str, limits: &Limits) -> Self {
        let executed: HashMap<&str, u64> = report
            .functions
            .iter()
            .map(|(name, function)| (name.as_str(), executed(function)))
            .collect();
        let all = executed.values().fold(0, |a: u64, &b| a.saturating_add(b));
        let of = |name: &str| executed.get(name).copied().unwrap_or(0);
        let mut order: Vec<(&str, &Function)> = report
            .functions
            .iter()
            .map(|(name, function)| (name.as_str(), function))
            .collect();
        order.sort_by_key(|&(name, function)| {
            let (published, micros) = (published(function), sum(&micros(function)));
            std::cmp::Reverse((of(name), published, function.entries, micros))
        });
        let mut regions = vec![];
        let mut problems = vec![];
        for &(name, function) in &order {
            let weight = ratio(of(name), all);
            regions.extend(
                function
                    .regions
                    .iter()
                    .map(|region| RegionView::new(name, region, weight)),
            );
            list_problems(name, function, &mut problems);
        }
        let rank = |region: &RegionView<'_>| (region.state == "published", region.weight);
        regions.sort_by(|a, b| {
            rank(b)
                .partial_cmp(&rank(a))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut painter = Painter::new(limits);
        let mut text = limits.text;
        let shown = order.iter().take(limits.rows).enumerate();
        let functions: Vec<FunctionView<'_>> = shown
            .map(|(rank, &(name, function))| {
                let mut view = FunctionView::new(name, function, of(name), all);
                if rank < limits.functions {
                    view.add_detail(function, &mut painter, &mut text);
                } else {
                    view.without = "only the hottest functions have their text on this page";
                }
                view
            })
            .collect();
        let details = functions.iter().filter(|view| view.clif.is_some()).count();
        let with_detail = order
            .iter()
            .filter(|(_, function)| function.detail.is_some());
        let events = report.events.as_ref().map(|events| {
            let list: Vec<&Event> = events.list.iter().take(limits.events).collect();
            let mut threads: Vec<&str> = vec![];
            for event in &list {
                if !threads.contains(&event.thread.as_str()) {
                    threads.push(&event.thread);
                }
            }
            EventsView { threads, list }
        });
        let recorded = report.events.as_ref().map_or(0, |events| {
            events.left_out.saturating_add(events.list.len() as u64)
        });
        let left_out = LeftOut {
            functions: order.len() - functions.len(),
            details: with_detail.count() - details,
            regions: regions.len().saturating_sub(limits.rows),
            problems: problems.len().saturating_sub(limits.rows),
            events: recorded.saturating_sub(limits.events as u64),
        };
        let totals = Totals::of(&order, &regions, all);
        regions.truncate(limits.rows);
        problems.truncate(limits.rows);
        Self {
            title,
            mode: &report.mode,
            detection: &report.detection,
            target: &report.target,
            workers: &report.workers,
            memory: &report.memory,
            totals,
            functions,
            regions,
            problems,
            times: report.times.as_ref(),
            events,
            left_out,
        }
    }
}

impl Totals {
    fn of(functions: &[(&str, &Function)], regions: &[RegionView<'_>], executed: u64) -> Self {
        let mut totals = Self {
            functions: functions.len(),
            loops: regions.len(),
            executed,
            ..Self::default()
        };
        for (_, function) in functions {
            totals.calls = totals.calls.saturating_add(function.entries);
            totals.whole += usize::from(function.whole_function.state == "published");
            totals.failed += usize::from(function.definition_error.is_some());
            for (sum, micros) in totals.micros.iter_mut().zip(micros(function)) {
                *sum = sum.saturating_add(micros);
            }
        }
        for region in regions {
            totals.published += usize::from(region.state == "published");
            totals.refused += usize::from(region.state == "refused");
            totals.failed += usize::from(region.state == "failed");
            totals.entries = totals.entries.saturating_add(region.entries);
            totals.entries_while_running =
                totals.entries_while_running.saturating_add(region.running);
            for &(_, count, _) in &region.side_exits {
                totals.side_exits = totals.side_exits.saturating_add(count);
            }
        }
        totals
    }
}

impl<'a> FunctionView<'a> {
    fn new(name: &'a str, function: &'a Function, executed: u64, all: u64) -> Self {
        Self {
            name,
            tier: function.tier,
            calls: function.entries,
            blocks: function.blocks,
            instructions: function.instructions,
            executed,
            share: ratio(executed, all),
            micros: micros(function),
            state: match function.definition_error {
                Some(_) => "failed",
                None => &function.whole_function.state,
            },
            loops: function.regions.len(),
            published: published(function),
            irreducible: function
                .irreducible
                .iter()
                .take(50)
                .map(|cycle| {
                    let (blocks, entries) = (few(&cycle.blocks), few(&cycle.entries));
                    format!("{blocks}, entered at {entries}")
                })
                .collect(),
            clif: None,
            graph: None,
            without: "",
            versions: vec![],
        }
    }

    /// Adds text and graph, as far as there is room for them.
    fn add_detail(&mut self, function: &'a Function, painter: &mut Painter, room: &mut usize) {
        let mut take = |bytes: usize| {
            let fits = bytes <= *room;
            *room -= if fits { bytes } else { 0 };
            fits
        };
        self.versions = versions(function);
        for version in &mut self.versions {
            let fits =
                |code: &&Code| take(code.clif.len() + code.optimized.len() + code.machine.len());
            version.code = version.code.filter(fits);
        }
        let Some(detail) = &function.detail else {
            self.without =
                "the report has no text and no graphs: make it with --html, or with --inspect";
            return;
        };
        match take(detail.clif.len()) {
            true => self.clif = Some(&detail.clif),
            false => self.without = "its text is too long for this page",
        }
        self.graph = painter.draw(function, detail);
    }
}

/// Instructions executed at tier 0: by block where that is known, else the header's share of what is in loops.
fn executed(function: &Function) -> u64 {
    match &function.detail {
        Some(detail) => detail.blocks.iter().fold(0, |sum: u64, block| {
            sum.saturating_add(block.count.saturating_mul(block.instructions))
        }),
        None => {
            let outermost = function
                .regions
                .iter()
                .filter(|region| region.loop_depth <= 1);
            let counts = outermost.flat_map(|region| region.blocks.values());
            counts.fold(function.entries, |sum, &count| sum.saturating_add(count))
        }
    }
}

fn published(function: &Function) -> usize {
    let regions = function.regions.iter();
    regions
        .filter(|region| region.part.state == "published")
        .count()
        + usize::from(function.whole_function.state == "published")
}

fn micros(function: &Function) -> [u64; 2] {
    ["tier0", "tier1"].map(|tier| function.compile_micros.get(tier).copied().unwrap_or(0))
}

fn sum(micros: &[u64]) -> u64 {
    micros.iter().fold(0, |a: u64, &b| a.saturating_add(b))
}

fn ratio(part: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 / all as f64
    }
}

fn few(names: &[String]) -> String {
    let shown = names
        .get(..names.len().min(12))
        .unwrap_or_default()
        .join(" ");
    match names.len() > 12 {
        true => format!("{shown} and {} more", names.len() - 12),
        false => shown,
    }
}
