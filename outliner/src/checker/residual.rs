//! The residual's call of the region, and what follows it.
//!
//! Purpose: in a residual the region's entry block keeps its parameters, and
//! then, instead of the block's instructions,
//!
//! ```text
//!     entry(params): glue ; results = call region(interface params)
//!                    dispatch on results[0]
//!     exit k:        jump target(args) | return args | return_call f(args)
//! ```
//!
//! Every natural exit has a block of its own, so that a use after the call can
//! be traced back to the exits it is reached from.
//!
//! Limitations: what happens for exit number 0 (the region was not run) and
//! for numbers that do not exist is not looked at, because [`super::check_region`]
//! shows that no such number is returned.

use super::agreement::{param_meanings, region_signature};
use super::content::names;
use super::correspondence::{Binding, Incoming, Point, Role, Subject};
use super::error::{CheckError, Place};
use super::source::{arguments, destinations, target};
use super::walk::Walk;
use cranelift_codegen::ir::{Block, Inst, InstructionData, Opcode};
use regraft_regions::ExitKind;
use std::collections::HashMap;

impl Walk<'_> {
    /// Matches the header of the region in a residual.
    pub fn region_call(&mut self, header: Block) -> Result<(), CheckError> {
        let theirs = self.out;
        let mut block = header;
        let mut inst = self.glue(theirs.layout.first_inst(header))?;
        while theirs.dfg.insts[inst].opcode() == Opcode::Jump {
            let from = Point { block, inst: None };
            let edge = Incoming {
                from,
                inst,
                destination: 0,
            };
            (block, inst) = self.enter_glue(edge, Role::Glue)?;
        }
        self.call(block, inst)?;
        let dispatch = self.glue(theirs.layout.next_inst(inst))?;
        self.dispatch(block, inst, dispatch)
    }

    fn call(&mut self, block: Block, inst: Inst) -> Result<(), CheckError> {
        let theirs = self.out;
        let wrong = CheckError::WrongRegionCall { outlined: inst };
        let (
            Subject::Residual(callee),
            InstructionData::Call {
                opcode: Opcode::Call,
                func_ref,
                ..
            },
        ) = (self.subject, theirs.dfg.insts[inst])
        else {
            return Err(wrong);
        };
        let signature = region_signature(self.interface);
        let named = theirs.dfg.ext_funcs.get(func_ref).is_some_and(|function| {
            names(theirs, &function.name, callee)
                && !function.colocated
                && !function.patchable
                && theirs.dfg.signatures.get(function.signature) == Some(&signature)
        });
        let args = theirs.dfg.inst_args(inst);
        let params = param_meanings(self.source, self.interface)?;
        if !named || args.len() != params.len() {
            return Err(wrong);
        }
        let point = Point { block, inst: None };
        for (index, (&found, expected)) in args.iter().zip(params).enumerate() {
            self.oblige(found, expected, point, Place::RegionCall { index });
        }
        for (index, &result) in theirs.dfg.inst_results(inst).iter().enumerate() {
            self.bindings[result] = Binding::Result(index);
        }
        Ok(())
    }

    /// Matches what sends each exit number to its block.
    fn dispatch(&mut self, block: Block, call: Inst, inst: Inst) -> Result<(), CheckError> {
        let theirs = self.out;
        let data = theirs.dfg.insts[inst];
        let exits = self.interface.exits.len();
        let edges = self.source.edges_of_exits();
        let targets = destinations(theirs, inst);
        let on_number = || {
            let operand = theirs.dfg.inst_args(inst).first();
            let number = theirs.dfg.inst_results(call).first();
            operand.map(|&value| theirs.dfg.resolve_aliases(value)) == number.copied()
        };
        for at in 0..exits {
            let kind = self.interface.exits[at].exit.kind;
            let number = self.interface.exits[at].exit.number;
            let destination = match data.opcode() {
                Opcode::Jump if exits == 1 => Some(0),
                // Destination 0 is the default, then come the entries.
                Opcode::BrTable if on_number() => {
                    let entry = number as usize + 1;
                    Some(if entry < targets.len() { entry } else { 0 })
                }
                _ => None,
            };
            let Some(destination) = destination else {
                return Err(CheckError::WrongDispatch {
                    number,
                    outlined: inst,
                });
            };
            let from = Point { block, inst: None };
            let edge = Incoming {
                from,
                inst,
                destination,
            };
            self.exit(number, kind, edge, &edges)?;
        }
        // Without exits the call does not return.
        if exits == 0 && data.opcode() != Opcode::Trap {
            return Err(CheckError::ExtraInstruction { outlined: inst });
        }
        Ok(())
    }

    /// Matches the block of one exit.
    fn exit(
        &mut self,
        number: u32,
        kind: ExitKind,
        edge: Incoming,
        edges: &HashMap<u32, (Block, usize)>,
    ) -> Result<(), CheckError> {
        let (source, theirs) = (self.source, self.out);
        let taken = destinations(theirs, edge.inst).get(edge.destination);
        let again = taken.map(|&call| self.roles[target(theirs, call)]);
        if again.is_some_and(|role| role != Role::Unknown) {
            return Err(CheckError::WrongDispatch {
                number,
                outlined: edge.inst,
            });
        }
        let (block, inst) = self.enter_glue(edge, Role::Exit(number))?;
        let from = Point { block, inst: None };
        match kind {
            ExitKind::Edge { to, .. } => {
                if theirs.dfg.insts[inst].opcode() != Opcode::Jump {
                    return Err(CheckError::WrongExit {
                        number,
                        outlined: inst,
                    });
                }
                let Some(&(exiting, destination)) = edges.get(&number) else {
                    return Err(CheckError::Malformed("an exit without an edge"));
                };
                let last = source.func.layout.last_inst(exiting);
                let calls = last.map(|last| destinations(source.func, last));
                let Some(&call) = calls.and_then(|calls| calls.get(destination)) else {
                    return Err(CheckError::Malformed("an exit without an edge"));
                };
                let expected = arguments(source.func, call).map(|arg| source.argument(arg));
                let edge = Incoming {
                    from,
                    inst,
                    destination: 0,
                };
                self.enter(to, expected, edge)
            }
            ExitKind::Return { inst: ours } | ExitKind::TailCall { inst: ours } => {
                self.instruction(ours, inst, from)
            }
        }
    }
}
