//! Control-flow graphs of every shape.
//!
//! Phases: nested constructs (sequences, conditionals, switches, loops of all kinds, jumps out of several
//! loops at once), then a few edges are sent elsewhere, which makes irreducible cycles, unreachable blocks
//! and edges into the middle of loops.
//!
//! Invariants: block 0 is the entry, and no edge goes to it. Every target is a block.
//!
//! Not here: what ends the loops. The body makes every [retreating](Graph::retreats) edge conditional on
//! fuel; each cycle has one.

use super::source::Source;

/// How a block ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// To one block.
    Jump(usize),
    /// To one of two blocks, which may be the same.
    Branch(usize, usize),
    /// To one of several blocks, not all distinct; the first is the default.
    Table(Vec<usize>),
    /// To one block, or into a trap that is never reached.
    Guard(usize),
    /// Out of the function.
    Return,
}

impl Term {
    /// The targets, in order.
    pub fn targets(&self) -> Vec<usize> {
        match self {
            Self::Jump(to) | Self::Guard(to) => vec![*to],
            Self::Branch(a, b) => vec![*a, *b],
            Self::Table(all) => all.clone(),
            Self::Return => vec![],
        }
    }

    fn targets_mut(&mut self) -> Vec<&mut usize> {
        match self {
            Self::Jump(to) | Self::Guard(to) => vec![to],
            Self::Branch(a, b) => vec![a, b],
            Self::Table(all) => all.iter_mut().collect(),
            Self::Return => vec![],
        }
    }
}

/// A control-flow graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// How each block ends; block 0 is the entry.
    pub terms: Vec<Term>,
    /// Positions in reverse post-order; `usize::MAX` for unreachable blocks.
    order: Vec<usize>,
}

impl Graph {
    /// Draws a graph of about `size` blocks.
    pub fn draw(source: &mut Source<'_>, size: usize) -> Self {
        let mut builder = Builder {
            source,
            terms: vec![Term::Return],
            budget: size,
            targets: vec![],
        };
        let mut last = builder.block(Term::Return);
        let around = builder.source.percent(60);
        if around {
            last = builder.block(Term::Return);
        }
        let first = builder.sequence(last, 0);
        if around {
            // A loop around it all: many ways are taken in one call.
            builder.terms[last] = Term::Branch(first, last - 1);
        }
        builder.terms[0] = match builder.source.below(8) {
            7 => Term::Branch(first, last),
            _ => Term::Jump(first),
        };
        if builder.source.percent(40) {
            builder.redirect();
        }
        let terms = builder.terms;
        let order = reverse_post_order(&terms);
        Self { terms, order }
    }

    /// Whether the edge leads back, or nowhere forward, in reverse post-order: each cycle has such an edge,
    /// and in a reducible graph the back edges are all there are.
    pub fn retreats(&self, from: usize, to: usize) -> bool {
        self.order[to] <= self.order[from]
    }

    /// Whether the block is reachable.
    pub fn reachable(&self, block: usize) -> bool {
        self.order[block] != usize::MAX
    }
}

struct Builder<'a, 'b> {
    source: &'a mut Source<'b>,
    terms: Vec<Term>,
    budget: usize,
    /// Where jumps may go: the headers, latches and ends of the constructs around.
    targets: Vec<usize>,
}

impl Builder<'_, '_> {
    fn block(&mut self, term: Term) -> usize {
        self.terms.push(term);
        self.budget = self.budget.saturating_sub(1);
        self.terms.len() - 1
    }

    /// Constructs in a row, the last of which leads to `next`; returns where they start.
    fn sequence(&mut self, next: usize, depth: usize) -> usize {
        let mut start = next;
        for _ in 0..self.source.between(1, 3) {
            start = self.construct(start, depth);
        }
        start
    }

    fn construct(&mut self, next: usize, depth: usize) -> usize {
        if self.budget == 0 || depth > 4 {
            return self.block(Term::Jump(next));
        }
        self.targets.push(next);
        let start = match self.source.below(16) {
            0 => self.block(Term::Jump(next)),
            1..=3 => self.conditional(next, depth),
            4 => self.switch(next, depth),
            5 | 6 => self.escape(next),
            7 => self.block(Term::Guard(next)),
            _ => self.looped(next, depth),
        };
        self.targets.pop();
        start
    }

    fn conditional(&mut self, next: usize, depth: usize) -> usize {
        let one = self.sequence(next, depth + 1);
        let other = match self.source.below(2) {
            0 => next,
            _ => self.sequence(next, depth + 1),
        };
        self.block(Term::Branch(one, other))
    }

    fn switch(&mut self, next: usize, depth: usize) -> usize {
        let mut arms = vec![next];
        for _ in 0..self.source.between(1, 3) {
            let arm = self.construct(next, depth + 1);
            arms.push(arm);
        }
        arms.extend(self.targets.iter().rev().take(2));
        let entries = self.source.between(1, 6);
        let table = (0..=entries).map(|_| self.source.pick(&arms)).collect();
        self.block(Term::Table(table))
    }

    /// A conditional jump out of the constructs around, or a return from inside.
    fn escape(&mut self, next: usize) -> usize {
        let out = match self.source.below(4) {
            0 => self.block(Term::Return),
            _ => self.source.pick(&self.targets),
        };
        match self.source.below(2) {
            0 => self.block(Term::Branch(out, next)),
            _ => self.block(Term::Branch(next, out)),
        }
    }

    fn looped(&mut self, next: usize, depth: usize) -> usize {
        let header = self.block(Term::Jump(next));
        self.targets.push(header);
        let term = match self.source.below(7) {
            // A self loop.
            0 => Term::Branch(header, next),
            // Tested at the top.
            1 => {
                let body = self.sequence(header, depth + 1);
                Term::Branch(body, next)
            }
            // Tested at the bottom.
            2 => {
                let latch = self.block(Term::Branch(header, next));
                let body = self.sequence(latch, depth + 1);
                Term::Jump(body)
            }
            // Several latches.
            3 => {
                let one = self.sequence(header, depth + 1);
                let other = self.block(Term::Branch(header, next));
                Term::Branch(one, other)
            }
            // No exit but fuel.
            4 => {
                let body = self.sequence(header, depth + 1);
                Term::Jump(body)
            }
            // Exits from several blocks to one.
            5 => {
                let latch = self.block(Term::Branch(next, header));
                let middle = self.sequence(latch, depth + 1);
                let first = self.block(Term::Branch(middle, next));
                Term::Branch(first, next)
            }
            // A jump table for a latch.
            _ => {
                let latch = self.block(Term::Table(vec![header, next, header, next]));
                let body = self.sequence(latch, depth + 1);
                Term::Branch(body, next)
            }
        };
        self.terms[header] = term;
        self.targets.pop();
        header
    }

    /// Sends a few edges elsewhere.
    fn redirect(&mut self) {
        for _ in 0..self.source.between(1, 3) {
            let from = self.source.below(self.terms.len());
            let to = self.source.between(1, self.terms.len() - 1);
            let mut targets = self.terms[from].targets_mut();
            let at = self.source.below(targets.len());
            if let Some(target) = targets.get_mut(at) {
                **target = to;
            }
        }
    }
}

fn reverse_post_order(terms: &[Term]) -> Vec<usize> {
    let mut seen = vec![false; terms.len()];
    let mut order = vec![usize::MAX; terms.len()];
    let mut number = terms.len();
    let mut stack = vec![(0, terms[0].targets())];
    seen[0] = true;
    while let Some((block, pending)) = stack.last_mut() {
        match pending.pop() {
            Some(next) if !seen[next] => {
                seen[next] = true;
                stack.push((next, terms[next].targets()));
            }
            Some(_) => {}
            None => {
                number -= 1;
                order[*block] = number;
                stack.pop();
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::source::random_bytes;

    #[test]
    fn every_cycle_has_a_retreating_edge() {
        for seed in 0..500 {
            let bytes = random_bytes(seed, 400);
            let graph = Graph::draw(&mut Source::new(&bytes), 30);
            // Without them, every edge of a reachable block goes to a later one.
            for (from, term) in graph.terms.iter().enumerate() {
                for to in term.targets() {
                    assert!(to > 0 && to < graph.terms.len());
                    assert!(graph.retreats(from, to) || graph.order[from] < graph.order[to]);
                }
            }
        }
    }
}
