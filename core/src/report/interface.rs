//! What goes into a region and comes out of it, for a report.

use super::format::{ExitReport, LiveInReport, LiveOutReport};
use super::names;
use indexmap::IndexMap;
use regraft_outliner::{Interface, LiveOutSource, ParamSource};
use regraft_regions::{Exit, ExitKind, Region};

/// The parameters of an interface, for a report.
pub fn report_live_ins(interface: &Interface) -> Vec<LiveInReport> {
    let params = interface.params.iter();
    params
        .map(|param| LiveInReport {
            value: match param.source {
                ParamSource::Entry(index) => format!("{} parameter {index}", interface.entry),
                ParamSource::Value(value) => value.to_string(),
                ParamSource::VmContext(value) => format!("{value} (vmctx)"),
                ParamSource::Slot(slot) => format!("address of {slot}"),
                ParamSource::DynamicSlot(slot) => format!("address of {slot}"),
            },
            ty: param.ty.to_string(),
        })
        .collect()
}

/// The values that leave, each once, for a report.
pub fn report_live_outs(interface: &Interface) -> Vec<LiveOutReport> {
    let mut outs: IndexMap<String, LiveOutReport> = IndexMap::new();
    for exit in &interface.exits {
        for live in &exit.live_outs {
            let value = match live.source {
                LiveOutSource::Value(value) => value.to_string(),
                LiveOutSource::TryCallRet(index) => {
                    format!("ret{index} of exit {}", exit.exit.number)
                }
                LiveOutSource::TryCallExn(index) => {
                    format!("exn{index} of exit {}", exit.exit.number)
                }
            };
            let out = outs.entry(value.clone()).or_insert_with(|| LiveOutReport {
                value,
                ty: live.ty.to_string(),
                exits: vec![],
            });
            out.exits.push(exit.exit.number);
        }
    }
    outs.into_values().collect()
}

/// The natural exits of a region, with their counts, for a report.
pub fn report_exits(region: &Region, count: impl Fn(&Exit) -> u64) -> Vec<ExitReport> {
    let exits = region.exits().iter();
    exits
        .map(|exit| ExitReport {
            number: exit.number,
            kind: match exit.kind {
                ExitKind::Edge { .. } => names::ExitKind::Natural,
                ExitKind::Return { .. } => names::ExitKind::Return,
                ExitKind::TailCall { .. } => names::ExitKind::TailCall,
            },
            from: exit.from.to_string(),
            to: match exit.kind {
                ExitKind::Edge { to, .. } => Some(to.to_string()),
                _ => None,
            },
            count: count(exit),
        })
        .collect()
}
