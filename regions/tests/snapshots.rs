//! Snapshots of the analyses: each shows a function and what was found out about it.
//!
//! They live in `snapshots/` at the top of the workspace. After a change that is meant, run the tests with
//! `INSTA_UPDATE=always` and read the difference.

use std::fmt::Write;

use cranelift_codegen::ir::Function;
use regraft_regions::*;

/// One function with the analyses that everything needs.
struct Case {
    text: &'static str,
    func: Function,
    flow: Flow,
    loops: LoopForest,
    frequencies: Frequencies,
}

/// The functions that every snapshot is taken of.
fn cases() -> Vec<(&'static str, Case)> {
    [
        ("nested", include_str!("clif/nested.clif")),
        ("multi_exit", include_str!("clif/multi_exit.clif")),
        ("multi_latch", include_str!("clif/multi_latch.clif")),
        ("br_table", include_str!("clif/br_table.clif")),
        ("irreducible", include_str!("clif/irreducible.clif")),
    ]
    .map(|(name, text)| (name, analysed(text)))
    .into()
}

fn analysed(text: &'static str) -> Case {
    let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
    let flow = Flow::compute(&func).unwrap();
    let loops = LoopForest::compute(&func, &flow);
    let frequencies = estimate(&func, &flow, &loops);
    Case {
        text,
        func,
        flow,
        loops,
        frequencies,
    }
}

/// Compare the function followed by `found` with the snapshot `regions__<what>_<name>`.
fn compare(what: &str, show: impl Fn(&Case) -> String) {
    for (name, case) in cases() {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| {
            let shown = format!("{}\n; {what}\n\n{}", case.text, show(&case));
            insta::assert_snapshot!(format!("regions__{what}_{name}"), shown);
        });
    }
}

fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.len() {
        0 => "none".to_string(),
        _ => items.join(" "),
    }
}

impl Case {
    /// `block1[0] -> block2`, with the edge's number.
    fn edge(&self, number: FlowEdge) -> String {
        let Edge {
            from, index, to, ..
        } = self.flow.edge(number);
        format!("{number} ({from}[{index}] -> {to})")
    }

    fn forest(&self) -> String {
        let mut out = String::new();
        let Case { flow, loops, .. } = self;
        for l in loops.loops() {
            let depth = loops.depth(l);
            let indent = "  ".repeat(depth as usize - 1);
            let blocks = listed(loops.blocks(l));
            let preheader = listed(loops.preheader(l, flow));
            writeln!(out, "{indent}{l} at {}, depth {depth}", loops.header(l)).unwrap();
            writeln!(out, "{indent}  blocks:    {blocks}").unwrap();
            writeln!(out, "{indent}  latches:   {}", listed(loops.latches(l))).unwrap();
            writeln!(out, "{indent}  preheader: {preheader}").unwrap();
            for exit in loops.exits(l, flow) {
                writeln!(out, "{indent}  exit:      {}", self.edge(exit)).unwrap();
            }
        }
        for cycle in loops.irreducible() {
            let entries = listed(&cycle.entries);
            let blocks = listed(&cycle.blocks);
            writeln!(out, "irreducible cycle: {blocks}; entries: {entries}").unwrap();
        }
        out
    }

    fn placement(&self) -> String {
        let Case {
            func,
            flow,
            loops,
            frequencies,
            ..
        } = self;
        let mut hooked = Known::default();
        for l in loops.loops() {
            let from = loops.header(l);
            hooked.block_counted.insert(from);
            let mut targets: Vec<_> = loops
                .exits(l, flow)
                .iter()
                .map(|&e| flow.edge(e).to)
                .collect();
            targets.sort_unstable();
            targets.dedup();
            let transfer = |to| Transfer { from, to: Some(to) };
            hooked.transfers.extend(targets.into_iter().map(transfer));
        }
        let plain = Known::default();
        let mut out = String::new();
        for (title, known, mode) in [
            ("spanning tree", &plain, Counting::SpanningTree),
            (
                "spanning tree, all loops hooked",
                &hooked,
                Counting::SpanningTree,
            ),
            ("every block", &plain, Counting::EveryBlock),
        ] {
            let placement = place(func, flow, frequencies, known, mode);
            writeln!(
                out,
                "{title}: {} counters, {} split edges, {:.1} increments expected per entry",
                placement.sites.len(),
                placement.split_edges(flow),
                placement.expected_increments(frequencies)
            )
            .unwrap();
            for site in &placement.sites {
                match *site {
                    Site::Block(block) => writeln!(out, "  {block}").unwrap(),
                    Site::Edge(edge) => writeln!(out, "  {}", self.edge(edge)).unwrap(),
                    Site::Table(edge) => writeln!(out, "  table: {}", self.edge(edge)).unwrap(),
                }
            }
        }
        out
    }

    fn formation(&self) -> String {
        let Case {
            func,
            flow,
            frequencies,
            ..
        } = self;
        let mut out = String::from("counts (estimated, 1000 entries):\n");
        let profile = frequencies.to_profile(flow, 1000);
        for block in func.layout.blocks() {
            writeln!(out, "  {block}: {}", profile.block(block)).unwrap();
        }
        for (min_trip_count, cold_share) in [(5.0, 0.0), (16.0, 0.3)] {
            let policy = Policy {
                min_trip_count,
                cold_share,
                ..Policy::default()
            };
            writeln!(
                out,
                "\nmin_trip_count {min_trip_count}, cold_share {cold_share}:"
            )
            .unwrap();
            self.formation_with(&policy, &profile, &mut out);
        }
        out
    }

    fn formation_with(&self, policy: &Policy, profile: &FunctionProfile, out: &mut String) {
        let Case {
            func, flow, loops, ..
        } = self;
        let all = |_| Ok(());
        out.push_str("survey:\n");
        for candidate in survey(func, flow, loops, profile, policy, &all) {
            writeln!(out, "  {candidate}").unwrap();
        }
        let headers = loops.loops().map(|l| HotEntry::Header(loops.header(l)));
        let cycles = loops.irreducible().iter();
        let entries = cycles.flat_map(|c| c.entries.iter().map(|&b| HotEntry::Header(b)));
        for hot in headers.chain(entries).chain([HotEntry::Function]) {
            let formed = form(func, flow, loops, profile, policy, hot, &all);
            match hot {
                HotEntry::Header(header) => writeln!(out, "{header} is hot:").unwrap(),
                HotEntry::Function => writeln!(out, "the function is hot:").unwrap(),
            }
            for candidate in &formed.candidates {
                writeln!(out, "  {candidate}").unwrap();
            }
            match formed.region {
                Some(region) => self.region(&region, out),
                None => writeln!(out, "  whole function: {}", formed.whole_function).unwrap(),
            }
        }
    }

    fn region(&self, region: &Region, out: &mut String) {
        writeln!(out, "  region: {:?} at {}", region.kind(), region.entry()).unwrap();
        writeln!(out, "    scope:  {}", listed(region.scope())).unwrap();
        writeln!(out, "    blocks: {}", listed(region.blocks())).unwrap();
        for exit in region.exits() {
            let how = match exit.kind {
                ExitKind::Edge { edge, .. } => self.edge(edge),
                ExitKind::Return { inst } => format!("{inst} (return)"),
                ExitKind::TailCall { inst } => format!("{inst} (tail call)"),
            };
            writeln!(out, "    exit {} from {}: {how}", exit.number, exit.from).unwrap();
        }
        for exit in region.side_exits() {
            let edge = self.edge(exit.edge);
            writeln!(out, "    side exit {}: {edge}", exit.number).unwrap();
        }
    }
}

#[test]
fn loop_forests() {
    compare("loops", Case::forest);
}

#[test]
fn counter_placements() {
    compare("placement", Case::placement);
}

#[test]
fn region_formation() {
    compare("formation", Case::formation);
}
