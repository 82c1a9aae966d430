//! Discharging the obligations: does a value hold what the source's value
//! holds, at every use?
//!
//! Notation: an obligation `(x, v, p)` says that at point `p` the value `x` of
//! the function under test holds the *latest* value of the source's `v`. In
//! SSA a value of the source can be defined again and again, when control
//! comes round a loop; `x` is *stale* at `p` if the source has defined `v`
//! since `x` was.
//!
//! The rules, by what `x` is (`def(v)` is the one place of the function under
//! test where the source's definition of `v` happens):
//!
//! * a *definition* means the value that it is the copy of, and never goes
//!   stale: whenever `v` is defined anew, so is `x`;
//! * an *entry* parameter means what it means when control enters, and is
//!   stale at `p` if `def(v)` lies on a path from its own block to `p` that
//!   does not come through that block again;
//! * an *extra* parameter means `v` if the argument on every edge into its
//!   block does, at the end of that edge's source; it can be stale like an
//!   entry parameter;
//! * a *constant* of glue means every source value that is the same constant;
//! * a *result* of the region call means `v` after exit *k* if the interface
//!   says so of exit *k*; every exit from which `p` is reached without another
//!   call must say so. All values that the scope defines are defined anew by
//!   the call, so that entry and extra parameters from before it are stale.
//!
//! The set of obligations that have been taken up only grows, and each is
//! proved under the assumption of all the others: the greatest fixpoint, as
//! for any simulation. (Seen forwards it is a dataflow problem with the lattice
//! *unknown* ⊐ *value v* ⊐ *conflict* per parameter; going backwards from the
//! uses, a parameter may mean several values, and dead ones cost nothing.)
//!
//! Requires: the function under test has passed Cranelift's verifier, so that
//! definitions dominate their uses.
//!
//! Complexity: O(uses + live ranges of entry and extra parameters and of
//! results), with no recursion.

use super::content::same_constant;
use super::correspondence::{Binding, Obligation, Point, Role};
use super::error::{CheckError, Meaning, Place};
use super::source::{arguments, destinations};
use super::walk::Walk;
use crate::interface::LiveOut;
use cranelift_codegen::ir::{Block, BlockArg, Value, ValueDef};
use std::collections::{HashMap, HashSet};

/// Proves every obligation that the walk has left.
pub(super) fn discharge(walk: &mut Walk<'_>) -> Result<(), CheckError> {
    let pending = std::mem::take(&mut walk.obligations);
    let mut claims = HashSet::new();
    for exit in &walk.interface.exits {
        let number = exit.exit.number;
        claims.extend(exit.live_outs.iter().map(|live: &LiveOut| {
            let meaning = super::agreement::live_out_meaning(walk.source, live);
            (number, live.result, meaning)
        }));
    }
    let mut proof = Proof {
        walk,
        pending,
        claims,
        searched: HashMap::new(),
        followed: HashSet::new(),
        work: Vec::new(),
    };
    while let Some(obligation) = proof.pending.pop() {
        proof.prove(obligation)?;
    }
    Ok(())
}

struct Proof<'w, 'a> {
    walk: &'w Walk<'a>,
    pending: Vec<Obligation>,
    /// Exit, result, meaning: what the interface says.
    claims: HashSet<(u32, usize, Meaning)>,
    /// The blocks from whose start a pair of value and meaning was looked for.
    searched: HashMap<(Value, Meaning), HashSet<Block>>,
    /// The pairs of extra parameter and meaning whose edges were followed.
    followed: HashSet<(Value, Meaning)>,
    work: Vec<Block>,
}

impl Proof<'_, '_> {
    fn prove(&mut self, obligation: Obligation) -> Result<(), CheckError> {
        let Obligation {
            found, expected, ..
        } = obligation;
        let (source, theirs) = (self.walk.source, self.walk.out);
        let wrong = || CheckError::WrongOperand {
            place: obligation.place,
            expected,
            found: BlockArg::Value(found),
        };
        let ty = match expected {
            Meaning::Value(value) => Some(source.func.dfg.value_type(value)),
            Meaning::Slot { ty, .. } | Meaning::DynamicSlot { ty, .. } => Some(ty),
            Meaning::TryCallRet(_) | Meaning::TryCallExn(_) => None,
        };
        if ty.is_some_and(|ty| ty != theirs.dfg.value_type(found)) {
            return Err(wrong());
        }
        let mut value = theirs.dfg.resolve_aliases(found);
        while let Binding::Edge(BlockArg::Value(passed)) = self.walk.bindings[value] {
            value = theirs.dfg.resolve_aliases(passed);
        }
        match self.walk.bindings[value] {
            Binding::Definition(meaning) if meaning == expected => Ok(()),
            Binding::Edge(BlockArg::TryCallRet(i)) if expected == Meaning::TryCallRet(i) => Ok(()),
            Binding::Edge(BlockArg::TryCallExn(i)) if expected == Meaning::TryCallExn(i) => Ok(()),
            Binding::Entry(meaning) if meaning == expected => self.fresh(value, true, obligation),
            Binding::Extra { index } => {
                self.fresh(value, false, obligation)?;
                self.follow(value, index, expected)
            }
            Binding::Constant(made) => {
                let constant = source.constant(expected);
                let same = |constant| same_constant(source.func, constant, theirs, made);
                if constant.is_some_and(same) {
                    Ok(())
                } else {
                    Err(wrong())
                }
            }
            Binding::Result(result) => self.carried(value, result, obligation),
            _ => Err(wrong()),
        }
    }

    /// The block of the function under test where `meaning` is defined anew,
    /// and whether that happens before the point if it is in the same block.
    fn definition(&self, meaning: Meaning, point: Point) -> Option<(Block, bool)> {
        let Meaning::Value(value) = meaning else {
            return None;
        };
        let source = self.walk.source;
        let copy = self.walk.copy_of[source.home(value)?]?;
        let before = match (source.func.dfg.value_def(value), point.inst) {
            // Only instructions of one block can be compared.
            (ValueDef::Result(def, _), Some(inst)) if copy == point.block => {
                source.func.layout.pp_cmp(def, inst).is_lt()
            }
            _ => true,
        };
        Some((copy, before))
    }

    /// Whether the parameter `value` still holds its meaning at the point.
    fn fresh(
        &mut self,
        value: Value,
        entry: bool,
        obligation: Obligation,
    ) -> Result<(), CheckError> {
        let Obligation {
            expected, point, ..
        } = obligation;
        let stale = || CheckError::StaleOperand {
            place: obligation.place,
            expected,
            found: value,
        };
        // Addresses in the frame and constants are the same every time.
        let varies = matches!(expected, Meaning::Value(_));
        if !varies || self.walk.source.constant(expected).is_some() {
            return Ok(());
        }
        let home = self.home(value);
        // The header of a residual defines its parameters by being entered.
        let definition = self.definition(expected, point);
        let definition = definition.filter(|&(block, _)| !(entry && home == Some(block)));
        if definition.is_some_and(|(block, before)| block == point.block && before) {
            return Err(stale());
        }
        let anew = definition.map(|(block, _)| block);
        let by_scope = self.walk.source.scope_defines(expected);
        let searched = self.searched.entry((value, expected)).or_default();
        self.work.push(point.block);
        while let Some(block) = self.work.pop() {
            if home == Some(block) || !searched.insert(block) {
                continue;
            }
            if by_scope && matches!(self.walk.roles[block], Role::Exit(_)) {
                return Err(stale());
            }
            for edge in &self.walk.incoming[block] {
                if anew == Some(edge.from.block) {
                    return Err(stale());
                }
                self.work.push(edge.from.block);
            }
        }
        Ok(())
    }

    /// Takes up the arguments that an extra parameter gets.
    fn follow(&mut self, value: Value, index: usize, expected: Meaning) -> Result<(), CheckError> {
        if !self.followed.insert((value, expected)) {
            return Ok(());
        }
        let theirs = self.walk.out;
        let Some(home) = self.home(value) else {
            return Err(CheckError::Malformed("a parameter without a block"));
        };
        for edge in &self.walk.incoming[home] {
            let place = Place::Argument {
                outlined: edge.inst,
                destination: edge.destination,
                index,
            };
            let calls = destinations(theirs, edge.inst);
            let call = calls.get(edge.destination);
            match call.and_then(|&call| arguments(theirs, call).nth(index)) {
                Some(BlockArg::Value(found)) => self.pending.push(Obligation {
                    found,
                    expected,
                    point: edge.from,
                    place,
                }),
                Some(found) => {
                    return Err(CheckError::WrongOperand {
                        place,
                        expected,
                        found,
                    });
                }
                None => {
                    return Err(CheckError::WrongBranch {
                        outlined: edge.inst,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether every exit from which the point is reached carries the meaning
    /// in that result.
    fn carried(
        &mut self,
        value: Value,
        result: usize,
        obligation: Obligation,
    ) -> Result<(), CheckError> {
        let Obligation {
            expected, point, ..
        } = obligation;
        let wrong = || CheckError::WrongOperand {
            place: obligation.place,
            expected,
            found: BlockArg::Value(value),
        };
        let searched = self.searched.entry((value, expected)).or_default();
        self.work.push(point.block);
        while let Some(block) = self.work.pop() {
            if !searched.insert(block) {
                continue;
            }
            if let Role::Exit(number) = self.walk.roles[block] {
                if !self.claims.contains(&(number, result, expected)) {
                    return Err(wrong());
                }
                continue;
            }
            let edges = &self.walk.incoming[block];
            if edges.is_empty() {
                return Err(wrong());
            }
            self.work.extend(edges.iter().map(|edge| edge.from.block));
        }
        Ok(())
    }

    /// The block whose parameter `value` is.
    fn home(&self, value: Value) -> Option<Block> {
        match self.walk.out.dfg.value_def(value) {
            ValueDef::Param(block, _) => Some(block),
            _ => None,
        }
    }
}
