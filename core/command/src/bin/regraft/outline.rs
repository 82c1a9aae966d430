//! `regraft outline`: one loop of one function, before and after.

use crate::input;
use crate::output::{CliError, Output};
use cranelift_codegen::ir::{Block, Function};
use regraft::outliner::{Outlined, outline};
use regraft::regions::{Flow, HotEntry, LoopForest, LoopId, Policy, Region, form};
use regraft::report::{report_exits, report_live_ins};
use std::fmt::Write;
use std::path::PathBuf;

/// Print a function, a region of it, and what outlining makes of both
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A CLIF file; `-` is standard input
    #[arg(value_name = "FILE.clif")]
    file: PathBuf,

    /// The function
    #[arg(long, value_name = "NAME")]
    function: String,

    /// The block that the loop starts at
    #[arg(long, value_name = "BLOCK")]
    header: String,

    /// Blocks to leave out of the region, as side exits; separated by commas
    #[arg(
        long,
        value_name = "BLOCKS",
        value_delimiter = ',',
        conflicts_with = "profile"
    )]
    cold: Vec<String>,

    /// Leave out what these counts call cold
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// Look at the function as `regraft run --wrap N` makes it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    wrap: Option<u32>,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<(), CliError> {
    let functions = input::functions(&args.file, args.wrap)?;
    let name = input::plain_name(&args.function);
    let Some((_, func, _)) = functions.iter().find(|(known, ..)| known == name) else {
        let known = functions.into_iter().map(|(name, ..)| name);
        return Err(input::unknown("function", name, known));
    };
    let bad = |error: &dyn std::fmt::Display| CliError::BadInput(format!("{name}: {error}"));
    let flow = Flow::compute(func).map_err(|error| bad(&error))?;
    let loops = LoopForest::compute(func, &flow);
    let the_loop = find_loop(args, func, &loops)?;
    let region = match args.profile {
        Some(_) => profiled(args, func, &flow, &loops, the_loop)?,
        None => pruned(args, func, &flow, &loops, the_loop)?,
    };
    // A refusal is an answer, but not what was asked for.
    let refused = |error| CliError::Failed(format!("{name}: the loop cannot be outlined: {error}"));
    let outlined = outline(func, &region).map_err(refused)?;
    out.document(&story(func, &region, &outlined))
}

fn find_block(func: &Function, name: &str) -> Result<Block, CliError> {
    let mut blocks = func.layout.blocks();
    let found = blocks.find(|block| block.to_string() == name);
    found.ok_or_else(|| {
        let known = func.layout.blocks().map(|block| block.to_string());
        input::unknown("block", name, known)
    })
}

fn find_loop(args: &Args, func: &Function, loops: &LoopForest) -> Result<LoopId, CliError> {
    let headers = || loops.loops().map(|l| loops.header(l).to_string());
    let Ok(header) = find_block(func, &args.header) else {
        return Err(input::unknown("loop header", &args.header, headers()));
    };
    let the_loop = loops.loop_of_header(header);
    the_loop.ok_or_else(|| input::unknown("loop header", &args.header, headers()))
}

/// The loop without the blocks that the command line names.
fn pruned(
    args: &Args,
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    the_loop: LoopId,
) -> Result<Region, CliError> {
    let cold = args.cold.iter().map(|name| find_block(func, name));
    let cold: Vec<Block> = cold.collect::<Result<_, _>>()?;
    let scope = loops.blocks(the_loop);
    if let Some(outside) = cold.iter().find(|block| !scope.contains(block)) {
        let known = scope.iter().map(ToString::to_string);
        return Err(input::unknown(
            "block of the loop",
            &outside.to_string(),
            known,
        ));
    }
    let header = loops.header(the_loop);
    let region = Region::pruned(func, flow, header, &scope, |block| !cold.contains(&block));
    region.map_err(|error| CliError::Failed(error.to_string()))
}

/// The region that formation makes of the loop.
fn profiled(
    args: &Args,
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    the_loop: LoopId,
) -> Result<Region, CliError> {
    let saved = args.profile.as_deref().map(input::profile).transpose()?;
    let name = input::plain_name(&args.function);
    let (counts, _) = input::counts(name, func, flow, loops, saved.as_ref())?;
    let header = loops.header(the_loop);
    let policy = Policy::default();
    let hot = HotEntry::Header(header);
    let formation = form(func, flow, loops, &counts, &policy, hot, &|_| Ok(()));
    formation.region.ok_or_else(|| {
        let said = formation.candidates.iter().map(ToString::to_string);
        let said: Vec<String> = said.collect();
        CliError::Failed(format!(
            "no region is formed at {header}: {}",
            said.join("; ")
        ))
    })
}

/// All of it as CLIF, with comments.
fn story(func: &Function, region: &Region, outlined: &Outlined) -> String {
    let mut text = String::new();
    let blocks: Vec<String> = region
        .blocks()
        .iter()
        .map(|block| block.to_string())
        .collect();
    // Writing to a string does not fail.
    let _ = writeln!(text, "; source\n{func}");
    let _ = writeln!(text, "; region at {}: {}", region.entry(), blocks.join(" "));
    for (index, param) in report_live_ins(&outlined.interface).iter().enumerate() {
        let _ = writeln!(
            text,
            ";   parameter {index}: {} ({})",
            param.value, param.ty
        );
    }
    for exit in report_exits(region, |_| 0) {
        let to = exit.to.unwrap_or_else(|| "the caller".to_string());
        let _ = writeln!(
            text,
            ";   exit {}: {} from {} to {to}",
            exit.number, exit.kind, exit.from
        );
    }
    for side in region.side_exits() {
        let _ = writeln!(
            text,
            ";   side exit {}: from {} to {}",
            side.number, side.from, side.to
        );
    }
    let _ = writeln!(text, "\n; outlined\n{}", outlined.function);
    for (number, continuation) in outlined.continuations.iter().enumerate() {
        let _ = writeln!(text, "; continuation of side exit {number}\n{continuation}");
    }
    let _ = write!(text, "; residual\n{}", outlined.residual);
    text
}
