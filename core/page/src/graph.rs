//! The control-flow graph of a function, laid out in layers.
//!
//! Blocks come in reverse postorder, so that an edge to a block that is not later is a back edge; layout gets it
//! the other way round, and the graph that it sees has no cycle.

use crate::Limits;
use crate::model::{Block, Detail, Function};
use rust_sugiyama::configure::Config;
use rust_sugiyama::from_vertices_and_edges;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::panic::catch_unwind;

/// A graph that can be drawn.
#[derive(Debug, Serialize)]
pub struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    edges: Vec<Drawn>,
    /// The blocks of each region, as it was last formed, by their places among the nodes.
    regions: Vec<Border<'a>>,
    /// The blocks of each loop, outer before inner.
    loops: Vec<Border<'a>>,
    width: f64,
    height: f64,
    /// Blocks that are not drawn.
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct Node<'a> {
    name: &'a str,
    count: u64,
    instructions: u64,
    depth: u32,
    /// The middle.
    x: f64,
    y: f64,
    w: f64,
    /// Edges to blocks that are not drawn, and how often they were taken.
    hidden: usize,
    hidden_count: u64,
}

#[derive(Debug, Serialize)]
struct Drawn {
    from: usize,
    to: usize,
    count: u64,
    back: bool,
}

#[derive(Debug, Serialize)]
struct Border<'a> {
    name: &'a str,
    nodes: Vec<usize>,
    depth: u32,
    /// Where control leaves a region for a cold block, and how often.
    side_exits: Vec<(usize, u64)>,
}

/// The height of a block.
const HEIGHT: f64 = 40.0;
/// The room between blocks.
const SPACING: f64 = 34.0;

/// Draws graphs until it has drawn enough.
#[derive(Debug)]
pub struct Painter {
    blocks: usize,
    room: usize,
}

impl Painter {
    pub fn new(limits: &Limits) -> Self {
        Self {
            blocks: limits.blocks.max(2),
            room: limits.drawn,
        }
    }

    /// The hot part of a function's graph; none if enough was drawn.
    pub fn draw<'a>(&mut self, function: &'a Function, detail: &'a Detail) -> Option<Graph<'a>> {
        let chosen = hottest(&detail.blocks, self.blocks);
        self.room = self.room.checked_sub(chosen.len() * chosen.len())?;
        let places: HashMap<&str, usize> = (0..)
            .zip(&chosen)
            .map(|(at, block)| (&*block.name, at))
            .collect();
        let mut edges = vec![];
        let mut hidden = vec![(0, 0u64); chosen.len()];
        for (from, block) in chosen.iter().enumerate() {
            for edge in &block.to {
                match places.get(&*edge.to) {
                    Some(&to) => add_edge(&mut edges, from, to, edge.count),
                    None => {
                        hidden[from].0 += 1;
                        hidden[from].1 = hidden[from].1.saturating_add(edge.count);
                    }
                }
            }
        }
        let widths: Vec<f64> = chosen.iter().map(|block| width(block)).collect();
        let (middles, width, height) = layout(&widths, &edges);
        let nodes = chosen.iter().zip(&middles).zip(&widths).zip(&hidden);
        let nodes = nodes.map(|(((block, &(x, y)), &w), &(hidden, hidden_count))| Node {
            name: &block.name,
            count: block.count,
            instructions: block.instructions,
            depth: block.loop_depth,
            x,
            y,
            w,
            hidden,
            hidden_count,
        });
        let find = |names: &mut dyn Iterator<Item = &'a String>| -> Vec<usize> {
            names
                .filter_map(|name| places.get(&**name).copied())
                .collect()
        };
        let formed = function
            .regions
            .iter()
            .map(|region| (&*region.header, &region.part));
        let whole = [("function", &function.whole_function)];
        let regions = formed
            .chain(whole)
            .filter(|(_, part)| part.state == "published");
        let regions = regions.map(|(name, part)| Border {
            name,
            nodes: find(&mut part.hot_blocks.iter()),
            depth: 0,
            side_exits: part
                .side_exits
                .iter()
                .filter_map(|side| Some((*places.get(&*side.to)?, side.count)))
                .collect(),
        });
        let loops = function.regions.iter().map(|region| Border {
            name: &region.header,
            nodes: find(&mut region.blocks.keys()),
            depth: region.loop_depth,
            side_exits: vec![],
        });
        Some(Graph {
            nodes: nodes.collect(),
            regions: regions.filter(|border| !border.nodes.is_empty()).collect(),
            loops: loops.filter(|border| !border.nodes.is_empty()).collect(),
            edges,
            width,
            height,
            left_out: detail.blocks.len() - chosen.len(),
        })
    }
}

/// Of a graph that is too large, how many blocks are drawn that were never executed: all alike, they hide the others.
const NEVER_EXECUTED: usize = 24;

/// The entry and the blocks that were executed most often, in their order.
fn hottest(blocks: &[Block], most: usize) -> Vec<&Block> {
    let mut ranked: Vec<usize> = (0..blocks.len()).collect();
    // Stable: of equally hot blocks the first.
    ranked.sort_by_key(|&at| (at != 0, std::cmp::Reverse(blocks[at].count)));
    if blocks.len() > most {
        let executed = blocks.iter().filter(|block| block.count > 0).count();
        ranked.truncate(most.min(executed.saturating_add(NEVER_EXECUTED)));
    }
    ranked.sort_unstable();
    ranked.into_iter().map(|at| &blocks[at]).collect()
}

/// Adds an edge, or its count where there is one already.
fn add_edge(edges: &mut Vec<Drawn>, from: usize, to: usize, count: u64) {
    let own = edges.iter_mut().rev().take_while(|edge| edge.from == from);
    match own.into_iter().find(|edge| edge.to == to) {
        Some(edge) => edge.count = edge.count.saturating_add(count),
        None => edges.push(Drawn {
            from,
            to,
            count,
            back: to <= from,
        }),
    }
}

/// A block has room for its name and its count.
fn width(block: &Block) -> f64 {
    let count = block.count.to_string().len() + 12;
    let chars = block.name.chars().count().max(count).min(40);
    chars as f64 * 6.6 + 16.0
}

/// The middle of each block, and the size of the drawing.
fn layout(widths: &[f64], edges: &[Drawn]) -> (Vec<(f64, f64)>, f64, f64) {
    let vertices: Vec<(u32, (f64, f64))> = (0..)
        .zip(widths)
        .map(|(at, &w)| (at, (w, HEIGHT)))
        .collect();
    let ordered = edges.iter().filter(|edge| edge.from != edge.to);
    let ordered = ordered.filter_map(|edge| {
        let ends = (u32::try_from(edge.from).ok()?, u32::try_from(edge.to).ok()?);
        Some((ends.0.min(ends.1), ends.0.max(ends.1)))
    });
    let mut seen = HashSet::new();
    let ordered: Vec<(u32, u32)> = ordered.filter(|&edge| seen.insert(edge)).collect();
    let config = Config {
        vertex_spacing: SPACING,
        ..Config::default()
    };
    // Of what the library makes of a graph only the places are relied on, and that there is one for each block.
    let layouts = catch_unwind(|| from_vertices_and_edges(&vertices, &ordered, &config));
    let mut middles: Vec<Option<(f64, f64)>> = vec![None; widths.len()];
    let mut left = 0.0;
    for (places, ..) in layouts.unwrap_or_default() {
        let bounds = |side: f64| {
            let edges = places
                .iter()
                .map(|&(at, (x, _))| x + side * half(widths, at));
            edges.fold(None, |most: Option<f64>, x| {
                Some(most.map_or(x, |most| if side < 0.0 { most.min(x) } else { most.max(x) }))
            })
        };
        let (Some(least), Some(most)) = (bounds(-1.0), bounds(1.0)) else {
            continue;
        };
        for &(at, (x, y)) in &places {
            if let Some(middle) = middles.get_mut(at) {
                *middle = Some((x - least + left, y));
            }
        }
        left += most - least + SPACING;
    }
    let stacked = |at: usize| (half(widths, at), at as f64 * (HEIGHT + SPACING));
    let places = middles.into_iter().enumerate();
    let places = places.map(|(at, middle)| match middle {
        Some((x, y)) if x.is_finite() && y.is_finite() => (x, y),
        _ => stacked(at),
    });
    let margin = 2.0 * SPACING;
    let places: Vec<(f64, f64)> = places.map(|(x, y)| (x + margin, y + HEIGHT)).collect();
    let right = (0..).zip(&places).map(|(at, &(x, _))| x + half(widths, at));
    let width = right.fold(0.0, f64::max) + margin;
    let height = places.iter().fold(0.0, |most: f64, &(_, y)| most.max(y)) + HEIGHT;
    (places, width, height)
}

fn half(widths: &[f64], at: usize) -> f64 {
    widths.get(at).copied().unwrap_or(0.0) / 2.0
}
