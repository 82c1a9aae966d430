//! `regraft regions`: which loops would become regions, without running anything.
//!
//! With a profile that `regraft run --save-profile` wrote, the decisions are those of the counts; without
//! one, of the static estimate.

use crate::input;
use crate::output::{self, CliError, Output};
use cranelift_codegen::ir::{Block, Function};
use indexmap::IndexMap;
use regraft::outliner::{Interface, OutlineError, hookable_loop};
use regraft::regions::{
    Candidate, Decision, Flow, FunctionProfile, Liveness, LoopForest, LoopId, Policy, Profile,
    Region, SkipReason, survey_regions, to_dot,
};
use regraft::report::{
    ExitReport, IrreducibleReport, LiveInReport, LiveOutReport, report_exits, report_live_ins,
    report_live_outs,
};
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;

/// Show loops, the regions that would be formed of them, and why not where not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A CLIF file; `-` is standard input
    #[arg(value_name = "FILE.clif")]
    file: PathBuf,

    /// Only this function
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Counts that `regraft run --save-profile` wrote; else they are estimated
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// Look at functions as `regraft run --wrap N` makes them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    wrap: Option<u32>,

    /// Print JSON
    #[arg(long, conflicts_with = "dot")]
    json: bool,

    /// Print the control-flow graphs for Graphviz
    #[arg(long)]
    dot: bool,
}

/// The version of the JSON format.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Regions {
    version: u32,
    file: String,
    functions: IndexMap<String, FunctionRegions>,
}

#[derive(Serialize)]
struct FunctionRegions {
    instructions: u64,
    blocks: usize,
    /// `saved` or `estimated`.
    profile: &'static str,
    loops: Vec<LoopRegion>,
    irreducible: Vec<IrreducibleReport>,
}

#[derive(Serialize)]
struct LoopRegion {
    header: String,
    depth: u32,
    parent: Option<String>,
    /// All of them; only the header of a loop that is refused as `too-deep`.
    blocks: Vec<String>,
    latches: Vec<String>,
    trips: Option<f64>,
    share: f64,
    /// `take`, `skip` or `refuse`.
    decision: &'static str,
    reason: String,
    reason_code: &'static str,
    hot_blocks: Vec<String>,
    live_ins: Vec<LiveInReport>,
    live_outs: Vec<LiveOutReport>,
    exits: Vec<ExitReport>,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<(), CliError> {
    let functions = input::functions(&args.file, args.wrap)?;
    let profile = args.profile.as_deref().map(input::profile).transpose()?;
    let wanted = args.function.as_deref().map(input::plain_name);
    if let Some(wanted) = wanted
        && !functions.iter().any(|(name, ..)| name == wanted)
    {
        let known = functions.into_iter().map(|(name, ..)| name);
        return Err(input::unknown("function", wanted, known));
    }
    let mut regions = Regions {
        version: VERSION,
        file: args.file.display().to_string(),
        functions: IndexMap::new(),
    };
    for (name, func, _) in functions {
        if wanted.is_none_or(|wanted| wanted == name) {
            let analysis = Analysis::new(&name, &func, profile.as_ref())?;
            if args.dot {
                let counts = Some(&analysis.counts);
                let dot = to_dot(&func, &analysis.flow, &analysis.loops, counts);
                out.document(&format!("// {name}\n{dot}"))?;
            } else {
                regions.functions.insert(name, analysis.regions());
            }
        }
    }
    if args.json {
        let json = serde_json::to_string_pretty(&regions);
        let json = json.map_err(|error| CliError::Failed(error.to_string()))?;
        out.document(&json)
    } else if args.dot {
        Ok(())
    } else {
        out.document(&tables(&regions))
    }
}

/// A whole loop and its interface, or why it has none.
type Outlinable = Result<(Region, Interface), OutlineError>;

/// What is known of a function, and of each of its loops.
struct Analysis<'f> {
    func: &'f Function,
    flow: Flow,
    loops: LoopForest,
    counts: FunctionProfile,
    profile: &'static str,
    interfaces: HashMap<LoopId, Outlinable>,
}

impl<'f> Analysis<'f> {
    fn new(name: &str, func: &'f Function, saved: Option<&Profile>) -> Result<Self, CliError> {
        let flow = Flow::compute(func);
        let flow = flow.map_err(|error| CliError::BadInput(format!("{name}: {error}")))?;
        let loops = LoopForest::compute(func, &flow);
        let (counts, profile) = input::counts(name, func, &flow, &loops, saved)?;
        let liveness = Liveness::compute(func, &flow);
        let interface = |l| (l, hookable_loop(func, &flow, &loops, &liveness, l));
        let interfaces = loops.loops().map(interface).collect();
        Ok(Self {
            func,
            flow,
            loops,
            counts,
            profile,
            interfaces,
        })
    }

    fn regions(&self) -> FunctionRegions {
        let hookable = |loop_id: LoopId| match self.interfaces.get(&loop_id) {
            Some(Err(reason)) => Err(reason.to_string()),
            _ => Ok(()),
        };
        let policy = Policy::default();
        let (func, flow, loops) = (self.func, &self.flow, &self.loops);
        let candidates = survey_regions(func, flow, loops, &self.counts, &policy, &hookable);
        let regions = candidates.iter().filter_map(|(candidate, region)| {
            Some(self.region(candidate.loop_id?, candidate, region.as_ref()))
        });
        let irreducible = loops.irreducible().iter().map(|cycle| IrreducibleReport {
            blocks: names(&cycle.blocks),
            entries: names(&cycle.entries),
        });
        let blocks = func.layout.blocks();
        let counts = blocks.map(|block| regraft::regions::instruction_count(func, block));
        FunctionRegions {
            instructions: counts.sum(),
            blocks: func.layout.blocks().count(),
            profile: self.profile,
            loops: regions.collect(),
            irreducible: irreducible.collect(),
        }
    }

    fn region(
        &self,
        loop_id: LoopId,
        candidate: &Candidate,
        formed: Option<&Region>,
    ) -> LoopRegion {
        let interface = self.interfaces.get(&loop_id);
        let (decision, reason, reason_code) = match (&candidate.decision, interface) {
            (Decision::Take, _) => ("take", String::new(), ""),
            (Decision::Skip(SkipReason::Refused(_)), Some(Err(reason))) => {
                ("refuse", reason.to_string(), reason.code())
            }
            (Decision::Skip(reason), _) => ("skip", reason.to_string(), ""),
        };
        let mut region = LoopRegion {
            header: candidate.header.to_string(),
            depth: candidate.depth,
            parent: self
                .loops
                .parent(loop_id)
                .map(|l| self.loops.header(l).to_string()),
            blocks: self.listed_blocks(loop_id),
            latches: names(self.loops.latches(loop_id)),
            trips: candidate.trips.filter(|trips| trips.is_finite()),
            share: candidate.share,
            decision,
            reason,
            reason_code,
            hot_blocks: formed.map_or_else(Vec::new, |region| names(region.blocks().as_slice())),
            live_ins: vec![],
            live_outs: vec![],
            exits: vec![],
        };
        if let Some(Ok((whole, interface))) = interface {
            region.live_ins = report_live_ins(interface);
            region.live_outs = report_live_outs(interface);
            region.exits = report_exits(whole, |_| 0);
        }
        region
    }
}

impl Analysis<'_> {
    /// The blocks of a loop; of one that is refused since it is too deep only the header: the nest's blocks would be
    /// listed thousands of times.
    fn listed_blocks(&self, loop_id: LoopId) -> Vec<String> {
        match self.interfaces.get(&loop_id) {
            Some(Err(OutlineError::TooDeep { .. })) => names(&[self.loops.header(loop_id)]),
            _ => names(&self.loops.blocks(loop_id)),
        }
    }
}

fn names(blocks: &[Block]) -> Vec<String> {
    blocks.iter().map(ToString::to_string).collect()
}

fn tables(regions: &Regions) -> String {
    let mut text = String::new();
    for (name, function) in &regions.functions {
        text.push_str(&format!(
            "{name}: {} instructions in {} blocks, {} loops; counts are {}\n",
            function.instructions,
            function.blocks,
            function.loops.len(),
            function.profile
        ));
        for cycle in &function.irreducible {
            let (blocks, entries) = (cycle.blocks.join(" "), cycle.entries.join(" "));
            text.push_str(&format!("  irreducible: {blocks}, entered at {entries}\n"));
        }
        if function.loops.is_empty() {
            continue;
        }
        let mut table = output::table(&[
            "header", "depth", "blocks", "trips", "share", "in", "out", "exits", "decision",
        ]);
        for region in &function.loops {
            table.add_row([
                region.header.clone(),
                region.depth.to_string(),
                region.blocks.len().to_string(),
                region
                    .trips
                    .map_or_else(|| "-".to_string(), |trips| format!("{trips:.1}")),
                format!("{:.1}%", region.share * 100.0),
                region.live_ins.len().to_string(),
                region.live_outs.len().to_string(),
                region.exits.len().to_string(),
                match region.reason.is_empty() {
                    true => region.decision.to_string(),
                    false => format!("{}: {}", region.decision, region.reason),
                },
            ]);
        }
        text.push_str(&format!("{table}\n"));
    }
    text
}
