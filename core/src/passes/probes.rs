//! What the templates of tier 0 count, and at which headers a region can take over.
//!
//! The counterpart of `instrument` where tier 0 is made by templates: the same counters at the same places, but nothing of
//! it is in CLIF, and nothing has to be known of the values that live there.
//!
//! Not here: where counters go (`regraft_regions::counters`), how a region takes over (`takeover`).

use crate::passes::layout::{CounterLayout, GRANULE_BITS, SPREAD};
use crate::passes::names;
use cranelift_codegen::ir::{Inst, UserExternalName};
use regraft_regions::{ExitKind, Flow, FlowEdge, Placement, Region, Site};
use regraft_template::{
    self as template, Copies, Countdown, Edge, Leave, LoopProbe, Probes, TargetProbe,
};

/// The probes of a function with this unit, and its counters, of which there are so many copies; each region stands with its
/// unit. The targets of some indirect calls are noted.
pub(crate) fn probes(
    flow: &Flow,
    regions: &[(&Region, u32)],
    placement: &Placement,
    targets: &[Inst],
    unit: u32,
    copies: u32,
) -> (Probes, CounterLayout) {
    let exits = regions.iter().map(|(region, _)| region.exits().len());
    let layout = CounterLayout::new(exits, placement.sites.len())
        .with_targets(targets.len())
        .with_successors()
        .with_copies(copies);
    let cell = |unit| UserExternalName::new(names::CELLS, unit);
    let loops = (0..).zip(regions).map(|(hook, &(region, unit))| LoopProbe {
        header: region.entry(),
        countdown: Countdown {
            offset: layout.countdown(hook),
            cell: cell(unit),
        },
        mark: layout.mark(hook),
        arrivals: arrivals(flow, region),
        successor: layout.successor(hook),
        exits: region.exits().iter().map(|exit| leave(exit.kind)).collect(),
    });
    let sites = (0..).zip(&placement.sites).map(|(index, &site)| {
        let site = match site {
            Site::Block(block) => template::Site::Block(block),
            // Each destination of a table has code of its own.
            Site::Edge(edge) | Site::Table(edge) => template::Site::Edge(branch(flow, edge)),
        };
        (site, layout.site(index))
    });
    let targets = (0..).zip(targets).map(|(number, &call)| TargetProbe {
        call,
        target: layout.target(number),
        lead: layout.lead(number),
    });
    let probes = Probes {
        counters: UserExternalName::new(names::COUNTERS, unit),
        copies: (layout.copies() > 1).then(|| Copies {
            bits: layout.copy_bits(),
            stride: layout.stride(),
            granule: GRANULE_BITS,
            spread: SPREAD,
        }),
        runtime: UserExternalName::new(names::RUNTIME, names::RUNTIME_HOT),
        calls: Countdown {
            offset: CounterLayout::ENTRY,
            cell: cell(unit),
        },
        loops: loops.collect(),
        sites: sites.collect(),
        targets: targets.collect(),
    };
    (probes, layout)
}

/// The edges by which a region is entered.
fn arrivals(flow: &Flow, region: &Region) -> Vec<Edge> {
    let preds = flow.preds(region.entry()).iter().copied();
    let entering = preds.filter(|&edge| !region.scope().contains(flow.edge(edge).from));
    entering.map(|edge| branch(flow, edge)).collect()
}

fn branch(flow: &Flow, edge: FlowEdge) -> Edge {
    let edge = flow.edge(edge);
    Edge {
        inst: edge.inst,
        index: edge.index,
    }
}

fn leave(exit: ExitKind) -> Leave {
    match exit {
        ExitKind::Edge { to, .. } => Leave::Block(to),
        ExitKind::Return { inst } | ExitKind::TailCall { inst } => Leave::Inst(inst),
    }
}
