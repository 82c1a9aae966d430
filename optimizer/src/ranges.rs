//! The intervals of a function's integers, and what conditions say about them where they hold.
//!
//! Every integer value has one [`Interval`] wherever it is defined. At a point of the function it is narrower: what leads there, an edge
//! of a `brif` or a conditional trap that was passed, says more. Those are *facts*: `x cc y` from a block, or from an instruction, on.
//!
//! Method: abstract interpretation in reverse postorder, from nothing upwards. Parameters of blocks are what edges pass, each narrowed by its
//! edge's condition; they are widened when they still move at the third look, to the next constant that anything is compared with first. Once nothing moves the intervals hold, and going through it
//! again can only narrow them (twice here).
//!
//! Invariants: once computed, the interval of a value has every integer that it has in any execution. A value without one is in code that
//! does not run. Facts are about values by their resolved names.
//!
//! Reference: P. Cousot, R. Cousot, "Abstract interpretation: a unified lattice model", POPL 1977, section 9; facts are the π-functions
//! of R. Bodík and others, "ABCD: eliminating array bounds checks on demand", PLDI 2000, section 3, without new names.
//!
//! Limitations: scalars of up to 64 bits. Relations between two values count only where a fact is about the same two.

use crate::evaluate::{Comparison, constant, evaluate, order, width};
use crate::interval::Interval;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::condcodes::{CondCode, IntCC};
use cranelift_codegen::ir::{Block, Function, Inst, InstructionData, Opcode, Value, ValueDef};
use regraft_regions::{Flow, FlowEdge};
use rustc_hash::FxHashMap;
use std::cmp::Ordering;

/// Looks at a parameter before it is widened.
const PATIENCE: u32 = 2;
/// Looks at the function; each takes a loop one level further. What has not settled then is not used.
const MAX_LOOKS: u32 = 32;
/// Looks at a parameter, after which bounds that move are given up.
const MAX_STOPS: u32 = 8;
/// Constants that bounds may stop at.
const MAX_CONSTANTS: usize = 64;
/// Facts about one value; later ones are left out.
const MAX_FACTS: usize = 12;
/// How deep a condition is taken apart.
const MAX_DEPTH: u32 = 4;

/// `x cc y` holds, for an `x` that is known.
#[derive(Clone, Copy, Debug)]
struct Fact {
    block: Block,
    /// It holds behind this instruction; without one, from the start of the block.
    behind: Option<Inst>,
    cc: IntCC,
    other: Value,
}

/// A place in a function: in front of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub block: Block,
    pub inst: Inst,
}

/// What is known of a function's integers.
pub(crate) struct Ranges<'a> {
    func: &'a Function,
    flow: &'a Flow,
    intervals: SecondaryMap<Value, Option<Interval>>,
    looks: SecondaryMap<Value, u32>,
    /// What values are compared with, and its neighbours: where bounds of loops are.
    stops: Vec<i64>,
    facts: FxHashMap<Value, Vec<Fact>>,
}

impl<'a> Ranges<'a> {
    /// Computes the intervals; `None` if they do not settle.
    ///
    /// # Complexity
    /// O(instructions × (depth of loops + 5))
    pub fn compute(func: &'a Function, flow: &'a Flow) -> Option<Self> {
        let mut ranges = Self {
            func,
            flow,
            intervals: SecondaryMap::new(),
            looks: SecondaryMap::new(),
            stops: vec![-1, 0, 1],
            facts: FxHashMap::default(),
        };
        ranges.collect_facts();
        ranges.stops.sort_unstable();
        ranges.stops.dedup();
        let mut looks = 0;
        while ranges.look(false) {
            looks += 1;
            if looks == MAX_LOOKS {
                return None;
            }
        }
        for _ in 0..2 {
            ranges.look(true);
        }
        Some(ranges)
    }

    fn collect_facts(&mut self) {
        for &block in self.flow.rpo() {
            // What a loop is entered with holds in all of it: the operands are defined in front of the edge, and defined again only
            // where it is left.
            let preds = self.flow.preds(block).iter().copied();
            let mut entering =
                preds.filter(|&edge| !self.flow.dominates(block, self.flow.edge(edge).from));
            if let (Some(edge), None) = (entering.next(), entering.next())
                && block != self.flow.entry()
            {
                for comparison in self.conditions(edge) {
                    self.add_fact(block, None, comparison);
                }
            }
            for inst in self.func.layout.block_insts(block) {
                let (Opcode::Trapz | Opcode::Trapnz) = self.func.dfg.insts[inst].opcode() else {
                    continue;
                };
                let Some(&condition) = self.func.dfg.inst_args(inst).first() else {
                    continue;
                };
                let passed = self.func.dfg.insts[inst].opcode() == Opcode::Trapz;
                let mut comparisons = vec![];
                self.take_apart(condition, passed, MAX_DEPTH, &mut comparisons);
                for comparison in comparisons {
                    self.add_fact(block, Some(inst), comparison);
                }
            }
        }
    }

    fn add_fact(&mut self, block: Block, behind: Option<Inst>, (cc, x, y): Comparison) {
        for (cc, x, other) in [(cc, x, y), (cc.swap_args(), y, x)] {
            if let Some(constant) = constant(self.func, other)
                && self.stops.len() < 3 * MAX_CONSTANTS
            {
                let constant = constant.cast_signed();
                let neighbours = [constant.wrapping_sub(1), constant, constant.wrapping_add(1)];
                self.stops.extend(neighbours);
            }
            let facts = self.facts.entry(x).or_default();
            if facts.len() < MAX_FACTS {
                facts.push(Fact {
                    block,
                    behind,
                    cc,
                    other,
                });
            }
        }
    }

    /// What holds once an edge is taken.
    fn conditions(&self, edge: FlowEdge) -> Vec<Comparison> {
        let edge = self.flow.edge(edge);
        let mut found = vec![];
        if let InstructionData::Brif { arg, .. } = self.func.dfg.insts[edge.inst] {
            self.take_apart(arg, edge.index == 0, MAX_DEPTH, &mut found);
        }
        found
    }

    /// The comparisons that hold where a condition is not zero, or is zero.
    fn take_apart(&self, condition: Value, is: bool, depth: u32, found: &mut Vec<Comparison>) {
        let dfg = &self.func.dfg;
        let condition = dfg.resolve_aliases(condition);
        let ValueDef::Result(inst, _) = dfg.value_def(condition) else {
            return;
        };
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match dfg.insts[inst] {
            InstructionData::IntCompare { cond, args, .. } => {
                let [x, y] = args.map(|arg| dfg.resolve_aliases(arg));
                if width(dfg.value_type(x)).is_none() {
                    return;
                }
                let cc = if is { cond } else { cond.complement() };
                found.push((cc, x, y));
                let is_zero = |value| constant(self.func, value) == Some(0);
                match cc {
                    IntCC::Equal if is_zero(y) => self.take_apart(x, false, depth, found),
                    IntCC::NotEqual if is_zero(y) => self.take_apart(x, true, depth, found),
                    _ => {}
                }
            }
            InstructionData::Unary {
                opcode: Opcode::Uextend | Opcode::Sextend,
                arg,
            } => self.take_apart(arg, is, depth, found),
            InstructionData::Binary { opcode, args } => {
                let both = match opcode {
                    // A bit that both have; no bit in either.
                    Opcode::Band => is,
                    Opcode::Bor => !is,
                    _ => false,
                };
                if both {
                    for arg in args {
                        self.take_apart(arg, is, depth, found);
                    }
                }
            }
            _ => {}
        }
    }

    /// Goes through the function once; says whether anything moved.
    fn look(&mut self, narrows: bool) -> bool {
        let mut moved = false;
        for &block in self.flow.rpo() {
            for &param in self.func.dfg.block_params(block) {
                let Some(bits) = width(self.func.dfg.value_type(param)) else {
                    continue;
                };
                let passed = match block == self.flow.entry() {
                    true => Some(Interval::all(bits)),
                    false => self.passed(block, param, bits),
                };
                moved |= self.set(param, passed, narrows, true);
            }
            for inst in self.func.layout.block_insts(block) {
                for (nth, &result) in self.func.dfg.inst_results(inst).iter().enumerate() {
                    if let Some(bits) = width(self.func.dfg.value_type(result)) {
                        let interval = self.result(Point { block, inst }, nth, bits);
                        moved |= self.set(result, interval, narrows, false);
                    }
                }
            }
        }
        moved
    }

    fn set(
        &mut self,
        value: Value,
        interval: Option<Interval>,
        narrows: bool,
        widens: bool,
    ) -> bool {
        let Some(interval) = interval else {
            return false;
        };
        let old = self.intervals[value];
        let new = match (old, narrows) {
            (None, false) => interval,
            (None, true) => return false,
            (Some(old), true) => old.meet(interval).unwrap_or(old),
            (Some(old), false) => {
                let joined = old.join(interval);
                if joined != old && widens {
                    self.looks[value] += 1;
                }
                match self.looks[value] {
                    _ if !widens => joined,
                    0..=PATIENCE => joined,
                    looks if looks <= MAX_STOPS => old.widen(joined, &self.stops),
                    _ => old.widen(joined, &[]),
                }
            }
        };
        self.intervals[value] = Some(new);
        old != Some(new)
    }

    /// What edges pass for a parameter.
    fn passed(&self, block: Block, param: Value, bits: u32) -> Option<Interval> {
        let ValueDef::Param(_, nth) = self.func.dfg.value_def(param) else {
            return Some(Interval::all(bits));
        };
        let mut all: Option<Interval> = None;
        for &at in self.flow.preds(block) {
            let edge = self.flow.edge(at);
            let dfg = &self.func.dfg;
            let calls =
                dfg.insts[edge.inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
            let arg = calls.get(edge.index as usize);
            let arg = arg.and_then(|call| call.args(&dfg.value_lists).nth(nth));
            let Some(value) = arg.and_then(|arg| arg.as_value()) else {
                return Some(Interval::all(bits));
            };
            let value = dfg.resolve_aliases(value);
            let point = Point {
                block: edge.from,
                inst: edge.inst,
            };
            let mut interval = self.at(value, point);
            for (cc, x, y) in self.conditions(at) {
                for (cc, x, y) in [(cc, x, y), (cc.swap_args(), y, x)] {
                    if x == value {
                        interval =
                            interval.and_then(|interval| interval.refine(cc, self.intervals[y]?));
                    }
                }
            }
            all = match (all, interval) {
                (Some(all), Some(interval)) => Some(all.join(interval)),
                (one, other) => one.or(other),
            };
        }
        all
    }

    /// The interval of a value in front of an instruction; `None` if that does not run.
    pub fn at(&self, value: Value, point: Point) -> Option<Interval> {
        let value = self.func.dfg.resolve_aliases(value);
        let mut interval = self.intervals[value]?;
        for fact in self.facts_at(value, point) {
            interval = interval.refine(fact.cc, self.intervals[fact.other]?)?;
        }
        Some(interval)
    }

    fn facts_at(&self, value: Value, point: Point) -> impl Iterator<Item = &Fact> + '_ {
        let facts = self.facts.get(&value).into_iter().flatten();
        facts.filter(move |fact| match fact.behind {
            Some(inst) if fact.block == point.block => {
                self.func.layout.pp_cmp(inst, point.inst) == Ordering::Less
            }
            _ => self.flow.dominates(fact.block, point.block),
        })
    }

    /// Whether a comparison comes out the same whenever control gets to a point.
    pub fn decide(&self, (cc, x, y): Comparison, point: Point) -> Option<bool> {
        let [x, y] = [x, y].map(|value| self.func.dfg.resolve_aliases(value));
        let (one, other) = (self.at(x, point)?, self.at(y, point)?);
        if let Some(decided) = one.decide(cc, other) {
            return Some(decided);
        }
        // Both orders are one where neither is negative.
        let alike = one.is_not_negative() && other.is_not_negative();
        let (asked_order, asked) = order(cc);
        let mut facts = self.facts_at(x, point).filter(|fact| fact.other == y);
        facts.find_map(|fact| {
            let (known_order, known) = order(fact.cc);
            let differ = known_order
                .zip(asked_order)
                .is_some_and(|(one, other)| one != other);
            match (known & asked, known & !asked) {
                _ if differ && !alike => None,
                (0, _) => Some(false),
                (_, 0) => Some(true),
                _ => None,
            }
        })
    }

    /// Whether a condition is not zero whenever control gets to a point.
    pub fn holds(&self, condition: Value, point: Point) -> Option<bool> {
        self.holds_within(condition, point, MAX_DEPTH)
    }

    fn holds_within(&self, condition: Value, point: Point, depth: u32) -> Option<bool> {
        let dfg = &self.func.dfg;
        let condition = dfg.resolve_aliases(condition);
        let interval = self.at(condition, point)?;
        if interval.single() == Some(0) {
            return Some(false);
        }
        if !interval.contains_zero() {
            return Some(true);
        }
        let depth = depth.checked_sub(1)?;
        let ValueDef::Result(inst, _) = dfg.value_def(condition) else {
            return None;
        };
        match dfg.insts[inst] {
            InstructionData::IntCompare { cond, args, .. } => {
                self.decide((cond, args[0], args[1]), point)
            }
            InstructionData::Unary {
                opcode: Opcode::Uextend | Opcode::Sextend,
                arg,
            } => self.holds_within(arg, point, depth),
            _ => None,
        }
    }

    /// The interval of an instruction's result.
    fn result(&self, point: Point, nth: usize, bits: u32) -> Option<Interval> {
        let decide = |comparison| self.decide(comparison, point);
        evaluate(
            self.func,
            point.inst,
            (nth, bits),
            |value| self.at(value, point),
            decide,
        )
    }
}
