//! Everything that can be outlined of a function, outlined and checked.

use cranelift_codegen::ir::{Block, Function};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::verify_function;
use regraft_outliner::{
    Interface, OutlineError, check_continuation, check_outlined, extract_continuation, outline,
    prune_function,
};
use regraft_regions::{Flow, Liveness, LoopForest, Region};
use std::collections::BTreeMap;

/// How many were outlined, and how many refused, by reason.
#[derive(Default)]
pub struct Count {
    pub outlined: usize,
    pub refused: BTreeMap<String, usize>,
}

impl Count {
    fn add(&mut self, result: Result<(), OutlineError>) {
        match result {
            Ok(()) => self.outlined += 1,
            Err(error) => *self.refused.entry(error.code().to_string()).or_default() += 1,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = vec![];
        if self.outlined > 0 || self.refused.is_empty() {
            parts.push(format!("{} outlined", self.outlined));
        }
        let refused = self.refused.iter();
        parts.extend(refused.map(|(code, count)| format!("{count} refused: `{code}`")));
        f.write_str(&parts.join(", "))
    }
}

/// What becomes of an opcode, from worst to best.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Refused(String),
    Outlined,
    Entered,
}

pub type Fates = BTreeMap<String, Fate>;

pub fn note(fates: &mut Fates, func: &Function, blocks: impl Iterator<Item = Block>, fate: &Fate) {
    for block in blocks {
        for inst in func.layout.block_insts(block) {
            let opcode = func.dfg.insts[inst].opcode().to_string();
            let known = fates.entry(opcode).or_insert_with(|| fate.clone());
            *known = fate.clone().max(known.clone());
        }
    }
}

/// Outlines a region, and holds all that comes of it against the source.
fn outlines(isa: &dyn TargetIsa, func: &Function, region: &Region) -> Result<(), OutlineError> {
    let outlined = outline(func, region)?;
    let functions = [&outlined.function, &outlined.residual].into_iter();
    for function in functions.chain(&outlined.continuations) {
        verified(isa, func, function);
    }
    if let Err(error) = check_outlined(func, region, &outlined) {
        panic!(
            "{error}\n{func}\n{}\n{}",
            outlined.function, outlined.residual
        );
    }
    Ok(())
}

pub fn verified(isa: &dyn TargetIsa, source: &Function, function: &Function) {
    if let Err(errors) = verify_function(function, isa) {
        panic!("{errors}\n{source}\n{function}");
    }
}

/// Leaves `cold` out of the whole function; `None` if that leaves nothing out.
fn prunes(isa: &dyn TargetIsa, func: &Function, cold: Block) -> Option<Result<(), OutlineError>> {
    let flow = Flow::compute(func).expect("control flow");
    let liveness = Liveness::compute(func, &flow);
    let hot = |block| block != cold;
    let region = Region::pruned(func, &flow, flow.entry(), flow.rpo(), hot).expect("a region");
    if region.is_whole() {
        return None;
    }
    let interface = match Interface::compute(func, &flow, &liveness, &region) {
        Ok(interface) => interface,
        Err(error) => return Some(Err(error)),
    };
    let pruned = prune_function(func, &flow, &liveness, &region, &interface).expect("it prunes");
    verified(isa, func, &pruned.function);
    for (number, _) in pruned.side_calls {
        let made = extract_continuation(func, &flow, &liveness, &region, &interface, number);
        let made = made.expect("a continuation");
        verified(isa, func, &made.function);
        let checked = check_continuation(
            func,
            &region,
            &interface,
            number,
            &made.function,
            made.reentry,
        );
        checked.unwrap_or_else(|error| panic!("{error}\n{func}\n{}", made.function));
    }
    Some(Ok(()))
}

#[derive(Default)]
pub struct Found {
    pub loops: Count,
    pub regions: Count,
    pub functions: Count,
    pub commands: usize,
    pub whole: bool,
}

/// Outlines everything that a function offers.
pub fn examine(isa: &dyn TargetIsa, func: &Function, found: &mut Found, fates: &mut Fates) {
    let flow = Flow::compute(func).expect("control flow");
    let loops = LoopForest::compute(func, &flow);
    let mut scopes: Vec<(Block, Vec<Block>)> = vec![];
    for id in loops.loops() {
        scopes.push((loops.header(id), loops.blocks(id)));
    }
    let loops = scopes.len();
    for &entry in flow.rpo() {
        let dominated = flow
            .rpo()
            .iter()
            .copied()
            .filter(|&block| flow.dominates(entry, block));
        scopes.push((entry, dominated.collect()));
    }
    for (index, (entry, scope)) in scopes.into_iter().enumerate() {
        let members = || scope.iter().copied();
        let region = Region::new(func, &flow, entry, members(), members()).expect("a region");
        let result = outlines(isa, func, &region);
        let fate = match &result {
            Ok(()) => Fate::Outlined,
            Err(error) => Fate::Refused(error.code().to_string()),
        };
        note(fates, func, members(), &fate);
        let count = if index < loops {
            &mut found.loops
        } else {
            &mut found.regions
        };
        count.add(result);
        for cold in members().filter(|&block| block != entry) {
            let region = Region::pruned(func, &flow, entry, &scope, |block| block != cold);
            found
                .regions
                .add(outlines(isa, func, &region.expect("a region")));
        }
    }
    for &cold in flow.rpo() {
        if let Some(result) = prunes(isa, func, cold) {
            found.functions.add(result);
        }
    }
}
