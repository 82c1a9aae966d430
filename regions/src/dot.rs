//! The control-flow graph in the language of Graphviz.
//!
//! # Purpose
//! `regraft cfg --dot | dot -Tsvg` shows blocks with counts and loop depth, and back edges and cold edges apart.
//!
//! # Notation
//! Loop headers are drawn double, unreachable blocks dotted, back edges bold, edges never taken grey.
//!
//! # Not here
//! Layout, colours by heat, and clusters for loops (petgraph's DOT output has no subgraphs).

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function};
use petgraph::dot::{Config, Dot};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::flow::Flow;
use crate::loops::LoopForest;
use crate::profile::{FunctionProfile, instruction_count};

/// Draw a function's control-flow graph, with counts if there is a profile.
///
/// # Complexity
/// O(instructions + edges).
pub fn to_dot(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    profile: Option<&FunctionProfile>,
) -> String {
    let mut graph: DiGraph<String, String> = DiGraph::new();
    let mut nodes: SecondaryMap<Block, NodeIndex> = SecondaryMap::new();
    for block in func.layout.blocks() {
        nodes[block] = graph.add_node(block_attributes(func, flow, loops, profile, block));
    }
    for (number, edge) in flow.edges() {
        let count = profile.map(|p| p.edge(number));
        let header = loops.loop_of_header(edge.to);
        let is_back_edge = header.is_some_and(|l| loops.contains(l, edge.from));
        let mut attributes = match count {
            Some(count) => format!("label=\"{number}: {count}\""),
            None => format!("label=\"{number}\""),
        };
        if is_back_edge {
            attributes.push_str(" style=bold");
        }
        if count == Some(0) {
            attributes.push_str(" color=grey");
        }
        graph.add_edge(nodes[edge.from], nodes[edge.to], attributes);
    }
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    let edge_attributes =
        |_, edge: petgraph::graph::EdgeReference<'_, String>| edge.weight().clone();
    let node_attributes = |_, (_, node): (NodeIndex, &String)| node.clone();
    let dot = Dot::with_attr_getters(&graph, &config, &edge_attributes, &node_attributes);
    format!("{dot:?}")
}

fn block_attributes(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    profile: Option<&FunctionProfile>,
    block: Block,
) -> String {
    let mut label = format!("{block}\\n{} instructions", instruction_count(func, block));
    if let Some(l) = loops.innermost(block) {
        label.push_str(&format!("\\n{l}, depth {}", loops.depth(l)));
    }
    if let Some(profile) = profile {
        label.push_str(&format!("\\n{} times", profile.block(block)));
    }
    let mut attributes = format!("shape=box label=\"{label}\"");
    if loops.loop_of_header(block).is_some() {
        attributes.push_str(" peripheries=2");
    }
    if !flow.is_reachable(block) {
        attributes.push_str(" style=dotted");
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse;

    #[test]
    fn shows_every_block_and_edge() {
        let func = parse(
            "function %f(i32) {
            block0(v0: i32):
                jump block1
            block1:
                brif v0, block1, block2
            block2:
                return
            block3:
                jump block2
            }",
        );
        let flow = Flow::compute(&func).unwrap();
        let loops = LoopForest::compute(&func, &flow);
        let plain = to_dot(&func, &flow, &loops, None);
        assert!(plain.starts_with("digraph {"), "{plain}");
        assert_eq!(plain.matches("shape=box").count(), 4);
        assert_eq!(plain.matches("->").count(), 4);
        assert_eq!(plain.matches("style=bold").count(), 1);
        assert_eq!(plain.matches("peripheries=2").count(), 1);
        assert_eq!(plain.matches("style=dotted").count(), 1);
        let counted = to_dot(&func, &flow, &loops, Some(&FunctionProfile::new()));
        assert_eq!(counted.matches("color=grey").count(), 4);
        assert_eq!(counted.matches("0 times").count(), 4);
    }
}
