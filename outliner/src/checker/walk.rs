//! Walking the source and the function under test in lock step.
//!
//! Purpose: builds the correspondence of blocks, binds every value of the
//! function under test to what it is by construction, and collects one
//! [`Obligation`] for each use of a value. `proof` discharges them afterwards,
//! when all bindings and all edges are known.
//!
//! Invariants:
//!
//! * *one copy*: a source block has at most one copy, and a block is the copy
//!   of at most one source block. So a definition of the source happens in
//!   exactly one place of the function under test.
//! * *glue*: a block that is no copy has exactly one incoming edge that can be
//!   taken, and holds constants and one way out.
//!
//! Not here: the ways out (`exits`, `residual`).

use super::correspondence::{Binding, Incoming, Obligation, Point, Role, Subject};
use super::entities::Comparison;
use super::error::{CheckError, Meaning, Place};
use super::source::{Source, arguments, destinations, target};
use crate::Interface;
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{
    Block, BlockArg, ExceptionTableItem, Function, Inst, InstructionData, Opcode, Value,
};

/// The state of the walk, and the correspondence it leaves behind.
pub(super) struct Walk<'a> {
    pub source: &'a Source<'a>,
    pub interface: &'a Interface,
    pub out: &'a Function,
    pub subject: Subject<'a>,
    pub copy_of: SecondaryMap<Block, Option<Block>>,
    pub roles: SecondaryMap<Block, Role>,
    pub bindings: SecondaryMap<Value, Binding>,
    pub incoming: SecondaryMap<Block, Vec<Incoming>>,
    pub obligations: Vec<Obligation>,
    /// Pairs of blocks whose addresses are taken.
    addresses: Vec<(Block, Block)>,
    comparison: Comparison<'a>,
    work: Vec<(Block, Block)>,
}

impl<'a> Walk<'a> {
    pub fn new(
        source: &'a Source<'a>,
        interface: &'a Interface,
        out: &'a Function,
        subject: Subject<'a>,
    ) -> Self {
        Self {
            source,
            interface,
            out,
            subject,
            copy_of: SecondaryMap::new(),
            roles: SecondaryMap::new(),
            bindings: SecondaryMap::new(),
            incoming: SecondaryMap::new(),
            obligations: Vec::new(),
            addresses: Vec::new(),
            comparison: Comparison::new(source.func, out),
            work: Vec::new(),
        }
    }

    /// Walks until no copy is left.
    pub fn run(&mut self) -> Result<(), CheckError> {
        while let Some((source_block, outlined)) = self.work.pop() {
            let hooked = matches!(self.subject, Subject::Residual(_))
                && source_block == self.source.region.entry();
            if hooked {
                self.region_call(outlined)?;
            } else {
                self.copy(source_block, outlined)?;
            }
        }
        for &(source_block, outlined) in &self.addresses {
            if self.copy_of[source_block] != Some(outlined) {
                return Err(CheckError::TwoMeanings { outlined });
            }
        }
        Ok(())
    }

    /// Notes that `outlined` is the copy of `source_block`.
    pub fn pair(&mut self, source_block: Block, outlined: Block) -> Result<(), CheckError> {
        match self.copy_of[source_block] {
            Some(first) if first == outlined => return Ok(()),
            Some(first) => {
                return Err(CheckError::TwoCopies {
                    source_block,
                    first,
                    second: outlined,
                });
            }
            None => {}
        }
        self.claim(outlined, Role::Copy)?;
        self.copy_of[source_block] = Some(outlined);
        let (ours, theirs) = (self.source.func, self.out);
        if ours.layout.is_cold(source_block) != theirs.layout.is_cold(outlined) {
            return Err(CheckError::WrongColdness {
                source_block,
                outlined,
            });
        }
        let our_params = ours.dfg.block_params(source_block);
        let their_params = theirs.dfg.block_params(outlined);
        let hooked = matches!(self.subject, Subject::Residual(_))
            && source_block == self.source.region.entry();
        for (index, &their) in their_params.iter().enumerate() {
            self.bindings[their] = match our_params.get(index) {
                None => Binding::Extra { index },
                Some(&our) if ours.dfg.value_type(our) != theirs.dfg.value_type(their) => {
                    return Err(CheckError::WrongBlockParams {
                        source_block,
                        outlined,
                    });
                }
                Some(&our) if hooked => Binding::Entry(self.source.meaning(our)),
                Some(&our) => Binding::Definition(self.source.meaning(our)),
            };
        }
        if their_params.len() < our_params.len() {
            return Err(CheckError::WrongBlockParams {
                source_block,
                outlined,
            });
        }
        self.work.push((source_block, outlined));
        Ok(())
    }

    /// Gives a block its role; it must not have one yet.
    pub fn claim(&mut self, outlined: Block, role: Role) -> Result<(), CheckError> {
        if self.roles[outlined] != Role::Unknown {
            return Err(CheckError::TwoMeanings { outlined });
        }
        self.roles[outlined] = role;
        Ok(())
    }

    /// Adds the obligation that `found` means `expected`.
    pub fn oblige(&mut self, found: Value, expected: Meaning, point: Point, place: Place) {
        self.obligations.push(Obligation {
            found,
            expected,
            point,
            place,
        });
    }

    /// Matches the instructions of a copy.
    fn copy(&mut self, source_block: Block, outlined: Block) -> Result<(), CheckError> {
        let (ours, theirs) = (self.source.func, self.out);
        let own_frame = matches!(self.subject, Subject::Residual(_));
        let mut cursor = theirs.layout.first_inst(outlined);
        for source_inst in ours.layout.block_insts(source_block) {
            let point = Point {
                block: outlined,
                inst: Some(source_inst),
            };
            let data = &ours.dfg.insts[source_inst];
            let opcode = data.opcode();
            if !own_frame {
                let address = [Opcode::StackAddr, Opcode::DynamicStackAddr].contains(&opcode);
                if address {
                    cursor = self.address(source_inst, cursor, point);
                    continue;
                }
                if opcode.is_return() {
                    let number = self.source.leaving(source_block, source_inst)?;
                    return self.leave(number, cursor, point);
                }
            }
            let Some(inst) = cursor else {
                return Err(CheckError::MissingInstruction {
                    source_inst,
                    block: outlined,
                });
            };
            self.instruction(source_inst, inst, point)?;
            cursor = theirs.layout.next_inst(inst);
            if opcode.is_branch() {
                self.edges(source_block, source_inst, inst, point)?;
            }
        }
        match cursor {
            Some(outlined) => Err(CheckError::ExtraInstruction { outlined }),
            None => Ok(()),
        }
    }

    /// Skips what computes an address in the source's frame: nothing, or the
    /// sum of an address that was passed in and the offset.
    fn address(&mut self, source_inst: Inst, cursor: Option<Inst>, point: Point) -> Option<Inst> {
        let theirs = self.out;
        let address = self.source.func.dfg.first_result(source_inst);
        let Meaning::Slot { slot, offset, ty } = self.source.meaning(address) else {
            return cursor;
        };
        let sum = cursor.and_then(|inst| theirs.layout.next_inst(inst));
        let (Some(constant), Some(sum)) = (cursor, sum) else {
            return cursor;
        };
        let (constant_data, sum_data) = (&theirs.dfg.insts[constant], &theirs.dfg.insts[sum]);
        let (
            &InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            },
            &InstructionData::Binary {
                opcode: Opcode::Iadd,
                args: [base, added],
            },
        ) = (constant_data, sum_data)
        else {
            return cursor;
        };
        let addend = theirs.dfg.first_result(constant);
        let result = theirs.dfg.first_result(sum);
        let wanted = if ty.bits() < 64 {
            offset & ((1 << ty.bits()) - 1)
        } else {
            offset
        };
        let adds = theirs.dfg.resolve_aliases(added) == addend && imm.bits() == wanted;
        if offset == 0 || !adds || theirs.dfg.value_type(result) != ty {
            return cursor;
        }
        let passed = Meaning::Slot {
            slot,
            offset: 0,
            ty,
        };
        let place = Place::Operand {
            outlined: sum,
            index: 0,
        };
        self.oblige(base, passed, point, place);
        self.bindings[result] = Binding::Definition(Meaning::Slot { slot, offset, ty });
        theirs.layout.next_inst(sum)
    }

    /// Matches one instruction: all of it but the destinations.
    pub fn instruction(
        &mut self,
        source_inst: Inst,
        outlined: Inst,
        point: Point,
    ) -> Result<(), CheckError> {
        let (ours, theirs) = (self.source.func, self.out);
        let addresses = self.comparison.instructions(source_inst, outlined)?;
        self.addresses.extend(addresses);
        let args = ours
            .dfg
            .inst_args(source_inst)
            .iter()
            .zip(theirs.dfg.inst_args(outlined));
        for (index, (&our, &their)) in args.enumerate() {
            let place = Place::Operand { outlined, index };
            self.oblige(their, self.source.meaning(our), point, place);
        }
        let contexts = contexts(ours, source_inst).zip(contexts(theirs, outlined));
        for (index, (our, their)) in contexts.enumerate() {
            let place = Place::Context { outlined, index };
            self.oblige(their, self.source.meaning(our), point, place);
        }
        let results = ours.dfg.inst_results(source_inst).iter();
        for (&our, &their) in results.zip(theirs.dfg.inst_results(outlined)) {
            self.bindings[their] = Binding::Definition(self.source.meaning(our));
        }
        Ok(())
    }

    /// Follows the edges out of a copy.
    fn edges(
        &mut self,
        source_block: Block,
        source_inst: Inst,
        outlined: Inst,
        point: Point,
    ) -> Result<(), CheckError> {
        let (source, theirs) = (self.source, self.out);
        let count = destinations(source.func, source_inst).len();
        if destinations(theirs, outlined).len() != count {
            return Err(CheckError::WrongBranch { outlined });
        }
        let (entry, hot) = (source.region.entry(), source.region.blocks());
        for (destination, &call) in destinations(source.func, source_inst).iter().enumerate() {
            let to = target(source.func, call);
            let edge = Incoming {
                from: point,
                inst: outlined,
                destination,
            };
            let inside = source.in_scope(to);
            match self.subject {
                Subject::Residual(_) if to == entry || !inside => {}
                Subject::Region(_) if hot.contains(to) => {}
                Subject::Continuation(_) if inside && to != entry => {}
                Subject::Residual(_) => {
                    let from = source_block;
                    return Err(CheckError::UnnumberedExit { from, destination });
                }
                Subject::Region(_) if inside => {
                    let number = source.side_exit(source_block, destination)?;
                    self.side_exit(number, arguments(source.func, call), to, edge)?;
                    continue;
                }
                Subject::Continuation(_) if inside => {
                    self.reentry(arguments(source.func, call), edge)?;
                    continue;
                }
                Subject::Region(_) | Subject::Continuation(_) => {
                    let number = source.exit(source_block, destination)?;
                    self.natural_exit(number, edge)?;
                    continue;
                }
            }
            let expected = arguments(source.func, call).map(|arg| source.argument(arg));
            self.enter(to, expected, edge)?;
        }
        Ok(())
    }

    /// Follows an edge to a copy of `to`, which must pass what the source
    /// passes. Further arguments feed parameters that the source does not have.
    pub fn enter(
        &mut self,
        to: Block,
        expected: impl ExactSizeIterator<Item = Meaning>,
        edge: Incoming,
    ) -> Result<(), CheckError> {
        let theirs = self.out;
        let wrong = CheckError::WrongBranch {
            outlined: edge.inst,
        };
        let Some(&call) = destinations(theirs, edge.inst).get(edge.destination) else {
            return Err(wrong);
        };
        let outlined = target(theirs, call);
        self.pair(to, outlined)?;
        self.incoming[outlined].push(edge);
        let passed = arguments(theirs, call);
        if passed.len() != theirs.dfg.num_block_params(outlined)
            || expected.len() != self.source.func.dfg.num_block_params(to)
        {
            return Err(wrong);
        }
        for (index, (expected, found)) in expected.zip(passed).enumerate() {
            let place = Place::Argument {
                outlined: edge.inst,
                destination: edge.destination,
                index,
            };
            self.pass(found, expected, edge.from, place)?;
        }
        Ok(())
    }

    /// Adds the obligation for a branch argument, which may be a value that
    /// only exists on the edge.
    pub fn pass(
        &mut self,
        found: BlockArg,
        expected: Meaning,
        point: Point,
        place: Place,
    ) -> Result<(), CheckError> {
        match (found, expected) {
            (BlockArg::Value(found), _) => self.oblige(found, expected, point, place),
            (BlockArg::TryCallRet(i), Meaning::TryCallRet(j))
            | (BlockArg::TryCallExn(i), Meaning::TryCallExn(j))
                if i == j => {}
            _ => {
                return Err(CheckError::WrongOperand {
                    place,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

/// The context values of an exception table.
fn contexts(func: &Function, inst: Inst) -> impl Iterator<Item = Value> + '_ {
    let table = func.dfg.insts[inst].exception_table();
    let items = table
        .into_iter()
        .flat_map(|table| func.dfg.exception_tables[table].items());
    items.filter_map(|item| match item {
        ExceptionTableItem::Context(value) => Some(value),
        _ => None,
    })
}
