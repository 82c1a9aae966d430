//! The proof that tables took nothing but tail calls.
//!
//! Purpose: holds a region with side tables (`tables`) against the region as
//! it was extracted, which [`check_region`](super::check_region) proves.
//!
//! The claim: both functions are the same, block by block, but for
//! destinations of `br_table`s. Where these differ, the one leads to a block
//! that only calls side exit *k*'s function, and the other to a block that
//! calls what the table holds at the branch's own index, with the same
//! arguments; and the table's record says *k* for that index.
//!
//! Requires: both functions have passed Cranelift's verifier.
//!
//! Limitations: entities are compared by number, as the one function was made
//! by changing a copy of the other.

use super::error::CheckError;
use super::source::{arguments, destinations, target};
use crate::extract::Extracted;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{
    Block, Function, GlobalValue, Inst, InstructionData, Opcode, Signature, Value,
};

/// Checks that `tabled` is `plain` with some side exits taken by tables.
///
/// # Errors
///
/// [`CheckError::WrongSideTable`] for the first disagreement.
///
/// # Complexity
///
/// O(instructions + edges).
pub fn check_side_tables(plain: &Extracted, tabled: &Extracted) -> Result<(), CheckError> {
    let check = Check {
        plain,
        tabled,
        ours: &plain.function,
        theirs: &tabled.function,
    };
    check.entities()?;
    let mut used = vec![0; tabled.side_tables.len()];
    for block in check.theirs.layout.blocks() {
        if check.ours.layout.is_block_inserted(block) {
            check.block(block, &mut used)?;
        } else {
            // It does nothing but call through a table, whoever gets there.
            check.through_table(block)?;
        }
    }
    for (side_table, used) in tabled.side_tables.iter().zip(used) {
        let claimed = side_table.side_exits.iter().flatten().count();
        if used != claimed {
            let table = side_table.table;
            return Err(wrong(table, "it has entries for edges that do not exist"));
        }
    }
    Ok(())
}

fn wrong(table: GlobalValue, what: &'static str) -> CheckError {
    CheckError::WrongSideTable { table, what }
}

/// What a block that calls through a table computes.
struct ThroughTable<'a> {
    table: GlobalValue,
    /// What the table is indexed by, and the most that the index can be.
    index: Value,
    limit: i64,
    signature: &'a Signature,
    args: &'a [Value],
}

/// What a value of such a block is.
#[derive(Clone, Copy, Default, PartialEq)]
enum Symbolic {
    #[default]
    Outside,
    Constant(i64),
    /// The smaller of an index and a limit, unsigned, times so many bytes.
    Index(Value, i64, i64),
    /// The table's address.
    Table(GlobalValue),
    /// The address of the entry of an index.
    Entry(GlobalValue, Value, i64),
    /// What the table holds there.
    Callee(GlobalValue, Value, i64),
}

struct Check<'a> {
    plain: &'a Extracted,
    tabled: &'a Extracted,
    ours: &'a Function,
    theirs: &'a Function,
}

impl<'a> Check<'a> {
    /// Whether the numbers of entities mean the same.
    fn entities(&self) -> Result<(), CheckError> {
        let (ours, theirs) = (&self.ours.dfg, &self.theirs.dfg);
        let same = self.ours.signature == self.theirs.signature
            && self.ours.layout.entry_block() == self.theirs.layout.entry_block()
            && starts_with(&theirs.signatures, &ours.signatures)
            && starts_with(&theirs.ext_funcs, &ours.ext_funcs)
            && starts_with(&self.theirs.global_values, &self.ours.global_values)
            && starts_with(&theirs.immediates, &ours.immediates)
            && self.ours.stack_limit == self.theirs.stack_limit;
        match same {
            true => Ok(()),
            false => Err(CheckError::Malformed("a table changed more than branches")),
        }
    }

    fn block(&self, block: Block, used: &mut [usize]) -> Result<(), CheckError> {
        let (ours, theirs) = (self.ours, self.theirs);
        let mut insts = theirs.layout.block_insts(block);
        for inst in ours.layout.block_insts(block) {
            let same = insts.next() == Some(inst)
                && ours.dfg.insts[inst] == theirs.dfg.insts[inst]
                && ours.dfg.inst_args(inst) == theirs.dfg.inst_args(inst)
                && ours.dfg.inst_results(inst) == theirs.dfg.inst_results(inst)
                && ours.srcloc(inst) == theirs.srcloc(inst);
            if !same {
                return Err(CheckError::ExtraInstruction { outlined: inst });
            }
            self.destinations(inst, used)?;
        }
        let params = ours.dfg.block_params(block) == theirs.dfg.block_params(block);
        let cold = ours.layout.is_cold(block) == theirs.layout.is_cold(block);
        match insts.next() {
            Some(outlined) => Err(CheckError::ExtraInstruction { outlined }),
            None if params && cold => Ok(()),
            None => Err(CheckError::Malformed("a table changed a block")),
        }
    }

    fn destinations(&self, branch: Inst, used: &mut [usize]) -> Result<(), CheckError> {
        let (ours, theirs) = (self.ours, self.theirs);
        let different = CheckError::WrongBranch { outlined: branch };
        let our_calls = destinations(ours, branch);
        let their_calls = destinations(theirs, branch);
        if our_calls.len() != their_calls.len() {
            return Err(different);
        }
        for (position, (&our, &their)) in our_calls.iter().zip(their_calls).enumerate() {
            let same_args = arguments(ours, our).eq(arguments(theirs, their));
            if target(ours, our) == target(theirs, their) && same_args {
                continue;
            }
            let InstructionData::BranchTable { arg, .. } = theirs.dfg.insts[branch] else {
                return Err(different);
            };
            if arguments(theirs, their).len() != 0 {
                return Err(different);
            }
            let through = self.through_table(target(theirs, their))?;
            let entries = their_calls.len() - 1;
            if through.index != arg || usize::try_from(through.limit) != Ok(entries) {
                return Err(wrong(through.table, "it is not indexed like the branch"));
            }
            let at = position.checked_sub(1).unwrap_or(entries);
            self.side_exit(target(ours, our), &through, at, used)?;
        }
        Ok(())
    }

    /// Whether the entry of a table is the side call of a block.
    fn side_exit(
        &self,
        block: Block,
        through: &ThroughTable<'_>,
        at: usize,
        used: &mut [usize],
    ) -> Result<(), CheckError> {
        let ours = self.ours;
        let first = ours.layout.first_inst(block);
        let call = first.map(|inst| (inst, ours.dfg.insts[inst]));
        let Some((
            inst,
            InstructionData::Call {
                opcode: Opcode::ReturnCall,
                func_ref,
                ..
            },
        )) = call
        else {
            return Err(wrong(through.table, "it replaces more than a tail call"));
        };
        let callee = &ours.dfg.ext_funcs[func_ref];
        if ours.dfg.signatures[callee.signature] != *through.signature
            || ours.dfg.inst_args(inst) != through.args
        {
            return Err(wrong(through.table, "the call passes something else"));
        }
        let mut tables = self.tabled.side_tables.iter().zip(used);
        let Some((side_table, used)) = tables.find(|(side, _)| side.table == through.table) else {
            return Err(wrong(through.table, "it is not in the list of tables"));
        };
        let number = side_table.side_exits.get(at).copied().flatten();
        let called =
            number.is_some_and(|number| self.plain.side_calls.contains(&(number, func_ref)));
        *used += 1;
        match called {
            true => Ok(()),
            false => Err(wrong(through.table, "an entry is another side exit")),
        }
    }

    /// What a block calls that does nothing else.
    fn through_table(&self, block: Block) -> Result<ThroughTable<'a>, CheckError> {
        let func = self.theirs;
        let mut known: SecondaryMap<Value, Symbolic> = SecondaryMap::new();
        let mut insts = func.layout.block_insts(block);
        if !func.dfg.block_params(block).is_empty() {
            return Err(CheckError::Malformed("a block of a table has parameters"));
        }
        let last = loop {
            let Some(inst) = insts.next() else {
                return Err(CheckError::Malformed("a block of a table does not end"));
            };
            if func.dfg.insts[inst].opcode() == Opcode::ReturnCallIndirect {
                break inst;
            }
            let [result] = *func.dfg.inst_results(inst) else {
                return Err(CheckError::ExtraInstruction { outlined: inst });
            };
            known[result] = self.evaluate(inst, result, &known)?;
        };
        let outlined = last;
        let Some((&callee, args)) = func.dfg.inst_args(last).split_first() else {
            return Err(CheckError::ExtraInstruction { outlined });
        };
        let Symbolic::Callee(table, index, limit) = known[callee] else {
            return Err(CheckError::ExtraInstruction { outlined });
        };
        let signature = func.dfg.call_signature(last);
        let Some(signature) = signature.map(|signature| &func.dfg.signatures[signature]) else {
            return Err(CheckError::ExtraInstruction { outlined });
        };
        Ok(ThroughTable {
            table,
            index,
            limit,
            signature,
            args,
        })
    }

    fn evaluate(
        &self,
        inst: Inst,
        result: Value,
        known: &SecondaryMap<Value, Symbolic>,
    ) -> Result<Symbolic, CheckError> {
        let dfg = &self.theirs.dfg;
        let pointer_bytes = i64::from(dfg.value_type(result).bytes());
        let data = dfg.insts[inst];
        let values = dfg.inst_args(inst);
        let operand = |at: usize| values.get(at).map(|&value| (value, known[value]));
        let outlined = inst;
        Ok(match (data.opcode(), operand(0), operand(1)) {
            (Opcode::Iconst, ..) => match data {
                InstructionData::UnaryImm { imm, .. } => Symbolic::Constant(imm.bits()),
                _ => return Err(CheckError::ExtraInstruction { outlined }),
            },
            (
                Opcode::Umin,
                Some((index, Symbolic::Outside)),
                Some((_, Symbolic::Constant(limit))),
            ) => Symbolic::Index(index, limit, 1),
            (Opcode::Uextend, Some((_, index @ Symbolic::Index(_, _, 1))), None) => index,
            (
                Opcode::Ishl,
                Some((_, Symbolic::Index(index, limit, 1))),
                Some((_, Symbolic::Constant(bits @ 0..=4))),
            ) => Symbolic::Index(index, limit, 1 << bits),
            (Opcode::SymbolValue, ..) => match data {
                InstructionData::UnaryGlobalValue { global_value, .. } => {
                    Symbolic::Table(global_value)
                }
                _ => return Err(CheckError::ExtraInstruction { outlined }),
            },
            (
                Opcode::Iadd,
                Some((_, Symbolic::Table(table))),
                Some((_, Symbolic::Index(index, limit, scale))),
            ) if scale == pointer_bytes => Symbolic::Entry(table, index, limit),
            (Opcode::Load, Some((_, Symbolic::Entry(table, index, limit))), None)
                if data.load_store_offset() == Some(0) =>
            {
                Symbolic::Callee(table, index, limit)
            }
            _ => return Err(CheckError::ExtraInstruction { outlined }),
        })
    }
}

/// Whether `longer` begins with all of `shorter`.
fn starts_with<'a, K: 'a, V: PartialEq + 'a>(
    longer: impl IntoIterator<Item = (K, &'a V)>,
    shorter: impl IntoIterator<Item = (K, &'a V)>,
) -> bool {
    let mut longer = longer.into_iter();
    let mut shorter = shorter.into_iter();
    shorter.all(|(_, value)| longer.next().is_some_and(|(_, other)| other == value))
}
