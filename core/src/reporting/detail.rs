//! The CLIF and the graph of a definition, for a report.

use crate::report::{BlockReport, DetailReport, EdgeReport};
use crate::units::function::Body;
use crate::units::tiering::Tiering;
use regraft_regions::{Flow, FunctionProfile, instruction_count};

/// The CLIF and the graph of a definition. There are no counts without `tiering`.
pub(super) fn report_detail(body: &Body, tiering: Option<&Tiering>) -> DetailReport {
    let clif = body.client_source().to_string();
    let mut detail = DetailReport {
        clif,
        blocks: vec![],
    };
    let computed;
    let (flow, loops, profile) = match tiering {
        Some(tiering) => {
            let analysis = &tiering.analysis;
            let profile = tiering.profile(&body.source);
            (&analysis.flow, Some(&analysis.loops), profile)
        }
        None => {
            let Ok(flow) = Flow::compute(&body.source) else {
                return detail;
            };
            computed = flow;
            (&computed, None, FunctionProfile::new())
        }
    };
    for &block in flow.rpo() {
        let innermost = loops.and_then(|loops| Some(loops.depth(loops.innermost(block)?)));
        detail.blocks.push(BlockReport {
            name: block.to_string(),
            count: profile.block(block),
            instructions: instruction_count(&body.source, block),
            loop_depth: innermost.unwrap_or(0),
            to: flow
                .succs(block)
                .map(|edge| EdgeReport {
                    to: flow.edge(edge).to.to_string(),
                    count: profile.edge(edge),
                })
                .collect(),
        });
    }
    detail
}
