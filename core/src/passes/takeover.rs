//! On-stack replacement (OSR) entry: the function by which a region takes over from tier 0 made by templates.
//!
//! ```text
//!   tier 0, at the header ── frame pointer ──▶ take over: load live-ins from the frame
//!                                                         call the region
//!   tier 0, behind the exit ◀── address ─────             store live-outs to the frame
//! ```
//!
//! It is made when the region is, so that tier 0 needs no liveness and no code for what is never hot. It knows the frame of
//! one version of tier 0 and goes with that; the region it calls by the stub of its unit, whichever version that leads to.
//!
//! Invariants:
//!
//! * All values are loaded before any is stored.
//! * What the region defines and is live behind an exit is stored, where the frame has a home for it.
//!
//! Not here: the frame (`regraft_template::FrameMap`), who calls this.

use crate::passes::names;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, BlockCall, ExternalName, Function, GlobalValueData, Inst,
    InstBuilder, InstructionData, MemFlagsData, Opcode, Signature, StackSlot, Type,
    UserExternalName, Value,
};
use cranelift_codegen::isa::CallConv;
use regraft_outliner::{
    ExitInterface, Interface, LiveOutSource, OutlineError, ParamSource, dispatch, edge_args,
};
use regraft_regions::{ExitKind, Flow};
use regraft_template::FrameMap;

/// What a region takes over from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline<'a> {
    /// The CLIF that tier 0 was made of.
    pub func: &'a Function,
    /// Its control flow.
    pub flow: &'a Flow,
    /// Where its values are.
    pub frame: &'a FrameMap,
    /// The address of its code.
    pub code: usize,
}

/// The function that takes over for the region with this interface, which is called at the address `region`.
///
/// # Errors
///
/// `Malformed` where a value is neither in the frame nor can be made again: not for what the verifier accepts.
///
/// # Complexity
///
/// O(live-ins + exits × live-outs).
pub(crate) fn take_over(
    from: &Baseline<'_>,
    interface: &Interface,
    region: usize,
    pointer: Type,
) -> Result<Function, OutlineError> {
    let mut func = Function::new();
    func.signature = Signature::new(CallConv::SystemV);
    func.signature.params.push(AbiParam::new(pointer));
    func.signature.returns.push(AbiParam::new(pointer));
    let signature = func.import_signature(interface.signature());
    let entry = func.dfg.make_block();
    func.layout.append_block(entry);
    let frame = func.dfg.append_block_param(entry, pointer);
    let mut maker = Maker {
        from,
        cursor: FuncCursor::new(&mut func).at_bottom(entry),
        frame,
    };
    let mut args = Vec::with_capacity(interface.params.len());
    let header = from.func.dfg.block_params(interface.entry);
    for param in &interface.params {
        args.push(match param.source {
            ParamSource::Entry(at) => {
                let value = header.get(at).copied();
                maker.value(value.ok_or(NO_PARAMETER)?)?
            }
            ParamSource::Value(value) | ParamSource::VmContext(value) => maker.value(value)?,
            ParamSource::Slot(slot) => maker.slot(slot, 0)?,
            ParamSource::DynamicSlot(_) => return Err(NOWHERE),
        });
    }
    let region = (region as u64).cast_signed();
    let region = maker.cursor.ins().iconst(pointer, region);
    let call = maker.cursor.ins().call_indirect(signature, region, &args);
    let results = maker.cursor.func.dfg.inst_results(call).to_vec();
    let number = results.first().copied().ok_or(NO_PARAMETER)?;
    let mut exits = vec![];
    for _ in &interface.exits {
        let block = maker.cursor.func.dfg.make_block();
        maker.cursor.func.layout.append_block(block);
        exits.push(block);
    }
    let pool = &mut maker.cursor.func.dfg.value_lists;
    let targets = exits.iter().map(|&block| BlockCall::new(block, [], pool));
    let targets: Vec<BlockCall> = targets.collect();
    dispatch(&mut maker.cursor, number, &targets);
    for (exit, block) in interface.exits.iter().zip(exits) {
        maker.cursor.goto_bottom(block);
        let offset = maker.exit(exit, &results)?;
        let resume = from.code.wrapping_add(offset as usize) as u64;
        let resume = maker.cursor.ins().iconst(pointer, resume.cast_signed());
        maker.cursor.ins().return_(&[resume]);
    }
    Ok(func)
}

const NO_PARAMETER: OutlineError = OutlineError::Malformed("the region lacks a parameter");
const NOWHERE: OutlineError = OutlineError::Malformed("a value of the frame is nowhere");
const NO_EXIT: OutlineError = OutlineError::Malformed("an exit leads nowhere");

struct Maker<'a> {
    from: &'a Baseline<'a>,
    cursor: FuncCursor<'a>,
    /// Tier 0's frame pointer.
    frame: Value,
}

impl Maker<'_> {
    /// A value of tier 0 as it is when this is called.
    fn value(&mut self, value: Value) -> Result<Value, OutlineError> {
        let source = self.from.func;
        let value = source.dfg.resolve_aliases(value);
        let ty = source.dfg.value_type(value);
        if let Some(home) = self.from.frame.home(value) {
            let frame = self.frame;
            return Ok(self.cursor.ins().load(ty, flags(), frame, home));
        }
        let defined = source.dfg.value_def(value).inst().ok_or(NOWHERE)?;
        match source.dfg.insts[defined] {
            InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            } => Ok(self.cursor.ins().iconst(ty, imm)),
            InstructionData::UnaryIeee32 { imm, .. } => Ok(self.cursor.ins().f32const(imm)),
            InstructionData::UnaryIeee64 { imm, .. } => Ok(self.cursor.ins().f64const(imm)),
            InstructionData::StackAddr {
                stack_slot, offset, ..
            } => self.slot(stack_slot, offset.into()),
            InstructionData::UnaryGlobalValue { global_value, .. } => {
                match source.global_values.get(global_value) {
                    Some(GlobalValueData::Symbol {
                        name,
                        offset,
                        tls: false,
                        ..
                    }) => self.symbol(name, offset.bits(), ty),
                    _ => Err(NOWHERE),
                }
            }
            InstructionData::FuncAddr { func_ref, .. } => {
                let callee = source.dfg.ext_funcs.get(func_ref).ok_or(NOWHERE)?;
                self.symbol(&callee.name, 0, ty)
            }
            _ => Err(NOWHERE),
        }
    }

    fn symbol(
        &mut self,
        name: &ExternalName,
        offset: i64,
        ty: Type,
    ) -> Result<Value, OutlineError> {
        let ExternalName::User(name) = name else {
            return Err(NOWHERE);
        };
        let names = self.from.func.params.user_named_funcs();
        let UserExternalName { namespace, index } = *names.get(*name).ok_or(NOWHERE)?;
        let symbol = names::symbol(self.cursor.func, namespace, index);
        let address = self.cursor.ins().symbol_value(ty, symbol);
        Ok(match offset {
            0 => address,
            _ => self.cursor.ins().iadd_imm_s(address, offset),
        })
    }

    fn slot(&mut self, slot: StackSlot, offset: i32) -> Result<Value, OutlineError> {
        let start = self.from.frame.slot(slot).ok_or(NOWHERE)?;
        let distance = i64::from(start) + i64::from(offset);
        Ok(self.cursor.ins().iadd_imm_s(self.frame, distance))
    }

    fn store(&mut self, value: Value, home: i32) {
        let frame = self.frame;
        self.cursor.ins().store(flags(), value, frame, home);
    }

    /// Puts into the frame what tier 0 needs behind the exit; returns the offset in its code.
    fn exit(&mut self, exit: &ExitInterface, results: &[Value]) -> Result<u32, OutlineError> {
        let carried = |value: Value| {
            let at = exit.result_of(LiveOutSource::Value(value))?;
            results.get(at).copied()
        };
        let frame = self.from.frame;
        let mut stores: Vec<(Value, i32)> = vec![];
        let offset = match exit.exit.kind {
            ExitKind::Edge { edge, to } => {
                let edge = self.from.flow.edge(edge);
                self.edge(edge.inst, edge.index, to, carried, &mut stores)?;
                frame.block(to).ok_or(NO_EXIT)?
            }
            ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                let (offset, homes) = frame.leaving(inst).ok_or(NO_EXIT)?;
                let args = self.from.func.dfg.inst_args(inst);
                for (&arg, home) in args.iter().zip(homes) {
                    let arg = self.from.func.dfg.resolve_aliases(arg);
                    // What the region does not define is in the frame already.
                    if let (Some(home), Some(result)) = (*home, carried(arg)) {
                        stores.push((result, home));
                    }
                }
                offset
            }
        };
        for live in &exit.live_outs {
            if let LiveOutSource::Value(value) = live.source
                && let Some(home) = frame.home(value)
                && let Some(&result) = results.get(live.result)
            {
                stores.push((result, home));
            }
        }
        for (value, home) in stores {
            self.store(value, home);
        }
        Ok(offset)
    }

    /// The parameters of the block behind an edge.
    fn edge(
        &mut self,
        inst: Inst,
        index: u32,
        to: Block,
        carried: impl Fn(Value) -> Option<Value>,
        stores: &mut Vec<(Value, i32)>,
    ) -> Result<(), OutlineError> {
        let source = self.from.func;
        let params = source.dfg.block_params(to);
        for (&param, arg) in params.iter().zip(edge_args(source, inst, index)) {
            let BlockArg::Value(arg) = arg else {
                return Err(NO_EXIT);
            };
            let arg = source.dfg.resolve_aliases(arg);
            let value = match carried(arg) {
                Some(result) => result,
                None => self.value(arg)?,
            };
            let home = self.from.frame.home(param).ok_or(NOWHERE)?;
            stores.push((value, home));
        }
        Ok(())
    }
}

/// The frame is mapped and aligned.
fn flags() -> MemFlagsData {
    MemFlagsData::trusted()
}

#[cfg(test)]
mod tests;
