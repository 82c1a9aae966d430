//! The ways into and out of outlined functions and continuations.
//!
//! Purpose: matches glue, the blocks that exist for the interface only: the
//! fresh entry block, natural exits, side exits, and a continuation's way back
//! to the region.
//!
//! Invariants: glue computes constants and nothing else; it has no effect and
//! cannot trap. Uses in glue are proved at the end of the copy that leads
//! there.
//!
//! Not here: the residual's call and dispatch (`residual`).

use super::agreement::{
    continuation_params, continuation_signature, live_ins, live_out_meaning, param_meaning,
    param_meanings, region_signature,
};
use super::content::is_constant;
use super::correspondence::{Binding, Incoming, Point, Role, Subject};
use super::error::{CheckError, Meaning, Place};
use super::source::{arguments, destinations, target};
use super::walk::Walk;
use cranelift_codegen::ir::{
    Block, BlockArg, FuncRef, Inst, InstructionData, Opcode, Signature, Value,
};

impl<'a> Walk<'a> {
    /// Matches the fresh entry block of the outlined function.
    pub fn start_region(&mut self) -> Result<(), CheckError> {
        let params = param_meanings(self.source, self.interface)?;
        let to = self.source.region.entry();
        self.start(params, &region_signature(self.interface), to)
    }

    /// Matches the fresh entry block of the continuation that begins at `to`.
    pub fn start_continuation(&mut self, to: Block) -> Result<(), CheckError> {
        let params = continuation_params(self.source, self.interface, to)?;
        let signature = continuation_signature(self.source, self.interface, to);
        self.start(params, &signature, to)
    }

    fn start(
        &mut self,
        params: Vec<Meaning>,
        signature: &Signature,
        to: Block,
    ) -> Result<(), CheckError> {
        let (ours, theirs) = (self.source, self.out);
        if theirs.signature != *signature {
            return Err(CheckError::WrongSignature);
        }
        let Some(entry) = theirs.layout.entry_block() else {
            return Err(CheckError::Malformed("the function has no entry block"));
        };
        self.claim(entry, Role::Glue)?;
        let values = theirs.dfg.block_params(entry);
        if values.len() != params.len() {
            return Err(CheckError::WrongSignature);
        }
        for (&value, meaning) in values.iter().zip(params) {
            self.bindings[value] = Binding::Entry(meaning);
        }
        let inst = self.glue(theirs.layout.first_inst(entry))?;
        if theirs.dfg.insts[inst].opcode() != Opcode::Jump {
            return Err(CheckError::ExtraInstruction { outlined: inst });
        }
        let from = Point {
            block: entry,
            inst: None,
        };
        let edge = Incoming {
            from,
            inst,
            destination: 0,
        };
        let expected = ours.func.dfg.block_params(to).iter();
        self.enter(to, expected.map(|&value| ours.meaning(value)), edge)
    }

    /// Goes through constants to what ends them: a terminator or a call.
    pub fn glue(&mut self, mut cursor: Option<Inst>) -> Result<Inst, CheckError> {
        let theirs = self.out;
        while let Some(inst) = cursor {
            let data = theirs.dfg.insts[inst];
            let opcode = data.opcode();
            if opcode.is_terminator() || opcode.is_call() {
                return Ok(inst);
            }
            let own_frame = matches!(self.subject, Subject::Residual(_));
            let binding = match data {
                _ if is_constant(&data) => Binding::Constant(inst),
                InstructionData::StackAddr {
                    stack_slot, offset, ..
                } if own_frame => Binding::Definition(Meaning::Slot {
                    slot: stack_slot,
                    offset: i64::from(i32::from(offset)),
                    ty: theirs.dfg.value_type(theirs.dfg.first_result(inst)),
                }),
                InstructionData::DynamicStackAddr {
                    dynamic_stack_slot, ..
                } if own_frame => Binding::Definition(Meaning::DynamicSlot {
                    slot: dynamic_stack_slot,
                    ty: theirs.dfg.value_type(theirs.dfg.first_result(inst)),
                }),
                _ if is_dummy(opcode) => Binding::Unknown,
                _ => return Err(CheckError::ExtraInstruction { outlined: inst }),
            };
            self.bindings[theirs.dfg.first_result(inst)] = binding;
            cursor = theirs.layout.next_inst(inst);
        }
        Err(CheckError::Malformed("a block has no terminator"))
    }

    /// Enters a glue block by its only edge; returns what ends its constants.
    pub fn enter_glue(&mut self, edge: Incoming, role: Role) -> Result<(Block, Inst), CheckError> {
        let theirs = self.out;
        let wrong = CheckError::WrongBranch {
            outlined: edge.inst,
        };
        let Some(&call) = destinations(theirs, edge.inst).get(edge.destination) else {
            return Err(wrong);
        };
        let block = target(theirs, call);
        self.claim(block, role)?;
        self.incoming[block].push(edge);
        let params = theirs.dfg.block_params(block);
        let passed = arguments(theirs, call);
        if passed.len() != params.len() {
            return Err(wrong);
        }
        for (&param, arg) in params.iter().zip(passed) {
            self.bindings[param] = Binding::Edge(arg);
        }
        let last = self.glue(theirs.layout.first_inst(block))?;
        Ok((block, last))
    }

    /// Follows an edge that is a natural exit.
    pub fn natural_exit(&mut self, number: u32, edge: Incoming) -> Result<(), CheckError> {
        let (_, last) = self.enter_glue(edge, Role::Glue)?;
        self.returns(number, last, edge.from)
    }

    /// Matches what replaces a `return` or tail call: from `cursor` on, the
    /// copy leaves by exit `number`.
    pub fn leave(
        &mut self,
        number: u32,
        cursor: Option<Inst>,
        point: Point,
    ) -> Result<(), CheckError> {
        let last = self.glue(cursor)?;
        self.returns(number, last, point)
    }

    /// Whether `inst` returns the exit number and the exit's live-outs.
    fn returns(&mut self, number: u32, inst: Inst, point: Point) -> Result<(), CheckError> {
        let (theirs, interface) = (self.out, self.interface);
        let wrong = CheckError::WrongExit {
            number,
            outlined: inst,
        };
        let results = theirs.dfg.inst_args(inst);
        let types = results.iter().map(|&value| theirs.dfg.value_type(value));
        if theirs.dfg.insts[inst].opcode() != Opcode::Return
            || !types.eq(interface.results.iter().copied())
        {
            return Err(wrong);
        }
        let said = results
            .first()
            .map(|&value| self.bindings[theirs.dfg.resolve_aliases(value)]);
        let Some(Binding::Constant(said)) = said else {
            return Err(wrong);
        };
        let said = match theirs.dfg.insts[said] {
            InstructionData::UnaryImm { imm, .. } => Some(imm.bits()),
            _ => None,
        };
        if said != Some(i64::from(number)) {
            return Err(wrong);
        }
        let at = (number as usize).checked_sub(1);
        let Some(exit) = at.and_then(|at| interface.exits.get(at)) else {
            return Err(wrong);
        };
        for live in &exit.live_outs {
            let expected = live_out_meaning(self.source, live);
            let place = Place::Result {
                exit: number,
                result: live.result,
            };
            self.oblige(results[live.result], expected, point, place);
        }
        Ok(())
    }

    /// Follows an edge that is a side exit to the cold block `to`.
    pub fn side_exit(
        &mut self,
        number: u32,
        args: impl Iterator<Item = BlockArg>,
        to: Block,
        edge: Incoming,
    ) -> Result<(), CheckError> {
        let source = self.source;
        let (_, inst) = self.enter_glue(edge, Role::Glue)?;
        let wrong = CheckError::WrongSideExit {
            number,
            outlined: inst,
        };
        let Subject::Region(side_calls) = self.subject else {
            return Err(wrong);
        };
        let signature = continuation_signature(source, self.interface, to);
        let callees = |callee| side_calls.contains(&(number, callee));
        let Some(passed) = self.tail_call(inst, callees, &signature) else {
            return Err(wrong);
        };
        let mut expected: Vec<Meaning> = args.map(|arg| source.argument(arg)).collect();
        expected.extend(source.passed(to).map(|value| source.meaning(value)));
        self.extend_by_live_ins(&mut expected)?;
        for (index, (&found, expected)) in passed.iter().zip(expected).enumerate() {
            let place = Place::SideExit { number, index };
            self.oblige(found, expected, edge.from, place);
        }
        Ok(())
    }

    /// Follows a continuation's edge to the region's entry.
    pub fn reentry(
        &mut self,
        args: impl Iterator<Item = BlockArg>,
        edge: Incoming,
    ) -> Result<(), CheckError> {
        let source = self.source;
        let (_, inst) = self.enter_glue(edge, Role::Glue)?;
        let wrong = CheckError::WrongReentry { outlined: inst };
        let Subject::Continuation(reentry) = self.subject else {
            return Err(wrong);
        };
        let signature = region_signature(self.interface);
        let callees = |callee| reentry.contains(&callee);
        let Some(passed) = self.tail_call(inst, callees, &signature) else {
            return Err(wrong);
        };
        let mut expected: Vec<Meaning> = args.map(|arg| source.argument(arg)).collect();
        self.extend_by_live_ins(&mut expected)?;
        for (index, (&found, expected)) in passed.iter().zip(expected).enumerate() {
            let place = Place::Reentry { index };
            self.oblige(found, expected, edge.from, place);
        }
        Ok(())
    }

    fn extend_by_live_ins(&self, expected: &mut Vec<Meaning>) -> Result<(), CheckError> {
        for (index, param) in live_ins(self.interface) {
            expected.push(param_meaning(self.source, index, param)?);
        }
        Ok(())
    }

    /// The arguments of a direct tail call to one of `callees` with that
    /// signature.
    fn tail_call(
        &self,
        inst: Inst,
        callees: impl Fn(FuncRef) -> bool,
        signature: &Signature,
    ) -> Option<&'a [Value]> {
        let theirs = self.out;
        let InstructionData::Call {
            opcode: Opcode::ReturnCall,
            func_ref,
            ..
        } = theirs.dfg.insts[inst]
        else {
            return None;
        };
        let passed = theirs.dfg.inst_args(inst);
        let callee = theirs.dfg.ext_funcs.get(func_ref)?;
        let declared = theirs.dfg.signatures.get(callee.signature)?;
        // Calls between these functions go far, and are never patched out.
        let plain = !callee.colocated && !callee.patchable;
        let right = callees(func_ref) && declared == signature && plain;
        (right && passed.len() == signature.params.len()).then_some(passed)
    }
}

/// Whether an instruction makes a constant of some type out of another one:
/// dummy results have to come from somewhere.
fn is_dummy(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Splat
            | Opcode::ScalarToVector
            | Opcode::Iconcat
            | Opcode::Uextend
            | Opcode::Bitcast
    )
}
